"""Bench and preflight files beside a captured recipe, and whether they verify it (lab contract 7)."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

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
    run_id: str = ""
    base_url: str = ""
    model: str | None = None
    image_digest: str | None = None
    context_tokens: int | None = None
    max_context_tokens: int | None = None
    metrics: Metrics


class Preflight(Struct, frozen=True, kw_only=True):
    schema: str
    passed: bool
    model: str | None = None
    started: str | float = ""


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
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
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
        "measured_at": "-".join((at[:4], at[4:6], at[6:8])) if (at := _instant(load.run_id)) else None,
    }
    return {key: value for key, value in rows.items() if value}


def doubts(row: dict[str, Any], load: Bench | None, gate: Preflight | None, started: str = "") -> list[str]:
    """Why the recipe stays unverified; empty = verified. ``started``: since when the container runs (UTC)."""
    found = []
    if gate is None or not gate.passed:
        found.append("no preflight given" if gate is None else "its preflight failed")
    elif _instant(gate.started) and _instant(gate.started) < _instant(started):
        found.append("its preflight is older than the container")
    if load is None or not load.completed or not load.metrics.throughput_tok_s:
        found.append("no bench given" if load is None else "its bench completed nothing")
    elif not _same_image(row, load, started):
        found.append("the bench is not known to have measured the image that runs now")
    if load and gate and load.model != gate.model:
        found.append(f"preflight asked {gate.model} and bench asked {load.model}")
    return found


def _same_image(row: dict[str, Any], load: Bench, started: str) -> bool:
    """By its digest, else because the container has run since before the bench, on the port that was measured."""
    digest = row.get("measured", {}).get("image_digest")
    if digest is None or load.image_digest is not None:
        return digest is not None and load.image_digest == digest
    try:
        port = urlsplit(load.base_url).port
    except ValueError:
        return False
    measured_at, since = _instant(load.run_id), _instant(started)
    return bool(since) and since <= measured_at and port is not None and port == row.get("serve", {}).get("port")


def _instant(text: str | float) -> str:
    """Year to second as digits, which order like the instants; "" when that is not what the text holds."""
    digits = re.sub(r"\D", "", str(text))[:14]
    return digits if isinstance(text, str) and len(digits) == 14 else ""


def joined(row: dict[str, Any], load: Bench | None, gate: Preflight | None, verified: bool) -> dict[str, Any]:
    """The captured row with its figures and its status."""
    figures = {**row.get("measured", {}), **(measured(load) if load else {})}
    if gate is not None:
        figures["preflight"] = "passed" if gate.passed else "failed"
    return {**row, "status": "verified" if verified else "unverified", **({"measured": figures} if figures else {})}
