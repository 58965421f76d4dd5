"""Civitai's, Tensor.Art's and Stability Matrix's own JSON, and flat JSON of writers that are not known by name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ..records import ImageMetadata
from .flat import flat_fields, is_flat, tells_how
from .told import OBJECT_KEYS, Json, Told, first, image, items, weights_by_name


def civitai(told: Told) -> Iterator[ImageMetadata]:
    """`extraMetadata`, an object or JSON in a string, which its own generator puts into the graph it writes."""
    for key in ("extraMetadata", "workflow", "prompt", "extra", *OBJECT_KEYS):
        if key != "extraMetadata" and not told.mentions(key, b"extraMetadata"):
            continue
        graph = told.object(key)
        for place in ({key: graph}, graph, first(graph, "extra")):
            extra = first(place, "extraMetadata")
            extra = told.parse(extra.strip(), key) if isinstance(extra, str) else extra
            if isinstance(extra, Mapping) and isinstance(extra.get("prompt"), str):
                yield _with_resources("Civitai", extra, told.where("Civitai metadata", key))
                break


def plain_prompt(told: Told) -> Iterator[ImageMetadata]:
    """A text under ComfyUI's key `prompt` that is none of ComfyUI's: somebody's script wrote the prompt itself."""
    text = told.text("prompt") if told.is_plain("prompt") else None
    if text is not None:
        yield image(None, told.where("a text without settings", "prompt"), prompt=text, inferred=True)


def iptc(told: Told) -> Iterator[ImageMetadata]:
    """IPTC's field for the prompt that an image was generated from."""
    key = "xmp:Iptc4xmpExt:AIPromptInformation"
    if (prompt := told.text(key)) is not None:
        system = told.text("xmp:Iptc4xmpExt:AISystemUsed")
        yield image(system[:200] if system else None, told.where("the prompt", key), prompt=prompt)


def meta(told: Json, where: str) -> ImageMetadata | None:
    """A side-car as Civitai's interface gives an image: everything under `meta`."""
    inner = told.get("meta")
    return (
        _with_resources("Civitai", inner, f"Civitai metadata{where}")
        if isinstance(inner, Mapping) and is_flat(inner)
        else None
    )


def tensor_art(told: Json, where: str) -> ImageMetadata | None:
    """`generation_data`: models with their kinds, the base model apart."""
    if not isinstance(told.get("prompt"), str) or not isinstance(told.get("baseModel"), Mapping):
        return None
    models = [one for one in items(told.get("models")) if str(first(one, "type")).upper() in ("LORA", "LOCON", "LYCORIS")]
    fields = {**flat_fields(told), "checkpoint": told["baseModel"]}
    return image("Tensor.Art", f"Tensor.Art metadata{where}", **fields, loras=weights_by_name(_file_names(models)))


def stability_matrix(told: Json, where: str) -> ImageMetadata | None:
    """`parameters-json`, in the names of its program."""
    if not {"PositivePrompt", "positivePrompt"} & told.keys():
        return None
    return image("Stability Matrix", f"Stability Matrix metadata{where}", **flat_fields(told))


def unnamed(told: Json, where: str) -> ImageMetadata | None:
    """A writer that is not known, in names that everybody uses: a prompt and anything that goes with one.

    A prompt alone may be a caption; with a `category`, as downloaders of galleries write it, it is none.
    """
    if not is_flat(told) or "class_type" in told or ("category" in told and not tells_how(told)):
        return None
    return _with_resources(None, told, f"JSON{where}")


def _with_resources(generator: str | None, told: Json, where: str) -> ImageMetadata:
    fields = flat_fields(told)
    resources = [
        one for key in ("resources", "civitaiResources", "loras") for one in items(told.get(key)) if isinstance(one, Mapping)
    ]
    if fields["checkpoint"] is None:
        fields["checkpoint"] = next(
            (first(one, "name", "modelName", "air") for one in resources if _kind(one, "model", "checkpoint")), None
        )
    loras = [
        one
        for one in resources
        if _kind(one, "lora", "lycoris", "locon", "dora") or (one.get("type") is None and "weight" in one)
    ]
    return image(
        generator,
        where,
        **fields,
        inferred=not tells_how(told),
        loras=weights_by_name(
            {"name": one.get("air"), **one, "weight": first(one, "weight", "strength") or 1.0} for one in loras
        ),
    )


def _kind(resource: Mapping[str, Any], *kinds: str) -> bool:
    return str(resource.get("type", "")).lower() in kinds


def _file_names(models: list[Any]) -> list[Any]:
    return [{"name": first(one, "modelFileName", "label"), "weight": first(one, "weight")} for one in models]
