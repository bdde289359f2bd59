"""What the catalogue commands share: one JSON document, where the topology is (lab contract 1)."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click
import msgspec

from anvil.cli import topology_file
from anvil.cli.ending import stop
from anvil.topology import load
from anvil.topology.model import Topology

Command = TypeVar("Command", bound=Callable[..., Any])

as_json = click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")


def say(*lines: str) -> None:
    for line in lines:
        click.echo(line, err=True)


def document(schema: str, content: Mapping[str, Any]) -> None:
    """One JSON document and nothing else."""
    encoded = msgspec.json.encode({"schema": schema, **content})
    click.echo(msgspec.json.format(encoded).decode())


def topology(file: Path | None, *, needed: bool) -> Topology | None:
    """The topology, None when none is named and the default is absent and it is not ``needed``. Exits 2."""
    path = topology_file.path(file)
    if not needed and path == load.DEFAULT and not path.exists():
        return None
    try:
        return load.load(path, os.environ)
    except load.TopologyError as error:
        raise stop(error) from None
