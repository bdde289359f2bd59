"""docs/harnesses/openclaw.md: its table is a topology that loads, and every command of it is run, in its order."""

from __future__ import annotations

import json
import runpy
import shlex
import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner

from anvil.cli.harness import harness
from anvil.deploys import options
from anvil.deploys.gateway_document import PLUGIN
from anvil.topology.check import check
from tests.deploys.test_gateway import router
from tests.deploys.test_gateway_sync import Site
from tests.deploys.test_harness_verify import RESTART, TELLING, line
from tests.unit.docs.console import commands
from tests.unit.topology.example import ROOT, topology

__all__ = ["router"]

PAGE = ROOT / "docs/harnesses/openclaw.md"
PYINFRA = [".venv/bin/pyinfra", "inventory/hosts.py"]


def fenced(language: str) -> str:
    (block,) = PAGE.read_text().split(f"```{language}\n")[1:]
    return block.split("```")[0]


def test_the_table_belongs_into_a_topology_without_a_complaint() -> None:
    made = topology({"gateways": tomllib.loads(fenced("toml"))["gateways"]})
    assert check(made) == []
    assert made.gateways["mini"].plugin is not None


def test_the_lines_for_a_plugin_by_hand_are_ones_it_takes() -> None:
    ((name, entry),) = json.loads(fenced("json"))["plugins"]["entries"].items()
    manifest = json.loads((PLUGIN / "openclaw.plugin.json").read_text())
    assert name == manifest["id"]
    assert entry["config"].keys() <= manifest["configSchema"]["properties"].keys()


def test_every_key_of_the_plugin_is_explained() -> None:
    manifest = json.loads((PLUGIN / "openclaw.plugin.json").read_text())
    _, _, table = PAGE.read_text().partition("| config key |")
    rows = [row.split("`")[1] for row in table.splitlines() if row.startswith("| `")]
    assert set(manifest["configSchema"]["properties"]) == set(rows)


class Page(Site):
    """The page's gateway, on this machine, in front of a scripted router; a machine of its own as on the page."""

    def play(self, words: list[str]) -> int:
        """Changes of one `pyinfra inventory/hosts.py deploy/X.py …`; -1 when it exits 1."""
        file, *rest = words
        given = dict(word.split("=", 1) for word in rest if "=" in word)
        flags = {word for word in rest if word.startswith("-")} - {"--data"}
        assert flags <= {"-y", "--dry", "--diff"}
        options.refuse_unknown(given, Path(file).stem)
        drift = {"allow_drift": "true"} if file.endswith("harness_sync.py") else {}
        quick = {"timeout": "1"} if file.endswith("harness_verify.py") else {}

        def run() -> None:
            runpy.run_path(str(ROOT / file))

        return self.sync(deploy=run, dry="--dry" in flags, machine="mini", **drift, **quick, **given)

    def topology(self) -> str:
        table = fenced("toml").replace("http://100.64.0.10:8000", f"http://127.0.0.1:{self.port}")
        machine = '[machines.mini]\nplatform = "macos"\naddress = "10.1.1.1"\n'
        return super().topology().partition("[gateways.mini]")[0] + machine + table


@pytest.mark.timeout(180)
def test_every_command_is_run(
    tmp_path: Path, router: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    for name in ("PAUSE_SECONDS", "SETTLE_SECONDS"):
        monkeypatch.setattr(f"anvil.hosts.gateway_log.{name}", 0.01)
    # The gateway's machine is this one, so here a loopback address does reach the router.
    monkeypatch.setattr("anvil.topology.rules_places._loopback", lambda url: False)
    site = Page(tmp_path, router, monkeypatch)
    site.release(restart=RESTART.strip())
    with (site.folder / "openclaw").open("a") as command:
        command.write(TELLING)
    (site.folder / "fires").write_text(json.dumps([line(number) for number in range(3)]))
    monkeypatch.chdir(tmp_path)
    Path("fires.jsonl").write_text(line(0) + "\n")
    changed = {}
    for shown in commands(PAGE):
        words = shlex.split(shown.line, comments=True)
        if words[:2] == PYINFRA:
            changed[shown.line.split("#")[0].strip()] = found = site.play(words[2:])
            assert found >= 0, (shown.line, site.error, caplog.text[-3000:])
        else:
            assert words[:3] == ["anvil", "harness", "validate"], "a command this test cannot run"
            result = CliRunner().invoke(harness, words[2:])
            assert result.exit_code == 0, result.output
    assert [Path(name.split()[2]).stem for name in changed] == [
        "harness_sync", "harness_sync", "doctor", "status", "harness_verify", "harness_verify",
    ]  # fmt: skip
    dry, real, *_, killed = changed.values()
    assert (dry, killed) == (0, 0)
    assert real == 4  # plugin, token, document, restart
    assert "gateway mini: in step — the document holds what the topology says" in caplog.text
    assert "3 messages in 1 sessions judged" in caplog.text
