"""`status.py` on a gateway: whether it answers counts like a serve's health, and drift of its document is told."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.deploys.test_full_local import House


@pytest.fixture
def house(folder: Path) -> House:
    return House(folder)


def row(house: House) -> str:
    (found,) = re.findall(r"mini +up +(.*)", house.said)
    return re.sub(" +", " ", found)


def test_a_gateway_that_answers_but_is_not_in_step(house: House) -> None:
    code, _ = house.pyinfra("status")
    assert code == 1  # its serves are not there
    assert row(house) == "running drifted run harness_sync.py"
    assert "not healthy: fast, heavy, router\n" in house.said


def test_a_gateway_that_is_down(house: House) -> None:
    scripted = (house.folder / "openclaw").read_text()
    down = scripted.replace('{"ok": True}', '{"ok": False, "kind": "connect", "error": "connect ECONNREFUSED"}')
    assert down != scripted
    (house.folder / "openclaw").write_text(down)
    house.document.unlink()
    code, _ = house.pyinfra("status")
    assert code == 1
    assert row(house) == "down - connect ECONNREFUSED"
    assert "not healthy: fast, heavy, router, mini\n" in house.said


def test_a_run_that_names_serves_does_not_ask_gateways(house: House) -> None:
    house.pyinfra("status", "--data", "only=fast")
    assert not re.search(r"mini +up", house.said)
