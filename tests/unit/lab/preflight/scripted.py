"""An OpenAI-compatible engine on loopback that misbehaves on demand."""

from __future__ import annotations

import itertools
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

MODEL = "scripted"
USAGE = {
    "prompt_tokens": 40,
    "completion_tokens": 7,
    "prompt_tokens_details": {"cached_tokens": 30},
}

REFUSALS: dict[str, tuple[int, Any]] = {
    "no_model": (404, {"message": "The model does not exist."}),
    "unauthorised": (401, "bad key"),
    "small": (400, {"type": "exceed_context_size_error", "n_ctx": 512}),
    "redirect": (307, ""),
    "escape": (418, "\x1b[2J\x1b]0;gotcha\x07"),
}


class Engine:
    """``mode`` names the defect. ``bodies`` are the requests, ``window`` is what /v1/models says (None = nothing)."""

    def __init__(self, mode: str = "good", window: int | None = 200_000, delay_s: float = 0.0) -> None:
        self.mode, self.window, self.delay_s = mode, window, delay_s
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.port = 0
        self.health: list[int] = []  # statuses to give first
        self.meeting: threading.Barrier | None = None  # requests wait here until so many are there
        self.numbers = itertools.count(1)
        self.fail_every = 0  # this request of so many is answered 500
        self.most_at_once = self._at_once = 0
        self._lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    @contextmanager
    def busy(self) -> Iterator[None]:
        with self._lock:
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            yield
        finally:
            with self._lock:
                self._at_once -= 1


@contextmanager
def running(engine: Engine) -> Iterator[Engine]:
    server = Server(engine)
    engine.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield engine
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def message(engine: Engine, body: dict[str, Any]) -> dict[str, Any]:
    """What the model says to this request."""
    text = json.dumps(body["messages"])
    tools = "tools" in body and body["messages"][-1]["role"] != "tool"
    if engine.mode == "thinking":
        return {"role": "assistant", "content": None, "reasoning_content": "Let me think about that"}
    if engine.mode == "blank":
        return {"role": "assistant", "content": ""}
    if engine.mode == "garbage":
        return {"role": "assistant", "content": "\ufffd\ufffd <|im_start|> <<tool function=x"}
    if engine.mode == "same_call" and "tools" in body:
        return call('{"city": "Oslo"}')
    if tools and engine.mode == "no_tool_call":
        return {"role": "assistant", "content": "It is sunny."}
    if tools and engine.mode == "leaked_call":
        return {"role": "assistant", "content": "<|tool|>"} | {"tool_calls": call('{"city": "x"}')["tool_calls"]}
    if tools:
        return call(
            {"wrong_args": '{"town": "Oslo"}', "broken_args": '{"city": "Os'}.get(engine.mode, '{"city": "Oslo"}')
        )
    if engine.mode == "wrong":
        return {"role": "assistant", "content": "I do not know."}
    if "image_url" in text:
        return {"role": "assistant", "content": "Red."}
    if "ZEBRA" in text:
        return {"role": "assistant", "content": "zebra? The code is ZEBRA 42917 QUARTZ."}
    if "JSON object" in text:
        fenced = engine.mode == "prose_json"
        answer = '{"language": "Python", "ok": true}'
        return {"role": "assistant", "content": f"Sure:\n```json\n{answer}\n```" if fenced else answer}
    return {"role": "assistant", "content": "It rains." if "tools" in body else "total = sum(xs)"}


def call(arguments: str, name: str = "get_weather") -> dict[str, Any]:
    made = {"id": "call_7", "type": "function", "function": {"name": name, "arguments": arguments}}
    return {"role": "assistant", "content": None, "tool_calls": [made]}


def events(engine: Engine, said: dict[str, Any]) -> Iterator[bytes]:
    """A streamed answer, one SSE event a piece."""

    def event(delta: dict[str, Any], finish: str | None = None) -> bytes:
        choices = [{"index": 0, "delta": delta, "finish_reason": finish}]
        return b"data: " + json.dumps({"choices": choices}).encode() + b"\n\n"

    if engine.mode == "no_role":
        yield event({"content": "sum("})
        return
    yield event({"role": "assistant", "content": None})
    if engine.mode == "reasons_first":
        yield event({"reasoning_content": "Hm."})
    if said.get("reasoning_content"):
        yield event({"reasoning_content": said["reasoning_content"]})
    for word in [] if engine.mode == "silent" else (said.get("content") or "").split():
        yield event({"content": word + " "})
        if engine.mode == "cut":
            return
    yield event({}, "stop")
    if engine.mode != "no_usage":
        yield b"data: " + json.dumps({"choices": [], "usage": USAGE}).encode() + b"\n\n"
    if engine.mode != "no_done":
        yield b"data: [DONE]\n\n"


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, engine: Engine) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.engine = engine

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that gave up are part of the play."""


class Handler(BaseHTTPRequestHandler):
    server: Server
    wbufsize = -1  # head and body in one write
    disable_nagle_algorithm = True

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        engine = self.server.engine
        if self.path == "/health":
            self._json(engine.health.pop(0) if engine.health else 503 if engine.mode == "loading" else 200, {})
        elif self.path == "/v1/models":
            row: dict[str, Any] = {"id": MODEL, "owned_by": "vllm"}
            self._json(200, {"data": [row | ({"max_model_len": engine.window} if engine.window else {})]})
        elif self.path == "/version":
            self._json(200, {"version": "0.32.0"})
        else:
            self._json(404, {"error": "no such path"})

    def do_POST(self) -> None:
        engine = self.server.engine
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with engine.busy():
            engine.bodies.append(body)
            engine.headers.append(dict(self.headers))
            if engine.meeting is not None:
                engine.meeting.wait(10)
            time.sleep(engine.delay_s)
            flaky = engine.fail_every and next(engine.numbers) % engine.fail_every == 0
            refused = (500, "out of luck") if flaky else REFUSALS.get(engine.mode)
            if refused:
                self._json(refused[0], {"error": refused[1], "you": self.headers["Authorization"]})
            elif engine.mode == "not_json":
                self._send(200, b"<html>hello</html>")
            elif engine.mode == "not_utf8":
                self._send(200, b'{"choices": [{"message": {"content": "\xff"}}]}')
            elif engine.mode == "deep":
                self._send(200, b'{"choices": ' + b"[" * 50_000)
            elif body.get("stream"):
                self._stream(body)
            else:
                self._whole(body)

    def _whole(self, body: dict[str, Any]) -> None:
        engine = self.server.engine
        if engine.mode == "cut":
            self._headers(200, 10_000)
            self.wfile.write(b'{"choices": [')
            return
        thinks = {"completion_tokens_details": {"reasoning_tokens": 9}} if engine.mode == "thinking" else {}
        choice = {"message": message(engine, body), "finish_reason": "stop"}
        self._json(200, {"choices": [choice], "usage": USAGE | thinks})

    def _stream(self, body: dict[str, Any]) -> None:
        engine = self.server.engine
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        for event in events(engine, message(engine, body)):
            self.wfile.write(event)
            self.wfile.flush()
            time.sleep(engine.delay_s / 10)

    def _json(self, status: int, document: dict[str, Any]) -> None:
        self._send(status, json.dumps(document).replace("\\u001b", "\x1b").encode())

    def _send(self, status: int, content: bytes) -> None:
        self._headers(status, len(content))
        self.wfile.write(content)

    def _headers(self, status: int, length: int) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Location", "http://127.0.0.1:9/v1/chat/completions")
        self.send_header("Content-Length", str(length))
        self.end_headers()
