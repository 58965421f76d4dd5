"""AUTOMATIC1111, Fooocus, InvokeAI and NovelAI through sd-parsers."""

from __future__ import annotations

import re
from typing import Any

from ..records import MAX_TEXT_BYTES, ImageMetadata, Pieces
from ..text import clean, decode, join, number, whole

_LORA_TAG = re.compile(r"<lora:([^:>]+):([-+]?[0-9.]+)(?::([-+]?[0-9.]+))?[^>]*>")


def read_others(pieces: Pieces) -> ImageMetadata | None:
    """AUTOMATIC1111, Fooocus, InvokeAI and NovelAI through sd-parsers' parsers, which are handed texts, not files."""
    if not pieces.raw.keys() & {"parameters", "sd-metadata", "Dream", "invokeai_metadata", "Comment"}:
        return None
    from sd_parsers.exceptions import ParserError
    from sd_parsers.parsers import AUTOMATIC1111Parser, FooocusParser, InvokeAIParser, NovelAIParser

    texts = {key: decode(value) for key, value in pieces.raw.items() if len(value) <= MAX_TEXT_BYTES}
    for parser in (FooocusParser, AUTOMATIC1111Parser, InvokeAIParser, NovelAIParser):
        try:
            return _from_parsed(parser().parse(dict(texts)), texts)
        except ParserError:
            continue
        except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
            pieces.problems.append(f"the {parser.generator.value} metadata can't be read ({error})")
    return None


def _from_parsed(info: Any, texts: dict[str, str]) -> ImageMetadata:
    """Our fields from sd-parsers' `PromptInfo`; settings from its last sampler, then from what was left over."""
    sampler = info.samplers[-1]
    settings = {**{str(k).lower(): v for k, v in info.metadata.items()}, **sampler.parameters}
    prompt, prompt_joined = join([(text.value, text.value) for text in info.prompts])
    negative, negative_joined = join([(text.value, text.value) for text in info.negative_prompts])
    tags = _LORA_TAG.findall(texts.get("parameters", ""))
    loras = [(clean(name), number(model, float), number(clip, float)) for name, model, clip in tags]
    return ImageMetadata(
        prompt=prompt,
        negative=negative,
        prompt_joined=prompt_joined,
        negative_joined=negative_joined,
        seed=whole(settings.get("seed"), 2**64),
        steps=whole(settings.get("steps"), 2**31),
        cfg=number(settings.get("cfg_scale"), float),
        sampler=clean(sampler.name),
        scheduler=clean(settings.get("scheduler")),
        checkpoint=clean(sampler.model.name) if sampler.model is not None else None,
        loras=[
            {"name": name, "strength_model": model, "strength_clip": model if clip is None else clip}
            for name, model, clip in loras
            if name is not None and model is not None
        ],
        generator=info.generator.value,
    )
