"""Search and embed for clients without a graph: the nodes' own functions, with models that nobody has to connect."""

from __future__ import annotations

import functools
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

from ...db import FAMILIES, Connection, Library, LibraryError, ServerTrouble, StoredEncoder, active_encoder, parse_filter
from ...db.encoders import no_vectors
from ..links import KINDS, QueryPart, SearchOptions
from ..model_files import known_here
from ..search.asking import Found, Wanted, find, in_words
from ..search.hit_records import hit_record
from ..search.no_hits import why_no_hits
from ..search.query_by_description import description_query
from ..search.query_by_image import image_query
from ..search.query_by_prompt import prompt_query
from ..search.query_by_stored_image import stored_query
from ..search.query_by_style import style_query
from ..search.vectors import direction
from .images import among_others
from .libraries import opened
from .query_models import QueryModels
from .refusals import Refusal

if TYPE_CHECKING:
    from .schema import Embed, Part, Search

MODELS = ("text", "image", "clip_l", "clip_g", "description")


@functools.cache
def models() -> QueryModels:
    """The one set of models of this process."""
    return QueryModels(known_here())


def needs_model(asked: Search) -> bool:
    """Whether a model has to run."""
    return any(map(_wants_model, asked.parts))


def encoded_parts(asked: Search, uploads: dict[str, bytes]) -> dict[int, QueryPart]:
    """The parts that need a model, by their place in the question. One thread at a time."""
    library = opened(asked.library)
    parse_filter(asked.filter)  # a mistake in it is told before a model is loaded
    wanted = {place: part for place, part in enumerate(asked.parts) if _wants_model(part)}
    with library.connection() as connection:
        encoders = {place: _encoder(connection, FAMILIES[part.kind]) for place, part in wanted.items()}
    return {place: _encoded(part, place, encoders[place], uploads) for place, part in wanted.items()}


def search(asked: Search, encoded: dict[int, QueryPart]) -> dict[str, Any]:
    """The answer to a question whose words and pictures are vectors by now."""
    library = opened(asked.library)
    parts = [encoded.get(place) or _without_model(library, part) for place, part in enumerate(asked.parts)]
    parts = [replace(part, weight=given.weight) for part, given in zip(parts, asked.parts)]
    seen = {part.id for part in asked.parts if part.id is not None}
    wanted = Wanted(
        k=asked.k,
        offset=asked.offset,
        lowest_score=asked.lowest_score,
        filter=parse_filter(asked.filter),
        options=SearchOptions(**{option.name: getattr(asked, option.name) for option in fields(SearchOptions)}),
        leave_out=tuple(sorted(seen | set(asked.leave_out))),
    )
    try:
        found = find(library, parts, wanted)
    except LibraryError as error:
        if not isinstance(error, ServerTrouble):
            _check_dimensions(library, asked)  # told by the place in the body; asked only now, since most vectors fit
        raise
    answer = _answer(found)
    return answer if found.hits.hits else {**answer, "note": why_no_hits(library, parts, wanted, found.hits.note)}


def embed(model: str, asked: Embed, pictures: dict[str, bytes]) -> dict[str, Any]:
    """The vectors of texts or pictures, by the model that the library was indexed with. One thread at a time."""
    if model not in MODELS:
        raise Refusal(404, "model", f"There is no model {model!r}. The models are: {', '.join(MODELS)}.")
    given, other = (pictures, asked.texts) if model == "image" else (asked.texts, pictures)
    if not given or other:
        takes = "pictures, each as a file of the form," if model == "image" else "texts"
        raise Refusal(400, "invalid_request", f"The model {model!r} takes {takes} and nothing else; give one at least.")
    library = opened(asked.library)
    with library.connection() as connection:
        encoder = _encoder(connection, "image" if model == "description" else model)
    with models().lock:
        made = models().get(model, encoder)
        if model == "image":
            vectors = [made.encode([_pixels(name, picture)])[0] for name, picture in pictures.items()]  # one decoded at a time: it may be of 500 MB
        elif model == "text":
            vectors = made.encode_texts(asked.texts) if asked.stored else [made.encode_query(text) for text in asked.texts]
        elif model == "description":
            vectors = [made.encode_query(text) for text in asked.texts]
        else:
            vectors = getattr(made.encode([(text, text) for text in asked.texts]), model)
    return {
        "library": library.name,
        "model": model,
        "name": made.name,
        "fingerprint": encoder.fingerprint,
        "kinds": [kind for kind, family in FAMILIES.items() if family == encoder.family],
        "dims": encoder.dims,
        "vectors": [[float(value) for value in vector] for vector in vectors],
    }


def _wants_model(part: Part) -> bool:
    """Stored images and vectors need none."""
    return part.id is None and part.vector is None


def _encoded(part: Part, place: int, encoder: StoredEncoder, uploads: dict[str, bytes]) -> QueryPart:
    with models().lock:
        if part.upload is not None:
            if part.upload not in uploads:
                raise Refusal(400, "upload", f"parts.{place}.upload: the form has no file {part.upload!r}.")
            picture = _pixels(part.upload, uploads[part.upload])
            query = image_query(models().get("image", encoder), [picture], "the uploaded image")
        elif part.description is not None:
            query = description_query(models().get("description", encoder), part.description)
        elif part.kind in ("prompt", "negative"):
            query = prompt_query(models().get("text", encoder), part.text, part.kind)
        else:
            query = style_query(models().get(part.kind, encoder), part.text, (part.kind,))
    return query.parts[0]


def _without_model(library: Library, part: Part) -> QueryPart:
    if part.id is None:
        return QueryPart(part.kind, direction(part.vector), label=f"a vector of {len(part.vector)}")
    with library.reading() as connection:
        return stored_query(connection, library.name, part.id, (part.kind,)).parts[0]


def _check_dimensions(library: Library, asked: Search) -> None:
    with library.connection() as connection:
        for place, part in enumerate(asked.parts):
            if part.vector is not None and len(part.vector) != (encoder := _encoder(connection, FAMILIES[part.kind])).dims:
                raise Refusal(
                    400,
                    "dimensions",
                    f"parts.{place}.vector has {len(part.vector)} numbers; the library's {KINDS[part.kind]} vectors have {encoder.dims} "
                    f"(by {encoder.name}).",
                )


def _encoder(connection: Connection, family: str) -> StoredEncoder:
    encoder = active_encoder(connection, family)
    if encoder is None:
        raise LibraryError(no_vectors(family))
    return encoder


def _pixels(upload: str, data: bytes) -> Any:
    from ...embedders.pictures.decode import ImageError, decode

    try:
        return decode(data).pixels  # uint8 [H, W, 3]
    except ImageError as error:
        raise Refusal(400, "image", f"The upload {upload!r} is no picture that can be used: {error}.") from None


def _answer(found: Found) -> dict[str, Any]:
    hits = []
    for hit, image in zip(found.hits.hits, found.images):
        of_image = among_others(image)
        record = hit_record(hit, image, of_image["path"], of_image["note"], found.hits.parts)
        del record["confidence"]  # `prompt_confidence` everywhere else
        hits.append(record | of_image)
    return {
        "library": found.hits.library,
        "question": in_words(found.hits.parts),
        "method": found.hits.method,
        "note": found.hits.note,
        "hits": hits,
    }
