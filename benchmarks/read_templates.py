"""Of the workflows in ComfyUI's template package: in how many of those that hold a prompt is it found, and what is answered.

Whether one is held is decided here from node definitions alone, with no rule of the tracer's: a text that is not blank,
in a STRING widget, that comes as a text (over nodes whose every input is a plain value, never a model or a picture) to
a node that makes CONDITIONING or to a partner service's node, from which links lead to an output node that takes
pictures or video. Each workflow is tried as SaveImage would have kept it (`prompt` and `workflow`), and with the workflow alone.

    .venv/bin/python benchmarks/read_templates.py [--show 30 [--seed 3]] [--missing] [--object-info FILE]
"""

from __future__ import annotations

import argparse
import copy
import json
import random
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness import machine, object_info

ANY = {"*", "COMFY_MATCHTYPE_V3"}  # a switch's, a preview's
PLAIN = {"STRING", "INT", "FLOAT", "BOOLEAN", "COMBO", "COMFY_AUTOGROW_V3", "COMFY_DYNAMICCOMBO_V3"} | ANY
SHOWN = {"IMAGE", "VIDEO"}
LOCAL = {"MODEL", "CLIP", "VAE", "LATENT", "CONDITIONING"}  # what no service takes
Targets = dict[str, set[tuple[str, str]]]  # node -> (node that it feeds, the type of what goes there)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--show", type=int, default=0, metavar="N", help="print N that hold a text, for a person to judge")
    parser.add_argument("--seed", type=int, default=3, help="which N")
    parser.add_argument("--missing", action="store_true", help="print those whose text is not found")
    parser.add_argument("--object-info", type=Path, help="a saved /object_info; without it the host is started")
    parser.add_argument("--folder", type=Path, help="workflows to read instead of the installed package's")
    parser.add_argument("--without", type=Path, help="leave out those of this folder's names")
    options = parser.parse_args()
    definitions = object_info(options.object_info)
    left_out = {file.name for file in options.without.glob("*.json")} if options.without else set()
    templates = list(_templates(_in_folder(options.folder, left_out) if options.folder else _installed(), definitions))
    print(f"{machine()}; {len(definitions)} node classes; {len(templates)} workflows, {sum(t.subgraphs for t in templates)} with subgraphs\n")
    print(_table(templates))
    for template in templates if options.missing else []:
        if template.held and not (template.found and template.found_without):
            print(f"\n{_described(template)}")
    holding = [template for template in templates if template.held]
    for template in random.Random(options.seed).sample(holding, min(options.show, len(holding))):
        print(f"\n{_described(template)}")


@dataclass
class Template:
    """One workflow: what it holds, and what is read of it both ways."""

    name: str
    title: str
    subgraphs: bool
    problem: str | None  # why it can't be converted
    held: list[str]  # its texts, by this file's rule
    service: bool  # a partner's service, rather than a sampler of this machine, takes them
    read: Any  # ImageMetadata, with `prompt` and `workflow` in the file
    read_without: Any  # with `workflow` alone

    @property
    def found(self) -> bool:
        return _finds(self.read, self.held)

    @property
    def found_without(self) -> bool:
        return _finds(self.read_without, self.held)


def _finds(read: Any, held: list[str]) -> bool:
    """Whether any held text is in the prompt; where none of them is, in the negative one."""
    both = [_spaced("\n".join(pair or ())) for pair in (read.prompt, read.negative)]
    return any(_spaced(text) in side for text in held for side in both)


def _all_found(read: Any, held: list[str]) -> bool:
    both = _spaced("\n".join([*(read.prompt or ()), *(read.negative or ())]))
    return all(_spaced(text) in both for text in held)


def _spaced(text: str) -> str:
    return " ".join(text.split())


def _installed() -> Iterator[tuple[str, str, Path]]:
    """Name, title and file of each."""
    from comfyui_workflow_templates_core import get_asset_path, iter_templates

    titles = _titles()
    for template in iter_templates():
        file = next((asset.filename for asset in template.assets if asset.filename.endswith(".json")), None)
        if file is not None:
            yield template.template_id, titles.get(template.template_id, ""), Path(get_asset_path(template.template_id, file))


def _in_folder(folder: Path, left_out: set[str]) -> Iterator[tuple[str, str, Path]]:
    for file in sorted(folder.glob("*.json")):
        if file.name not in left_out:
            yield file.stem, "", file


def _templates(files: Iterable[tuple[str, str, Path]], definitions: dict[str, Any]) -> Iterator[Template]:
    from diffusion_toolkit.embedders.metadata import read_metadata
    from diffusion_toolkit.embedders.workflow import WorkflowError, readable, to_api

    for name, title, file in files:
        workflow = json.loads(file.read_text(encoding="utf-8"))
        if not isinstance(workflow, dict) or "nodes" not in workflow:
            continue
        problem, known = None, definitions
        try:
            api = to_api(workflow, definitions, choose=lambda options: options[0])
        except WorkflowError as error:
            problem = str(error)
        named = _by_name(workflow)
        if problem or named != workflow:  # of classes that are newer here, or that have other inputs by now
            known = {**_told(workflow), **definitions}
            api = readable(named, definitions).prompt
        held, service = _held(api, known)
        texts = {"workflow": json.dumps(workflow)}
        yield Template(
            name,
            title,
            bool(workflow.get("definitions", {}).get("subgraphs")),
            problem,
            held,
            service,
            read_metadata(_png(texts | {"prompt": json.dumps(api)}), definitions=definitions),
            read_metadata(_png(texts), definitions=definitions),
        )


