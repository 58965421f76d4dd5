"""How much the HTTP routes take at once: bytes of a form, and requests that wait."""

from __future__ import annotations

import asyncio
import threading

import pytest
from aiohttp import test_utils, web
from diffusion_toolkit.nodes.routes.incoming import read_form
from diffusion_toolkit.nodes.routes.refusals import Refusal
from diffusion_toolkit.nodes.routes.work import Workers

MOST = 30_000  # bytes of a form, as ComfyUI's --max-upload-size says


def sent(*sizes: int) -> tuple[int, str]:
    """(status, message) that a form of a question and of files of these sizes gets, of which the client does not tell the length."""

    async def asked() -> tuple[int, str]:
        async def handle(request: web.Request) -> web.Response:
            try:
                _, files = await read_form(request, "question")
            except Refusal as refusal:
                return web.Response(status=refusal.status, text=str(refusal))
            return web.Response(text=str(sum(map(len, files.values()))))

        async def parts():
            for name, size in (("question", 2), *((f"file{n}", size) for n, size in enumerate(sizes))):
                yield f'--b\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n'.encode() + b"x" * size + b"\r\n"
            yield b"--b--\r\n"

        app = web.Application(client_max_size=MOST)
        app.router.add_post("/", handle)
        async with test_utils.TestClient(test_utils.TestServer(app)) as client:
            answer = await client.post("/", data=parts(), headers={"Content-Type": "multipart/form-data; boundary=b"})
            return answer.status, await answer.text()

    return asyncio.run(asked())


def test_the_files_of_a_form_together_may_be_as_large_as_one() -> None:
    assert sent(MOST - 2) == (200, str(MOST - 2)) and sent(MOST // 2, MOST // 2 - 2) == (200, str(MOST - 2))
    for sizes in ((MOST,), (MOST // 2, MOST // 2)):
        status, message = sent(*sizes)
        assert status == 413 and "too large" in message


def test_who_comes_when_as_many_wait_as_may_is_asked_to_come_again() -> None:
    async def asked() -> list[object]:
        workers, go = Workers("models", 1, waiting=2), threading.Event()
        three = [asyncio.ensure_future(workers.run(go.wait, 60)) for _ in range(3)]
        await asyncio.sleep(0)  # each begins
        with pytest.raises(Refusal, match="3 requests wait for models already. Try again") as refused:
            await workers.run(go.wait, 60)
        assert (refused.value.status, refused.value.kind) == (503, "busy")
        go.set()
        return [*await asyncio.gather(*three), await workers.run(lambda: "there is room again")]

    assert asyncio.run(asked()) == [True, True, True, "there is room again"]
