"""``anvil eval grade``: the committed evaluation's figures are recomputed; faults stop before adding up (5.1, 5.3)."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from anvil.cli.evaluate import evaluate
from tests.unit.lab.evaluation.folders import PLANNING, copy, edit

FILES = {"grade_struct.json", "metrics_long.csv", "judge_dimensions_long.csv", "aggregate.json"}


def run(*arguments: object) -> Result:
    return CliRunner().invoke(evaluate, [str(argument) for argument in arguments], catch_exceptions=False)


def test_the_figures_behind_the_seed_profiles_planning_denial(tmp_path: Path) -> None:
    result = run("grade", PLANNING, "--out", tmp_path / "r", "--json")
    assert result.exit_code == 0, result.stderr
    document = json.loads(result.stdout)
    assert document["schema"] == "anvil.eval-grade/v1"
    assert {label: row["avg"] for label, row in document["judges"].items()} == {
        "frontier": 24.75, "fast": 16.0, "heavy": 13.25,
    }  # fmt: skip
    assert document["structural_score"] == {"frontier": 1.0, "fast": 0.8462, "heavy": 0.5769}


def test_every_result_file_says_the_same(tmp_path: Path) -> None:
    assert run("grade", PLANNING, "--out", tmp_path).exit_code == 0
    assert {file.name for file in tmp_path.iterdir()} == FILES
    aggregate = json.loads((tmp_path / "aggregate.json").read_text())
    assert set(aggregate) == {
        "per_prd_model_judge_avg", "per_model_overall", "inter_judge_agreement", "anon_map", "raw_judge_rows",
    }  # fmt: skip
    assert aggregate["per_prd_model_judge_avg"]["meters"] == {"frontier": 24.5, "fast": 16.0, "heavy": 13.0}
    # by hand: totals differ by 0 0 1 and 1 2 0 over six pairs; 8 of 30 dimensions differ
    assert aggregate["inter_judge_agreement"] == {
        "pairs": 6, "mean_abs_total_difference": 0.667, "equal_dimensions": 0.7333,
    }  # fmt: skip
    assert len(aggregate["raw_judge_rows"]) == 12
    with (tmp_path / "metrics_long.csv").open() as file:
        metrics = {(row["prd"], row["model"], row["metric"]): row["value"] for row in csv.DictReader(file)}
    assert metrics["bookmarks", "fast", "structural_score"] == "0.8462"
    assert metrics["bookmarks", "fast", "verification_command"] == "0"
    assert metrics["meters", "heavy", "judge_total_avg"] == "13.0"
    assert metrics["meters", "heavy", "completion_tokens"] == "1240"
    with (tmp_path / "judge_dimensions_long.csv").open() as file:
        assert sum(int(row["score"]) for row in csv.DictReader(file) if row["dimension"] == "total") == 99 + 64 + 53


def test_results_go_beside_the_folder_and_the_folder_is_not_touched(tmp_path: Path) -> None:
    folder = copy(tmp_path)
    before = {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    assert run("grade", folder).exit_code == 0
    assert {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()} == before
    assert {file.name for file in (tmp_path / "results").iterdir()} == FILES
    assert run("grade", folder).exit_code == 0, "nothing to do"
    (tmp_path / "results" / "aggregate.json").write_text("mine")
    assert run("grade", folder).exit_code == 2
    assert run("grade", folder, "--force").exit_code == 0


def test_without_judges_only_structure_is_told(tmp_path: Path) -> None:
    folder = copy(tmp_path)
    for file in (folder / "grading").glob("*.json"):
        file.unlink()
    assert run("grade", folder).exit_code == 0
    assert {file.name for file in (tmp_path / "results").iterdir()} == {"grade_struct.json", "metrics_long.csv"}


@pytest.mark.parametrize("fault", ["total", "prompt", "output", "manifest", "name", "empty"])
def test_a_fault_stops_before_anything_is_written(tmp_path: Path, fault: str) -> None:
    folder = copy(tmp_path, "planning" if fault == "name" else PLANNING.name)
    row = folder / "grading" / "judge_meters_2.json"
    if fault == "total":
        candidates = json.loads(row.read_text())["candidates"]
        candidates["A"]["total"] = 24
        edit(row, candidates=candidates)
    elif fault == "prompt":
        (folder / "prompts" / "prompt_meters.txt").unlink()
    elif fault == "output":
        (folder / "outputs" / "plan.md").write_text("x")
    elif fault == "manifest":
        (folder / "grading" / "gen_manifest.json").write_text("{}")
    elif fault == "empty":
        for file in (folder / "outputs").iterdir():
            file.unlink()
    result = run("grade", folder)
    assert (result.exit_code, (tmp_path / "results").exists()) == (2, False)
    assert str(folder) in result.stderr
