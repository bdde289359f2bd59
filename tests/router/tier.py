"""A scriptable tier: a raw HTTP/1.1 server in a thread that answers, stalls, cuts and lies exactly as told.

Real engines cannot be made to fail on demand; this can, byte by byte. It speaks just enough HTTP for the router.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

Step = bytes | float | Callable[[], None]
Behaviour = Callable[["Received"], "Script | Awaitable[Script]"]


@dataclass
class Received:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Script:
    """What to send: bytes are written, numbers are seconds to wait. ``close`` ends the connection afterwards."""

    steps: list[Step]
    close: bool = False
    reset: bool = False


@dataclass
class Tier:
    behaviour: Behaviour
    seen: list[Received] = field(default_factory=list)
    cancelled: int = 0
    open: int = 0
    port: int = 0
    host: str = "127.0.0.1"
    _loop: asyncio.AbstractEventLoop | None = None
    _thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}/v1"

    def start(self) -> Tier:
        ready = threading.Event()

        def run() -> None:
            asyncio.run(self._serve(ready))

        self._thread = threading.Thread(target=run, daemon=True)
        self._thread.start()
        assert ready.wait(5)
        return self

    def stop(self) -> None:
        assert self._loop is not None
        assert self._thread is not None
        self._loop.call_soon_threadsafe(self._stopped.set)
        self._thread.join(5)

    async def _serve(self, ready: threading.Event) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopped = asyncio.Event()
        server = await asyncio.start_server(self._connection, self.host, self.port, limit=64 * 1_048_576)
        self.port = server.sockets[0].getsockname()[1]
        ready.set()
        await self._stopped.wait()
        server.close()
        for task in asyncio.all_tasks():
            if task is not asyncio.current_task():
                task.cancel()

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open += 1
        try:
            while await self._one(reader, writer):
                pass
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            self.open -= 1
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        method, path, _ = head[0].split(" ")
        lines = [line.split(":", 1) for line in head[1:] if line]
        headers = {k.lower(): v.strip() for k, v in lines}
        assert len(headers) == len(lines), f"a header came twice: {head}"
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        request = Received(method, path, headers, body)
        self.seen.append(request)
        script = self.behaviour(request)
        if not isinstance(script, Script):
            script = await script
        playing = asyncio.ensure_future(self._play(script, writer))
        watching = asyncio.ensure_future(reader.read(1))
        await asyncio.wait((playing, watching), return_when=asyncio.FIRST_COMPLETED)
        if watching.done() and not playing.done():
            self.cancelled += 1
            playing.cancel()
            return False
        watching.cancel()
        await asyncio.gather(watching, playing, return_exceptions=True)
        if script.reset and not writer.is_closing():
            sock = writer.get_extra_info("socket")
            sock.setsockopt(1, 13, b"\x01\x00\x00\x00\x00\x00\x00\x00")  # SO_LINGER 0: a reset, not a close
        return not (script.close or script.reset)

    async def _play(self, script: Script, writer: asyncio.StreamWriter) -> None:
        for step in script.steps:
            if isinstance(step, bytes):
                writer.write(step)
                await writer.drain()
            elif callable(step):
                step()
            else:
                await asyncio.sleep(step)


def response(status: int, body: bytes, content_type: str = "application/json", **headers: str) -> Script:
    lines = [f"HTTP/1.1 {status} X", f"content-type: {content_type}", f"content-length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return Script([("\r\n".join(lines) + "\r\n\r\n").encode() + body])


def chat(
    text: str | None = "hello", *, finish: str = "stop", usage: tuple[int, int] | None = (5, 2), **message: Any
) -> Script:
    """A Chat Completions answer."""
    body: dict[str, Any] = {
        "id": "up-1",
        "object": "chat.completion",
        "created": 1,
        "model": "upstream-model",
        "choices": [
            {"index": 0, "message": {"role": "assistant", "content": text, **message}, "finish_reason": finish}
        ],
    }
    if usage is not None:
        body["usage"] = {"prompt_tokens": usage[0], "completion_tokens": usage[1], "total_tokens": sum(usage)}
    return response(200, json.dumps(body).encode())


def messages(text: str = "hello", *, stop_reason: str = "end_turn", content: list[Any] | None = None) -> Script:
    """An Anthropic Messages answer."""
    body = {
        "id": "msg_up",
        "type": "message",
        "role": "assistant",
        "model": "upstream-model",
        "content": content if content is not None else [{"type": "text", "text": text}],
        "stop_reason": stop_reason,
        "stop_sequence": None,
        "usage": {"input_tokens": 5, "output_tokens": 2},
    }
    return response(200, json.dumps(body).encode())


def sse(*events: bytes | float, close: bool = False, reset: bool = False, end: bool = True) -> Script:
    """A chunked event stream; numbers are pauses. ``end`` false leaves the chunked body unfinished."""
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    steps: list[Step] = [head]
    for event in events:
        steps.append(event if isinstance(event, float) else b"%x\r\n%s\r\n" % (len(event), event))
    if end:
        steps.append(b"0\r\n\r\n")
    return Script(steps, close=close or not end, reset=reset)


def chunk(delta: dict[str, Any] | None = None, finish: str | None = None, **extra: Any) -> bytes:
    """One Chat Completions stream event."""
    body = {
        "id": "up-1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "upstream-model",
        "choices": [{"index": 0, "delta": delta or {}, "finish_reason": finish}],
        **extra,
    }
    return b"data: " + json.dumps(body).encode() + b"\n\n"


DONE = b"data: [DONE]\n\n"


def chat_stream(*texts: str, pause: float = 0.0, finish: str = "stop") -> Script:
    """A whole Chat Completions stream of text deltas with usage."""
    events: list[bytes | float] = [chunk({"role": "assistant", "content": None})]
    for text in texts:
        if pause:
            events.append(pause)
        events.append(chunk({"content": text}))
    usage = b'data: {"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":3,"total_tokens":10}}\n\n'
    return sse(*events, chunk(finish=finish), usage, DONE)


def event(name: str, **data: Any) -> bytes:
    """One Anthropic stream event."""
    return f"event: {name}\ndata: {json.dumps({'type': name, **data})}\n\n".encode()


def messages_stream(*texts: str) -> Script:
    """A whole Anthropic Messages stream of one text block."""
    return sse(
        event("message_start", message={"id": "m", "type": "message", "role": "assistant", "model": "u", "content": [],
              "stop_reason": None, "stop_sequence": None, "usage": {"input_tokens": 7, "output_tokens": 0}}),
        event("content_block_start", index=0, content_block={"type": "text", "text": ""}),
        *[event("content_block_delta", index=0, delta={"type": "text_delta", "text": text}) for text in texts],
        event("content_block_stop", index=0),
        event("message_delta", delta={"stop_reason": "end_turn", "stop_sequence": None}, usage={"output_tokens": 3}),
        event("message_stop"),
    )  # fmt: skip


def auto(*texts: str) -> Behaviour:
    """Answers in the dialect and form of the request."""

    def behave(request: Received) -> Script:
        parts = texts or ("hello", " world")
        if request.path.endswith("/models"):
            return response(200, b'{"data":[{"id":"upstream-model"}]}')
        streams = request.json.get("stream") is True
        if request.path.endswith("/messages"):
            return messages_stream(*parts) if streams else messages("".join(parts))
        return chat_stream(*parts) if streams else chat("".join(parts))

    return behave
