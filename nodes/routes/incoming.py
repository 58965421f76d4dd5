"""Reading what a client sends: who may send it, how much of it, and as what."""

from __future__ import annotations

import asyncio
import urllib.parse
from typing import TYPE_CHECKING, Any

from .refusals import Refusal

if TYPE_CHECKING:
    from aiohttp import BodyPartReader, web

LARGEST_JSON = 2 * 2**20  # bytes: ten vectors of 4,000 numbers, or 64 long texts
MOST_UPLOADS = 16
BODY_SECONDS = 60.0


def refuse_other_origins(request: web.Request) -> None:
    """For POST: another site's page must not act in the name of whoever looks at it.

    ComfyUI's own check goes before, and looks at the origin only where it is called by a loopback name; this one looks always.
    Whom the administrator lets in by --enable-cors-header is let in here too. A proxy names itself in X-Forwarded-Host, which
    no page can set without being asked for first.
    """
    origin = request.headers.get("Origin")
    allowed = _allowed_origin()
    if origin is None or allowed == "*" or (allowed and origin.rstrip("/") == allowed.rstrip("/")):
        return
    site = request.headers.get("Sec-Fetch-Site")
    named = [request.headers.get(name, "") for name in ("Host", "X-Forwarded-Host")]
    own = {host.strip().lower() for hosts in named for host in hosts.split(",")} - {""}
    if site == "same-origin" or (site is None and urllib.parse.urlsplit(origin).netloc.lower() in own):
        return
    raise Refusal(403, "origin", "Pages of other sites may not do this. ComfyUI's --enable-cors-header lets a site in.")


def refuse_other_parameters(request: web.Request, *known: str, instead: str = "") -> None:
    """Of the query string, as unknown fields of a body are refused: else a misspelt `library` would be the default one, also where it is changed."""
    for name in request.query:
        if name not in known:
            there_are = f"The parameters are: {', '.join(known)}." if known else "There are none here."
            raise Refusal(400, "invalid_request", f"{name[:40]}: There is no such parameter. {there_are}{instead}")
        if len(request.query.getall(name)) > 1:
            raise Refusal(400, "invalid_request", f"{name}: It is given more than once. Give it once.")


async def read_json(request: web.Request) -> bytes:
    """The body, said to be JSON; `schema.checked` reads it."""
    if request.content_type != "application/json":
        raise Refusal(415, "content_type", "Send JSON, with the header Content-Type: application/json.")
    return await _within_time(_read(request.content, LARGEST_JSON, request.content_length))


async def read_form(request: web.Request, name: str, optional: bool = False) -> tuple[bytes, dict[str, bytes]]:
    """The field `name`, which is JSON, and the other fields of a multipart form; of a JSON body, itself alone.

    Where the field is `optional`, a form without it asks with {}.
    """
    if request.content_type != "multipart/form-data":
        return await read_json(request), {}
    return await _within_time(_read_form(request, name, optional))


async def _read_form(request: web.Request, name: str, optional: bool) -> tuple[bytes, dict[str, bytes]]:
    left = request.client_max_size  # ComfyUI's --max-upload-size
    if (request.content_length or 0) > left:
        raise _too_large(left)
    question, files = None, {}
    try:
        reader = await request.multipart()
        while (part := await reader.next()) is not None:
            field = getattr(part, "name", None)
            if not field:
                raise Refusal(400, "form", "A part of the form has no name.")
            if field in files or (field == name and question is not None):
                raise Refusal(400, "form", f"The form has {field[:40]!r} more than once. Give each file a name of its own.")
            limit = min(left, LARGEST_JSON) if field == name else left
            data = await _read_part(part, limit)
            left -= len(data)
            if field == name:
                question = data
            else:
                files[field] = data
            if len(files) > MOST_UPLOADS:
                raise Refusal(400, "form", f"The form has too many files: {MOST_UPLOADS} are taken.")
    except (ValueError, AssertionError, RuntimeError) as error:
        raise Refusal(400, "form", f"The form can't be read: {error}.") from None
    if question is None and optional:
        return b"{}", files
    if question is None:
        raise Refusal(400, "form", f"The form has no field {name!r} with the JSON of the request.")
    return question, files


async def _read_part(part: BodyPartReader, limit: int) -> bytes:
    data = bytearray()
    while chunk := await part.read_chunk(2**16):
        data += chunk
        if len(data) > limit:
            raise _too_large(limit)
    return bytes(data)


async def _read(content: Any, limit: int, announced: int | None) -> bytes:
    if (announced or 0) > limit:
        raise _too_large(limit)
    data = bytearray()
    async for chunk in content.iter_chunked(2**16):
        data += chunk
        if len(data) > limit:
            raise _too_large(limit)
    return bytes(data)


async def _within_time(reading: Any) -> Any:
    try:
        return await asyncio.wait_for(reading, BODY_SECONDS)
    except asyncio.TimeoutError:
        raise Refusal(408, "timeout", f"The body did not arrive within {BODY_SECONDS:g} s.") from None


def _too_large(limit: int) -> Refusal:
    return Refusal(413, "too_large", f"The body is too large: {limit / 2**20:.3g} MiB are taken.")


def _allowed_origin() -> str | None:
    from comfy.cli_args import args

    return args.enable_cors_header
