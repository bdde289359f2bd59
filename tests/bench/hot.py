"""CPU of the request path alone: one process, no sockets, so that two commits can be compared in seconds.

Everything from a read head to the bytes handed to the server runs as it does in production, our HTTP client included:
its connections have a transport that answers from memory. What the kernel and the HTTP server cost is not in here.
"""

from __future__ import annotations

import asyncio
import cProfile
import os
import pstats
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import uvloop
from msgspec import Struct
from rich.console import Console
from rich.table import Table

from anvil.router import generate, loading
from anvil.router.decisions.record import Endpoint
from anvil.router.http_head import parse
from anvil.router.runtime import Runtime
from anvil.router.server import Listen, Shared
from tests.bench import bodies, lanes

SAMPLES = 7
SAMPLE_S = 0.25
CHUNKS = 200
PROFILE_LINES = 40
# Nothing listens there: the loop below never opens a socket.
NO_PORT = 9

_EVENT = 'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1700000000,"model":"m","choices":['
_ANSWER = (
    b'{"id":"chatcmpl-1","object":"chat.completion","created":1700000000,"model":"m","choices":[{"index":0,"message":'
    b'{"role":"assistant","content":"The parser reads one line at a time and keeps the last error, so a caller sees '
    b'where a file went wrong."},"logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":400,'
    b'"completion_tokens":24,"total_tokens":424}}'
)


class Case(Struct, frozen=True):
    """One kind of request, repeated."""

    title: str
    endpoint: Endpoint
    body: bytes
    answer: list[bytes]
    stream: bool = False


def _plain_answer() -> list[bytes]:
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(_ANSWER)
    return [head + _ANSWER]


def _streamed_answer() -> list[bytes]:
    """One read each: the head with the role, CHUNKS deltas, the end."""
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    deltas = [_chunk(f'{{"index":0,"delta":{{"content":" word{i}"}},"finish_reason":null}}]}}') for i in range(CHUNKS)]
    end = _chunk('{"index":0,"delta":{},"finish_reason":"stop"}]}')
    usage = _chunk('],"usage":{"prompt_tokens":400,"completion_tokens":200,"total_tokens":600}}')
    done = b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n"
    role = _chunk('{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}')
    return [head + role, *deltas, end + usage + done]


def _chunk(rest: str) -> bytes:
    data = f"{_EVENT}{rest}\n\n".encode()
    return b"%x\r\n%b\r\n" % (len(data), data)


CASES: dict[str, Callable[[], Case]] = {
    "chat": lambda: Case("2 kB chat", "chat", bodies.chat(), _plain_answer()),
    "review": lambda: Case("2 kB review, all checks", "chat", bodies.chat(preset="review"), _plain_answer()),
    "agent": lambda: Case("108 kB agent, 50 tools", "chat", bodies.agent(), _plain_answer()),
    "anthropic": lambda: Case(
        "the same from an Anthropic caller", "messages", bodies.agent_anthropic(), _plain_answer()
    ),
    "stream": lambda: Case("2 kB stream, per chunk", "chat", bodies.chat(stream=True), _streamed_answer(), stream=True),
    "stream-anthropic": lambda: Case(
        "108 kB stream, Anthropic caller, per chunk",
        "messages",
        bodies.agent_anthropic(stream=True),
        _streamed_answer(),
        stream=True,
    ),
}


