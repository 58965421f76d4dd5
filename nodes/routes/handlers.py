"""The routes: each reads its request, hands the work to a thread and wraps the answer."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import Callable
from typing import Any

from aiohttp import web

from .incoming import read_form, read_json, refuse_other_origins, refuse_other_parameters
from .refusals import Refusal, answered
from .work import Workers

PREFIX = "/diffusion_toolkit"
_UPLOADS_AT_ONCE = 4  # whose bodies are in memory
# Searches at once, from two to four: the embedded server answers no more than there are cores, and each thread more takes the lock of
# Python from the event loop, which on two cores was late by 48 ms with four and by 24 with two, both answering as many a second.
_SEARCHING = max(2, min(4, os.cpu_count() or 2))
_IN_BODY = " What is asked stands in the body, the library too."
_ENTRIES = 5  # of a list that are written at once: five vectors of 4,000 numbers take 1 ms


class Routes:
    """Own threads for the library, for models and for pictures, so that none of them waits for another kind's queue."""

    def __init__(self) -> None:
        self._searches = Workers("searches", _SEARCHING)
        self._library = Workers("the library", 4)
        self._status = Workers("the library's status", 1)  # which counts all that there is
        self._models = Workers("models", 1)  # a model is used by one thread at a time
        self._pictures = Workers("pictures", 2)
        self._uploads = asyncio.Semaphore(_UPLOADS_AT_ONCE)

    def add_to(self, table: web.RouteTableDef) -> None:
        """Register all routes."""
        table.get(f"{PREFIX}/openapi.json")(self.openapi)
        table.get(f"{PREFIX}/libraries")(self.libraries)
        table.get(f"{PREFIX}/status")(self.status)
        table.post(f"{PREFIX}/search")(self.search)
        table.get(f"{PREFIX}/search")(self.only_post)
        table.post(f"{PREFIX}/embed/{{model}}")(self.embed)
        table.get(f"{PREFIX}/images")(self.images)
        table.get(f"{PREFIX}/images/{{id}}")(self.image)
        table.post(f"{PREFIX}/images/{{id}}")(self.change_image)
        table.get(f"{PREFIX}/images/{{id}}/thumbnail")(self.thumbnail)
        table.get(f"{PREFIX}/images/{{id}}/file")(self.file)

    @answered
    async def openapi(self, request: web.Request) -> web.Response:
        refuse_other_parameters(request)

        def made() -> dict[str, Any]:
            from .openapi import document

            return document()

        return await _json(self._library, made)

    @answered
    async def libraries(self, request: web.Request) -> web.Response:
        refuse_other_parameters(request)

        def listed() -> dict[str, Any]:
            from ..host import library_names

            return {"libraries": library_names()}

        return await _json(self._library, listed)

    @answered
    async def status(self, request: web.Request) -> web.Response:
        refuse_other_parameters(request, "library")

        def told(library: str) -> dict[str, Any]:
            from ..indexing.watch import watcher
            from ..library.status_report import read_status, status_record
            from .libraries import opened

            return {**status_record(read_status(opened(library))), "watched": watcher().folders(library)}

        return await _json(self._status, told, _library(request))

    @answered
    async def only_post(self, request: web.Request) -> web.Response:
        raise Refusal(405, "method", f"A search is asked by POST, with JSON. GET {PREFIX}/openapi.json describes it.")

    @answered
    async def search(self, request: web.Request) -> web.Response:
        refuse_other_origins(request)
        refuse_other_parameters(request, instead=_IN_BODY)
        async with self._uploading(request):
            body, uploads = await read_form(request, "question")

            def read() -> tuple[Any, bytes | None]:
                """What is asked and, where no model has to run for it, the answer: each change of threads costs as much as a statement."""
                from .schema import Search, checked
                from .search import needs_model, search

                asked = checked(Search, body)
                return asked, None if needs_model(asked) else as_json(search(asked, {}))

            def encoded() -> Any:
                from .search import encoded_parts

                return encoded_parts(asked, uploads)

            def found() -> bytes:
                from .search import search

                return as_json(search(asked, parts))

            asked, answer = await self._searches.run(read)
            if answer is None:
                parts = await self._models.run(encoded)
                answer = await self._searches.run(found)
        return _answer(answer)

    @answered
    async def embed(self, request: web.Request) -> web.Response:
        refuse_other_origins(request)
        refuse_other_parameters(request, instead=_IN_BODY)
        async with self._uploading(request):
            body, uploads = await read_form(request, "question", optional=True)

            def made() -> dict[str, Any]:
                from .schema import Embed, checked
                from .search import embed

                return embed(request.match_info["model"], checked(Embed, body), uploads)

            return await _json(self._models, made)

    @answered
    async def images(self, request: web.Request) -> web.Response:
        def listed() -> dict[str, Any]:
            from .images import images_by_filter
            from .schema import Listing, checked

            asked = {name: values[0] if len(values := request.query.getall(name)) == 1 else values for name in request.query}
            return images_by_filter(checked(Listing, json.dumps(asked).encode()))

        return await _json(self._searches, listed)

    @answered
    async def image(self, request: web.Request) -> web.Response:
        refuse_other_parameters(request, "library")

        def record() -> dict[str, Any]:
            from .images import image_record

            return image_record(_library(request), _id(request))

        return await _json(self._library, record)

    @answered
    async def change_image(self, request: web.Request) -> web.Response:
        refuse_other_origins(request)
        refuse_other_parameters(request, "library")
        body = await read_json(request)

        def changed() -> dict[str, Any]:
            from .images import change_labels
            from .schema import Labels, checked

            return change_labels(_library(request), _id(request), checked(Labels, body))

        return await _json(self._library, changed)

    @answered
    async def thumbnail(self, request: web.Request) -> web.Response:
        refuse_other_parameters(request, "library", "size")

        def made() -> Any:
            from .images import SIZES, thumbnail

            size = _number(request.query.get("size", "256"), "size", *SIZES)
            return thumbnail(_library(request), _id(request), size, request.headers.get("If-None-Match", ""))

        small = await self._pictures.run(made)
        headers = {"ETag": small.etag, "Cache-Control": "private, no-cache", "X-Content-Type-Options": "nosniff"}
        if small.webp is None:
            return web.Response(status=304, headers=headers)
        return web.Response(body=small.webp, content_type="image/webp", headers=headers)

    @answered
    async def file(self, request: web.Request) -> web.StreamResponse:
        refuse_other_parameters(request, "library")

        def place() -> Any:
            from ...embedders.folders.scan import MEDIA_TYPES
            from .images import image_file

            file = image_file(_library(request), _id(request))
            return file, MEDIA_TYPES.get(file.suffix.lower(), "application/octet-stream")

        path, kind = await self._library.run(place)
        headers = {"Cache-Control": "private, no-cache", "X-Content-Type-Options": "nosniff"}
        return web.FileResponse(path, headers={**headers, "Content-Type": kind})

    def _uploading(self, request: web.Request) -> Any:
        """Holds back forms beyond a few at once: their bodies may be as large as ComfyUI's --max-upload-size."""
        if request.content_type != "multipart/form-data":
            return contextlib.nullcontext()
        return self._uploads


