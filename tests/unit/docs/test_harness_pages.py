"""docs/harnesses: every command of a page is run, against a real router, in a home folder of its own."""

from __future__ import annotations

import json
import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from anvil.cli import COMMANDS
from anvil.cli.harness import harness
from anvil.cli.harness_place import MOVED
from anvil.harness import HARNESSES
from tests.router.conftest import config_toml, start_router, tier_toml
from tests.unit.topology.example import ROOT

PAGES = ROOT / "docs/harnesses"
CLIENTS = ("claude-code", "codex", "opencode", "pi", "aider")
TOKEN = "the-token-of-your-router"


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    tier = tier_toml("big", "http://127.0.0.1:9/v1", role="heavy", context_limit=65536)
    presets = {name: ["big"] for name in ("chat", "quick-edit", "review")}
    text = config_toml(tier, presets=presets, server='auth_env = "ANVIL_ROUTER_TOKEN"')
    running = start_router(tmp_path_factory.mktemp("router"), text, {"ANVIL_ROUTER_TOKEN": TOKEN})
    yield running.url
    running.stop()


@pytest.fixture(autouse=True)
def home(tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "inventory").symlink_to(ROOT / "inventory")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("ANVIL_ROUTER_URL", url)
    moved = [variable for places in MOVED.values() for variable, _ in places]
    for name in ("ANVIL_ROUTER_TOKEN", "ANVIL_TOPOLOGY", *moved):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def commands(page: str) -> list[list[str]]:
    blocks = re.findall(r"^```console\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    assert all(line.startswith("$ ") for line in lines)
    return [shlex.split(line[2:], comments=True) for line in lines]


def run(words: list[str], monkeypatch: pytest.MonkeyPatch) -> Result | None:
    if words[0] == "export":
        monkeypatch.setenv(*words[1].split("=", 1))
        return None
    assert words[:2] == ["anvil", "harness"], "a command this test cannot run"
    return CliRunner().invoke(harness, words[2:])


@pytest.mark.parametrize("client", CLIENTS)
def test_every_command_of_a_page_works(client: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (PAGES / f"{client}.md").read_text()
    ran = []
    for words in commands(page):
        result = run(words, monkeypatch)
        if result is not None:
            assert result.exit_code == 0, (words, result.output)
            assert TOKEN not in result.output
            ran.append(words[2])
    assert ran == ["show", "apply", "check", "render"]
    path = HARNESSES[client].path
    assert path in page
    assert TOKEN not in (home / path[2:]).read_text()


@pytest.mark.parametrize("client", CLIENTS)
def test_the_keys_a_page_explains_are_written(client: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (PAGES / f"{client}.md").read_text()
    monkeypatch.setenv("ANVIL_ROUTER_TOKEN", TOKEN)
    result = CliRunner().invoke(harness, ["apply", client, "--mkdir"])
    text = (home / HARNESSES[client].path[2:]).read_text()
    found: Any = tomllib.loads(text) if client == "codex" else json.loads(text)
    names = {
        "claude-code": [*found.get("env", {}), "apiKeyHelper"],
        "codex": ["model", "model_provider", "model_context_window", "env_key", "wire_api"],
        "opencode": ["model", "small_model", "limit"],
        "pi": ["apiKey"],
        "aider": re.findall(r'export (\w+)="', result.stderr),
    }[client]
    assert names
    assert all(name in page for name in names)


def test_every_page_has_a_client_and_no_command_is_invented() -> None:
    pages = {page.stem for page in PAGES.glob("*.md")}
    assert {*CLIENTS, "openclaw"} <= pages
    for page in PAGES.glob("*.md"):
        assert set(re.findall(r"(?:`|\$ )anvil ([a-z]+)", page.read_text())) <= set(COMMANDS)