class _Transport(asyncio.Transport):
    """The tier's side of a connection: every request is answered from memory, one read per step of the loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, protocol: Any, answer: list[bytes]) -> None:
        super().__init__()
        self._loop = loop
        self._protocol = protocol
        self._answer = answer
        self._gone = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self._loop.call_soon(self._read, 0)

    def _read(self, at: int) -> None:
        if self._gone:
            return
        self._protocol.data_received(self._answer[at])
        if at + 1 < len(self._answer):
            # Two steps: whoever waits for the bytes takes them before more come, as between paced tokens.
            self._loop.call_soon(self._loop.call_soon, self._read, at + 1)

    def is_closing(self) -> bool:
        return self._gone

    def pause_reading(self) -> None:
        raise AssertionError("the answers here are far smaller than what a connection may hold")

    def abort(self) -> None:
        if not self._gone:
            self._gone = True
            self._loop.call_soon(self._protocol.connection_lost, None)

    def close(self) -> None:
        self.abort()


class _Loop(uvloop.Loop):
    """The production loop, except that a connection is a transport of ours."""

    answer: list[bytes]

    async def create_connection(  # type: ignore[override]  # one signature of asyncio's two is enough here
        self, factory: Callable[[], Any], *args: Any, **kwargs: Any
    ) -> Any:
        protocol = factory()
        transport = _Transport(self, protocol, self.answer)
        protocol.connection_made(transport)
        return transport, protocol


class _Outlet:
    """The caller: takes everything at once."""

    def __init__(self) -> None:
        self.frames = 0
        self.tail = b""

    async def start(self, headers: list[tuple[str, str]]) -> None:
        pass

    async def send(self, data: bytes) -> None:
        self.frames += 1
        self.tail = data


def main(case: str, *, profile: bool, save: Path | None, against: Path | None) -> int:
    """Measure one case or all of them and print microseconds. Exit code 2 for an unknown case."""
    if case and case not in CASES:
        print(f"--hot {case}: no such case; take one of {', '.join(CASES)}", file=sys.stderr)
        return 2
    try:
        before = _earlier(against) if against else {}
    except (OSError, msgspec.MsgspecError) as error:
        print(f"--against {against}: {error}; give a file that --hot --json wrote", file=sys.stderr)
        return 2
    found: dict[str, float] = {}
    for key in [case] if case else CASES:
        with _quiet():
            found[key], report = run(CASES[key](), profile=profile)
        if report is not None:
            report.print_stats(PROFILE_LINES)
    _show(found, before)
    if save:
        save.write_bytes(msgspec.json.encode(found))
    return 0


def _earlier(path: Path) -> dict[str, float]:
    return msgspec.json.decode(path.read_bytes(), type=dict[str, float])


def run(case: Case, *, profile: bool = False) -> tuple[float, pstats.Stats | None]:
    """CPU microseconds per request, for streams per chunk: the best of a few samples, all threads counted."""

    def loop() -> _Loop:
        made = _Loop()
        made.answer = case.answer
        return made

    with tempfile.TemporaryDirectory() as folder, asyncio.Runner(loop_factory=loop) as runner:
        return runner.run(_measure(case, Path(folder), profile))


async def _measure(case: Case, folder: Path, profile: bool) -> tuple[float, pstats.Stats | None]:
    config = lanes.anvil_config(NO_PORT, folder)
    loaded = loading.load(config, mode=None, environ={lanes.TOKEN_VARIABLE: lanes.TOKEN}, online=False)
    runtime = Runtime(loaded, Shared(), Listen())
    runtime.start(asyncio.get_running_loop())
    try:
        one = _request(runtime, case)
        began = time.process_time()
        for _ in range(20):
            await one()
        rounds = max(1, int(20 * SAMPLE_S / (time.process_time() - began)))
        best = min([await _sample(one, rounds) for _ in range(SAMPLES)])
        report = await _profiled(one, rounds) if profile else None
    finally:
        runtime.close()
    return best / (CHUNKS if case.stream else 1), report


def _request(runtime: Runtime, case: Case) -> Callable[[], Coroutine[Any, Any, None]]:
    """One request from its headers to its last byte; raises AssertionError on a wrong answer."""
    lines = [
        f"POST /v1/{case.endpoint} HTTP/1.1",
        *["host: 127.0.0.1", "user-agent: bench", "accept: */*"],
        *[f"authorization: Bearer {lanes.TOKEN}", "anthropic-version: 2023-06-01"],
        *["content-type: application/json", f"content-length: {len(case.body)}"],
    ]
    block = "\r\n".join(lines).encode()

    async def one() -> None:
        outlet = _Outlet()
        plain = await generate.handle(runtime, case.endpoint, outlet, parse(block).head, case.body)
        if case.stream:
            assert plain is None, plain
            assert outlet.frames > CHUNKS, f"{outlet.frames} writes, the last: {outlet.tail!r}"
        else:
            assert plain is not None
            assert plain.status == 200, plain

    return one


async def _sample(one: Callable[[], Awaitable[None]], rounds: int) -> float:
    """CPU microseconds of the process per call."""
    began = time.process_time_ns()
    for _ in range(rounds):
        await one()
    return (time.process_time_ns() - began) / rounds / 1000


async def _profiled(one: Callable[[], Awaitable[None]], rounds: int) -> pstats.Stats:
    profiler = cProfile.Profile()
    profiler.enable()
    for _ in range(rounds):
        await one()
    profiler.disable()
    return pstats.Stats(profiler, stream=sys.stdout).sort_stats("tottime")


@contextmanager
def _quiet() -> Iterator[None]:
    """The audit lines of the requests go nowhere; they are formatted and written all the same."""
    sys.stderr.flush()
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def _show(found: dict[str, float], before: dict[str, float]) -> None:
    table = Table()
    for column in ("case", "now", *(("before", "now / before") if before else ())):
        table.add_column(column, justify="left" if column == "case" else "right")
    for key, value in found.items():
        old = before.get(key)
        change = (("-", "-") if old is None else (f"{old:.1f}", f"{value / old:.2f}")) if before else ()
        table.add_row(CASES[key]().title, f"{value:.1f}", *change)
    console = Console(width=None if sys.stdout.isatty() else 100)
    console.print("[bold]CPU us of the request path, without kernel and HTTP server[/]")
    console.print(table)
