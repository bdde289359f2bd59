"""The published rows nearest to our measurement, what differs, and by how much (lab contract 9.5). Advice only."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from msgspec import Struct

from anvil.lab.priors import normal
from anvil.lab.priors.local import METRICS, Local
from anvil.lab.priors.row import Row
from anvil.lab.priors.store import Stored

NEAREST = 5
_EXTERNAL = {"throughput_tok_s": "throughput_tok_s", "decode_tok_s": "decode_tok_s", "ttft_p50_ms": "ttft_ms"}
_GPU, _MODEL, _FAMILY, _ENGINE, _QUANT, _PRECISION, _BUCKET = 10, 7, 4, 3, 3, 2, 2
_NOT = r"\b(?:no|non|not|without|disabled?|off)[\s_-]+(?:the\s+)?"
_FEATURES = {
    "speculative decoding": r"(?:nextn|speculative|draft|mtp|eagle)\w*",
    "prompt or prefix cache": r"(?:(?:prompt|prefix|radix)[\s_-]?cach\w*|shared_prefix_burst)",
}


class Delta(Struct, frozen=True, kw_only=True):
    """``percent`` is of the published figure."""

    metric: str
    local: float
    external: float
    absolute: float
    percent: float | None


class Near(Struct, frozen=True, kw_only=True):
    """A published row by closeness. ``mismatches`` names every axis that differs."""

    id: int
    source: str
    row: Row
    score: int
    exact: bool
    mismatches: tuple[str, ...]
    warnings: tuple[str, ...]
    deltas: tuple[Delta, ...]


class _Axis(NamedTuple):
    points: int
    mismatch: str | None = None


def nearest(ours: Local, stored: Iterable[Stored], count: int = NEAREST) -> tuple[Near, ...]:
    """By score, throughput and id."""
    ranked = sorted((near(ours, each) for each in stored), key=_order)
    return tuple(ranked[:count])


def near(ours: Local, stored: Stored) -> Near:
    axes = list(_axes(ours, stored.row))
    mismatches = tuple(axis.mismatch for axis in axes if axis.mismatch)
    return Near(
        id=stored.id,
        source=stored.source,
        row=stored.row,
        score=sum(axis.points for axis in axes),
        exact=not mismatches,
        mismatches=mismatches,
        warnings=tuple(_warnings(ours, stored.row)),
        deltas=tuple(_deltas(ours, stored.row)),
    )


def markdown(ours: Local, found: Iterable[Near]) -> str:
    """The comparison for people."""
    lines = [f"# {ours.model} against published rows", "", "Advisory: other hosts, other loads.", ""]
    lines += [
        "| score | source | model | gpu | metric | ours | published | delta |",
        "|---|---|---|---|---|---|---|---|",
    ]
    rows = list(found)
    for each in rows:
        for delta in each.deltas or (None,):
            figures = (delta.metric, f"{delta.local:g}", f"{delta.external:g}", percent(delta)) if delta else ("-",) * 4
            cells = (
                f"{each.score}{' exact' if each.exact else ''}",
                each.source,
                each.row.model_name_raw,
                each.row.gpu_model,
            )
            lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in (*cells, *figures)) + " |")
    for each in rows:
        lines += [f"- {each.row.source_row_id}: {text}" for text in (*each.mismatches, *each.warnings)]
    return "\n".join(lines if rows else [*lines[:4], "No published row."]) + "\n"


def percent(delta: Delta) -> str:
    return "n/a" if delta.percent is None else f"{delta.percent:+.1f} %"


def _order(each: Near) -> tuple[int, bool, float, int]:
    rate = each.row.throughput_tok_s
    return -each.score, rate is None, -(rate or 0.0), each.id


def _axes(ours: Local, row: Row) -> Iterator[_Axis]:
    yield _same("GPU", ours.gpu, row.gpu_model, _GPU)
    yield _model(ours.model, row)
    yield _same("engine", ours.engine, row.engine, _ENGINE)
    yield _format(ours, row)
    context = normal.context_bucket(row.context_tokens or row.max_context_tokens)
    yield _same("context", normal.context_bucket(ours.context), context, _BUCKET)
    streams = normal.concurrency_bucket(row.concurrency)
    yield _same("concurrency", normal.concurrency_bucket(ours.concurrency), streams, _BUCKET)


def _same(name: str, ours: str | None, theirs: str | None, points: int) -> _Axis:
    if ours == theirs:
        return _Axis(points if ours is not None else 0)
    return _Axis(0, f"{name} differs: ours {ours or 'unknown'}, published {theirs or 'unknown'}")


def _model(name: str, row: Row) -> _Axis:
    if normal.model(name) == row.model_id_normalized:
        return _Axis(_MODEL)
    same = normal.family(name) == row.model_family
    return _Axis(_FAMILY if same else 0, f"model differs: ours {name}, published {row.model_name_raw}")


def _format(ours: Local, row: Row) -> _Axis:
    """Quantization decides where both say it, else precision; an unknown precision is no difference."""
    if ours.quantization and ours.quantization == row.quantization:
        return _Axis(_QUANT)
    if ours.quantization or row.quantization:
        return _same("quantization", ours.quantization, row.quantization, 0)
    if ours.precision and row.precision:
        return _same("precision", ours.precision, row.precision, _PRECISION)
    return _Axis(0)


def _warnings(ours: Local, row: Row) -> Iterator[str]:
    external = " ".join(filter(None, (row.methodology_notes, row.hardware_notes)))
    for name, pattern in _FEATURES.items():
        here, there = _says(ours.flags, pattern), _says(external, pattern)
        if here and not there:
            yield f"{name} here, not in the published run"
        elif there and not here:
            yield f"{name} in the published run, not here"


def _says(text: str, pattern: str) -> bool:
    """A negated mention ("no-mtp", "without prefix caching") is none."""
    lower = text.lower()
    return re.search(rf"(?<![a-z]){pattern}", re.sub(rf"{_NOT}{pattern}", " ", lower)) is not None


def _deltas(ours: Local, row: Row) -> Iterator[Delta]:
    for metric in METRICS:
        mine, theirs = ours.metrics.get(metric), getattr(row, _EXTERNAL[metric])
        if mine is not None and theirs is not None:
            share = (mine - theirs) / theirs * 100 if theirs else None
            yield Delta(metric=metric, local=mine, external=theirs, absolute=mine - theirs, percent=share)
