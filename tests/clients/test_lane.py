"""Every client of the lane against the real router, one test a row: ``pytest -m clients tests/clients``."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.clients.row import play
from tests.clients.rows import ROWS

pytestmark = [pytest.mark.clients, pytest.mark.timeout(1200)]


@pytest.mark.parametrize("name", ROWS)
def test_client(name: str, tmp_path: Path) -> None:
    results = play(name, tmp_path)
    skipped = [result.note for result in results if result.status == "SKIP"]
    if skipped:
        pytest.skip(skipped[0])
    assert len(results) == len(ROWS[name].scenarios)
    assert [f"{result.scenario}: {result.note}" for result in results if result.status != "PASS"] == []
