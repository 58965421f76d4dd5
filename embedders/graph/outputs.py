"""Which of a graph's outputs the file is, and the samplers that reach it.

- An output is a node that nothing takes from, or one that has a `filename_prefix`. Those that save win over previews, and those
  that take pictures over those that save latents, models or sounds.
- Of several the file's name decides: it begins with its output's prefix, whose folders and `%...%` tokens stand for anything.
  The longest prefix that fits wins.
- Of those that the name leaves, one whose size by the graph is the file's wins. That is the size of the latent, and what scaled it.
- Where neither decides, the output with most samplers wins, for a later pass's samplers include an earlier one's; what the others
  were made by is told too, since the file may be theirs.
- A *sampler* takes a guider, or a conditioning together with a model or latent, and holds a sampling setting. Where its settings
  have lost their names, it makes a latent of a model, a latent and a conditioning, and has literals. A node that takes
  everything by links and has a bundle only hands on.
- The samplers of an output are those upstream of it, not counting ways through conditioning, models, CLIPs and the like; but for a
  stage's latent, which the next stage takes with its conditioning.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from . import names as called
from .nodes import Graph, Link, Node
from .saved_texts import SAVER, saved_another_file

MAX_PASSES = 50  # the last ones; people's graphs have a handful
MAX_RIVALS = 20  # outputs that are compared; of more it is said that they differ
Size = tuple[int | None, int | None]
_OFF_THE_PICTURE = {
    "conditioning", "guider", "model", "clip", "vae", "control", "noise", "sampler", "sigmas", "string", "number", "vision",
    "upscaler", "patch", "lora", "audio", "other", "mask",
}  # fmt: skip


def is_sampler(graph: Graph, node: Node) -> bool:
    kinds = set(node.kinds.values())
    if not any(called.setting(name) for name in (*node.values, *node.links) if name != "noise" or name in node.links):  # a number is how much
        makes = bool(node.values) and node.outputs[:1] == ("latent",)
        return makes and {"model", "latent"} <= kinds and bool(kinds & {"conditioning", "bundle"})
    if node.outputs and set(node.outputs) <= {"bundle"} and not any(name in node.values or name in node.links for name in ("steps", "sampler_name")):
        return False  # a pipe that is filled, and has a seed beside
    if "guider" in kinds and "guider" not in node.outputs:
        return True
    if not node.values and not ("sigmas" in kinds and "sampler" in kinds):
        if not {"model", "latent", "conditioning"} <= kinds:
            return False
        several = kinds & {"bundle", "clip", "vae", "image"} or any(Link(node.key, n) in graph.takers for n in range(1, 10))
        if node.outputs[:1] != ("latent",) and (node.outputs or several):
            return False  # a context or pipe that is filled by links
    if "bundle" in kinds or {"sampler", "latent"} <= kinds and {"seed", "steps"} <= node.values.keys():
        return True
    return "conditioning" in kinds and bool(kinds & {"model", "latent"})


def picture_links(graph: Graph, node: Node, samplers: set[str]) -> Iterator[Link]:
    """Links that bring the picture, or what it was made from. A mask's or sound's only where the node has nothing else."""
    if node.kind == SAVER:  # other pictures made the texts and hits beside its own
        if "images" in node.links:
            yield node.links["images"]
        return
    others = []
    found = False
    for name, link in node.links.items():
        kind = node.kinds[name]
        if kind not in _OFF_THE_PICTURE or kind == "sampler" and link.node in samplers:
            found = True
            yield link
        elif kind in ("mask", "audio"):
            others.append(link)
    if not found:
        yield from others


def _stage_links(graph: Graph, sampler: Node, samplers: set[str]) -> Iterator[Link]:
    """What an earlier stage's sampler gives to this one's conditioning, as Stable Cascade's `stage_c`."""
    for link in graph.links_of(sampler, "conditioning").values():
        maker = graph.nodes[link.node]
        for name, stage in maker.links.items():
            if name.startswith("stage") and stage.node in samplers:
                yield stage


@dataclass
class Chosen:
    """The output that the file is, and its samplers from the first pass to the last; none when no output has any."""

    output: Node | None
    order: list[str] = field(default_factory=list)
    others: list[list[str]] = field(default_factory=list)  # the samplers of outputs that the file may be as well
    alike: list[Node] = field(default_factory=list)  # outputs that the same samplers made
    unlike: bool = False  # one of these has no samplers, or there are too many to compare


