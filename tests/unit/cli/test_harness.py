"""``anvil harness`` against a real router, on files of a home folder of its own."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner, Result

from anvil.cli import harness_file
from anvil.cli.harness import harness
from anvil.cli.harness_place import MOVED
from anvil.harness import HARNESSES
from tests.router.conftest import config_toml, start_router, tier_toml
from tests.unit.topology.example import EXAMPLE

TOKEN = "router-token-of-the-test-0001"


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    small = tier_toml("small", "http://127.0.0.1:9/v1", role="fast", context_limit=8192)
    large = tier_toml("large", "http://127.0.0.1:9/v1", role="heavy", context_limit=65536, vision=True)
    pools = {"chat": ["small", "large"], "review": ["large"], "planning": ["large"], "quick-edit": ["small"]}
    text = config_toml(small, large, presets=pools, server='auth_env = "ANVIL_ROUTER_TOKEN"')
    running = start_router(tmp_path_factory.mktemp("router"), text, {"ANVIL_ROUTER_TOKEN": TOKEN})
    yield running.url
    running.stop()


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("ANVIL_ROUTER_TOKEN", TOKEN)
    for moved in (name for places in MOVED.values() for name, _ in places):
        monkeypatch.delenv(moved, raising=False)
    monkeypatch.delenv("ANVIL_ROUTER_URL", raising=False)
    monkeypatch.delenv("ANVIL_TOPOLOGY", raising=False)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(harness, list(arguments))


def live(url: str, path: str, **parameters: str) -> httpx.Response:
    headers = {"Authorization": f"Bearer {TOKEN}"}
    return httpx.get(f"{url}/v1/harness{path}", params=parameters, headers=headers, trust_env=False)


# ------------------------------------------------------------------------------------------- the endpoint


def test_the_catalogue_lists_every_client(url: str) -> None:
    listed = live(url, "").json()
    rows = listed["data"] if isinstance(listed, dict) else listed
    assert [row["name"] for row in rows] == list(HARNESSES)
    assert all(row["format"] and row["path"] for row in rows)


@pytest.mark.parametrize("name", list(HARNESSES))
def test_every_client_is_answered(url: str, name: str) -> None:
    answer = live(url, f"/{name}").json()
    assert answer["harness"] == name
    assert answer["schema"] == "anvil-serving.router.harness/v1"
    assert answer["router"]["base_url"] == url
    assert [(row["id"], row["context_window"], row["max_output_tokens"], row["input"]) for row in answer["models"]] == [
        ("chat", 65536, 8192, ["text", "image"]),
        ("review", 65536, 16000, ["text", "image"]),
        ("quick-edit", 8192, 8192, ["text"]),
    ]
    # planning is named in the configuration, but the built-in profile lets no local tier serve it
    assert TOKEN not in json.dumps(answer)
    assert live(url, f"/{name}", format="raw").text == answer["files"][0]["text"]


def test_parameters(url: str) -> None:
    changed = live(url, "/codex", base_url="http://far:8000/v1/", token_env="OTHER").json()
    provider = changed["files"][0]["content"]["model_providers"]["anvil"]
    assert (provider["base_url"], provider["env_key"]) == ("http://far:8000/v1", "OTHER")
    assert live(url, "/openclaw", version="2026.9").status_code == 200
    assert live(url, "/openclaw", version="1999.1").status_code == 400
    assert "2026.9" in live(url, "/openclaw", version="1999.1").text


# -------------------------------------------------------------------------------------------- the commands


def test_show_prints_the_text_and_how_to_export(url: str) -> None:
    result = run("show", "codex", "--url", url)
    assert result.exit_code == 0
    assert tomllib.loads(result.stdout)["model"] == "chat"
    shown = run("show", "aider", "--url", url)
    assert 'export OPENAI_API_KEY="${ANVIL_ROUTER_TOKEN}"' in shown.stderr
    document = json.loads(run("show", "pi", "--url", url, "--json").stdout)
    assert document["harness"] == "pi"


def test_a_moved_client_is_configured_where_it_looks(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    moved = tmp_path / "moved here"
    monkeypatch.setenv("CODEX_HOME", str(moved))
    assert run("apply", "codex", "--url", url).exit_code == 1
    assert run("apply", "codex", "--url", url, "--mkdir").exit_code == 0
    assert tomllib.loads((moved / "config.toml").read_text())["model_provider"] == "anvil"
    assert not (tmp_path / ".codex").exists()
    assert run("check", "codex", "--url", url, "--home", str(tmp_path)).exit_code == 1


def test_a_folder_that_cannot_be_made_is_said(url: str, tmp_path: Path) -> None:
    (tmp_path / ".pi").write_text("a file")
    result = run("apply", "pi", "--url", url, "--mkdir")
    assert result.exit_code == 1
    assert str(tmp_path / ".pi") in result.stderr


def test_a_file_marked_read_only_is_left_alone(url: str, tmp_path: Path) -> None:
    file = tmp_path / ".claude/settings.json"
    file.parent.mkdir()
    file.write_text("{}")
    file.chmod(0o444)
    result = run("apply", "claude-code", "--url", url)
    assert result.exit_code == 1
    assert f"{file} cannot be written: it is read-only" in result.stderr
    assert [each.name for each in file.parent.iterdir()] == ["settings.json"]


def test_apply_keeps_the_rest_backs_up_and_settles(url: str, tmp_path: Path) -> None:
    folder = tmp_path / ".openclaw"
    folder.mkdir()
    file = folder / "openclaw.json"
    before = b"{\n  // mine\n  gateway: {port: 18789, auth: {token: 'gateway-secret'}},\n}\n"
    file.write_bytes(before)
    file.chmod(0o640)
    assert run("check", "openclaw", "--url", url).exit_code == 1
    assert file.read_bytes() == before
    result = run("apply", "openclaw", "--url", url)
    assert result.exit_code == 0, result.output
    assert "gateway-secret" not in result.output
    assert '"anvil": {' in result.stdout
    text = file.read_text()
    assert "// mine" in text
    assert "port: 18789" in text
    assert file.stat().st_mode & 0o777 == 0o640
    (backup,) = folder.glob("openclaw.json.anvil-*")
    assert backup.read_bytes() == before
    assert run("check", "openclaw", "--url", url).exit_code == 0
    again = run("apply", "openclaw", "--url", url)
    assert "is in step" in again.stdout
    assert file.read_text() == text
    assert sorted(path.name for path in folder.iterdir()) == ["openclaw.json", backup.name]


@pytest.mark.parametrize("name", ["claude-code", "codex", "opencode", "pi", "aider", "continue"])
def test_apply_makes_a_private_file(url: str, tmp_path: Path, name: str) -> None:
    missing = run("apply", name, "--url", url, "--home", str(tmp_path))
    path = tmp_path / HARNESSES[name].path[2:]
    if path.parent != tmp_path:
        assert missing.exit_code == 1
        assert "does not exist" in missing.stderr
        assert "--mkdir" in missing.stderr
    result = run("apply", name, "--url", url, "--home", str(tmp_path), "--mkdir")
    assert result.exit_code == 0, result.output
    assert path.stat().st_mode & 0o777 == 0o600
    assert run("check", name, "--url", url, "--home", str(tmp_path)).exit_code == 0


def test_apply_writes_the_target_of_a_link(url: str, tmp_path: Path) -> None:
    (tmp_path / ".codex").mkdir()
    real = tmp_path / "dotfiles.toml"
    real.write_text("# mine\n")
    (tmp_path / ".codex/config.toml").symlink_to(real)
    assert run("apply", "codex", "--url", url).exit_code == 0
    assert (tmp_path / ".codex/config.toml").is_symlink()
    assert real.read_text().startswith("# mine\n")


@pytest.mark.parametrize("content", [b"[]", b'{"a":', b'{"models": 3}'])
def test_a_file_that_cannot_be_joined_is_left_alone(url: str, tmp_path: Path, content: bytes) -> None:
    (tmp_path / ".openclaw").mkdir()
    file = tmp_path / ".openclaw/openclaw.json"
    file.write_bytes(content)
    result = run("apply", "openclaw", "--url", url)
    assert result.exit_code == 1
    assert str(file) in result.stderr
    assert file.read_bytes() == content
    assert list(file.parent.iterdir()) == [file]


def test_a_file_that_changed_meanwhile_is_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "x.json"
    file.write_bytes(b"new")
    with pytest.raises(harness_file.ChangedMeanwhile):
        harness_file.replace(file, b"old", "{}")
    assert file.read_bytes() == b"new"


def test_clients_without_a_file_are_explained(url: str) -> None:
    result = run("apply", "cline", "--url", url)
    assert result.exit_code == 2
    assert "by hand" in result.stderr
    assert "Base URL" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["show", "codec"], 2, "did you mean codex?"),
        (["show", "cursor"], 2, "cannot be pointed"),
        (["show", "codex", "--url", "ftp://x"], 2, "not an http"),
        (["show", "codex", "--url", "http://127.0.0.1:9"], 3, "no router answers"),
        (["render", "codex", "--topology", "/nowhere.toml"], 2, "no such file"),
        (["render", "openclaw", "--version", "1"], 2, "2026.9"),
    ],
)
def test_what_goes_wrong_has_its_exit_code(arguments: list[str], code: int, said: str) -> None:
    result = run(*arguments)
    assert result.exit_code == code
    assert said in result.stderr


def test_a_missing_token_is_named(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ANVIL_ROUTER_TOKEN")
    result = run("show", "codex", "--url", url)
    assert result.exit_code == 1
    assert "set ANVIL_ROUTER_TOKEN" in result.stderr


def test_a_wrong_token_is_told_from_a_missing_one(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANVIL_ROUTER_TOKEN", "of-another-router-0000000000000000000000000")
    result = run("show", "codex", "--url", url)
    assert result.exit_code == 1
    assert "refuses the token in ANVIL_ROUTER_TOKEN" in result.stderr


# -------------------------------------------------------------------------------------- from the topology


def test_render_says_what_a_router_of_that_topology_would(tmp_path: Path) -> None:
    result = run("render", "openclaw", "--topology", str(EXAMPLE), "--base-url", "http://far:8000/v1")
    anvil = json.loads(result.stdout)["models"]["providers"]["anvil"]
    assert anvil["baseUrl"] == "http://far:8000/v1"
    assert [row["id"] for row in anvil["models"]]
    out = tmp_path / "new.json"
    assert run("render", "openclaw", "--topology", str(EXAMPLE), "--out", str(out)).exit_code == 0
    assert run("render", "openclaw", "--topology", str(EXAMPLE), "--out", str(out)).exit_code == 2
    assert "is in step" in run("render", "openclaw", "--topology", str(EXAMPLE), "--merge-into", str(out)).stdout


def test_render_merges_into_a_file(tmp_path: Path) -> None:
    file = tmp_path / "mine.json"
    file.write_text('{"gateway": {"port": 1}}')
    assert run("render", "openclaw", "--topology", str(EXAMPLE), "--merge-into", str(file)).exit_code == 0
    found: Any = json.loads(file.read_text())
    assert found["gateway"] == {"port": 1}
    assert found["models"]["providers"]["anvil"]["models"]
