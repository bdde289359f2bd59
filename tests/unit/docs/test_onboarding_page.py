"""docs/onboarding.md: every command is run on a machine made of fakes, and prints what the page says."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from anvil.cli import COMMANDS
from tests.unit.docs.console import commands, prints
from tests.unit.docs.planted import plant
from tests.unit.lab.onboarding import hosts
from tests.unit.topology.example import ROOT

PAGE = ROOT / "docs/onboarding.md"
TOKEN = "canary-token-value-0000000000"


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(tmp_path)
    Path(tmp_path, "inventory/topology.toml").unlink()
    tools = hosts.path(tmp_path)
    hosts.with_cards(tools)
    hosts.with_docker(tools, ("openai/gpt-oss-120b",))
    monkeypatch.setenv("PATH", str(tools))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("ANVIL_ROUTER_TOKEN", TOKEN)
    for name in ("HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "ANVIL_TOPOLOGY", "ANVIL_ROUTER_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("ANVIL_CLAUDE_LOGS", raising=False)
    monkeypatch.chdir(tmp_path)


def test_every_command_prints_what_the_page_says() -> None:
    for number, shown in enumerate(commands(PAGE)):
        name, *words = shown.words
        module, attribute = COMMANDS[name]
        command: click.Command = getattr(importlib.import_module(module), attribute)
        result = CliRunner().invoke(command, words, catch_exceptions=False)
        assert result.exit_code == (2 if number == 0 else 0), (shown.line, result.output)
        assert prints(shown.output, result.stdout) == "", (shown.line, result.stdout)
        assert TOKEN not in result.output
        if number == 0:
            (text,) = re.findall(r"^```text\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
            assert [line.removeprefix("anvil init: ") for line in result.stderr.splitlines()][1:] == text.splitlines()
        if "--usage" in words:
            assert "65536 tokens hold 100 % of your sub-agents' calls" in result.stderr