def output_of_file(
    graph: Graph,
    samplers: set[str],
    saved_as: str | None,
    size: tuple[int, int] | None,
    prefix_of: Callable[[Node], Any],
    size_of: Callable[[Node], Size],
) -> Chosen:
    used = {link.node for link in graph.takers}
    outputs = [n for k, n in graph.nodes.items() if n.links and (k not in used or "filename_prefix" in n.values)]
    outputs = [n for n in outputs if not saved_another_file(n)] or outputs
    saving = [n for n in outputs if _saves(n)]
    pictures = [n for n in saving if _shows_picture(graph, n)]
    named = _named_like(pictures or saving, saved_as, prefix_of)
    previews = [n for n in outputs if n not in saving] if len(outputs) < 1000 else outputs

    def follow(node: Node) -> Iterator[Link]:
        yield from picture_links(graph, node, samplers)
        if node.key in samplers:
            yield from _stage_links(graph, node, samplers)

    enough = graph.left * 3 // 4
    for group in (named, pictures, saving, previews):
        reached: list[tuple[Node, list[str]]] = []
        for output in reversed(group):
            if graph.left < enough:
                break
            with graph.half():
                reached.append((output, [n.key for n in graph.upstream([output.key], follow) if n.key in samplers]))
        if len(reached) > 1 and size is not None:
            reached = [one for one in reached[:MAX_RIVALS] if _is_size(size_of(one[0]), size)] or reached
        chosen, best = max(reached, key=lambda one: len(one[1]), default=(None, []))
        if chosen is None or not best:
            continue
        found = Chosen(chosen, _in_order(graph, chosen, set(best), follow)[-MAX_PASSES:])
        others = {frozenset(keys): output for output, keys in reached if keys and set(keys) != set(best)}
        found.alike = [output for output, keys in reached if output is not chosen and set(keys) == set(best)]
        found.unlike = len(others) > MAX_RIVALS or graph.left < enough or group is not named and bool(named)
        found.unlike |= any(not keys and "image" in output.kinds.values() for output, keys in reached)
        if not found.unlike:
            found.others = [
                _in_order(graph, output, set(keys), follow)[-MAX_PASSES:] for keys, output in others.items()
            ]
        return found
    return Chosen(next((group[-1] for group in (named, pictures, saving, previews) if group), None))


def _is_size(made: Size, size: tuple[int, int]) -> bool:
    """A latent's size is a multiple of eight, whatever was asked for."""
    return made == size or all(side is not None and side // 8 * 8 == of for side, of in zip(made, size))


def _in_order(graph: Graph, output: Node, wanted: set[str], follow: Callable[[Node], Iterator[Link]]) -> list[str]:
    """Each sampler behind those that it goes on from; those that know nothing of each other as the inputs are listed."""
    order: list[str] = []
    seen = {output.key}
    stack = [(output.key, follow(output))]
    with graph.half():
        while stack:
            key, links = stack[-1]
            link = next((link for link in links if link.node not in seen), None)
            if link is not None and graph.spend():
                seen.add(link.node)
                stack.append((link.node, follow(graph.nodes[link.node])))
            else:
                stack.pop()
                if key in wanted:
                    order.append(key)
    return order


def _saves(node: Node) -> bool:
    if any(value is False for name, value in node.values.items() if name in ("save_output", "save_image")):
        return False
    return "filename_prefix" in node.values or "filename_prefix" in node.links or "save" in node.kind.lower()


def _shows_picture(graph: Graph, node: Node) -> bool:
    return bool({"image", "bundle", "opaque", None} & set(node.kinds.values()))


def _named_like(outputs: list[Node], saved_as: str | None, prefix_of: Callable[[Node], Any]) -> list[Node]:
    """The outputs whose prefix fits the file's name best; none where no prefix fits."""
    if not isinstance(saved_as, str) or len(outputs) < 2:
        return []
    *folders, name = re.split(r"[/\\]", saved_as.lower()[-1000:])
    best: list[Node] = []
    most = (0, 0)
    for output in outputs[:1000]:
        prefix = prefix_of(output)
        if not isinstance(prefix, str) or not prefix.strip() or len(prefix) > 1000:
            continue
        *above, stem = re.split(r"[/\\]", prefix.lower().strip())
        known = _fits(stem, name)
        if known is None:
            continue
        fits = (known, sum(len(a) for a, b in zip(reversed(above), reversed(folders)) if a == b))
        if fits > most:
            best, most = [], fits
        if fits == most:
            best.append(output)
    return best


def _fits(stem: str, name: str) -> int | None:
    """How many characters of the stem the name has in its place, tokens such as %date% or [time] standing for anything."""
    parts = re.split(r"%[^%]*%|\[[^\]]*\]", stem)
    if not name.startswith(parts[0]):
        return None
    at = len(parts[0])
    for part in parts[1:]:
        found = name.find(part, at)
        if found < 0:
            return None
        at = found + len(part)
    known = sum(map(len, parts))
    if not known or len(parts) == 1 and name[at : at + 1].isalpha():  # `fox` is no prefix of `foxes_00001_.png`
        return None
    return known
