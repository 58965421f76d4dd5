"""The OpenAPI 3.1 document of the routes; what requests may hold comes from the classes that check them."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from .handlers import PREFIX
from .images import SETTINGS, SIZES
from .schema import Embed, Labels, Listing, Search
from .search import MODELS

VERSION = "4"  # of the routes; grows with every change that a client could notice
_REASONS = {
    400: "The request is not what it should be, or has a field or parameter that there is not; the error says where.",
    403: "A page of another site asked. Where ComfyUI's own check refuses it, before this package is asked, there is no body.",
    404: "There is no such library, image, file or model.",
    408: "The body did not arrive in time.",
    409: "The library, its server or a model here can't answer this. The error says what to do; before that no new try helps.",
    413: "The body is too large.",
    415: "The body is neither JSON nor a form.",
    503: "The library's server, or a free thread, can't be had now. Try again after the seconds in Retry-After.",
}
_BY_COMFYUI = "A page of another site asked: ComfyUI's own check refuses it, without a body."
_TEXT = {"type": "string"}
_NUMBER = {"type": "number"}
_INTEGER = {"type": "integer"}


def document() -> dict[str, Any]:
    """What GET /diffusion_toolkit/openapi.json answers."""
    _, requests = models_json_schema([(m, "validation") for m in (Search, Embed, Labels)], ref_template="#/components/schemas/{model}")
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Diffusion Toolkit",
            "version": VERSION,
            "description": "The library of generated images, on ComfyUI's server and with its rules: no login of its own, requests of "
            "other sites' pages are refused, uploads are limited by --max-upload-size. Models run on the CPU, apart from the graph's.",
        },
        "paths": _paths(),
        "components": {"schemas": {**requests["$defs"], **_answers()}},
    }


def _paths() -> dict[str, Any]:
    image = [_parameter("id", "path", {"type": "integer", "minimum": 1}, "The image's id in the library."), _LIBRARY]
    return {
        f"{PREFIX}/libraries": {"get": _operation("The names of the libraries", "Libraries", refused=(400,))},
        f"{PREFIX}/status": {"get": _operation("What a library holds, and what is wrong with it", "Status", [_LIBRARY], (400, 404, 409, 503))},
        f"{PREFIX}/search": {
            "post": _operation(
                "Find images by words, pictures, stored images, vectors, or any mix of them",
                "Answer",
                refused=(400, 403, 404, 408, 409, 413, 415, 503),
                body=_form("Search", "Pictures, by the names that `upload` gives."),
            )
        },
        f"{PREFIX}/embed/{{model}}": {
            "post": _operation(
                "The vectors of texts or pictures, by the model that the library was indexed with",
                "Vectors",
                [_parameter("model", "path", {"type": "string", "enum": list(MODELS)}, "image takes pictures, the others texts.")],
                (400, 403, 404, 408, 409, 413, 415, 503),
                _form("Embed", "Pictures, for the model image.", optional=True),
            )
        },
        f"{PREFIX}/images": {"get": _operation("The images that pass a filter, without a search", "Images", _query(Listing), (400, 404, 409, 503))},
        f"{PREFIX}/images/{{id}}": {
            "get": _operation("What the library knows of an image", "Image", image, (400, 404, 409, 503)),
            "post": _operation(
                "Change an image's labels, namespace and rating",
                "Image",
                image,
                (400, 403, 404, 408, 409, 413, 415, 503),
                {"application/json": {"schema": _ref("Labels")}},
            ),
        },
        f"{PREFIX}/images/{{id}}/thumbnail": {
            "get": _operation(
                "The image made small",
                None,
                [
                    *image,
                    _parameter(
                        "size", "query", {"type": "integer", "minimum": SIZES[0], "maximum": SIZES[1], "default": 256}, "The longer side."
                    ),
                ],
                (400, 404, 409, 503),
                kind="image/webp",
            )
        },
        f"{PREFIX}/images/{{id}}/file": {
            "get": _operation("The image's own file, where it is below a configured root", None, image, (400, 404, 409, 503), kind="image/*")
        },
    }


def _answers() -> dict[str, Any]:
    why = {**_TEXT, "description": "What a person should know; without hits the reason, and what helps."}
    fault = _object(at=_TEXT, message=_TEXT)
    gave = {**_NUMBER, "description": "What it put into the score: weight x cosine, with `normalise` weight x standard score; 0 without a cosine."}
    part = _object(label=_TEXT, kind=_TEXT, weight=_NUMBER, cosine=_or_null(_NUMBER), gave=gave)
    recency = {**_NUMBER, "description": "What being new added for the hit's place, beside the score."}
    image = {
        "image_id": _INTEGER, "path": _TEXT, "prompt": _or_null(_TEXT), "negative_prompt": _or_null(_TEXT),
        "prompt_confidence": _or_null(_TEXT), "note": _TEXT, **_settings(),
    }  # fmt: skip
    hit = _object(
        rank=_INTEGER, score=_NUMBER, percentile=_or_null(_NUMBER), recency=recency, **image,
        parts={"type": "array", "items": part, "description": "What each part of the question gave."},
    )  # fmt: skip
    total = {**_INTEGER, "description": "How many images pass."}
    return {
        "Error": _object(error=_object(type=_TEXT, message=_TEXT, details={"type": "array", "items": fault})),
        "Libraries": _object(libraries={"type": "array", "items": _TEXT}),
        "Answer": _object(library=_TEXT, question=_TEXT, method=_TEXT, note=why, hits={"type": "array", "items": hit}),
        "Images": _object(library=_TEXT, total=total, note=why, images={"type": "array", "items": _object(**image)}),
        "Vectors": _object(
            library=_TEXT, model=_TEXT, name=_TEXT, fingerprint=_TEXT, kinds={"type": "array", "items": _TEXT}, dims=_INTEGER,
            vectors={"type": "array", "items": {"type": "array", "items": _NUMBER}},
        ),  # fmt: skip
        "Image": {
            "type": "object",
            "description": "Every field that the library has; seed and phash as text, since they may be too large for JavaScript.",
        },
        "Status": {"type": "object", "description": "As the node Library Status tells it; `problems` hold what to do."},
    }


def _settings() -> dict[str, Any]:
    """What is told of an image among others; the same fields as of `images/{id}`, null where the file has none."""
    lists = {"loras": {"type": "array", "items": {"type": "object"}}, "labels": {"type": "array", "items": _TEXT}}
    own = {"type": "boolean", "description": "False: `created` is the file's time, since it tells none of its own."}
    whole = {"width": _INTEGER, "height": _INTEGER, "namespace": _TEXT, "created_own": own}
    numbers = {"steps": _INTEGER, "rating": _INTEGER, "cfg": _NUMBER, "guidance": _NUMBER, "denoise": _NUMBER}
    seed = {"seed": {**_TEXT, "description": "As text, since it may be too large for JavaScript."}}
    known = {**lists, **whole}
    return {name: known[name] if name in known else _or_null({**numbers, **seed}.get(name, _TEXT)) for name in SETTINGS}


def _operation(
    summary: str,
    answer: str | None,
    parameters: list[dict[str, Any]] | None = None,
    refused: tuple[int, ...] = (),
    body: dict[str, Any] | None = None,
    kind: str = "application/json",
) -> dict[str, Any]:
    schema = _ref(answer) if answer else {"type": "string", "contentEncoding": "binary"}
    responses: dict[str, Any] = {"200": {"description": "Done.", "content": {kind: {"schema": schema}}}}
    for status in refused:
        responses[str(status)] = {"description": _REASONS[status], "content": {"application/json": {"schema": _ref("Error")}}}
    responses.setdefault("403", {"description": _BY_COMFYUI})
    made: dict[str, Any] = {"summary": summary, "parameters": parameters or [], "responses": responses}
    if body is not None:
        made["requestBody"] = {"required": True, "content": body}
    return made


def _form(name: str, files: str, optional: bool = False) -> dict[str, Any]:
    """JSON alone, or a form with it in the field `question` and files beside it."""
    file = {"type": "string", "contentEncoding": "binary", "description": files}
    form = {"type": "object", "properties": {"question": _ref(name)}, "required": [] if optional else ["question"], "additionalProperties": file}
    return {
        "application/json": {"schema": _ref(name)},
        "multipart/form-data": {"schema": form, "encoding": {"question": {"contentType": "application/json"}}},
    }


def _parameter(name: str, place: str, schema: dict[str, Any], description: str) -> dict[str, Any]:
    return {"name": name, "in": place, "required": place == "path", "schema": schema, "description": description}


def _query(model: type[BaseModel]) -> list[dict[str, Any]]:
    """The fields of `model` as parameters of the query string."""
    return [_parameter(name, "query", schema, schema.pop("description")) for name, schema in model.model_json_schema()["properties"].items()]


def _object(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties)}


def _or_null(schema: dict[str, Any]) -> dict[str, Any]:
    return {**schema, "type": [schema["type"], "null"]}


def _ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


_LIBRARY = _parameter("library", "query", {"type": "string", "default": "default"}, "The library's name.")
