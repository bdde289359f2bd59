"""The generated pages say what the tests and the code say."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.router.fidelity import documents


def test_pages_are_current() -> None:
    assert documents.stale() == [], "run scripts/docs"


def test_stale_page_is_told_and_renewed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(documents, "DOCS", tmp_path)
    assert documents.main(["--check"]) == 1
    assert "docs/fidelity.md is stale: run scripts/docs" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
    assert documents.main([]) == 0
    assert documents.main(["--check"]) == 0
    (tmp_path / "failures.md").write_text("old")
    assert documents.main(["--check"]) == 1


def test_usage() -> None:
    assert documents.main(["--chek"]) == 2
