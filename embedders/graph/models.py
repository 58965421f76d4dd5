"""The files that a sampler used: its model, LoRAs, text encoders, ControlNets and VAE.

- The model's links are followed to the nearest file of a node that takes no model: one that takes one changes it by its file.
  LoRAs stand on that way, in the order in which they were applied, each with its strengths; those that are switched off or have
  no strength are left out. A text names LoRAs too, in tags, where its node is known to load them.
- Text encoders are the files behind the encoders that made the texts. A checkpoint's own is not named.
- ControlNets are those that the positive conditioning went through, the first applied first.
- A VAE is named where one was loaded by itself and the sampler or what decodes its latents uses it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice
from typing import Any

from . import names as called
from .conditioning import Side
from .nodes import Graph, Link, Node
from .records import Settings
from .settings import finite
from .strings import Strings

_MOST = 2000  # nodes on the way to a file
_TAG = re.compile(r"<lora:([^<>:]{1,300})((?::[^<>:]{0,500}){0,8})>", re.I)  # read as nodes do: AUTOMATIC1111's own order and names differ
_TAGGED = (  # the texts whose tags a node loads; rgthree's is told by its input insert_lora
    (re.compile(r"WildcardEncode"), ("populated_text",)),  # of Impact and Inspire
    (re.compile(r"^easy (full|a1111|comfy)Loader$"), ("positive", "negative")),  # gives the CLIP 1.0 where a tag has one number
    (re.compile(r"^LoraTagLoader$"), ("text",)),
)
_OWN = re.compile(  # ComfyUI's nodes that load no LoRA, and look for no tags
    r"(Checkpoint|UNET|CLIP|DualCLIP|TripleCLIP|QuadrupleCLIP)Loader(Simple)?|CLIPSetLastLayer|CLIPTextEncode(SDXL(Refiner)?|Flux|SD3)?"
    r"|Conditioning(Combine|Concat|Average|ZeroOut)|FluxGuidance|(Basic|CFG)Guider|BasicScheduler|ModelSampling(SD3|Flux|AuraFlow|Discrete)"
    r"|KSampler(Advanced)?|SamplerCustom(Advanced)?"
)
_Tag = tuple[str, float | None, float | None]  # file, strength for the model and for the CLIP
_LOADED_ON = ("model", "clip", "conditioning", "guider", "bundle", "lora")  # what a LoRA would come over
_OFF = (False, "off", "Off", "OFF", "disable", "disabled", "None")


class Models:
    def __init__(self, graph: Graph, strings: Strings) -> None:
        self.graph, self.strings = graph, strings
        self._tags: dict[str, list[_Tag]] = {}  # by text: many nodes may take the same

    def read(self, key: str, positive: Side, into: Settings, samplers: set[str]) -> None:
        start = self.graph.nodes[key]
        self._model(start, positive, into)
        into.text_encoders = self._text_encoders(positive)
        into.controlnets = self._controlnets(positive)
        into.vae = self._vae(start, samplers)

    def load_none(self) -> bool:
        """Whether all that takes or gives a model, a CLIP or conditioning is ComfyUI's own and loads no LoRA."""
        nodes = self.graph.nodes
        links = ((node, link) for node in nodes.values() for link in self.graph.links_of(node, *_LOADED_ON).values())
        own = all(_OWN.fullmatch(kind) for node, link in links for kind in (node.kind, nodes[link.node].kind))
        return own and any(self.graph.links_of(node, "model") for node in nodes.values())

    def _model(self, start: Node, positive: Side, into: Settings) -> None:
        def follow(node: Node) -> Iterator[Link]:
            links = self.graph.links_of(node, "model", "lora")
            wanted = [links[name] for name in sorted(links, key=called.negative)]
            wanted += self.graph.links_of(node, "guider", "bundle").values()
            yield from wanted or (self.graph.links_of(node, None, "opaque").values() if node is not start else ())

        seen: set[str] = set()
        changing: str | None = None
        for count, node in enumerate(self.graph.upstream([start.key], follow)):
            if count > _MOST:
                break
            if node.key not in seen:
                seen.add(node.key)
                into.loras[:0] = self._loras(node)
            file = self._file(node, called.model_name)
            if node is not start and self.graph.links_of(node, "model"):
                changing = changing or file
            else:
                into.checkpoint = into.checkpoint or file
            if into.checkpoint is None and not node.links and (not node.outputs or "model" in node.outputs):  # named otherwise by its loader
                into.checkpoint = self._file(node, lambda name: not called.part_name(name))
        into.checkpoint = into.checkpoint or changing

    def _file(self, node: Node, named: Any) -> str | None:
        """The file at an input of such a name; one without a known ending only where the name says that it is a file."""
        for name in (*node.values, *node.links):
            if named(name):
                value = (
                    self.strings.number(node, name)
                    if name not in node.links or node.kinds[name] in (None, "string", "number", "model")
                    else None
                )
                if isinstance(value, dict):
                    value = value.get("content") or value.get("name")
                if isinstance(value, str) and value and len(value) < 1000:
                    if (
                        called.MODEL_FILE.search(value)
                        or name in ("ckpt_name", "unet_name", "model_path")
                        and value != "None"
                    ):
                        return value
        return None

    def _text_encoders(self, positive: Side) -> list[str]:
        def follow(node: Node) -> Iterator[Link]:
            yield from self.graph.links_of(node, "clip").values() or (
                self.graph.links_of(node, None, "bundle").values() if node not in positive.nodes else ()
            )

        found: list[str] = []
        starts = [node.key for node in positive.nodes if self.graph.links_of(node, "clip")]
        for count, node in enumerate(self.graph.upstream(starts, follow)):
            if count > _MOST:
                break
            for name, value in sorted(node.values.items()):
                if (
                    called.encoder_name(name)
                    and isinstance(value, str)
                    and called.MODEL_FILE.search(value)
                    and value not in found
                ):
                    found.append(value)
        return found[:20]

    def _controlnets(self, positive: Side) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        for node in positive.nodes[::-1]:
            for link in self.graph.links_of(node, "control").values():
                strength = finite(self.strings.number(node, "strength"))
                names = self._control_files(link)
                for name, own in names:
                    by = own if own is not None else strength if strength is not None else 1.0
                    entry = {"name": name, "strength": by}
                    if by and entry not in found:
                        found.append(entry)
        return found[:50]

    def _control_files(self, link: Link) -> list[tuple[str, float | None]]:
        """Files behind a ControlNet's link: one from its loader, several from a stack with their strengths."""
        found: list[tuple[str, float | None]] = []

        def follow(node: Node) -> Iterator[Link]:
            yield from self.graph.links_of(node, "control", None).values()

        for count, node in enumerate(self.graph.upstream([link.node], follow)):
            if count > 200:
                break
            for name, value in node.values.items():
                if (
                    re.search(r"control|cnet|model", name, re.I)
                    and isinstance(value, str)
                    and called.MODEL_FILE.search(value)
                ):
                    number = re.sub(r"\D", "", name)
                    if number and node.values.get(f"switch_{number}") in _OFF:
                        continue
                    own = finite(node.values.get(f"controlnet_strength_{number}")) if number else None
                    if own is None:
                        own = finite(node.values.get("strength"))
                    found.append((value, own))
        return found

    def _loras(self, node: Node) -> list[dict[str, Any]]:
        """LoRAs a node applies: `lora_name` with its strengths, numbered stacks, or one dictionary for each."""
        values, found = node.values, []
        if any(values.get(name) in _OFF for name in ("toggle", "enabled", "active") if name in values):
            return []
        count = next(
            (v for n, v in values.items() if re.fullmatch(r"(num_loras|lora_count)", n) and isinstance(v, int)), None
        )
        simple = values.get("input_mode", values.get("mode")) == "simple"
        for name, value in values.items():
            for entry in _listed(value) if called.lora(name) or name in ("loras", "lora_list") else ():
                file, model, clip = (
                    entry.get("lora", entry.get("name")),
                    entry.get("strength"),
                    entry.get("strengthTwo", entry.get("clipStrength")),
                )
                if entry.get("on", entry.get("active", True)) is not False and isinstance(file, str) and file:
                    found.append(_lora(file, model, clip))
            if (
                name in node.links
                or not called.lora(name)
                or not isinstance(value, str)
                or not called.MODEL_FILE.search(value)
            ):
                continue
            number = re.sub(r"\D", "", name)
            if number and (
                values.get(f"switch_{number}") in _OFF[:-1] or count is not None and int(number[:9]) > count
            ):
                continue
            strengths = {
                n: v
                for n, v in values.items()
                if re.search("strength|weight|_wt_|_str_", n) and re.sub(r"\D", "", n) == number
            }
            of_model = [n for n in strengths if "clip" not in n and ("model" in n) != simple]
            of_model += [n for n in strengths if "clip" not in n]
            of_clip = [n for n in strengths if "clip" in n and not simple]
            model = self.strings.number(node, of_model[0]) if of_model else None
            clip = self.strings.number(node, of_clip[0]) if of_clip else 0.0 if "strength_model" in strengths else None
            found.append(_lora(value, model, clip))
        stems = {_stem(lora["name"]) for lora in found}
        for tagged in self._tagged(node):
            if (stem := _stem(tagged["name"])) not in stems:
                stems.add(stem)
                found.append(tagged)
        return [lora for lora in found[:100] if lora["strength_model"] or lora["strength_clip"]]

    def _tagged(self, node: Node) -> Iterator[dict[str, Any]]:
        """LoRAs that a text names as `<lora:name:model:clip>`, of the nodes that are known to load them. Whether it is so within
        choices or a comment is not known, and of such a text none is taken."""
        names = next((names for classes, names in _TAGGED if classes.search(node.kind)), ())
        easy = names == ("positive", "negative")
        if str(node.values.get("insert_lora", "DISABLE")).upper().find("DISABLE") < 0:
            names = ("prompt", "prompt_g", "prompt_l")
        if not easy and not {"model", "clip"} <= set(node.kinds.values()) or finite(node.values.get("normalize_weight")):
            return
        for name in names:
            value = node.links.get(name, node.values.get(name))
            known = self.strings.of(node, name, value) if isinstance(value, Link) or "<lora:" in str(value) else None
            if known is None or known.confidence == "unknown" or not isinstance(known.value, str):
                continue
            text = known.value[:100_000]
            if text not in self._tags:
                self._tags[text] = [] if set("{#") & set(text) else [_of_tag(tag) for tag in islice(_TAG.finditer(text), 50)]
            for file, model, clip in self._tags[text]:
                yield _lora(file, model, 1.0 if easy and clip is None else clip)

    def _vae(self, start: Node, samplers: set[str]) -> str | None:
        """The VAE of what decodes the sampler's latents, else its own."""
        queue, seen = [start.key], {start.key}
        users: list[Node] = []
        for key in queue:  # it grows
            if len(queue) > 200:
                break
            for slot in range(8):
                for taker, name in self.graph.takers.get(Link(key, slot), ())[:50]:
                    kind = self.graph.nodes[taker].kinds.get(name, "shut")  # the side of a switch that it does not hand on
                    if taker not in seen and taker not in samplers and kind in ("latent", "bundle", None, "opaque"):
                        seen.add(taker)
                        queue.append(taker)
                        if self.graph.links_of(self.graph.nodes[taker], "vae"):
                            users.append(self.graph.nodes[taker])

        def follow(node: Node) -> Iterator[Link]:
            yield from self.graph.links_of(node, "vae").values() or self.graph.links_of(node, "bundle", None).values()

        users.sort(key=lambda node: "audio" in node.kind.lower())
        for user in [*users[:3], start]:
            links = list(self.graph.links_of(user, "vae").values()) or list(
                self.graph.links_of(user, "bundle").values()
            )
            for count, node in enumerate(self.graph.upstream([link.node for link in links], follow)):
                if count > 200:
                    break
                value = node.values.get("vae_name")
                if isinstance(value, str) and value and len(value) < 1000 and not re.match("baked|none", value, re.I):
                    return value
        return None


def _listed(value: Any) -> list[dict[str, Any]]:
    """Dictionaries that each tell of one LoRA: by themselves, or in a list that was kept from being taken for a link."""
    if isinstance(value, dict):
        inner = value.get("__value__")
        return [entry for entry in inner[:100] if isinstance(entry, dict)] if isinstance(inner, list) else [value]
    return []


def _stem(file: str) -> str:
    return called.MODEL_FILE.sub("", re.split(r"[/\\]", file)[-1]).lower()


def _of_tag(tag: re.Match[str]) -> _Tag:
    strengths = [_number(part) for part in tag[2].split(":")[1:3]] + [None, None]
    return tag[1].strip(), strengths[0], strengths[1]


def _number(word: str) -> float | None:
    return float(word) if re.fullmatch(r"\s*-?\d{0,6}\.?\d{1,9}\s*", word) else None


def _lora(file: str, model: Any, clip: Any) -> dict[str, Any]:
    on_model = 1.0 if finite(model) is None else finite(model)
    on_clip = on_model if finite(clip) is None else finite(clip)
    return {"name": file, "strength_model": on_model, "strength_clip": on_clip}
