"""``anvil metrics --replay``: exit codes and output (contract 18)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import anvil.router
from anvil.cli.metrics import metrics

WINDOW = Path(anvil.router.__file__).parent / "promotion_window.jsonl"


def run(*arguments: object) -> Result:
    return CliRunner().invoke(metrics, [str(argument) for argument in arguments], catch_exceptions=False)


def test_the_shipped_window_passes() -> None:
    result = run("--replay", WINDOW)
    assert result.exit_code == 0
    assert (
        "__overall__   25/35 local (71.43%)  20 graded  silent failures 0 (0.00%)  cloud tokens saved 37890"
        in result.stdout
    )
    assert result.stdout.rstrip().endswith("gate passed (silent failure rate must stay below 0.01)")
    assert run("--replay", WINDOW).stdout == result.stdout


def test_a_window_that_nobody_graded_says_so(tmp_path: Path) -> None:
    file = tmp_path / "window.jsonl"
    file.write_text(json.dumps({"work_class": "chat", "served_tier": "a", "served_tier_privacy": "local"}) + "\n")
    result = run("--replay", file)
    assert (result.exit_code, "the gate had nothing to judge" in result.stderr) == (0, True)
    assert "nothing to judge" not in run("--replay", WINDOW).stderr


def test_json_is_one_document() -> None:
    document = json.loads(run("--replay", WINDOW, "--json").stdout)
    assert document["schema"] == "anvil-serving.router.metrics/v1"
    assert document["overall"]["cloud_tokens_saved"] == 37890
    assert document["gate_passed"] is True
    assert list(document["classes"]) == sorted(document["classes"])


def test_a_breach_exits_1(tmp_path: Path) -> None:
    file = tmp_path / "window.jsonl"
    record = {"work_class": "chat", "served_tier": "a", "served_tier_privacy": "local", "ground_truth": "fail"}
    file.write_text(WINDOW.read_text() + json.dumps(record) + "\n")
    result = run("--replay", file)
    assert result.exit_code == 1
    assert "gate BREACHED by chat, __overall__" in result.stdout
    assert run("--replay", file, "--silent-failure-threshold", "0.5").exit_code == 0
    assert json.loads(run("--replay", file, "--json").stdout)["breaches"] == ["chat", "__overall__"]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b'{"outcome":"gated"}\n{\n', "line 2: not JSON"),
        (b"\xff\n", "not UTF-8"),
        (b"", "no record"),
        (None, "No such file"),
    ],
)
def test_what_cannot_be_read_exits_2(tmp_path: Path, content: bytes | None, problem: str) -> None:
    file = tmp_path / "window.jsonl"
    if content is not None:
        file.write_bytes(content)
    result = run("--replay", file)
    assert result.exit_code == 2
    assert problem in result.stderr
    assert str(file) in result.stderr


@pytest.mark.parametrize("arguments", [[], ["--replay", WINDOW, "--silent-failure-threshold", "2"]])
def test_usage_errors_exit_2(arguments: list[object]) -> None:
    assert run(*arguments).exit_code == 2
