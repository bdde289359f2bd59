"""README.md: its router.toml loads, and its commands exist."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import click
from click.testing import CliRunner

from anvil.cli import COMMANDS
from anvil.cli.serve import check
from tests.unit.topology.example import ROOT

TEXT = (ROOT / "README.md").read_text()
SHELL = "".join(re.findall(r"^```sh\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL))


def test_the_router_alone_loads_as_printed(tmp_path: Path) -> None:
    (text,) = re.findall(r"^```toml\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
    (tmp_path / "router.toml").write_text(text)
    result = CliRunner(env={"ANVIL_ROUTER_TOKEN": "t" * 43}).invoke(
        check, ["--config", str(tmp_path / "router.toml")], catch_exceptions=False
    )
    assert result.exit_code == 0, result.output
    assert "router.toml: ok" in result.stdout
    assert [line for line in result.stdout.splitlines() if line.startswith("warning")] == [
        'warning: tier "heavy-local": no model; the id is asked of the server at start'
    ]


def test_every_command_and_flag_it_names_exists() -> None:
    named = re.findall(r"(?:^|[(/ ])anvil ([a-z]+)([^\n#]*)", SHELL, re.MULTILINE)
    assert {"serve", "check", "token", "harness"} <= {name for name, _ in named}
    for name, rest in named:
        module, attribute = COMMANDS[name]
        known = options(getattr(importlib.import_module(module), attribute))
        assert set(re.findall(r"--[a-z-]+", rest)) <= known, name


def options(found: click.Command) -> set[str]:
    inner = found.commands.values() if isinstance(found, click.Group) else ()
    return {name for each in found.params for name in each.opts}.union(*map(options, inner))


def test_every_script_and_page_it_names_is_there() -> None:
    named = set(re.findall(r"\bscripts/[a-z-]+", TEXT)) | set(re.findall(r"\]\(([^)]+)\)", TEXT))
    assert {"scripts/demo", "docs/lab.md"} <= named
    assert [each for each in sorted(named) if not (ROOT / each).exists()] == []
    for entry in re.findall(r"deploy/\w+\.py", TEXT):
        assert (ROOT / entry).exists(), entry
