"""The load itself: a fixed number of requests, so many at a time, each one timed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import httpx

from anvil.lab.chat import Chunk, Failure, Usage, stream
from anvil.lab.endpoint import Endpoint

Clock = Callable[[], float]


@dataclass(frozen=True)
class Outcome:
    """One request. Times in milliseconds from its start; ``failure`` is a class of lab contract 4.1 or None."""

    failure: str | None = None
    detail: str = ""
    ttft_ms: float | None = None
    ttft_content_ms: float | None = None
    e2e_ms: float = 0.0
    output_tokens: int = 0
    estimated: bool = False
    decode_tok_s: float | None = None
    prompt_tokens: int | None = None
    cached_tokens: int | None = None


@dataclass
class _Watch:
    """The instants of one stream, in seconds of the clock. Tokens of one read came at one instant: what a proxy held
    back and sent at once has no decode rate."""

    clock: Clock
    started: float
    now: float = 0.0
    first: float | None = None
    first_content: float | None = None
    last: float = 0.0
    deltas: int = 0
    usage: Usage = field(default_factory=Usage)

    def arrived(self) -> None:
        self.now = self.clock()

    def take(self, chunk: Chunk) -> None:
        if chunk.usage is not None:
            self.usage = chunk.usage
        for choice in chunk.choices:
            delta = choice.delta
            if delta is not None and (delta.content or delta.thought):
                self._token(bool(delta.content))

    def _token(self, content: bool) -> None:
        self.deltas += 1
        self.last = self.now
        self.first = self.now if self.first is None else self.first
        if content and self.first_content is None:
            self.first_content = self.now

    def outcome(self) -> Outcome:
        ended = self.clock()
        if self.first is None:
            return Outcome("empty_content", "the stream held neither content nor reasoning")
        counted = self.usage.completion_tokens
        tokens = counted if counted is not None else self.deltas
        decoding = self.last - self.first
        return Outcome(
            ttft_ms=_ms(self.first - self.started),
            ttft_content_ms=_ms(self.first_content - self.started) if self.first_content is not None else None,
            e2e_ms=_ms(ended - self.started),
            output_tokens=tokens,
            estimated=counted is None,
            decode_tok_s=(tokens - 1) / decoding if tokens > 1 and decoding > 0 else None,
            prompt_tokens=self.usage.prompt_tokens,
            cached_tokens=self.usage.cached_tokens,
        )


@dataclass(frozen=True)
class Run:
    """The outcomes of one level of concurrency, and the seconds it took."""

    concurrency: int
    outcomes: tuple[Outcome, ...]
    seconds: float


async def load(
    http: httpx.AsyncClient,
    endpoint: Endpoint,
    prompts: Sequence[Callable[[], str]],
    concurrency: int,
    *,
    max_tokens: int,
    timeout_s: float,
    tell: Callable[[int], None] = lambda _: None,
    clock: Clock = time.perf_counter,
) -> Run:
    """Send every prompt, ``concurrency`` at a time; the next goes out when one is done. ``tell`` hears the count."""
    outcomes: list[Outcome] = []

    async def worker(waiting: Iterator[Callable[[], str]]) -> None:
        for build in waiting:
            outcomes.append(await timed(http, endpoint, build(), max_tokens, timeout_s, clock))
            tell(len(outcomes))

    waiting = iter(prompts)
    begun = clock()
    async with asyncio.TaskGroup() as group:
        for _ in range(min(concurrency, len(prompts))):
            group.create_task(worker(waiting))
    return Run(concurrency, tuple(outcomes), clock() - begun)


async def timed(
    http: httpx.AsyncClient, endpoint: Endpoint, text: str, max_tokens: int, timeout_s: float, clock: Clock
) -> Outcome:
    """One streamed request."""
    body = {"messages": [{"role": "user", "content": text}], "max_tokens": max_tokens}
    watch = _Watch(clock, clock())
    try:
        await stream(http, endpoint, body, timeout_s, watch.take, watch.arrived)
    except Failure as failure:
        return Outcome(failure.kind, failure.detail)
    return watch.outcome()


def _ms(seconds: float) -> float:
    return seconds * 1000
