"""`doctor.py` on a house whose gateway is not in step yet: what it says of the gateway, row by row."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from anvil.hosts.openclaw import OpenClawValidation
from tests.deploys.play import fact
from tests.deploys.test_full_local import House

PLUGIN = '[gateways.mini.plugin]\nroute = "advise"\n'
WARNING = {"path": "models.providers.anvil.apiKey", "message": 'Missing env var "ANVIL_ROUTER_TOKEN"'}


@pytest.fixture
def house(folder: Path) -> House:
    made = House(folder)
    made.topology.write_text(made.topology.read_text() + PLUGIN)
    scripted = (folder / "openclaw").read_text()
    warned = scripted.replace('"issues": []', f'"issues": [], "warnings": [{json.dumps(WARNING)}]')
    assert warned != scripted
    (folder / "openclaw").write_text(warned)
    return made


def test_every_row_of_a_gateway(house: House) -> None:
    code, _ = house.pyinfra("doctor")
    assert code == 1
    found = re.findall(r"\[(PASS|WARN|FAIL)\] here: gateway mini: (.+?) — (.*)", house.said)
    levels = {check: level for level, check, _ in found}
    details = {check: detail for _, check, detail in found}
    assert levels == {
        "router": "FAIL",
        "openclaw": "PASS",
        "running": "PASS",
        "document": "PASS",
        "token": "FAIL",
        "in step": "WARN",
        "plugin": "FAIL",
    }
    assert "ANVIL_ROUTER_TOKEN" in details["token"]
    assert "harness_sync.py" in details["in step"]


def test_warnings_of_a_valid_document_are_told(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(house.folder))
    monkeypatch.setenv("SHELL", "/bin/sh")
    told = fact(OpenClawValidation, True, str(house.document))
    assert (told.valid, told.issues) == (True, ())
    assert told.warnings == (f"{WARNING['path']}: {WARNING['message']}",)
