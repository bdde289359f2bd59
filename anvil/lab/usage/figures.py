"""Figures over numbers: linear percentiles, spreads, inverse distributions."""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec

CEILINGS = (16_384, 32_768, 65_536, 131_072, 262_144)
_POINTS = 20


class Spread(msgspec.Struct, frozen=True):
    """Tokens or calls; None = there is nothing to measure."""

    n: int
    p50: int | None
    p90: int | None
    p95: int | None
    p99: int | None
    max: int | None
    mean: int | None


def percentile(values: Sequence[float], share: float) -> float | None:
    """Linear interpolation between the two nearest of the sorted values."""
    ordered = sorted(values)
    if not ordered:
        return None
    place = share * (len(ordered) - 1)
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


def whole(values: Sequence[float], share: float) -> int | None:
    """The percentile, rounded."""
    found = percentile(values, share)
    return None if found is None else round(found)


def spread(values: Sequence[int]) -> Spread:
    p50, p90, p95, p99, highest = (whole(values, share) for share in (0.5, 0.9, 0.95, 0.99, 1))
    return Spread(len(values), p50, p90, p95, p99, highest, round(sum(values) / len(values)) if values else None)


def distribution(values: Sequence[int]) -> list[tuple[float, int]]:
    """(share of calls, tokens that cover them), ascending: what the bench draws from."""
    shares = [step / _POINTS for step in range(_POINTS + 1)]
    return [(share, max(1, found)) for share in shares if (found := whole(values, share)) is not None]


def coverage(values: Sequence[int]) -> dict[str, float | None]:
    """Percent of calls whose context fits each ceiling."""
    fits = {ceiling: sum(value <= ceiling for value in values) for ceiling in CEILINGS}
    return {str(ceiling): round(100 * count / len(values), 1) if values else None for ceiling, count in fits.items()}
