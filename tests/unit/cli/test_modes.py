"""``anvil modes``: what the topology puts in force, mode by mode."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import tomli_w
from click.testing import CliRunner, Result

from anvil.cli.modes import modes
from tests.unit.topology.example import EXAMPLE, GONE, document


def run(*arguments: str) -> Result:
    return CliRunner().invoke(modes, list(arguments))


def test_every_mode_is_listed_and_the_active_one_marked() -> None:
    result = run("list", "--topology", str(EXAMPLE))
    assert result.exit_code == 0
    active, other = result.stdout.splitlines()
    assert active.startswith("* flexibility: serves heavy, fast; tiers fast-local, heavy-local; presets chat,")
    assert other.startswith("  agentic: serves heavy; tiers heavy-local; presets chat,")
    told = json.loads(run("list", "--topology", str(EXAMPLE), "--json").stdout)
    assert (told["schema"], told["active"]) == ("anvil.modes/v1", "flexibility")
    assert [row["serves"] for row in told["modes"]] == [["heavy", "fast"], ["heavy"]]


def test_one_mode_shows_its_order_and_windows() -> None:
    shown = run("show", "--topology", str(EXAMPLE)).stdout
    assert "mode flexibility" in shown
    assert "chat          fast-local > heavy-local  (131072 tokens)" in shown
    told = json.loads(run("show", "agentic", "--topology", str(EXAMPLE), "--json").stdout)
    assert (told["mode"], told["active"], told["tiers"]) == ("agentic", False, ["heavy-local"])
    assert told["windows"]["chat"] == 131072


def test_an_unknown_mode_names_the_nearest() -> None:
    result = run("show", "agentik", "--topology", str(EXAMPLE))
    assert (result.exit_code, "did you mean agentic?" in result.stderr) == (2, True)
    assert "known: flexibility, agentic" in run("show", "zzz", "--topology", str(EXAMPLE)).stderr


def test_a_topology_without_modes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "topology.toml"
    file.write_text(tomli_w.dumps(document({"modes": GONE, "mode": GONE})))
    monkeypatch.setenv("ANVIL_TOPOLOGY", str(file))
    assert "no modes" in run("list").stdout
    assert "everything is in force" in run("show").stdout
    assert run("show", "agentic").exit_code == 2
    assert run("list", "--topology", "absent.toml").exit_code == 2
