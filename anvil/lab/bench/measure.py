"""One bench from reachability to report."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

import httpx

from anvil.lab import chat
from anvil.lab.bench import draws
from anvil.lab.bench.load import Clock, Run, load, timed
from anvil.lab.bench.prompts import prompt
from anvil.lab.bench.report import Level, Report, ServeFlags, level
from anvil.lab.endpoint import Endpoint
from anvil.lab.reach import Seen, look, reach


@dataclass(frozen=True)
class Plan:
    """What is asked for. ``levels`` are concurrencies, run one after another with ``requests`` each; token counts;
    ``window`` 0 = ask the endpoint; ``burst`` = all at once, every prompt the same."""

    requests: int = 60
    levels: tuple[int, ...] = (20,)
    burst: bool = False
    shared_tokens: int = 8000
    context_tokens: int = 0
    max_tokens: int = 64
    window: int = 0
    margin: int = 1024
    draw: int = 1
    steps: draws.Steps = draws.BUILTIN
    warmup: int = 1
    timeout_s: float = 900.0
    no_thinking: bool = False


@dataclass(frozen=True)
class Stated:
    """What flags say about the endpoint; they win over what it says itself."""

    engine: str | None = None
    engine_version: str | None = None
    quantization: str | None = None
    gpu_model: str | None = None
    gpu_count: int | None = None


async def bench(
    endpoint: Endpoint,
    plan: Plan,
    stated: Stated = Stated(),
    *,
    tell: Callable[[int, int], None] = lambda *_: None,
    clock: Clock = time.perf_counter,
    http: httpx.AsyncClient | None = None,
) -> Report:
    """Measure; ``tell`` hears (concurrency, requests done). Raises anvil.lab.reach.Unreachable."""
    started = datetime.now(UTC)
    async with http or chat.client(endpoint) as client:
        await reach(client, endpoint)
        seen = await look(client, endpoint)
        window = plan.window or seen.window
        sizes = _sizes(plan, window)
        for _ in range(plan.warmup):
            await timed(client, endpoint, prompt(0, 0, 0, None), plan.max_tokens, plan.timeout_s, clock)
        runs = [
            await _run(client, endpoint, plan, place, sizes, window, tell, clock) for place in range(len(plan.levels))
        ]
    return _report(endpoint, plan, stated, seen, sizes, window, runs, started)


async def _run(
    client: httpx.AsyncClient, endpoint: Endpoint, plan: Plan, place: int, sizes: list[int], window: int | None,
    tell: Callable[[int, int], None], clock: Clock,
) -> Run:  # fmt: skip
    """One level. Its request numbers are its own, so that no level finds another's prompts in a prefix cache."""
    limit = draws.cap(window, plan.max_tokens, plan.margin)
    concurrency = plan.levels[place]
    first = 1 + place * plan.requests
    prompts = [
        partial(prompt, first if plan.burst else first + index, size, plan.shared_tokens, limit)
        for index, size in enumerate(sizes)
    ]
    return await load(
        client,
        endpoint,
        prompts,
        concurrency,
        max_tokens=plan.max_tokens,
        timeout_s=plan.timeout_s,
        tell=partial(tell, concurrency),
        clock=clock,
    )


def _sizes(plan: Plan, window: int | None) -> list[int]:
    wanted = draws.sizes(plan.requests, plan.draw, plan.context_tokens, plan.steps)
    if plan.burst:
        wanted = [max(wanted)] * plan.requests
    return draws.clamped(wanted, draws.cap(window, plan.max_tokens, plan.margin))


def _report(
    endpoint: Endpoint, plan: Plan, stated: Stated, seen: Seen, sizes: list[int], window: int | None,
    runs: list[Run], started: datetime,
) -> Report:  # fmt: skip
    levels = [level(run) for run in runs]
    last, facts = levels[-1], endpoint.facts
    return Report(
        run_id=f"bench-{started:%Y%m%dT%H%M%SZ}",
        base_url=endpoint.base_url,
        model=endpoint.model,
        engine=stated.engine or facts.engine or seen.engine,
        engine_version=stated.engine_version or seen.engine_version,
        quantization=stated.quantization or facts.quantization,
        gpu_model=stated.gpu_model or facts.gpu_model,
        gpu_count=stated.gpu_count or facts.gpu_count,
        requests=last.requests,
        completed=last.completed,
        failures=last.failures,
        concurrency=last.concurrency,
        context_tokens=sizes[0] if plan.context_tokens else None,
        max_context_tokens=max(sizes),
        max_tokens=plan.max_tokens,
        window=window,
        serve_flags=ServeFlags(plan.burst, plan.no_thinking, facts.speculative),
        metrics=last.metrics,
        levels=levels,
        notes=[*endpoint.notes, *seen.notes, *_notes(plan, sizes, window, levels, runs)],
    )


def _notes(plan: Plan, sizes: list[int], window: int | None, levels: list[Level], runs: list[Run]) -> list[str]:
    notes = []
    if window is None:
        notes.append("the window is unknown: prompts are not clamped; --max-model-len states it")
    elif (wanted := max(draws.sizes(plan.requests, plan.draw, plan.context_tokens, plan.steps))) > max(sizes):
        notes.append(f"prompts clamped from {wanted} to {max(sizes)} tokens: the window is {window}")
    if any(found.metrics.output_tokens_estimated for found in levels):
        notes.append("output tokens are estimated from stream pieces: the endpoint reports no usage")
    first = {outcome.failure: outcome.detail for run in reversed(runs) for outcome in reversed(run.outcomes)}
    notes += [f"first {kind}: {detail}" for kind, detail in first.items() if kind]
    return notes
