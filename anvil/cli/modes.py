"""``anvil modes``: what is in force in each mode of the topology (contract lab.md 15)."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any

import click
import msgspec

from anvil.cli import topology_file
from anvil.cli.ending import stop
from anvil.cli.exit_codes import USAGE
from anvil.topology import derived
from anvil.topology.model import Topology

_JSON = click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")


@click.group()
def modes() -> None:
    """Modes of the topology: list, show."""


@modes.command("list")
@topology_file.option
@_JSON
def list_(topology: Path | None, as_json: bool) -> None:
    """Every mode with its serves, tiers and presets; the active one is marked."""
    found = topology_file.loaded(topology_file.path(topology))
    rows = [_row(found, name) for name in found.modes]
    if as_json:
        _document({"active": found.mode, "modes": rows})
        return
    if not rows:
        click.echo("no modes: everything in the topology is in force")
    for row in rows:
        mark = "*" if row["mode"] == found.mode else " "
        parts = [f"{key} {', '.join(row[key]) or 'none'}" for key in ("serves", "tiers", "presets")]
        click.echo(f"{mark} {row['mode']}: {'; '.join(parts)}")


@modes.command()
@click.argument("mode", required=False)
@topology_file.option
@_JSON
def show(mode: str | None, topology: Path | None, as_json: bool) -> None:
    """What is up, and which tiers each preset asks in which order, in MODE (default: the active one)."""
    found = topology_file.loaded(topology_file.path(topology))
    row = _row(found, _known(found, mode))
    if as_json:
        _document(row)
        return
    click.echo(f"mode {row['mode'] or 'none: everything is in force'}")
    width = max(map(len, row["presets"]), default=0)
    click.echo(f"serves: {', '.join(row['serves']) or 'none'}")
    click.echo(f"tiers: {', '.join(row['tiers']) or 'none'}")
    for preset, tiers in row["presets"].items():
        window = row["windows"][preset]
        click.echo(f"  {preset:<{width}}  {' > '.join(tiers)}  ({window or 'no'} tokens)")


def _known(found: Topology, mode: str | None) -> str | None:
    if mode is None:
        return found.mode
    if mode in found.modes:
        return mode
    near = difflib.get_close_matches(mode, found.modes, n=1)
    hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(found.modes) or 'none'}"
    raise stop(f"mode {mode!r} is not declared; {hint}", USAGE)


def _row(found: Topology, mode: str | None) -> dict[str, Any]:
    chosen = derived.in_mode(found, mode)
    active = derived.active(chosen)
    return {
        "mode": mode,
        "active": mode == found.mode,
        "serves": list(active.serves),
        "tiers": list(active.tiers),
        "presets": {preset: list(tiers) for preset, tiers in active.presets.items()},
        "windows": {preset: derived.window(chosen, preset) for preset in active.presets},
    }


def _document(content: dict[str, Any]) -> None:
    click.echo(msgspec.json.encode({"schema": "anvil.modes/v1", **content}).decode())
