"""Grades to the rows of a candidate profile; pairs that were not measured keep their live row."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from anvil.lab.calibrate.grading import Graded
from anvil.lab.evaluation.scores import average, quality, verdict
from anvil.router.profile import Row

LIVE = "live"


def measured(grades: Iterable[Graded]) -> list[Row]:
    """One row per (tier, class), with an explicit decision and the fingerprint of what was measured."""
    by_pair: dict[tuple[str, str], list[Graded]] = defaultdict(list)
    for grade in grades:
        by_pair[grade.tier_id, grade.work_class].append(grade)
    return [_row(found) for _, found in sorted(by_pair.items())]


def _row(grades: list[Graded]) -> Row:
    last = max(grades, key=lambda grade: grade.day)
    grades = [grade for grade in grades if grade.fingerprint == last.fingerprint]  # older ones graded something else
    mean = average(grade.total for grade in grades)
    return Row(
        tier_id=last.tier_id,
        work_class=last.work_class,
        decision=verdict(quality(mean)),
        model_label=last.model or last.tier_id,
        quality_score=quality(mean),
        sample_n=len(grades),
        eval_total_avg=mean,
        last_measured=last.day,
        source_evals=[LIVE],
        fingerprint=last.fingerprint,
        reasoning=last.reasoning,
    )


def over(live: Iterable[Row], rows: Iterable[Row]) -> list[Row]:
    """``rows`` and, of the live profile, those of other pairs: a denial of today must not vanish unmeasured."""
    merged = {row.key: row for row in live} | {row.key: row for row in rows}
    return list(merged.values())
