"""A whole sync in one process: a scripted `openclaw` of some release or none, a scripted router, the real steps."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from anvil.deploys import doctor_gateway, gateway
from anvil.deploys.inventory import Checked
from anvil.deploys.site import here
from anvil.topology import load
from tests.deploys.play import play_deploy
from tests.deploys.test_full_local import OPENCLAW, TOPOLOGY
from tests.deploys.test_gateway import router

__all__ = ["router"]

TOKEN = "canary-token"  # the scripted router's


class Site:
    """A machine that is its own gateway."""

    def __init__(self, folder: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.port = folder, int(url.split(":")[2].split("/")[0])
        self.document = folder / ".openclaw" / "openclaw.json"
        self.document.parent.mkdir()
        self.document.write_text('{"gateway": {"port": 18789}}')
        (folder / ".profile").write_text(f"PATH={folder}:$PATH\n")
        for name, value in {"HOME": str(folder), "SHELL": "/bin/sh", "ANVIL_ROUTER_TOKEN": TOKEN}.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr("anvil.hosts.gateway.PAUSE_SECONDS", 0.01)
        monkeypatch.setattr("anvil.hosts.gateway.READ_BACK_SECONDS", 0)
        self.error = ""

    def release(self, **changes: str) -> None:
        """The scripted command with some of its answers replaced: `version`, `restart` or `schema` -> Python."""
        text = OPENCLAW.format(python=sys.executable)
        old = {
            "version": 'print("OpenClaw 2026.9.3 (abc)")',
            "restart": 'open(home + "/restarts", "a").write("restarted\\n")',
            "schema": 'print(json.dumps({"properties": {"agents": {"properties": {"defaults": defaults}}}}))',
        }
        for name, code in changes.items():
            assert old[name] in text
            text = text.replace(old[name], code)
        (self.folder / "openclaw").write_text(text)
        (self.folder / "openclaw").chmod(0o755)

    def topology(self) -> str:
        ports = {"fast": 30001, "heavy": 30002, "router": self.port}
        return TOPOLOGY.format(root="/srv/anvil", engine="/bin/true", context=4096, chat='["fast-local"]', **ports)

    def sync(
        self,
        more: str = "",
        *,
        deploy: Callable[[], None] | None = None,
        dry: bool = False,
        machine: str = "here",
        **overrides: str,
    ) -> int:
        """How many operations changed something; -1 when the run failed."""
        file = self.folder / "topology.toml"
        file.write_text(self.topology() + more)
        found = Checked(load.load(file, {}, str(file)), str(file))
        given = {"allow_drift": "true"} if deploy is None else {}
        changed, self.error = play_deploy(
            deploy or gateway.in_step,
            ("@local", {"topology": found, "machine": machine}),
            {**given, "env_file": "none", **overrides},
            dry,
        )
        return changed


@pytest.fixture
def site(tmp_path: Path, router: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Site:
    caplog.set_level("INFO")
    return Site(tmp_path, router, monkeypatch)


def presets(site: Site) -> list[str]:
    document: Any = json.loads(site.document.read_text())
    rows = document.get("models", {}).get("providers", {}).get("anvil", {}).get("models", [])
    return [row["id"] for row in rows]


def test_a_second_run_does_nothing(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    site.release()
    assert (site.sync(), site.error) == (1, ""), caplog.text
    assert presets(site) == ["chat"]
    assert (site.sync(), site.error) == (0, "")
    assert not (site.folder / "restarts").exists()  # this release takes up models by itself


def test_a_release_is_asked_for_its_schema_once_a_run(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Doctor asks first, and loading the schema takes seconds."""
    schema = 'print(json.dumps({"properties": {"agents": {"properties": {"defaults": defaults}}}}))'
    site.release(schema=f'{schema}; open(home + "/schemas", "a").write("asked\\n")')
    in_step = gateway.in_step

    def looked_and_synced() -> None:
        assert list(doctor_gateway.checks(here()))
        in_step()

    monkeypatch.setattr(gateway, "in_step", looked_and_synced)
    assert (site.sync(), site.error) == (1, "")
    assert (site.folder / "schemas").read_text() == "asked\n"
    assert (site.sync(), site.error) == (0, "")
    assert (site.folder / "schemas").read_text() == "asked\nasked\n"


