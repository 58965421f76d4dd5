"""What a request may hold. The same classes check it and describe it in the OpenAPI document."""

from __future__ import annotations

import difflib
import re
from codecs import BOM_UTF8
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from ...db.filters.tree import MAX_LENGTH
from ...db.listing import ORDERS
from .refusals import Refusal

Number = Annotated[float, Field(allow_inf_nan=False, strict=True)]
Kind = Literal["prompt", "negative", "image", "clip_l", "clip_g"]
Text = Annotated[str, Field(max_length=20_000, pattern=r"\S")]
Label = Annotated[str, Field(max_length=200, pattern=r"\S")]
ImageId = Annotated[int, Field(ge=1, lt=2**63, strict=True)]
_MEANT = {  # what other services call a field
    "top_k": "k", "limit": "k", "count": "k", "n": "k", "skip": "offset", "filter_text": "filter", "library_name": "library",
    "min_score": "lowest_score", "threshold": "lowest_score", "exclude": "leave_out", "queries": "parts", "query": "parts", "prompt": "text",
    "words": "text", "embedding": "vector", "image_id": "id", "file": "upload", "input": "texts", "labels": "add_labels", "stars": "rating",
}  # fmt: skip
_KINDS_MEANT = {  # what is no kind, though it has its own Query node, and how it is asked
    "description": 'What a picture shows is asked with {"kind": "image", "description": "a red boat"}.',
    "style": 'SDXL\'s own understanding of a prompt is asked with {"kind": "clip_l", "text": "oil painting"} and the same of "clip_g".',
    **dict.fromkeys(("text", "words", "caption"), 'Did you mean "prompt"?'),
    **dict.fromkeys(("look", "looks", "picture", "pictures", "photo", "upload"), 'Did you mean "image"?'),
    "vector": 'The kind says which vectors are compared with: {"kind": "image", "vector": [...]}.',
}  # fmt: skip
_NO_SUCH = "There is no such field."
_PARTS = (
    'It says what is looked for, such as [{"kind": "prompt", "text": "a cat"}]. '
    "GET /diffusion_toolkit/images?filter=... lists all that pass a filter, without a search."
)
_RATING = "-1 rejected, 0 to 5 stars; null takes it away."
_WAYS = ("text", "description", "id", "upload", "vector")


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Part(_Strict):
    """One thing to be like, or with a negative weight unlike: exactly one of text, description, id, upload and vector."""

    kind: Kind = Field(description="Which vectors of the images it is compared with.")
    text: Text | None = Field(None, description="Words; for the kinds prompt, negative, clip_l and clip_g.")
    description: Text | None = Field(None, description="What the picture shows, in words; for the kind image.")
    id: ImageId | None = Field(None, description="An image of the library: its own vector of the kind. No model is needed, and it is not among the hits.")
    upload: str | None = Field(None, max_length=200, description="The form's field that holds a picture; for the kind image.")
    vector: list[Number] | None = Field(
        None, min_length=1, max_length=4000, description="Numbers by the model that the library was indexed with; only their direction counts."
    )
    weight: Number = Field(1.0, ge=-100, le=100)

    @model_validator(mode="after")
    def _one_way(self) -> Part:
        given = [way for way in _WAYS if getattr(self, way) is not None]
        if len(given) != 1:
            raise ValueError(f"give exactly one of {', '.join(_WAYS)}" + (f", not {' and '.join(given)}" if given else ""))
        if self.kind == "image" and given == ["text"]:
            raise ValueError("images are asked for by words with 'description', not 'text'")
        if self.kind != "image" and given[0] in ("description", "upload"):
            raise ValueError(f"{given[0]!r} is compared with pictures: its kind is 'image'")
        return self


class Search(_Strict):
    """A search. The score of an image is the sum over the parts of weight x cosine similarity."""

    library: str = Field("default", max_length=200, description="A library's name; GET /diffusion_toolkit/libraries lists them.")
    parts: list[Part] = Field(min_length=1, max_length=10)
    k: int = Field(50, ge=1, le=1000, strict=True, description="The most hits to return.")
    offset: int = Field(
        0, ge=0, le=1_000_000, strict=True,
        description="How many of the best hits to pass over; for the next page add k. With diversity, collapse or recency hits end at 3,200.",
    )  # fmt: skip
    filter: str = Field("", max_length=MAX_LENGTH, description="A filter text, such as: checkpoint:*xl* steps:20..40 rating:>=3 -label:draft")
    lowest_score: Number | None = None
    lowest_percentile: Number = Field(0.0, ge=0, le=100, description="At least as near as this share of the library is.")
    order: Literal["score", "newest", "oldest", "seed"] = "score"
    diversity: Number = Field(0.0, ge=0, le=1, description="How much being unlike the better hits counts.")
    collapse: Literal["nothing", "variants", "lookalikes"] = "nothing"
    recency: Number = Field(0.0, ge=0, le=10, description="Weight of being new, against scores of 1.")
    recency_days: Number = Field(30.0, gt=0, le=100_000, description="After so many days that is worth half.")
    normalise: bool = Field(False, strict=True, description="Take each part's cosines to standard scores first.")
    exact: bool = Field(False, strict=True, description="Compare with every vector, use no index.")
    leave_out: list[ImageId] = Field([], max_length=1000, description="Ids that are never hits.")

    @field_validator("parts")
    @classmethod
    def _some_weight(cls, parts: list[Part]) -> list[Part]:
        if not any(part.weight for part in parts):
            raise ValueError("every part has the weight 0, so nothing is asked. Set a weight above or below 0")
        return parts


