"""Offline metrics of recorded decisions and the promotion gate (contract 18).

Input is JSONL of decision records, each enriched with ``ground_truth`` ("pass", "fail" or null). Deterministic.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from typing import Final

from msgspec import Struct

SCHEMA: Final = "anvil-serving.router.metrics/v1"
OVERALL: Final = "__overall__"
UNCLASSIFIED: Final = "(unclassified)"
DEFAULT_THRESHOLD: Final = 0.01


class BadRecord(ValueError):
    """A line that is no decision record; the text names the line."""


class Tally(Struct):
    """Sums over one work class, or over all. Rates are 0 where nothing was accepted locally; ``graded_local`` counts
    what somebody judged of that: a failure that nobody looked for is not there to be found."""

    total: int = 0
    accepted_local: int = 0
    accept_rate: float = 0.0
    graded_local: int = 0
    silent_failures: int = 0
    silent_failure_rate: float = 0.0
    cloud_tokens_saved: int = 0
    cost_usd: float = 0.0


class Summary(Struct, kw_only=True):
    """``breaches`` holds sorted classes, then ``__overall__`` when all together breach."""

    schema: str = SCHEMA
    threshold: float
    total_records: int
    modes: list[str]
    classes: dict[str, Tally]
    overall: Tally
    breaches: list[str]
    gate_passed: bool


def evaluate(lines: Iterable[str], threshold: float = DEFAULT_THRESHOLD) -> Summary:
    """Tallies and the gate: a silent failure rate at or above ``threshold`` anywhere is a breach.

    Raises ValueError for a threshold outside 0..1, BadRecord for a line that cannot be read and for no lines at all.
    """
    if not 0 <= threshold <= 1:
        raise ValueError("the silent failure threshold must be from 0 to 1")
    classes: dict[str, Tally] = {}
    overall = Tally()
    modes: set[str] = set()
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        record = _record(line, number)
        for tally in (overall, classes.setdefault(_class_of(record), Tally())):
            _add(tally, record)
        if isinstance(mode := record.get("mode"), str) and mode:
            modes.add(mode)
    for tally in (overall, *classes.values()):
        _rates(tally)
    if not overall.total:
        raise BadRecord("no record: an empty window proves nothing")
    breaches = [name for name in sorted(classes) if classes[name].silent_failure_rate >= threshold]
    if overall.silent_failure_rate >= threshold:
        breaches.append(OVERALL)
    return Summary(
        threshold=threshold,
        total_records=overall.total,
        modes=sorted(modes),
        classes={name: classes[name] for name in sorted(classes)},
        overall=overall,
        breaches=breaches,
        gate_passed=not breaches,
    )


Record = dict[str, object]


def _record(line: str, number: int) -> Record:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        raise BadRecord(f"line {number}: not JSON") from None
    if not isinstance(record, dict):
        raise BadRecord(f"line {number}: not a JSON object")
    problem = next((text for good, text in _rules(record) if not good), None)
    if problem:
        raise BadRecord(f"line {number}: {problem}")
    return record


def _rules(record: Record) -> list[tuple[bool, str]]:
    attempts = record.get("attempts") or []
    well_formed = isinstance(attempts, list) and all(isinstance(attempt, dict) for attempt in attempts)
    counted = [record, *attempts] if isinstance(attempts, list) and well_formed else [record]
    return [
        (record.get("ground_truth") in (None, "pass", "fail"), 'ground_truth must be "pass", "fail" or null'),
        (isinstance(record.get("silent_failure"), bool | None), "silent_failure must be a boolean"),
        (isinstance(record.get("work_class"), str | None), "work_class must be a string or null"),
        (isinstance(record.get("served_tier"), str | None), "served_tier must be a string or null"),
        (well_formed, "attempts must be a list of objects"),
        (all(_is_number(entry.get(name)) for entry in counted for name in _NUMBERS), _NUMBERS_RULE),
        (not record.keys().isdisjoint(_OF_A_RECORD), _NO_RECORD),
    ]


_OF_A_RECORD: Final = ("served_tier", "work_class", "outcome", "ground_truth")
_NO_RECORD: Final = "no decision record; give one a line, as /v1/decisions?format=jsonl writes them"
_NUMBERS: Final = (
    "total_prompt_tokens",
    "total_completion_tokens",
    "prompt_tokens",
    "completion_tokens",
    "cost_usd",
)
_NUMBERS_RULE: Final = f"{', '.join(_NUMBERS)} must be numbers >= 0"


def _is_number(value: object) -> bool:
    if value is None:
        return True
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value >= 0


def _class_of(record: Record) -> str:
    return str(record.get("work_class") or UNCLASSIFIED)


def _add(tally: Tally, record: Record) -> None:
    tally.total += 1
    tally.cost_usd += _number(record, "cost_usd")
    if not record.get("served_tier") or record.get("served_tier_privacy") != "local":
        return
    tally.accepted_local += 1
    tally.cloud_tokens_saved += _served_tokens(record)
    explicit = record.get("silent_failure")
    if isinstance(explicit, bool) or record.get("ground_truth") is not None:
        tally.graded_local += 1
    if explicit if isinstance(explicit, bool) else record.get("ground_truth") == "fail":
        tally.silent_failures += 1


def _served_tokens(record: Record) -> int:
    """Prompt and completion of the served attempt, else the totals of the record."""
    attempts = record.get("attempts")
    for attempt in attempts if isinstance(attempts, list) else []:
        if attempt.get("outcome") == "served":
            return int(_number(attempt, "prompt_tokens") + _number(attempt, "completion_tokens"))
    return int(_number(record, "total_prompt_tokens") + _number(record, "total_completion_tokens"))


def _number(record: Record, name: str) -> float:
    value = record.get(name)
    return value if isinstance(value, int | float) else 0


def _rates(tally: Tally) -> None:
    tally.cost_usd = round(tally.cost_usd, 9)
    tally.accept_rate = tally.accepted_local / tally.total if tally.total else 0.0
    if tally.accepted_local:
        tally.silent_failure_rate = tally.silent_failures / tally.accepted_local
