"""`doctor.py` on a house whose gateway is not in step yet: what it says of the gateway, row by row."""

from __future__ import annotations

import json
import os
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


@pytest.mark.parametrize(("answer", "level"), [("echo no", "WARN"), ("echo yes", "PASS")])
def test_a_gateway_that_ends_with_the_last_login_is_told(
    house: House, answer: str, level: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The doctor's own login starts the services of a user who does not linger."""
    binary = house.folder / "openclaw"
    binary.write_text(binary.read_text().replace('{"loaded": True}', '{"loaded": True, "label": "systemd user"}'))
    (house.folder / "loginctl").write_text(f"#!/bin/sh\n{answer}\n")
    (house.folder / "loginctl").chmod(0o755)
    monkeypatch.setenv("PATH", f"{house.folder}:{os.environ['PATH']}")
    house.pyinfra("doctor")
    (found,) = re.findall(r"\[(PASS|WARN|FAIL)\] here: gateway mini: running — (.*)", house.said)
    assert found[0] == level
    assert ("loginctl enable-linger" in found[1]) == (level == "WARN")


def test_warnings_of_a_valid_document_are_told(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(house.folder))
    monkeypatch.setenv("SHELL", "/bin/sh")
    told = fact(OpenClawValidation, True, str(house.document))
    assert (told.valid, told.issues) == (True, ())
    assert told.warnings == (f"{WARNING['path']}: {WARNING['message']}",)