def _by_name(workflow: dict[str, Any]) -> dict[str, Any]:
    """With the values by their names in place of their list, on nodes that have both: so a front end from 1.49 on saves them."""
    named = copy.deepcopy(workflow)
    for graph in (named, *named.get("definitions", {}).get("subgraphs", ())):
        for node in graph["nodes"]:
            if node.get("widgets_values_named") and not _is_virtual(node["type"]):
                values = node["widgets_values_named"].items()
                node["widgets_values"] = {name: value for name, value in values if not re.match("control_(after|before)|upload$", name)}  # never sent
    return named


def _is_virtual(kind: str) -> bool:
    """The front end's own nodes, and instances of subgraphs, called by a UUID."""
    return kind in ("PrimitiveNode", "Reroute", "Note", "MarkdownNote") or re.fullmatch(r"[0-9a-f-]{36}", kind) is not None


def _told(workflow: dict[str, Any]) -> dict[str, Any]:
    """Definitions of the workflow's classes, by the sockets of its own nodes; a service is what makes pictures of plain values, pictures and sound."""
    told: dict[str, Any] = {}
    for graph in (workflow, *workflow.get("definitions", {}).get("subgraphs", ())):
        for node in graph["nodes"]:
            inputs, outputs = ([slot for slot in node.get(side) or () if isinstance(slot.get("type"), str)] for side in ("inputs", "outputs"))
            kinds = {slot["type"] for slot in inputs}
            described = told.setdefault(node["type"], {"input": {"required": {}}, "output": []})
            texts = [name for name, value in (node.get("widgets_values_named") or {}).items() if isinstance(value, str) and " " in value.strip()]
            described["input"]["required"] |= {name: ["STRING", {"multiline": True}] for name in texts}
            described["input"]["required"] |= {slot["name"]: [slot["type"], {"multiline": True}] for slot in inputs}
            described["output"] = max(described["output"], [slot["type"] for slot in outputs], key=len)
            described["output_node"] = not described["output"] or node["type"].startswith("Save")
            described["api_node"] = not kinds & LOCAL
    return told


def _titles() -> dict[str, str]:
    from comfyui_workflow_templates_core import get_asset_path

    try:
        index = json.loads((Path(get_asset_path("index", "index.json"))).read_text(encoding="utf-8"))
    except Exception:  # noqa: BLE001 - titles are for the reader's eye only, and the package need not have them
        return {}
    return {template["name"]: template.get("title", "") for group in index for template in group["templates"]}


def _held(api: dict[str, Any], definitions: dict[str, Any]) -> tuple[list[str], bool]:
    """The texts that this graph holds by the rule of this file, and whether a partner's service takes them."""
    targets: Targets = {}
    for name, node in api.items():
        for value in node["inputs"].values():
            if isinstance(value, list) and len(value) == 2 and str(value[0]) in api:
                outputs = definitions[api[str(value[0])]["class_type"]]["output"]
                kind = outputs[value[1]] if value[1] < len(outputs) else "*"
                targets.setdefault(str(value[0]), set()).add((name, kind))
    shown = _before({name for name, node in api.items() if _shows(node, api, definitions)}, targets)
    held, service = [], False
    for name, node in api.items():
        texts = [value for key, value in node["inputs"].items() if _is_text(node["class_type"], key, value, definitions)]
        for text in texts:
            takers = _takers(name, api, targets, definitions) & shown
            if takers and text not in held:
                held.append(text)
                service = service or any(definitions[api[taker]["class_type"]].get("api_node") for taker in takers)
    return held, service


def _takers(start: str, api: dict[str, Any], targets: Targets, definitions: dict[str, Any]) -> set[str]:
    """The nodes that use the text of `start` as it is, or mixed with other plain values, to make a picture."""
    found, waiting, seen = set(), [start], set()
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        described = definitions[api[name]["class_type"]]
        if "CONDITIONING" in described["output"] or (described.get("api_node") and SHOWN & set(described["output"])):
            found.add(name)
        elif all(kind in PLAIN for kind in _kinds(described).values()):
            waiting += [target for target, sent in targets.get(name, ()) if sent == "STRING" or sent in ANY]
    return found


def _kinds(described: dict[str, Any]) -> dict[str, str]:
    inputs = {**described["input"].get("required", {}), **described["input"].get("optional", {})}
    return {key: "COMBO" if isinstance(spec[0], list) else str(spec[0]) for key, spec in inputs.items()}