def test_a_gateway_told_not_to_reload_is_restarted(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    """Waiting for its list would be in vain, and a preset that must go is missed by no list."""
    site.release()
    site.document.write_text('{"gateway": {"reload": {"mode": "off"}}}')
    assert (site.sync(), site.error) == (2, ""), caplog.text
    assert (site.folder / "restarts").read_text() == "restarted\n"
    assert (site.sync(), site.error) == (0, "")


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        (None, "openclaw is not on the login shell's PATH; pin gateways.*.version to write without asking it"),
        ({"version": 'print("3 updates\\nOpenClaw 2026.3.9")'}, "OpenClaw 2026.3.9 is older than 2026.4.21"),
        ({"version": 'print("OpenClaw, freshly built")'}, "names no version; pin the one that runs there"),
        ({"version": "sys.exit('out of memory')"}, "out of memory; pin gateways.*.version"),
        ({"schema": 'print("no schema today")'}, "openclaw config schema printed no JSON Schema"),
    ],
)
def test_a_release_that_cannot_be_told_is_refused_before_anything_is_written(
    site: Site, changes: dict[str, str] | None, problem: str
) -> None:
    original = site.document.read_bytes()
    if changes is not None:
        site.release(**changes)
    assert site.sync() == -1
    assert problem in site.error
    assert site.document.read_bytes() == original


def test_a_newer_release_is_warned_of_and_an_unnamed_one_may_be_pinned(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    site.release(version='print("OpenClaw 2027.1.0")')
    assert (site.sync(), site.error) == (1, "")
    assert "WARN here: OpenClaw 2027.1.0 is an untested release" in caplog.text
    site.release(version="pass")
    assert (site.sync('version = "2026.9.6"\n'), site.error) == (0, "")


def test_a_pinned_release_without_a_command_is_written_and_told(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    pinned = 'version = "2026.9.6"\n[gateways.mini.plugin]\n'
    assert (site.sync(pinned), site.error) == (2, ""), caplog.text
    assert presets(site) == ["chat"]
    for words in (
        "the document is not validated",
        "not restarted",
        "plugin not read back",
        "`openclaw gateway restart`",
    ):
        assert words in caplog.text
    assert "Ask through it" in caplog.text
    assert "Read back" not in caplog.text
    assert (site.sync(pinned), site.error) == (0, "")
    assert site.sync('version = "2026.3.1"\n') == -1
    assert "older than 2026.4.21" in site.error


def test_a_gateway_that_is_down_has_its_document_and_the_run_fails(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    site.release(restart='print("Gateway service disabled.")')
    command = site.folder / "openclaw"
    down = '"rpc": {"ok": False, "kind": "connect", "error": "connect ECONNREFUSED"}'
    command.write_text(command.read_text().replace('"rpc": {"ok": True}', down))
    assert site.sync(restart="always") == -1
    assert "WARN openclaw restarted nothing" in caplog.text
    assert "gateway: does not answer (connect ECONNREFUSED): start it" in caplog.text
    assert presets(site) == ["chat"]


def test_the_way_is_the_one_that_the_document_says(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    """M3: a live baseUrl and key stay, so they are what is probed."""
    site.release()
    live = {"baseUrl": f"http://127.0.0.1:{site.port}/v1", "apiKey": TOKEN}
    site.document.write_text(json.dumps({"models": {"providers": {"anvil": {**live, "models": []}}}}))
    declared = f"http://127.0.0.1:{site.port}"
    site.port += 1  # nobody listens where the topology says
    assert (site.sync(), site.error) == (1, ""), caplog.text
    assert f"baseUrl stays {declared}" in caplog.text
    site.document.write_text(
        json.dumps({"models": {"providers": {"anvil": {**live, "apiKey": "stale", "models": []}}}})
    )
    assert site.sync() == -1
    assert "answers 401" in caplog.text
    assert "stale" not in caplog.text
    live["baseUrl"] = f"http://127.0.0.1:{site.port - 1}/elsewhere"
    site.document.write_text(json.dumps({"models": {"providers": {"anvil": {**live, "models": []}}}}))
    assert site.sync() == -1
    assert "/elsewhere" in caplog.text
