"""Plain HTTP requests to ComfyUI, as programs send them, with status and headers of the answer."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import aiohttp
from PIL import Image


class Answer:
    """What came back: status, headers, body."""

    def __init__(self, status: int, headers: Any, body: bytes) -> None:
        self.status, self.headers, self.body = status, headers, body

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def refusal(self) -> tuple[int, str, str]:
        """(status, type, message)"""
        error = self.json["error"]
        return self.status, error["type"], error["message"]


def request(url: str, method: str, path: str, **options: Any) -> Answer:
    """One request; `options` are aiohttp's."""
    return requests(url, [(method, path, options)])[0]


def requests(url: str, wanted: Sequence[tuple[str, str, dict[str, Any]]]) -> list[Answer]:
    """Several at once, each on a connection of its own; the answers in their order."""

    async def one(session: aiohttp.ClientSession, method: str, path: str, options: dict[str, Any]) -> Answer:
        async with session.request(method, yarl_url(url + path), **options) as answer:
            return Answer(answer.status, answer.headers, await answer.read())

    async def all_of_them() -> list[Answer]:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
            return await asyncio.gather(*(one(session, *each) for each in wanted))

    with ThreadPoolExecutor(1) as pool:  # pytest plugins may run a loop in this thread
        return pool.submit(asyncio.run, all_of_them()).result()


def yarl_url(address: str) -> Any:
    """The address as it is written: nothing in it is resolved or quoted anew."""
    from yarl import URL

    return URL(address, encoded=True)


def png(color: tuple[int, int, int] = (250, 0, 0)) -> bytes:
    made = io.BytesIO()
    Image.new("RGB", (64, 48), color).save(made, "PNG")
    return made.getvalue()


def form(question: Any, **files: bytes) -> aiohttp.FormData:
    made = aiohttp.FormData()
    if question is not None:
        made.add_field("question", json.dumps(question), content_type="application/json")
    for name, data in files.items():
        made.add_field(name, data, filename=f"{name}.png", content_type="image/png")
    return made
