"""A first quality profile from evaluations graded before (lab contract 6.2). Reads files; contacts nothing."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

from anvil.lab.evaluation import folder as evaluation
from anvil.lab.evaluation.folder import BadEvaluation, JudgeRow
from anvil.lab.evaluation.scores import average, quality, verdict
from anvil.router.profile import Row

TIERS = {"frontier": "cloud", "heavy": "heavy-local", "fast": "fast-local"}


def rows(parent: Path, tiers: Mapping[str, str] = TIERS) -> list[Row]:
    """One row per (tier, class) of every evaluation below ``parent``.

    tiers: label -> tier id. Raises BadEvaluation for anything malformed, for a label that is not mapped, and for a
    mapped one that no answer has.
    """
    graded: dict[tuple[str, str, str], list[tuple[Path, JudgeRow]]] = defaultdict(list)
    for folder in evaluation.evaluations(parent):
        name = evaluation.named(folder)
        assert name is not None  # evaluations() gives only such folders
        for row in evaluation.judge_rows(folder):
            if row.label not in tiers:
                raise BadEvaluation(f"{folder}: label {row.label!r} has no tier; give --map {row.label}=TIER")
            graded[tiers[row.label], name.work_class, row.label].append((folder, row))
    labels = {label for *_, label in graded}
    if strangers := sorted(set(tiers) - set(TIERS) - labels):
        raise BadEvaluation(f"--map {strangers[0]}: no answer has this label; there are: {', '.join(sorted(labels))}")
    _refuse_two_labels(set(graded))
    return [_row(*key, found) for key, found in sorted(graded.items())]


def _refuse_two_labels(keys: set[tuple[str, str, str]]) -> None:
    for tier, work_class, label in keys:
        others = sorted(other for t, c, other in keys if (t, c) == (tier, work_class) and other != label)
        if others:
            raise BadEvaluation(
                f"labels {label!r} and {others[0]!r} both mean tier {tier}; map them to different tiers"
            )


def _row(tier: str, work_class: str, label: str, found: list[tuple[Path, JudgeRow]]) -> Row:
    mean = average(row.scores.total for _, row in found)
    score = quality(mean)
    folders = sorted({folder.name for folder, _ in found})
    return Row(
        tier_id=tier,
        work_class=work_class,
        decision=verdict(score),
        model_label=label,
        quality_score=score,
        sample_n=len(found),
        eval_total_avg=mean,
        last_measured=max(name[:10] for name in folders),
        source_evals=folders,
    )
