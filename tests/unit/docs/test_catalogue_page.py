"""docs/catalogue.md: every command is run in a planted folder, and prints what the page says."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from anvil.cli import COMMANDS
from anvil.cli.models import models
from anvil.cli.priors import priors
from anvil.cli.prune import Parts
from anvil.cli.recipes import recipes
from tests.unit.docs.console import commands, prints
from tests.unit.docs.planted import plant
from tests.unit.lab.prune.test_prune import Docker
from tests.unit.topology.example import ROOT

PAGE = ROOT / "docs/catalogue.md"
NOT_SHOWN = {"recipes capture", "priors fetch"}  # need docker or the network; their options are checked below


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    for name in ("ANVIL_TOPOLOGY", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "USERPROFILE", "HF_TOKEN"):
        monkeypatch.delenv(name, raising=False)


def command(name: str) -> click.Command:
    module, attribute = COMMANDS[name]
    found: click.Command = getattr(importlib.import_module(module), attribute)
    return found


def test_every_command_prints_what_the_page_says() -> None:
    for shown in commands(PAGE):
        name, *words = shown.words
        reached = Parts(docker=Docker()) if name == "prune" else None
        result = CliRunner().invoke(command(name), words, obj=reached, catch_exceptions=False)
        assert result.exit_code == 0, (shown.line, result.output)
        assert prints(shown.output, result.stdout) == "", (shown.line, result.stdout)


def test_every_subcommand_is_on_the_page() -> None:
    text = PAGE.read_text()
    subcommands = {f"{group.name} {name}" for group in (models, recipes, priors) for name in group.commands}
    shown = {" ".join(each.words[:2]) for each in commands(PAGE)}
    assert subcommands - shown == NOT_SHOWN
    assert all(f"anvil {name}" in text for name in NOT_SHOWN)


def test_every_option_the_page_names_exists() -> None:
    text = re.sub(r"^```.*?^```$", "", PAGE.read_text(), flags=re.MULTILINE | re.DOTALL)
    for section in re.split(r"^## ", text, flags=re.MULTILINE)[1:]:
        names = re.findall(r"anvil (\w+)", section.splitlines()[0])
        known = {option for name in names for option in options(command(name))}
        mentioned = {word for quoted in re.findall(r"`([^`]+)`", section) for word in re.findall(r"--[a-z-]+", quoted)}
        assert mentioned - known - {"--json-out"} == set(), section.splitlines()[0]


def options(found: click.Command) -> set[str]:
    inner = found.commands.values() if isinstance(found, click.Group) else ()
    return {name for each in found.params for name in each.opts} | {name for each in inner for name in options(each)}
