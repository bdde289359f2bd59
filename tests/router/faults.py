"""What the fault batteries share: one router in front of tiers whose behaviour a test sets, and what a caller was told.

``Lab`` offers a preset per tier dialect whose second tier always answers, so that a fallback shows as its text.
"""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.router import tier as t
from tests.router.conftest import Running, config_toml, start_router, tier_toml

PATHS = ("/v1/chat/completions", "/v1/messages", "/v1/responses")
DIALECTS = ("openai", "anthropic")
BACKUP = "answer of the backup"
# header_timeout_s is 10: an idle connection lives at least as long
IDLE_S = 5.0
# a breaker that opens would hide what the next case does
PATIENT = (
    "[router.limits]\nrequest_deadline_s = 20\nconnect_timeout_s = 1\n[router.breaker]\nthreshold = 1000000\n"
    "retry_after_cap_s = 0\nretry_after_default_s = 0\ncooldown_s = 0.001\n"
)
SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
    "required": ["city"],
}


@dataclass
class Told:
    """One answer as a caller reads it."""

    status: int
    headers: dict[str, str]
    body: bytes
    text: str = ""
    reasoning: str = ""
    calls: list[tuple[str, str]] = field(default_factory=list)
    ends: int = 0
    errors: int = 0
    last: str = ""
    blocks: int = 0
    open_block: bool = False

    @property
    def tier(self) -> str:
        return self.headers.get("x-anvil-tier", "")

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Lab:
    running: Running
    tiers: dict[str, t.Tier]
    backup: t.Tier
    connection: http.client.HTTPConnection | None = None
    used: float = 0.0

    def close(self) -> None:
        if self.connection is not None:
            self.connection.close()
            self.connection = None

    def play(self, dialect: str, behaviour: t.Behaviour | t.Script) -> None:
        """Set what the faulty tier of a dialect does from now on."""
        if isinstance(behaviour, t.Script):
            script = behaviour
            self.tiers[dialect].behaviour = lambda _: script
        else:
            self.tiers[dialect].behaviour = behaviour

    def ask(self, path: str, preset: str, *, stream: bool = False, **body: Any) -> Told:
        whole = request(path, preset, stream=stream) | body
        return self.post(path, json.dumps(whole).encode(), stream=stream)

    def post(self, path: str, data: bytes, *, stream: bool = False, headers: dict[str, str] | None = None) -> Told:
        if time.monotonic() - self.used > IDLE_S:
            self.close()  # the router may have closed it
        self.used = time.monotonic()
        if self.connection is None:
            host, port = self.running.url.removeprefix("http://").split(":")
            self.connection = http.client.HTTPConnection(host, int(port), timeout=20)
        try:
            self.connection.request("POST", path, data, {"content-type": "application/json"} | (headers or {}))
            with self.connection.getresponse() as answer:
                got = Told(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
        except BaseException:
            self.connection.close()
            self.connection = None
            raise
        if stream and got.status == 200:
            read_stream(path, got)
        return got


def request(path: str, preset: str, *, stream: bool = False) -> dict[str, Any]:
    """A small request with one tool, in the dialect of the path."""
    body: dict[str, Any] = {"model": preset, "stream": stream}
    function = {"name": "get_weather", "description": "w"}
    if path == "/v1/messages":
        body |= {"max_tokens": 100, "tools": [{**function, "input_schema": SCHEMA}]}
    elif path == "/v1/responses":
        return body | {"input": "hi", "tools": [{"type": "function", **function, "parameters": SCHEMA}]}
    else:
        body["tools"] = [{"type": "function", "function": {**function, "parameters": SCHEMA}}]
    return body | {"messages": [{"role": "user", "content": "hi"}]}


@contextmanager
def lab(folder: Path, *, router: str = PATIENT, server: str = "", env: dict[str, str] | None = None) -> Iterator[Lab]:
    """A running Lab. Presets: ``openai`` and ``anthropic`` with a backup, ``<dialect>-alone`` without one."""
    tiers = {dialect: t.Tier(t.auto()).start() for dialect in DIALECTS}
    backup = t.Tier(t.auto(BACKUP)).start()
    tables = [tier_toml(f"one-{dialect}", made.url, dialect=dialect, timeout=5) for dialect, made in tiers.items()]
    tables.append(tier_toml("backup", backup.url, context_limit=65536))
    presets = {dialect: [f"one-{dialect}", "backup"] for dialect in DIALECTS}
    presets |= {f"{dialect}-alone": [f"one-{dialect}"] for dialect in DIALECTS}
    running = start_router(folder, config_toml(*tables, presets=presets, router=router, server=server), env)
    bench = Lab(running, tiers, backup)
    try:
        yield bench
    finally:
        bench.close()
        running.stop(expect=None)
        for made in (*tiers.values(), backup):
            made.stop()


def cut(data: bytes, mode: str) -> t.Script:
    """A stream of which only these bytes come; ``mode`` is how it ends."""
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
    if mode in ("close", "reset-plain"):
        return t.Script([head + b"connection: close\r\n\r\n" + data], close=True, reset=mode == "reset-plain")
    chunk = b"%x\r\n%s\r\n" % (len(data), data) if data else b""
    whole = head + b"transfer-encoding: chunked\r\n\r\n" + chunk
    if mode == "chunk":  # the HTTP body ends properly, the stream in it does not
        return t.Script([whole + b"0\r\n\r\n"])
    return t.Script([whole], close=True, reset=mode == "reset")


CUTS = ("close", "chunk", "short", "reset")


# ---------------------------------------------------------------------------------------- reading streams


def read_stream(path: str, told: Told) -> None:
    """Fill in what the stream said. Fails on bytes that are no event, or that follow an error or an end."""
    assert told.headers["content-type"] == "text/event-stream"
    for block in told.body.decode().split("\n\n")[:-1]:
        if block.startswith(":"):
            continue
        assert told.errors == 0, f"something follows the error event: {block}"
        name, data = "", block
        if block.startswith("event: "):
            name, data = block[7:].split("\n", 1)
        assert data.startswith("data: "), block
        READERS[path](name, data[6:], told)
        told.last = block
    assert told.body.endswith(b"\n\n"), "the last event is not whole"
    assert told.ends + told.errors <= 1, "more than one end"


def _chat(_: str, data: str, told: Told) -> None:
    if data == "[DONE]":
        assert told.last.find('"finish_reason":null') < 0, "[DONE] without a finish reason"
        told.ends += 1
        return
    chunk = json.loads(data)
    if "error" in chunk:
        assert chunk["error"]["type"] == "upstream_error"
        assert type(chunk["error"]["code"]) is int
        told.errors += 1
        return
    for choice in chunk["choices"]:
        delta = choice["delta"]
        told.text += delta.get("content") or ""
        told.reasoning += delta.get("reasoning_content") or ""
        for call in delta.get("tool_calls", []):
            if "id" in call:
                assert call["index"] == len(told.calls), "tool indexes are not dense"
                told.calls.append((call["function"]["name"], ""))
            else:
                told.calls[call["index"]] = (told.calls[call["index"]][0], call["function"]["arguments"])


def _messages(name: str, data: str, told: Told) -> None:
    event = json.loads(data)
    assert event["type"] == name
    if name == "error":
        assert event["error"]["type"] in ("api_error", "overloaded_error")
        told.errors += 1
    elif name == "message_stop":
        assert not told.open_block, "message_stop inside a block"
        told.ends += 1
    elif name == "content_block_start":
        assert event["index"] == told.blocks, "block indexes are not dense"
        told.blocks, told.open_block = told.blocks + 1, True
        if event["content_block"]["type"] == "tool_use":
            told.calls.append((event["content_block"]["name"], ""))
    elif name == "content_block_stop":
        told.open_block = False
    elif name == "content_block_delta":
        delta = event["delta"]
        told.text += delta.get("text", "")
        told.reasoning += delta.get("thinking", "")
        if "partial_json" in delta:
            told.calls[-1] = (told.calls[-1][0], delta["partial_json"])


def _responses(name: str, data: str, told: Told) -> None:
    event = json.loads(data)
    assert event["type"] == name
    if name == "response.failed":
        assert event["response"]["status"] == "failed"
        assert event["response"]["error"]["code"] in ("server_error", "rate_limit_exceeded")
        told.errors += 1
    elif name in ("response.completed", "response.incomplete"):
        told.ends += 1
    elif name == "response.output_text.delta":
        told.text += event["delta"]
    elif name == "response.reasoning_text.delta":
        told.reasoning += event["delta"]
    elif name == "response.output_item.done" and event["item"]["type"] == "function_call":
        told.calls.append((event["item"]["name"], event["item"]["arguments"]))


READERS = {PATHS[0]: _chat, PATHS[1]: _messages, PATHS[2]: _responses}
