"""Contract 12.8: the published corpus, judged by the same code that ``scripts/verify-report`` runs."""

from __future__ import annotations

import importlib.machinery
import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from anvil.router.verify.chains import FULL

ROOT = Path(__file__).resolve().parents[4]


def _load_report() -> ModuleType:
    loader = importlib.machinery.SourceFileLoader("verify_report", str(ROOT / "scripts/verify-report"))
    spec = importlib.util.spec_from_loader(loader.name, loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


REPORT = _load_report()
GOOD = REPORT.read_corpus(ROOT / "tests/corpus/verify/good")
DEFECTS = REPORT.read_corpus(ROOT / "tests/corpus/verify/defects")


def test_the_corpus_is_large_enough_and_covers_every_check() -> None:
    assert len(GOOD) >= 150
    assert len(DEFECTS) >= 100
    assert {case.fails for case in DEFECTS} == set(FULL.checks)
    assert all(case.fails is None for case in GOOD)


def test_case_names_are_unique() -> None:
    for cases in (GOOD, DEFECTS):
        names = [case.name for case in cases]
        assert sorted(names) == sorted(set(names))


@pytest.mark.parametrize("case", GOOD, ids=lambda case: case.name)
def test_good_answers_pass(case) -> None:  # type: ignore[no-untyped-def]  # a type of the script
    assert FULL.run(case.evidence).failed is None


@pytest.mark.parametrize("case", DEFECTS, ids=lambda case: case.name)
def test_defects_are_caught(case) -> None:  # type: ignore[no-untyped-def]  # a type of the script
    assert FULL.run(case.evidence).failed == case.fails


def test_the_report_names_a_missed_defect(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "good").mkdir()
    (tmp_path / "defects").mkdir()
    (tmp_path / "good/a.cases").write_text("%%% fine\nYes.\n")
    (tmp_path / "defects/a.cases").write_text('%%% none {"fails": "code_parses"}\nYes.\n')
    monkeypatch.setattr(REPORT, "CORPUS", tmp_path)
    assert REPORT.main() == 1
    assert "missed: a: none: code_parses expected, nothing failed" in capsys.readouterr().out


def test_the_report_fails_on_a_false_alarm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "good").mkdir()
    (tmp_path / "good/a.cases").write_text("%%% open\n```\nx\n")
    monkeypatch.setattr(REPORT, "CORPUS", tmp_path)
    assert REPORT.main() == 1
