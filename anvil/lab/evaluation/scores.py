"""The judge's five dimensions and how their total becomes a verdict (lab contract 5.1, 6.1)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from msgspec import Struct

from anvil.router.profile import EVAL_MAX
from anvil.router.taxonomy import Verdict

DIMENSIONS = (
    "decomposition_granularity",
    "requirement_coverage",
    "dependency_correctness",
    "acceptance_verifiability",
    "faithfulness",
)
DIMENSION_MAX = 5
ALLOW_FROM = 0.85
DENY_BELOW = 0.70


class BadScores(ValueError):
    """Scores that break the rubric; never repaired."""


class Scores(Struct, frozen=True):
    """Points per dimension (0 to 5) and their sum (0 to 25)."""

    scores: dict[str, int]
    total: int


def checked(scores: object, total: object) -> Scores:
    """Scores as a judge gave them. Raises BadScores for a missing, extra, out-of-range or mismatching value."""
    if not isinstance(scores, Mapping):
        raise BadScores("scores is not a table of the five dimensions")
    if wrong := sorted({str(name) for name in scores} ^ set(DIMENSIONS)):
        raise BadScores(f"scores: missing or unknown dimension {', '.join(wrong)[:200]}")
    for name in DIMENSIONS:
        if not _is_points(scores[name], DIMENSION_MAX):
            raise BadScores(f"scores.{name}: {str(scores[name])[:40]} is not a whole number from 0 to {DIMENSION_MAX}")
    points = {name: int(scores[name]) for name in DIMENSIONS}
    if not _is_points(total, int(EVAL_MAX)) or total != sum(points.values()):
        raise BadScores(f"total {str(total)[:40]} is not the sum of the dimensions, {sum(points.values())}")
    return Scores(points, sum(points.values()))


def _is_points(value: object, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= most


def average(totals: Iterable[int]) -> float:
    """Mean of totals, three places."""
    values = list(totals)
    return round(sum(values) / len(values), 3)


def quality(mean: float) -> float:
    """Share of the maximum, four places."""
    return round(mean / EVAL_MAX, 4)


def verdict(score: float) -> Verdict:
    """allow from 0.85, deny below 0.70, otherwise allow-with-verify."""
    if score >= ALLOW_FROM:
        return "allow"
    return "deny" if score < DENY_BELOW else "allow-with-verify"
