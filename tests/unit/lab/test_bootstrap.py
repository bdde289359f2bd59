"""``anvil bootstrap``: the pinned figures, byte for byte, and every refusal (B5)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from anvil.cli.calibrate import bootstrap
from anvil.router import profile
from tests.unit.lab.evaluation.folders import EVALS, copy, edit


def run(*arguments: object) -> Result:
    return CliRunner().invoke(bootstrap, [str(argument) for argument in arguments], catch_exceptions=False)


def test_the_pinned_figures_and_a_file_the_router_reads(tmp_path: Path) -> None:
    out = tmp_path / "profile.json"
    result = run("--replay", EVALS, "--out", out)
    assert result.exit_code == 0, result.stderr
    mode, rows = profile.read(out.read_bytes(), "profile.json")
    assert mode == "replay"
    assert [(r.tier_id, r.decision, r.quality_score, r.sample_n, r.eval_total_avg) for r in rows] == [
        ("cloud", "allow", 0.99, 4, 24.75),
        ("fast-local", "deny", 0.64, 4, 16.0),
        ("heavy-local", "deny", 0.53, 4, 13.25),
    ]
    assert {(r.work_class, r.last_measured, *r.source_evals) for r in rows} == {
        ("planning", "2026-06-20", "2026-06-20-planning-capability")
    }


def test_repeats_give_the_same_bytes(tmp_path: Path) -> None:
    first, second = tmp_path / "a.json", tmp_path / "b.json"
    run("--replay", EVALS, "--out", first)
    run("--replay", EVALS, "--out", second)
    assert first.read_bytes() == second.read_bytes()
    assert first.read_bytes().endswith(b"}\n")
    assert run("--replay", EVALS, "--out", first).exit_code == 0, "nothing to do is no refusal"


def test_several_evaluations_of_a_class_are_one_row(tmp_path: Path) -> None:
    copy(tmp_path)
    copy(tmp_path, "2026-07-01-planning-eval")
    copy(tmp_path, "2026-07-02-multi-file-refactor")
    copy(tmp_path, "2026-07-03-poetry")
    document = json.loads(run("--replay", tmp_path, "--out", tmp_path / "p.json", "--json").stdout)
    cloud = {row["work_class"]: row for row in document["rows"] if row["tier_id"] == "cloud"}
    assert document["schema"] == "anvil.bootstrap/v1"
    assert set(cloud) == {"planning", "multi-file-refactor", "poetry"}
    assert (cloud["planning"]["sample_n"], cloud["planning"]["last_measured"]) == (8, "2026-07-01")


def test_labels_go_where_map_says(tmp_path: Path) -> None:
    result = run("--replay", EVALS, "--out", tmp_path / "p.json", "--map", "heavy=big", "--json")
    assert {row["tier_id"] for row in json.loads(result.stdout)["rows"]} == {"cloud", "fast-local", "big"}


def test_every_fault_of_the_data_exits_2_and_writes_nothing(tmp_path: Path) -> None:
    folder = copy(tmp_path)
    row = folder / "grading" / "judge_meters_1.json"
    good = row.read_text()
    letters = json.loads((folder / "grading" / "anon_map.json").read_text())
    candidates = json.loads(good)["candidates"]
    cases = [
        (row, {"candidates": {"A": candidates["A"] | {"total": 23}}}, "total 23 is not the sum"),
        (row, {"candidates": {"Z": candidates["A"]}}, "no label has this letter"),
        (row, {"candidates": {"A": []}}, "scores is not a table"),
        (row, {"candidates": {}}, "needs prd, judge and candidates"),
        (row, {"prd": "other"}, "not in anon_map.json"),
        (
            folder / "grading" / "anon_map.json",
            {"meters": {"best": "A", "fast": "B", "heavy": "C"}},
            "'best' has no tier",
        ),
        (folder / "grading" / "anon_map.json", {"meters": {"a": "A", "b": "A"}}, "one letter stands for two"),
    ]
    for file, fields, problem in cases:
        edit(file, **fields)
        result = run("--replay", tmp_path, "--out", tmp_path / "out.json")
        assert (result.exit_code, (tmp_path / "out.json").exists()) == (2, False), problem
        assert problem in result.stderr
        row.write_text(good)
        (folder / "grading" / "anon_map.json").write_text(json.dumps(letters))


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("--replay", "nowhere", "--out", "p.json"), "no such folder"),
        (("--replay", "empty", "--out", "p.json"), "holds no evaluation"),
        (("--replay", EVALS, "--out", "missing/p.json"), "give --mkdir"),
        (("--replay", EVALS, "--out", "taken.json"), "give --force"),
        (("--replay", EVALS, "--out", "p.json", "--map", "heavy"), "wanted NAME=VALUE"),
        (("--replay", EVALS, "--out", "p.json", "--map", "haevy=big"), "there are: fast, frontier, heavy"),
        (("--replay", EVALS, "--out", "p.json", "--map", "heavy=cloud"), "both mean tier cloud"),
        (("--replay", EVALS), "--out"),
    ],
)
def test_usage_faults_exit_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[object, ...], problem: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "taken.json").write_text("mine")
    result = run(*arguments)
    assert result.exit_code == 2
    assert problem in result.stderr
    assert (tmp_path / "taken.json").read_text() == "mine"
