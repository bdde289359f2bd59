"""docs/deploy.md names only deploys, keys, commands and options that exist."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import click
import pytest

from anvil.cli import COMMANDS
from anvil.deploys import options
from tests.rehearsal.page import steps

REPO = Path(__file__).resolve().parents[3]
PAGE = (REPO / "docs" / "deploy.md").read_text()
LINES = [line.split("  #")[0] for line in re.findall(r"^(?:\.venv/bin/|.*\$\(\.venv/bin/|scripts/).*$", PAGE, re.M)]


def test_every_deploy_file_exists() -> None:
    named = set(re.findall(r"deploy/(\w+)\.py", PAGE))
    assert len(named) > 8
    assert {name for name in named if not (REPO / "deploy" / f"{name}.py").is_file()} == set()


def test_every_script_exists() -> None:
    assert {name for name in re.findall(r"scripts/([\w-]+)", PAGE) if not (REPO / "scripts" / name).is_file()} == set()


@pytest.mark.parametrize("line", [line for line in LINES if "--data" in line])
def test_every_key_belongs_to_its_deploy(line: str) -> None:
    (deploy,) = re.findall(r"deploy/(\w+)\.py", line)
    options.refuse_unknown(re.findall(r"--data (\w+)=", line), deploy)


@pytest.mark.parametrize("line", [line for line in LINES if "bin/anvil" in line])
def test_every_command_takes_its_options(line: str) -> None:
    words = line.split("bin/anvil ")[1].split(")")[0].split()
    module, attribute = COMMANDS[words.pop(0)]
    command: click.Command = getattr(importlib.import_module(module), attribute)
    while isinstance(command, click.Group):
        command = command.commands[words.pop(0)]
    taken = {name for each in command.params for name in each.opts}
    assert {word for word in words if word.startswith("--")} <= taken


def test_the_rehearsal_meets_every_command() -> None:
    """One in a form that it does not recognise would be left out without a word."""
    found = " ".join(" ".join(step.text.split()) for step in steps(PAGE) if step.kind == "sh")
    written = re.findall(r"deploy/\w+\.py [^`\n]*|anvil [a-z]+ [a-z][^`\n#)]*|scripts/[a-z-]+", PAGE)
    assert len(written) > 30
    for words in written:
        assert " ".join(words.split("  #")[0].split()) in found, words