async def _json(workers: Workers, function: Callable[..., dict[str, Any]], *arguments: Any) -> web.Response:
    """Answer with what `function` gives, which is made in a thread, and written as JSON there."""
    return _answer(await workers.run(lambda: as_json(function(*arguments))))


def _answer(body: bytes) -> web.Response:
    return web.Response(body=body, content_type="application/json", charset="utf-8")


def as_json(answer: dict[str, Any]) -> bytes:
    """Lists a few entries at a time: no other thread runs, the event loop's neither, until an encoder is done."""

    def written(value: Any) -> bytes:
        if not isinstance(value, list):
            return _encoded(value)
        some = (value[start : start + _ENTRIES] for start in range(0, len(value), _ENTRIES))
        return b"[" + b",".join(_encoded(entries)[1:-1] for entries in some) + b"]"

    return b"{" + b",".join(_encoded(name) + b":" + written(value) for name, value in answer.items()) + b"}"


def _encoded(value: Any) -> bytes:
    from pydantic_core import PydanticSerializationError, to_json

    try:
        return to_json(value)  # in a third of the json module's time
    except PydanticSerializationError:  # what is no UTF-8, such as a folder's name may be, can be said by numbers
        return json.dumps(value).encode()


def _library(request: web.Request) -> str:
    return request.query.get("library", "default")


def _id(request: web.Request) -> int:
    from .images import LARGEST_ID

    return _number(request.match_info["id"], "the image's id", 1, LARGEST_ID)


def _number(text: str, name: str, least: int, most: int) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 20 and least <= int(text) <= most):
        raise Refusal(400, "invalid_request", f"{name} must be a whole number from {least} to {most}, not {text[:40]!r}.")
    return int(text)
