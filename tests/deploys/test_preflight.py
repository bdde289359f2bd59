"""The gate on @local: what is kept of a run that passed, failed, or could not be made."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from anvil.hosts.preflight import preflight_passed, report
from tests.deploys.play import Run, play

PASSED = json.dumps({"schema": "anvil.preflight/v1", "passed": True, "tests": [{"name": "smoke", "passed": True}]})
FAILED = PASSED.replace("true", "false")


def gate(
    folder: Path,
    answer: str,
    code: int,
    required: bool = True,
    dry: bool = False,
    since: Callable[[], float] | None = None,
) -> Run:
    (folder / "answer").write_text(answer)
    asked = ("sh", "-c", f'echo ran >> "$0/runs"; cat "$0/answer"; exit {code}', str(folder))
    arguments = {"service": "heavy", "evidence": str(folder / "heavy-aaaa.json"), "command": asked}
    return play((preflight_passed, {**arguments, "required": required, "since": since}), dry=dry)


def runs(folder: Path) -> int:
    return len((folder / "runs").read_text().splitlines()) if (folder / "runs").exists() else 0


def test_a_pass_is_kept_and_not_asked_for_again(folder: Path) -> None:
    assert not gate(folder, PASSED, 0, dry=True).error
    assert runs(folder) == 0
    assert gate(folder, PASSED, 0).changed() == [True]
    kept = folder / "heavy-aaaa.json"
    assert json.loads(kept.read_text())["passed"] is True
    assert oct(kept.stat().st_mode & 0o777) == "0o640"
    assert gate(folder, PASSED, 0).changed() == [False]
    assert runs(folder) == 1


def test_a_failure_of_a_required_gate_is_kept_and_asked_for_again(folder: Path) -> None:
    for turn in (1, 2):
        assert gate(folder, FAILED, 1).error
        assert runs(folder) == turn
    assert json.loads((folder / "heavy-aaaa.json").read_text())["passed"] is False


def test_a_failure_that_only_warns_is_asked_for_once(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A second run changes nothing (I11); a serve made after the report is another one to judge."""
    caplog.set_level("INFO")
    assert gate(folder, FAILED, 1, required=False).changed() == [True]
    assert gate(folder, FAILED, 1, required=False, since=lambda: 60.0).changed() == [False]
    assert caplog.text.count("WARN heavy: preflight failed: smoke (failed)") == 2
    assert runs(folder) == 1
    os.utime(folder / "heavy-aaaa.json", (time.time() - 60,) * 2)
    assert gate(folder, PASSED, 0, required=False, since=lambda: 5.0).changed() == [True]
    assert gate(folder, PASSED, 0, required=False, since=lambda: 0.0).changed() == [False]
    assert runs(folder) == 2


@pytest.mark.parametrize(("answer", "code"), [("not reachable", 3), ("Traceback", 2), ("", 0), ("", 127)])
def test_what_could_not_be_run_leaves_no_report_of_an_earlier_run(folder: Path, answer: str, code: int) -> None:
    kept = folder / "heavy-aaaa.json"
    kept.write_text(FAILED)
    assert gate(folder, answer, code).error
    assert not kept.exists()
    assert sorted(path.name for path in folder.iterdir()) == ["answer", "runs"]


def test_a_report_of_another_kind_is_no_pass() -> None:
    for text in ("", "[]", '{"passed": true}', '{"schema": "anvil.preflight/v1", "passed": "yes"}'):
        assert not report(text).passed
