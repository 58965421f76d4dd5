"""What a client is told when it can't have what it asked for: a status and an error in words, never a trace."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from functools import wraps
from typing import TYPE_CHECKING, Any

from aiohttp import web

if TYPE_CHECKING:
    Handler = Callable[..., Awaitable[web.StreamResponse]]

log = logging.getLogger("diffusion_toolkit")

_HEADERS = {405: {"Allow": "POST"}, 503: {"Retry-After": "2"}}


class Refusal(Exception):
    """Ends a request. `kind` is for programs, the message for people, `details` where each fault lies."""

    def __init__(self, status: int, kind: str, message: str, details: list[dict[str, Any]] | None = None) -> None:
        super().__init__(message)
        self.status, self.kind, self.details = status, kind, details or []


def answered(handler: Handler) -> Handler:
    """Turn whatever a handler raises into an answer."""

    @wraps(handler)
    async def answer(*arguments: Any) -> web.StreamResponse:
        try:
            return await handler(*arguments)
        except (web.HTTPException, asyncio.CancelledError, ConnectionResetError):  # the last: the client has left, so nobody hears an answer
            raise
        except Exception as error:
            refusal = as_refusal(error)
            if refusal.status == 500:
                log.exception("A request could not be answered")
            body = {"error": {"type": refusal.kind, "message": str(refusal), "details": refusal.details}}
            return web.json_response(body, status=refusal.status, headers=_HEADERS.get(refusal.status))

    return answer


def as_refusal(error: Exception) -> Refusal:
    """The answer to an error of the layers below."""
    if isinstance(error, Refusal):
        return error
    if isinstance(error, ImportError):
        return Refusal(500, "requirements", f"Diffusion Toolkit can't import {error.name or 'a dependency'}: install its requirements.")
    from ... import db
    from ...embedders.errors import EmbedderError
    from ...embedders.pictures.decode import ImageError
    from ..config import ConfigurationError
    from .query_models import ModelNotFound, StillLooking

    kinds: list[tuple[type[Exception], int, str]] = [
        (db.Refused, 409, "library"),  # no new try helps
        (db.ServerTrouble, 503, "library_unavailable"),
        (StillLooking, 503, "model_not_found_yet"),
        (db.NoSuchImage, 404, "no_image"),
        (db.LibraryError, 409, "library"),
        (ModelNotFound, 409, "model_not_found"),
        (EmbedderError, 409, "model"),
        (ConfigurationError, 409, "configuration"),
        (db.FilterError, 400, "filter"),
        (ImageError, 400, "image"),
        (ValueError, 400, "invalid_request"),
    ]
    for kind, status, name in kinds:
        if isinstance(error, kind):
            return Refusal(status, name, str(error))
    return Refusal(500, "internal", "The request could not be answered; ComfyUI's log has the reason. Please report it.")
