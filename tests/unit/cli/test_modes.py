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


ROUTER = """[router]
mapping_version = "1"
[[router.tiers]]
id = "{tier}"
base_url = "http://127.0.0.1:30000/v1"
model = "m"
dialect = "openai"
context_limit = {window}
privacy = "local"
role = "fast"
tool_support = false
auth_env = "KEY"
[router.presets]
chat = ["{tier}"]
"""


@pytest.fixture
def manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("ANVIL_TOPOLOGY", "ANVIL_MODE", "ANVIL_CONFIG_AGENTIC", "ANVIL_CONFIG_FLEXIBILITY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "deep.toml").write_text(ROUTER.format(tier="heavy-local", window=65536))
    (tmp_path / "wide.toml").write_text(ROUTER.format(tier="fast-local", window=8192))
    file = tmp_path / "modes.toml"
    file.write_text('[modes]\nactive_mode = "flexibility"\nagentic = "deep.toml"\nflexibility = "wide.toml"\n')
    return file


def test_a_manifest_tells_the_modes_of_a_router_without_a_topology(
    manifest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = json.loads(run("list", "--manifest", str(manifest), "--json").stdout)
    assert told["active"] == "flexibility"
    assert {row["mode"]: (row["tiers"], row["windows"]) for row in told["modes"]} == {
        "agentic": (["heavy-local"], {"chat": 65536}),
        "flexibility": (["fast-local"], {"chat": 8192}),
    }
    assert "serves" not in told["modes"][0], "a router.toml does not say what serves it"
    monkeypatch.setenv("ANVIL_MODES_CONFIG", str(manifest))
    assert run("list").stdout.splitlines()[1] == "* flexibility: tiers fast-local; presets chat"
    shown = run("show", "agentic").stdout
    assert f"config: {manifest.parent / 'deep.toml'}" in shown
    monkeypatch.setenv("ANVIL_MODE", "agentic")
    assert "mode agentic" in run("show").stdout
    assert "serves heavy, fast" in run("list", "--topology", str(EXAMPLE)).stdout, "a topology that is named wins"


def test_a_manifest_that_will_not_do(manifest: Path) -> None:
    assert run("list", "--manifest", str(manifest), "--topology", str(EXAMPLE)).exit_code == 2
    assert "did you mean agentic?" in run("show", "agentik", "--manifest", str(manifest)).stderr
    (manifest.parent / "deep.toml").unlink()
    gone = run("list", "--manifest", str(manifest))
    assert (gone.exit_code, "deep.toml" in gone.stderr) == (2, True)
    manifest.write_text("[modes]\nagentik = 1\n")
    assert run("list", "--manifest", str(manifest)).exit_code == 2
