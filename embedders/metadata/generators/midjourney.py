"""Midjourney: the prompt with its parameters, `a red fox --ar 3:2 --no snow --v 6 Job ID: ...`, in any caption."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ..records import ImageMetadata
from .captions import captions
from .told import Told, image

_JOB = re.compile(r"\bJob ID: ?[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4,12}){4}\s*$")
_PARAMETER = re.compile(r"(?:^|\s)(?:--|\u2014)([a-z]{1,20})\b")  # some systems make one dash of two
_IMAGES = re.compile(r"\s*(?:<?https?://\S+(?:\s+|$))+")  # shown to it before the words
_MAX_LENGTH = 20_000
_KNOWN = {
    "ar", "aspect", "v", "version", "niji", "stylize", "s", "style", "chaos", "c", "weird", "w", "q", "quality", "seed",
    "no", "tile", "iw", "sref", "cref", "cw", "sw", "p", "profile", "raw", "stop", "repeat", "r", "video", "hd", "sv",
    "oref", "ow", "exp", "draft", "turbo", "fast", "relax", "motion", "creative", "upbeta", "test", "testp", "uplight",
    "sameseed",
}  # fmt: skip


def read(told: Told) -> Iterator[ImageMetadata]:
    """A job's number says that it is Midjourney; so do two of its parameters, one of them the shape or the version."""
    for key, text in captions(told):
        if len(text) > _MAX_LENGTH:
            continue
        body = _JOB.sub("", text)
        marks = [mark for mark in _PARAMETER.finditer(body) if mark[1] in _KNOWN]
        names = {mark[1] for mark in marks}
        if body == text and (len(names) < 2 or names.isdisjoint({"ar", "aspect", "v", "version", "niji"})):
            continue
        ends = [mark.start() for mark in marks[1:]] + [len(body)]
        values = {mark[1]: body[mark.end() : end].strip() for mark, end in zip(marks, ends, strict=False)}
        prompt = body[: marks[0].start()] if marks else body
        yield image(
            "Midjourney",
            told.where("Midjourney's prompt", key),
            prompt=prompt[shown.end() if (shown := _IMAGES.match(prompt)) else 0 :].strip(),
            negative=values.get("no"),
            seed=values.get("seed"),
        )
        return
