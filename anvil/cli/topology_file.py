"""Which topology a command works on, and how it says that the file will not do (contract lab.md 1)."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from anvil.cli.ending import stop
from anvil.topology import derived, load
from anvil.topology.check import check, lines
from anvil.topology.finding import Finding
from anvil.topology.model import Topology

Command = TypeVar("Command", bound=Callable[..., Any])


def option(command: Command) -> Command:
    return click.option(
        "--topology",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="Default: ANVIL_TOPOLOGY, else inventory/topology.toml.",
    )(command)


def path(named: Path | None) -> Path:
    return named or load.path(os.environ, load.DEFAULT)


def loaded(file: Path, mode: str | None = None) -> Topology:
    """Ends the command with exit 2 when the file cannot be read as a topology or has no such mode."""
    try:
        return derived.in_mode(load.load(file, os.environ), mode)
    except (load.TopologyError, ValueError) as error:
        raise stop(str(error)) from None


def checked(topology: Topology, file: Path) -> list[Finding]:
    """The warnings. Ends the command with exit 2 and every error when the tables contradict each other."""
    found = check(topology)
    errors = [finding for finding in found if finding.level == "error"]
    if errors:
        raise stop("\n".join(lines(errors, str(file))))
    return [finding for finding in found if finding.level == "warn"]


def profile(topology: Topology, file: Path) -> bytes | None:
    """The profile beside the topology; None where the seed profile is meant."""
    if topology.router.profile is None:
        return None
    place = file.parent / topology.router.profile
    try:
        return place.read_bytes()
    except OSError as error:
        raise stop(f"{file}: router.profile: {place}: {error.strerror}") from None
