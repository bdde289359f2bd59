"""``anvil render``: every file a deploy would lay out, and what it refuses."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest
import tomli_w
import yaml
from click.testing import CliRunner, Result

from anvil.cli.render import render
from tests.unit.topology.example import EXAMPLE, LOCAL, document


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ANVIL_TOPOLOGY", raising=False)
    monkeypatch.setenv("ANVIL_ROUTER_TOKEN", "canary-token-value-0000000000")
    monkeypatch.setenv("HOME", "/home/someone")
    monkeypatch.setenv("ANVIL_WEIGHTS", "/weights/tiny.gguf")


def run(*arguments: object) -> Result:
    return CliRunner().invoke(render, [str(word) for word in arguments])


def below(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_every_artefact_lies_under_its_machine(tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = run(out, "--topology", EXAMPLE, "--json")
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert (told["schema"], told["mode"], told["directory"]) == ("anvil.render/v1", "flexibility", str(out))
    release = f"forge/router/releases/{told['release']}"
    assert below(out) == {*told["files"], "rendered.json"}
    assert {
        "forge/compose.yaml",
        "forge/secrets.names",
        "forge/router/go-live.sh",
        f"{release}/router.toml",
        f"{release}/compose.yaml",
        "mini/gateways/mini.openclaw.json",
    } <= set(told["files"])
    services = yaml.safe_load((out / "forge/compose.yaml").read_text())["services"]
    assert set(services) == {"heavy", "fast"}
    assert set(tomllib.loads((out / release / "router.toml").read_text())["router"]["presets"]) >= {"chat", "planning"}
    assert "ANVIL_ROUTER_TOKEN required" in (out / "forge/secrets.names").read_text()
    provider = json.loads((out / "mini/gateways/mini.openclaw.json").read_text())["models"]["providers"]["anvil"]
    assert provider["baseUrl"] == "http://100.64.0.10:8000/v1"
    assert provider["timeoutSeconds"] == 600
    assert not any(b"canary" in path.read_bytes() for path in out.rglob("*") if path.is_file())


def test_the_same_topology_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        assert run(tmp_path / name, "--topology", EXAMPLE).exit_code == 0
    one, two = tmp_path / "one", tmp_path / "two"
    assert {path: (one / path).read_bytes() for path in below(one)} == {
        path: (two / path).read_bytes() for path in below(two)
    }


def test_another_mode_replaces_an_earlier_rendering(tmp_path: Path) -> None:
    out = tmp_path / "out"
    first = json.loads(run(out, "--topology", EXAMPLE, "--json").stdout)
    (out / "notes.txt").write_text("mine")
    again = run(out, "--topology", EXAMPLE, "--mode", "agentic")
    assert again.exit_code == 2
    assert "--force" in again.stderr
    second = json.loads(run(out, "--topology", EXAMPLE, "--mode", "agentic", "--force", "--json").stdout)
    assert first["release"] != second["release"]
    assert below(out) == {*second["files"], "rendered.json", "notes.txt"}


def test_a_listed_file_outside_the_folder_is_never_removed(tmp_path: Path) -> None:
    out, other = tmp_path / "out", tmp_path / "precious"
    other.write_text("x")
    assert run(out, "--topology", EXAMPLE).exit_code == 0
    manifest = json.loads((out / "rendered.json").read_text())
    manifest["files"] += ["../precious", str(other)]
    (out / "rendered.json").write_text(json.dumps(manifest))
    assert run(out, "--topology", EXAMPLE, "--force").exit_code == 0
    assert other.read_text() == "x"


def test_processes_are_definitions(tmp_path: Path) -> None:
    result = run(tmp_path / "out", "--topology", LOCAL)
    assert result.exit_code == 0, result.output
    serve = json.loads((tmp_path / "out/here/processes/fast.json").read_text())
    assert serve["argv"][0].endswith("llama-server")
    assert serve["health_url"].startswith("http://127.0.0.1:30101/")
    assert (tmp_path / "out/here/processes/router.json").is_file()


@pytest.mark.parametrize(
    ("changes", "more", "code", "said"),
    [
        ({"serves/fast/context": 0}, [], 2, "serves.fast.context"),
        ({"presets/chat": ["nobody"]}, [], 2, "(T01)"),
        ({"router/settings/relay_timeout": "soon"}, [], 1, "(R1)"),
        ({}, ["--mode", "third"], 2, "agentic"),
        ({"router/profile": "absent.json"}, [], 2, "router.profile"),
    ],
)
def test_what_will_not_do_writes_nothing(
    tmp_path: Path, changes: dict[str, object], more: list[str], code: int, said: str
) -> None:
    file = tmp_path / "topology.toml"
    file.write_text(tomli_w.dumps(document(changes)))
    result = run(tmp_path / "out", "--topology", file, *more)
    assert result.exit_code == code, result.output
    assert said in result.stderr
    assert not (tmp_path / "out").exists()


def test_where_it_may_not_write(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert run(tmp_path / "file", "--topology", EXAMPLE).exit_code == 2
    assert "--mkdir" in run(tmp_path / "a/b", "--topology", EXAMPLE).stderr
    assert run(tmp_path / "a/b", "--topology", EXAMPLE, "--mkdir").exit_code == 0
    assert run(tmp_path / "x", "--topology", tmp_path / "absent.toml").exit_code == 2
