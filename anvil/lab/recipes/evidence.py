"""Bench and preflight files beside a captured recipe, and whether they verify it (lab contract 7)."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

import msgspec
from msgspec import Struct

BENCH = ("anvil.bench/v1", "anvil-serving.benchmark/v1")
PREFLIGHT = "anvil.preflight/v1"

Form = TypeVar("Form")


class EvidenceError(Exception):
    """A file that is no bench or preflight report; the sentence names it and what it lacks."""


class Metrics(Struct, frozen=True, kw_only=True):
    ttft_p50_ms: float | None = None
    throughput_tok_s: float | None = None


class Bench(Struct, frozen=True, kw_only=True):
    """What is read of a load report. ``image_digest`` is there when the bench knew what it measured."""

    schema: str
    concurrency: int
    completed: int
    run_id: str | None = None
    model: str | None = None
    image_digest: str | None = None
    context_tokens: int | None = None
    max_context_tokens: int | None = None
    metrics: Metrics


class Preflight(Struct, frozen=True, kw_only=True):
    schema: str
    passed: bool
    model: str | None = None


def bench(path: Path) -> Bench:
    """Raises EvidenceError."""
    found = _read(path, Bench)
    if found.schema not in BENCH:
        raise EvidenceError(f"{path}: schema {found.schema!r} is not {BENCH[0]}; make it with `anvil bench --json-out`")
    return found


def preflight(path: Path) -> Preflight:
    """Raises EvidenceError."""
    found = _read(path, Preflight)
    if found.schema != PREFLIGHT:
        raise EvidenceError(f"{path}: schema {found.schema!r} is not {PREFLIGHT}; make it with `anvil preflight --out`")
    return found


def _read(path: Path, form: type[Form]) -> Form:
    try:
        return msgspec.json.decode(path.read_bytes(), type=form)
    except OSError as error:
        raise EvidenceError(f"{path}: cannot be read: {error.strerror}") from None
    except msgspec.DecodeError as error:
        raise EvidenceError(f"{path}: {error}; give the file the command wrote with its JSON option") from None


def measured(load: Bench) -> dict[str, Any]:
    """The figures under the names a recipe has for them: single only at one stream."""
    figure = load.metrics.throughput_tok_s
    single = load.concurrency == 1
    rows = {
        "throughput_single_tok_s": figure if single else None,
        "throughput_aggregate_tok_s": None if single else figure,
        "concurrency": None if single or figure is None else load.concurrency,
        "ttft_p50_ms": load.metrics.ttft_p50_ms,
        "context_tokens": load.context_tokens or load.max_context_tokens,
        "measured_at": (load.run_id or "").removeprefix("bench-"),
    }
    return {key: value for key, value in rows.items() if value}


def doubts(row: dict[str, Any], load: Bench | None, gate: Preflight | None) -> list[str]:
    """Why the recipe stays unverified; empty = verified."""
    digest = row.get("measured", {}).get("image_digest")
    found = []
    if gate is None or not gate.passed:
        found.append("no preflight given" if gate is None else "its preflight failed")
    if load is None or not load.completed or not load.metrics.throughput_tok_s:
        found.append("no bench given" if load is None else "its bench completed nothing")
    elif digest is None or load.image_digest != digest:
        found.append("the bench does not name the image digest that runs now")
    if load and gate and load.model != gate.model:
        found.append(f"preflight asked {gate.model} and bench asked {load.model}")
    return found


def joined(row: dict[str, Any], load: Bench | None, gate: Preflight | None) -> dict[str, Any]:
    """The captured row with its figures, and verified when nothing speaks against it."""
    figures = {**row.get("measured", {}), **(measured(load) if load else {})}
    if gate is not None:
        figures["preflight"] = "passed" if gate.passed else "failed"
    status = "unverified" if doubts(row, load, gate) else "verified"
    return {**row, "status": status, **({"measured": figures} if figures else {})}