class Listing(_Strict):
    """Images by filter alone. It stands in the query string, where every value is text."""

    library: str = Field("default", max_length=200, description="A library's name; GET /diffusion_toolkit/libraries lists them.")
    filter: str = Field("", max_length=MAX_LENGTH, description="A filter text, such as: label:keep rating:>=3; none: all images.")
    order: Literal[tuple(ORDERS)] = Field("newest", description="What is not known comes last.")
    k: int = Field(50, ge=1, le=1000, description="The most images to return.")
    offset: int = Field(0, ge=0, le=1_000_000_000, description="How many to pass over; for the next page add k.")


class Embed(_Strict):
    """Texts to embed, 64 at most; pictures come as files of the form."""

    library: str = Field("default", max_length=200, description="The library whose model is used, so that the vectors compare with it.")
    texts: list[Annotated[str, Field(max_length=20_000)]] = Field([], max_length=64)
    stored: bool = Field(False, strict=True, description="Of the model 'text': as Index Folder stores texts, not as a search asks.")


class Labels(_Strict):
    """What is changed of an image; what is not given stays."""

    add_labels: list[Label] = Field([], max_length=100)
    remove_labels: list[Label] = Field([], max_length=100)
    namespace: str | None = Field(None, max_length=200, description="The collection that it belongs to; empty: none.")
    rating: int | None = Field(None, ge=-1, le=5, strict=True, description=_RATING)


def checked(model: type[BaseModel], body: bytes) -> Any:
    """The JSON `body` as `model`; a refusal names each fault and where it lies."""
    try:
        return model.model_validate_json(body.removeprefix(BOM_UTF8))
    except ValidationError as error:
        found = error.errors(include_url=False)
        if found[0]["type"] == "json_invalid":
            raise Refusal(400, "json", f"The body is no JSON: {found[0]['ctx']['error']}.") from None
        faults = [_fault(model, fault) for fault in found]
        faults.sort(key=lambda fault: not fault["message"].startswith(_NO_SUCH))  # it tells why another is missing
        first = faults[0]
        message = f"{first['at'] or 'The body'}: {first['message']}"
        raise Refusal(400, "invalid_request", message + (f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""), faults[:20]) from None


def _fault(model: type[BaseModel], fault: Any) -> dict[str, Any]:
    message = fault["msg"].removeprefix("Value error, ")
    if fault["type"] == "extra_forbidden":
        message = _no_such_field(model, fault["loc"])
    elif fault["loc"] == ("parts",) and fault["type"] in ("missing", "too_short"):
        message = f"{message}. {_PARTS}"
    elif fault["type"] == "string_pattern_mismatch":  # \S, the one pattern that there is
        message = "It is empty, or nothing but spaces."
    elif fault["loc"] == ("rating",):
        message = f"It is a whole number: {_RATING}"
    elif fault["type"] == "literal_error":
        message = ". ".join(filter(None, [message, _choice_meant(fault)]))
    return {"at": ".".join(map(str, fault["loc"])), "message": message}


def _choice_meant(fault: Any) -> str:
    """Which of its choices a field's value may mean; of kinds, by other names too."""
    if not isinstance(given := fault["input"], str):
        return ""
    given = given[:20].lower()
    if fault["loc"][-1] == "kind" and given in _KINDS_MEANT:
        return _KINDS_MEANT[given]
    meant = difflib.get_close_matches(given, re.findall(r"'([^']+)'", fault["ctx"]["expected"]), 1, 0.6)
    return f'Did you mean "{meant[0]}"?' if meant else ""


def _no_such_field(model: type[BaseModel], place: tuple[int | str, ...]) -> str:
    """Which fields there are in that place, and the one that was meant."""
    name, inner = str(place[-1]), len(place) > 1
    fields = list((Part if inner else model).model_fields)
    meant = [_MEANT[name]] if _MEANT.get(name) in fields else difflib.get_close_matches(name, fields, 1, 0.7)
    if meant:
        hint = f"Did you mean {meant[0]}? "
    elif model is Search and not inner and (name in Part.model_fields or _MEANT.get(name) in Part.model_fields):
        hint = 'That is said in an entry of parts: "parts": [{"kind": "prompt", "text": "a shark"}]. '
    else:
        hint = ""
    return f"{_NO_SUCH} {hint}The fields are: {', '.join(fields)}."