def _is_text(kind: str, key: str, value: Any, definitions: dict[str, Any]) -> bool:
    """Whether `value` is a text in a multi-line widget, or in any of a node that gives a text on."""
    described = definitions[kind]
    if not isinstance(value, str) or not value.strip():
        return False
    specs = list(_specs(key.split("."), described["input"]))
    types = {spec[0] for spec in specs if isinstance(spec[0], str)}
    if not specs or types & {"INT", "FLOAT"} or types & ANY:  # named by guess; another version's; a side of a switch, which no link feeds
        return len(value.split()) > 3
    return any(spec[0] == "STRING" and (spec[-1].get("multiline") or "STRING" in described["output"]) for spec in specs if len(spec) > 1)


def _specs(path: list[str], inputs: dict[str, Any]) -> Iterator[list[Any]]:
    """The definitions of an input; `model.prompt` lies in one of the options of `model`, or is told by a socket of that name."""
    every = {**inputs.get("required", {}), **inputs.get("optional", {})}
    spec = every.get(path[0])
    if len(path) > 1 and ".".join(path) in every:
        yield every[".".join(path)]
    elif spec is not None and len(path) == 1:
        yield spec
    elif spec is not None and len(spec) > 1:
        for option in spec[1].get("options") or ():
            if isinstance(option, dict) and "inputs" in option:
                yield from _specs(path[1:], option["inputs"])


def _shows(node: dict[str, Any], api: dict[str, Any], definitions: dict[str, Any]) -> bool:
    """Whether it is an output node with a picture or video linked to it."""
    if not definitions[node["class_type"]].get("output_node"):
        return False
    for value in node["inputs"].values():
        if isinstance(value, list) and len(value) == 2 and str(value[0]) in api:
            output = definitions[api[str(value[0])]["class_type"]]["output"]
            if value[1] < len(output) and output[value[1]] in SHOWN:
                return True
    return False


def _before(nodes: set[str], targets: Targets) -> set[str]:
    """`nodes` and all from which links lead to one of them."""
    sources: dict[str, set[str]] = {}
    for source, fed in targets.items():
        for target, _ in fed:
            sources.setdefault(target, set()).add(source)
    found, waiting = set(), list(nodes)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += sources.get(name, ())
    return found


def _table(templates: list[Template]) -> str:
    rows = [
        "| workflows | all | hold a text | found | or said to be unknown | all its texts | found, workflow alone |",
        "|---|---|---|---|---|---|---|",
    ]
    groups = {
        "with a sampler here": lambda t: t.held and not t.service,
        "with a partner's service": lambda t: t.held and t.service,
        "with subgraphs": lambda t: t.subgraphs,
        "all": lambda _: True,
    }
    for name, belongs in groups.items():
        group = [template for template in templates if belongs(template)]
        held = [template for template in group if template.held]
        every = sum(_all_found(template.read, template.held) for template in held)
        found, without = sum(template.found for template in held), sum(template.found_without for template in held)
        share = f"{found} ({100 * found / max(1, len(held)):.1f} %)"
        unknown = found + sum(not template.found and template.read.prompt_origin.confidence == "unknown" for template in held)
        rows.append(f"| {name} | {len(group)} | {len(held)} | {share} | {unknown} | {every} | {without} |")
    failed = sum(template.problem is not None for template in templates)
    sure = {name: Counter(_confidence(t.read) for t in templates if bool(t.held) == holds) for name, holds in (("holding", True), ("others", False))}
    sure_words = "; ".join(f"{name}: {', '.join(f'{key} {count}' for key, count in sorted(counter.items()))}" for name, counter in sure.items())
    return "\n".join([*rows, f"\nNot converted: {failed}. Confidence of the prompt, {sure_words}."])


def _confidence(read: Any) -> str:
    return read.prompt_origin.confidence if read.prompt is not None else f"no prompt ({read.prompt_origin.confidence})"


def _described(template: Template) -> str:
    """For a person who judges: what it holds and what was answered."""
    read = template.read
    lines = [
        f"## {template.name} - {template.title}",
        f"last pass: {read.passes[-1].kind if read.passes else None}; problem: {template.problem or read.problem}",
    ]
    lines += [f"held: {text!r}" for text in template.held]
    lines += [f"prompt ({read.prompt_origin.confidence}; {read.prompt_origin.where}): {read.prompt!r}"]
    lines += [f"negative ({read.negative_origin.confidence}; {read.negative_origin.where}): {read.negative!r}"]
    if (read.prompt, read.negative) != (template.read_without.prompt, template.read_without.negative):
        without = template.read_without
        lines.append(f"workflow alone: ({without.prompt_origin.confidence}) {without.prompt!r} / {without.negative!r} {without.problem or ''}")
    return "\n".join(lines)


def _png(texts: dict[str, str]) -> bytes:
    """A picture of one pixel with these text chunks; UTF-8, as ComfyUI's ASCII JSON is."""
    from host.sound_files import png

    return png(texts)


if __name__ == "__main__":
    main()
