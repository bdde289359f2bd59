"""``anvil doctor`` against a real router of the topology it is given, and where there is none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import tomli_w
from click.testing import CliRunner, Result

from anvil.cli.doctor import doctor
from anvil.lab.controller_doctor import inventory
from anvil.topology import schema
from tests.router.conftest import config_toml, start_router, tier_toml
from tests.unit.lab.onboarding import hosts
from tests.unit.topology.example import LOCAL, document

TOKEN = "canary-token-value-0000000000"


@pytest.fixture(autouse=True)
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(hosts.path(tmp_path)))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("ANVIL_ROUTER_TOKEN", TOKEN)
    monkeypatch.setenv("ANVIL_WEIGHTS", "/weights/tiny.gguf")
    for name in ("ANVIL_TOPOLOGY", "ANVIL_ROUTER_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(doctor, list(arguments))


@pytest.fixture
def local(tmp_path: Path) -> Path:
    """The one-machine topology, on ports where nothing listens."""
    file = tmp_path / "topology.toml"
    file.write_text(tomli_w.dumps(document({"serves/fast/port": 1025, "serves/heavy/port": 1026}, LOCAL)))
    return file


def levels(result: Result) -> dict[str, str]:
    told = json.loads(result.stdout)
    assert told["schema"] == "anvil.doctor/v1"
    assert told["ok"] is (result.exit_code == 0)
    return {check["name"]: check["level"] for check in told["checks"]}


def test_without_a_topology_it_only_warns() -> None:
    result = run()
    assert result.exit_code == 0
    assert "[WARN] topology — inventory/topology.toml: none yet" in result.stdout
    assert result.stdout.endswith("OK\n")


def test_one_that_is_asked_for_must_be_there() -> None:
    result = run("--topology", "absent.toml")
    assert result.exit_code == 1
    assert "[FAIL] topology" in result.stdout
    assert result.stdout.endswith("FAILED\n")


def test_a_router_of_the_same_release(tmp_path: Path, local: Path) -> None:
    (tmp_path / "topology.schema.json").write_text(schema.text())
    held = inventory.held(["ANVIL_ROUTER_TOKEN"], {"ANVIL_ROUTER_TOKEN": TOKEN, "HOME": str(tmp_path)}, None)
    environ = {"ANVIL_WEIGHTS": "/weights/tiny.gguf", "HOME": str(tmp_path)}
    release = inventory.topology(local, True, environ, held)[1].release
    place = tmp_path / "router"
    place.mkdir()
    (place / "RELEASE").write_text(f"{release}\n")
    running = start_router(place, config_toml(tier_toml("t", "http://127.0.0.1:9/v1"), presets={"chat": ["t"]}))
    try:
        result = run("--topology", str(local), "--url", running.url, "--json")
    finally:
        running.stop()
    assert result.exit_code == 0, result.output
    assert levels(result) == {
        "python": "PASS",
        "pyinfra": "PASS",
        "paramiko": "PASS",
        "rendering packages": "PASS",
        "topology": "PASS",
        "versions": "PASS",
        "secrets": "PASS",
        "profile": "PASS",
        "schema": "PASS",
        "tier fast-local": "WARN",
        "tier heavy-local": "WARN",
        "router": "PASS",
    }
    assert "canary" not in result.output


def test_a_missing_secret_is_named_and_fails(tmp_path: Path, local: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ANVIL_ROUTER_TOKEN")
    result = run("--topology", str(local), "--url", "http://127.0.0.1:9")
    assert result.exit_code == 1
    assert "[FAIL] secrets — ANVIL_ROUTER_TOKEN not set" in result.stdout
    (tmp_path / "secrets").write_text(f"ANVIL_ROUTER_TOKEN={TOKEN}\n")
    assert run("--topology", str(local), "--url", "http://127.0.0.1:9", "--env-file", "secrets").exit_code == 0
    assert run("--env-file", "absent").exit_code == 2


def test_the_machine_itself_is_looked_at_when_asked(tmp_path: Path) -> None:
    assert "docker" not in levels(run("--json"))
    hosts.with_docker(tmp_path / "bin")
    hosts.with_cards(tmp_path / "bin")
    found = levels(run("--json", "--local"))
    assert {found[name] for name in ("docker", "compose plugin", "nvidia runtime", "gpus")} == {"PASS"}
