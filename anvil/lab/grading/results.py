"""What an evaluation comes to: structure per output, judge scores, averages and how far the judges agree (5.1)."""

from __future__ import annotations

import csv
import io
import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import combinations
from pathlib import Path
from statistics import fmean
from typing import Any

from anvil.lab.evaluation import folder as evaluation
from anvil.lab.evaluation.folder import BadEvaluation, JudgeRow
from anvil.lab.evaluation.scores import average, quality
from anvil.lab.grading import structure

# the plan format is what 5.2 grades; answers of other classes have no such structure
PLANNING = "planning"
_MEASURED = ("elapsed_s", "completion_tokens", "tok_per_s", "chars")


def files(folder: Path) -> dict[str, bytes]:
    """Name -> content of every result file of one evaluation. Raises BadEvaluation before anything is added up."""
    structures = _structures(folder)
    judged = any((folder / "grading").glob("judge_*.json"))
    rows = evaluation.judge_rows(folder) if judged else []
    found = {"metrics_long.csv": _csv(("prd", "model", "metric", "value"), _metrics(folder, structures, rows))}
    if structures:
        found["grade_struct.json"] = _json(structures)
    if rows:
        found["judge_dimensions_long.csv"] = _csv(("prd", "model", "judge", "dimension", "score"), _dimensions(rows))
        found["aggregate.json"] = _json(aggregate(rows, evaluation.anon_map(folder)))
    return found


def _structures(folder: Path) -> dict[str, dict[str, Any]]:
    """{prompt: {label: {structural_score, tasks, checks}}} of a planning evaluation, else nothing."""
    name = evaluation.named(folder)
    if name is None:
        raise BadEvaluation(
            f"{folder}: {'name the folder YYYY-MM-DD-<class>' if folder.is_dir() else 'no such folder'}"
        )
    outputs = evaluation.outputs(folder)
    if not outputs:
        raise BadEvaluation(f"{folder / 'outputs'}: holds no out_<prd>__<label>.md")
    if name.work_class != PLANNING:
        return {}
    prompts = evaluation.prompts(folder)
    found: dict[str, dict[str, Any]] = defaultdict(dict)
    for output in outputs:
        if output.prd not in prompts:
            raise BadEvaluation(f"{folder / 'prompts'}: prompt_{output.prd}.txt is missing")
        graded = structure.grade(output.text, structure.features_of(prompts[output.prd]))
        found[output.prd][output.label] = {
            "structural_score": graded.score,
            "tasks": graded.tasks,
            "checks": graded.checks,
        }
    return dict(found)


def aggregate(rows: Sequence[JudgeRow], anon_map: dict[str, dict[str, str]]) -> dict[str, Any]:
    """Averages of totals (0 to 25), agreement of judges, and the rows themselves."""
    by_prd: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    by_model: dict[str, list[int]] = defaultdict(list)
    for row in rows:
        by_prd[row.prd][row.label].append(row.scores.total)
        by_model[row.label].append(row.scores.total)
    return {
        "per_prd_model_judge_avg": {
            prd: {label: average(totals) for label, totals in labels.items()} for prd, labels in by_prd.items()
        },
        "per_model_overall": {
            label: {"avg": average(totals), "n": len(totals), "quality_score": quality(average(totals))}
            for label, totals in by_model.items()
        },
        "inter_judge_agreement": _agreement(rows),
        "anon_map": anon_map,
        "raw_judge_rows": [
            {"prd": row.prd, "judge": row.judge, "model": row.label, **row.scores.scores, "total": row.scores.total}
            for row in rows
        ],
    }


def _agreement(rows: Sequence[JudgeRow]) -> dict[str, Any]:
    """Over all pairs of judges of one output: mean distance of their totals, and the share of equal dimensions."""
    by_output: dict[tuple[str, str], list[JudgeRow]] = defaultdict(list)
    for row in rows:
        by_output[row.prd, row.label].append(row)
    pairs = [pair for found in by_output.values() for pair in combinations(found, 2)]
    if not pairs:
        return {"pairs": 0, "mean_abs_total_difference": None, "equal_dimensions": None}
    same = [a.scores.scores[name] == b.scores.scores[name] for a, b in pairs for name in a.scores.scores]
    return {
        "pairs": len(pairs),
        "mean_abs_total_difference": round(fmean(abs(a.scores.total - b.scores.total) for a, b in pairs), 3),
        "equal_dimensions": round(sum(same) / len(same), 4),
    }


# ------------------------------------------------------------------------------------------------ tables


def _metrics(
    folder: Path, structures: dict[str, dict[str, Any]], rows: Sequence[JudgeRow]
) -> Iterable[tuple[object, ...]]:
    for prd, labels in structures.items():
        for label, found in labels.items():
            yield prd, label, "structural_score", found["structural_score"]
            yield prd, label, "tasks", found["tasks"]
            for name, passed in found["checks"].items():
                yield prd, label, name, int(passed)
    for row in _generated(folder):
        for name in _MEASURED:
            if row.get(name) is not None:
                yield row.get("prd"), row.get("model"), name, row[name]
    for prd, labels in aggregate(rows, {})["per_prd_model_judge_avg"].items():
        for label, mean in labels.items():
            yield prd, label, "judge_total_avg", mean


def _generated(folder: Path) -> list[dict[str, Any]]:
    file = folder / "grading" / "gen_manifest.json"
    if not file.exists():
        return []
    try:
        rows = json.loads(evaluation.text_of(file))
    except (ValueError, RecursionError) as error:
        raise BadEvaluation(f"{file}: not JSON: {error}") from None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise BadEvaluation(f"{file}: wanted a list of tables")
    return rows


def _dimensions(rows: Sequence[JudgeRow]) -> Iterable[tuple[object, ...]]:
    for row in rows:
        for name, points in row.scores.scores.items():
            yield row.prd, row.label, row.judge, name, points
        yield row.prd, row.label, row.judge, "total", row.scores.total


def _csv(header: Sequence[str], rows: Iterable[tuple[object, ...]]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(sorted(rows, key=lambda row: [str(cell) for cell in row]))
    return text.getvalue().encode()


def _json(value: object) -> bytes:
    return json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False).encode() + b"\n"
