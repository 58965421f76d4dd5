"""A small synchronous client of ComfyUI's HTTP and websocket interface, for the demo and the tests."""

from __future__ import annotations

import asyncio
import json
import struct
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

_BINARY_TEXT = 3  # protocol.BinaryEventTypes.TEXT: progress text of a node
_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # 127.0.0.1 is never reached through a proxy

EventHandler = Callable[[str, dict[str, Any]], None]


class ComfyError(RuntimeError):
    """ComfyUI refused, failed or stopped; the message is for a person."""


class PromptError(ComfyError):
    """A prompt was refused or failed.

    `node_errors` is ComfyUI's own dictionary for a refused prompt; `error` the `execution_error` data of one that failed
    while running (`node_id`, `node_type`, `exception_type`, `exception_message`, `traceback`).
    """

    def __init__(self, message: str, node_errors: dict[str, Any] | None = None, error: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.node_errors = node_errors or {}
        self.error = error or {}


class PromptInterrupted(ComfyError):
    """The prompt was cancelled through `interrupt`."""


@dataclass(frozen=True, slots=True)
class PromptResult:
    """What one prompt left: `outputs` is `/history`'s, by node id; `events` every websocket message as (type, data)."""

    prompt_id: str
    outputs: dict[str, dict[str, Any]]
    status: dict[str, Any]
    seconds: float
    events: list[tuple[str, dict[str, Any]]] = field(repr=False)

    @property
    def executed(self) -> list[str]:
        """Ids of the nodes that really ran, in order: a node served from ComfyUI's cache is not among them."""
        ran = [data["node"] for kind, data in self.events if kind == "executing" and data.get("node")]
        return list(dict.fromkeys(ran))

    @property
    def cached(self) -> list[str]:
        return [node for kind, data in self.events if kind == "execution_cached" for node in data["nodes"]]


class ComfyClient:
    """Talks to the ComfyUI at `url`; every call blocks, and may be made from any thread, beside a running event loop too."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")

    def get(self, path: str, timeout: float = 60) -> Any:
        return json.loads(self.get_bytes(path, timeout))

    def get_bytes(self, path: str, timeout: float = 60) -> bytes:
        return self._open(urllib.request.Request(self.url + path), timeout)

    def post(self, path: str, body: Any, timeout: float = 60) -> Any:
        """POST `body` as JSON; returns the decoded answer, None where ComfyUI answers with nothing."""
        request = urllib.request.Request(
            self.url + path, json.dumps(body).encode(), {"Content-Type": "application/json"}, method="POST"
        )
        answer = self._open(request, timeout)
        return json.loads(answer) if answer else None

    def object_info(self) -> dict[str, Any]:
        return self.get("/object_info")

    def interrupt(self) -> None:
        self.post("/interrupt", {})

    def view(self, image: dict[str, str]) -> bytes:
        """The bytes of an image that a node's `ui` names (`filename`, `subfolder`, `type`)."""
        return self.get_bytes("/view?" + urllib.parse.urlencode(image))

    def queue(
        self,
        api_prompt: dict[str, Any],
        *,
        on_event: EventHandler | None = None,
        timeout: float = 600,
        extra_data: dict[str, Any] | None = None,
    ) -> PromptResult:
        """Queue one API-format prompt, follow it over the websocket and return what `/history` says when it is done.

        `on_event(type, data)` is called for each message as it arrives (from another thread): ComfyUI's JSON messages, and
        ("progress_text", {"node", "text"}) for the text that a node shows. Raises PromptError, PromptInterrupted, or
        ComfyError when ComfyUI stops or `timeout` seconds pass; then the prompt is interrupted.
        """
        result: list[PromptResult] = []
        failure: list[BaseException] = []

        def follow() -> None:
            try:
                result.append(asyncio.run(self._follow(api_prompt, on_event, timeout, extra_data)))
            except BaseException as error:  # carried over to the caller's thread
                failure.append(error)

        # A thread of its own: Playwright's and pytest plugins' event loops run in the caller's, and asyncio.run refuses there.
        thread = threading.Thread(target=follow, name="comfy-client", daemon=True)
        thread.start()
        while thread.is_alive():
            thread.join(0.2)  # short waits: Ctrl-C reaches the main thread on Windows too
        if failure:
            raise failure[0]
        return result[0]

    async def _follow(
        self, api_prompt: dict[str, Any], on_event: EventHandler | None, timeout: float, extra_data: dict[str, Any] | None
    ) -> PromptResult:
        import aiohttp

        client_id = uuid.uuid4().hex
        events: list[tuple[str, dict[str, Any]]] = []
        started = time.monotonic()
        address = f"{self.url.replace('http', 'ws', 1)}/ws?clientId={client_id}"
        try:
            async with aiohttp.ClientSession() as session, session.ws_connect(address, max_msg_size=0) as socket:
                body = {"prompt": api_prompt, "client_id": client_id, "extra_data": extra_data or {}}
                prompt_id = await asyncio.to_thread(self._submit, body)
                finished = False
                while not finished:
                    left = timeout - (time.monotonic() - started)
                    if left <= 0:
                        await asyncio.to_thread(self.interrupt)
                        raise ComfyError(f"the prompt took longer than {timeout:.0f} s and was cancelled")
                    try:
                        message = await socket.receive(timeout=left)
                    except asyncio.TimeoutError:
                        continue
                    if message.type in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR):
                        raise ComfyError("ComfyUI closed the connection while it worked on the prompt")
                    event = _decode(message.type, message.data)
                    if event is None or event[1].get("prompt_id", prompt_id) != prompt_id:
                        continue
                    events.append(event)
                    if on_event:
                        on_event(*event)
                    # Ends every prompt, sent after its history is written: {"node": None}.
                    finished = event[0] == "executing" and event[1].get("node") is None
        except aiohttp.ClientError as error:
            raise ComfyError(f"no connection to ComfyUI at {self.url}: {error}") from error
        _raise_if_failed(events)
        history = await asyncio.to_thread(self.get, f"/history/{prompt_id}")
        entry = history[prompt_id]
        return PromptResult(prompt_id, entry["outputs"], entry["status"], time.monotonic() - started, events)

    def _submit(self, body: dict[str, Any]) -> str:
        request = urllib.request.Request(
            self.url + "/prompt", json.dumps(body).encode(), {"Content-Type": "application/json"}, method="POST"
        )
        try:
            with _opener.open(request, timeout=60) as response:
                answer = json.load(response)
        except urllib.error.HTTPError as error:
            answer = _json_or_empty(error.read())
            raise PromptError(_refusal(answer, body["prompt"]), answer.get("node_errors")) from error
        # ComfyUI runs what is left of a prompt when only some of its output nodes are valid; here that is an error too.
        if answer.get("node_errors"):
            self.post("/queue", {"delete": [answer["prompt_id"]]})
            self.interrupt()
            raise PromptError(_refusal(answer, body["prompt"]), answer["node_errors"])
        return answer["prompt_id"]

    def _open(self, request: urllib.request.Request, timeout: float) -> bytes:
        try:
            with _opener.open(request, timeout=timeout) as response:
                return response.read()
        except urllib.error.HTTPError as error:
            text = error.read().decode("utf-8", "replace")[:500]
            raise ComfyError(f"ComfyUI answered {error.code} to {request.get_method()} {request.selector}: {text}") from error
        except OSError as error:
            raise ComfyError(f"no answer from ComfyUI at {request.full_url}: {error}") from error


