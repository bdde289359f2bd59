"""What the catalogue commands share: one JSON document, one-line refusals, where the topology is (lab contract 1)."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

import click
import msgspec

from anvil.topology import load
from anvil.topology.model import Topology

FAILED: Final = 1
USAGE: Final = 2
UNREACHABLE: Final = 3
MISSING: Final = 127
DEFAULT_TOPOLOGY: Final = Path("inventory/topology.toml")

Command = TypeVar("Command", bound=Callable[..., Any])

as_json = click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
topology_option = click.option(
    "--topology",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Default: ANVIL_TOPOLOGY, else inventory/topology.toml.",
)


def stop(message: str, code: int = USAGE) -> SystemExit:
    """The exit to raise, after its lines went to stderr."""
    for line in message.splitlines():
        click.echo(f"anvil: {line}", err=True)
    return SystemExit(code)


def say(*lines: str) -> None:
    for line in lines:
        click.echo(line, err=True)


def document(schema: str, content: Mapping[str, Any]) -> None:
    """One JSON document and nothing else."""
    encoded = msgspec.json.encode({"schema": schema, **content})
    click.echo(msgspec.json.format(encoded).decode())


def topology(file: Path | None, *, needed: bool) -> Topology | None:
    """The topology, None when none is named and the default is absent and it is not ``needed``. Exits 2."""
    path = file or load.path(os.environ, DEFAULT_TOPOLOGY)
    if not needed and path == DEFAULT_TOPOLOGY and not path.exists():
        return None
    try:
        return load.load(path, os.environ)
    except load.TopologyError as error:
        raise stop(str(error)) from None


def topology_path(file: Path | None) -> Path:
    return file or load.path(os.environ, DEFAULT_TOPOLOGY)
