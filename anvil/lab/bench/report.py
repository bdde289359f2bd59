"""Figures of a run and the document anvil.bench/v1."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import msgspec

from anvil.lab.bench.load import Outcome, Run

SCHEMA = "anvil.bench/v1"


class Metrics(msgspec.Struct, frozen=True, kw_only=True):
    """Milliseconds and tokens per second; None = nothing completed, or the endpoint does not report it.

    ``throughput_tok_s`` is of all streams together, ``decode_tok_s`` the median of single streams after their first
    token. ``ttft_content`` is the first token that is not reasoning.
    """

    ttft_p50_ms: float | None
    ttft_p95_ms: float | None
    ttft_p99_ms: float | None
    ttft_content_p50_ms: float | None
    ttft_content_p95_ms: float | None
    e2e_p50_ms: float | None
    e2e_p95_ms: float | None
    e2e_p99_ms: float | None
    throughput_tok_s: float | None
    decode_tok_s: float | None
    output_tokens: int
    output_tokens_estimated: bool
    prompt_tokens_avg: float | None
    prefix_cache_hit_avg: float | None


class Level(msgspec.Struct, frozen=True, kw_only=True):
    """One level of concurrency. ``failures`` counts by class."""

    concurrency: int
    requests: int
    completed: int
    failures: dict[str, int]
    wall_s: float
    metrics: Metrics


class ServeFlags(msgspec.Struct, frozen=True):
    shared_prefix_burst: bool
    no_thinking: bool
    speculative: bool | None


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """anvil.bench/v1. ``levels`` has every level run, the figures at the top are the last one's. Unknown is null,
    never a guess."""

    schema: str = SCHEMA
    run_id: str
    base_url: str
    model: str
    engine: str | None
    engine_version: str | None
    quantization: str | None
    gpu_model: str | None
    gpu_count: int | None
    requests: int
    completed: int
    failures: dict[str, int]
    concurrency: int
    context_tokens: int | None
    max_context_tokens: int
    max_tokens: int
    window: int | None
    serve_flags: ServeFlags
    metrics: Metrics
    levels: list[Level]
    notes: list[str]


def percentile(values: Sequence[float], share: float) -> float | None:
    """Nearest rank: the smallest value that at least ``share`` of all do not exceed."""
    ordered = sorted(values)
    return ordered[max(1, math.ceil(share * len(ordered))) - 1] if ordered else None


def level(run: Run) -> Level:
    good = [outcome for outcome in run.outcomes if outcome.failure is None]
    failures = Counter(outcome.failure for outcome in run.outcomes if outcome.failure is not None)
    return Level(
        concurrency=run.concurrency,
        requests=len(run.outcomes),
        completed=len(good),
        failures=dict(failures.most_common()),
        wall_s=round(run.seconds, 3),
        metrics=_metrics(good, run.seconds),
    )


def _metrics(good: list[Outcome], seconds: float) -> Metrics:
    first = _present([outcome.ttft_ms for outcome in good])
    content = _present([outcome.ttft_content_ms for outcome in good])
    whole = [outcome.e2e_ms for outcome in good]
    tokens = sum(outcome.output_tokens for outcome in good)
    return Metrics(
        ttft_p50_ms=_rounded(percentile(first, 0.5)),
        ttft_p95_ms=_rounded(percentile(first, 0.95)),
        ttft_p99_ms=_rounded(percentile(first, 0.99)),
        ttft_content_p50_ms=_rounded(percentile(content, 0.5)),
        ttft_content_p95_ms=_rounded(percentile(content, 0.95)),
        e2e_p50_ms=_rounded(percentile(whole, 0.5)),
        e2e_p95_ms=_rounded(percentile(whole, 0.95)),
        e2e_p99_ms=_rounded(percentile(whole, 0.99)),
        throughput_tok_s=_rounded(tokens / seconds) if good and seconds > 0 else None,
        decode_tok_s=_rounded(percentile(_present([outcome.decode_tok_s for outcome in good]), 0.5)),
        output_tokens=tokens,
        output_tokens_estimated=any(outcome.estimated for outcome in good),
        prompt_tokens_avg=_rounded(_mean(_present([outcome.prompt_tokens for outcome in good]))),
        prefix_cache_hit_avg=_rounded(_mean(_hits(good)), 4),
    )


def _hits(good: list[Outcome]) -> list[float]:
    return [
        outcome.cached_tokens / outcome.prompt_tokens
        for outcome in good
        if outcome.cached_tokens is not None and outcome.prompt_tokens
    ]


def _present(values: Sequence[float | None]) -> list[float]:
    return [value for value in values if value is not None]


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _rounded(value: float | None, digits: int = 2) -> float | None:
    return None if value is None else round(value, digits)


def enough(found: Level, allowed: float) -> bool:
    """Whether no more than the ``allowed`` share failed, counted in whole requests."""
    return found.completed >= found.requests * (1 - allowed) - 1e-9
