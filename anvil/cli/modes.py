"""``anvil modes``: what is in force in each mode, of the topology or of a manifest (contract lab.md 15)."""

from __future__ import annotations

import difflib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import msgspec

from anvil.cli import topology_file
from anvil.cli.ending import stop
from anvil.cli.listing import Group
from anvil.topology import derived, load
from anvil.topology.model import Topology

_JSON = click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
_MANIFEST = click.option(
    "--manifest",
    type=click.Path(path_type=Path),
    help="Modes of a router without a topology; ANVIL_MODES_CONFIG counts where no topology is named or found.",
)


@click.group(cls=Group)
def modes() -> None:
    """Modes of the topology, or of a router's manifest: list, show."""


@modes.command("list")
@topology_file.option
@_MANIFEST
@_JSON
def list_(topology: Path | None, manifest: Path | None, as_json: bool) -> None:
    """Every mode with its serves, tiers and presets; the active one is marked."""
    rows = _rows(topology, manifest)
    if as_json:
        _document({"active": next((row["mode"] for row in rows if row["active"]), None), "modes": rows})
        return
    if not rows:
        click.echo("no modes: everything in the topology is in force")
    for row in rows:
        mark = "*" if row["active"] else " "
        parts = [f"{key} {', '.join(row[key]) or 'none'}" for key in ("serves", "tiers", "presets") if key in row]
        click.echo(f"{mark} {row['mode']}: {'; '.join(parts)}")


@modes.command()
@click.argument("mode", required=False)
@topology_file.option
@_MANIFEST
@_JSON
def show(mode: str | None, topology: Path | None, manifest: Path | None, as_json: bool) -> None:
    """What is up, and which tiers each preset asks in which order, in MODE (default: the active one)."""
    row = _chosen(_rows(topology, manifest), mode)
    if row is None:
        row = _row(topology_file.loaded(topology_file.path(topology)), None)
    if as_json:
        _document(row)
        return
    click.echo(f"mode {row['mode'] or 'none: everything is in force'}")
    width = max(map(len, row["presets"]), default=0)
    for key in ("config", "serves", "tiers"):
        if key in row:
            click.echo(f"{key}: {row[key] if key == 'config' else ', '.join(row[key]) or 'none'}")
    for preset, tiers in row["presets"].items():
        window = row["windows"][preset]
        click.echo(f"  {preset:<{width}}  {' > '.join(tiers)}  ({window or 'no'} tokens)")


def _chosen(rows: Sequence[dict[str, Any]], mode: str | None) -> dict[str, Any] | None:
    """The row of ``mode``, or the active one; None when there is none to be active."""
    found = next((row for row in rows if (row["active"] if mode is None else row["mode"] == mode)), None)
    if mode is None or found is not None:
        return found
    known = [row["mode"] for row in rows]
    near = difflib.get_close_matches(mode, known, n=1)
    hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(known) or 'none'}"
    raise stop(f"mode {mode!r} is not declared; {hint}")


def _rows(topology: Path | None, manifest: Path | None) -> list[dict[str, Any]]:
    if topology is not None and manifest is not None:
        raise stop("--topology and --manifest exclude each other: a router runs with the one or the other")
    file = topology_file.path(topology)
    named = manifest or (None if topology or file != load.DEFAULT or file.exists() else _of_environment())
    if named is not None:
        return _of_manifest(named)
    found = topology_file.loaded(file)
    return [_row(found, name) for name in found.modes]


def _of_environment() -> Path | None:
    from anvil.router.modes import MANIFEST_VARIABLE

    named = os.environ.get(MANIFEST_VARIABLE, "").strip()
    return Path(named).expanduser() if named else None


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


def _of_manifest(file: Path) -> list[dict[str, Any]]:
    """Each mode's configuration as a router without a topology finds it; what it serves with is not in there."""
    from anvil.router import config, modes
    from anvil.router.config import ConfigError

    environ = {**os.environ, modes.MANIFEST_VARIABLE: str(file)}
    rows = []
    try:
        active = modes.select(None, None, environ).mode
        for mode in modes.MODES:
            path = modes.select(None, mode, environ).path
            found = config.load(path, environ=os.environ)
            windows = {tier.id: tier.context_limit for tier in found.tiers}
            rows.append(
                {
                    "mode": mode,
                    "active": mode == active,
                    "config": str(path),
                    "tiers": list(windows),
                    "presets": {preset: list(tiers) for preset, tiers in found.presets.items()},
                    "windows": {
                        preset: max((windows[tier] for tier in tiers if tier in windows), default=None)
                        for preset, tiers in found.presets.items()
                    },
                }
            )
    except (modes.ModeError, ConfigError) as error:
        raise stop(error) from None
    return rows


def _document(content: dict[str, Any]) -> None:
    click.echo(msgspec.json.encode({"schema": "anvil.modes/v1", **content}).decode())