def _decode(kind: Any, data: Any) -> tuple[str, dict[str, Any]] | None:
    import aiohttp

    if kind == aiohttp.WSMsgType.TEXT:
        message = json.loads(data)
        return message["type"], message.get("data") or {}
    if kind == aiohttp.WSMsgType.BINARY and struct.unpack(">I", data[:4])[0] == _BINARY_TEXT:
        (length,) = struct.unpack(">I", data[4:8])
        return "progress_text", {"node": data[8 : 8 + length].decode(), "text": data[8 + length :].decode("utf-8", "replace")}
    return None  # preview images


def _raise_if_failed(events: list[tuple[str, dict[str, Any]]]) -> None:
    for kind, data in events:
        if kind == "execution_interrupted":
            raise PromptInterrupted(f"cancelled while node {data.get('node_id')} ({data.get('node_type')}) ran")
        if kind == "execution_error":
            message = str(data.get("exception_message", "")).strip()
            place = f"node {data.get('node_id')} ({data.get('node_type')})"
            raise PromptError(f"{place} failed: {data.get('exception_type')}: {message}", error=data)


def _refusal(answer: dict[str, Any], prompt: dict[str, Any]) -> str:
    error = answer.get("error") or {}
    lines = [": ".join(part for part in (error.get("message"), error.get("details")) if part) or "ComfyUI refused the prompt"]
    for node_id, node in (answer.get("node_errors") or {}).items():
        name = node.get("class_type") or prompt.get(node_id, {}).get("class_type")
        lines += [f"node {node_id} ({name}): {one.get('message')}: {one.get('details')}" for one in node.get("errors", [])]
    return "\n".join(lines)


def _json_or_empty(body: bytes) -> dict[str, Any]:
    try:
        return json.loads(body)
    except ValueError:
        return {"error": {"message": body.decode("utf-8", "replace")[:500]}}
