"""``anvil profile``: show a quality profile, or what a candidate would change (lab contract 6.3)."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from anvil.cli.ending import stop
from anvil.cli.listing import Group

if TYPE_CHECKING:
    from anvil.router.config import RouterConfig
    from anvil.router.modes import Selected

SHOW_SCHEMA = "anvil.profile-show/v1"
DIFF_SCHEMA = "anvil.profile-diff/v1"

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


def _options(command: Callable[..., None]) -> Callable[..., None]:
    for option in (
        click.option("--json", "as_json", is_flag=True, help="one JSON document on stdout"),
        click.option("--mode", help="take the configuration of this mode; excludes --config"),
        click.option("--config", help="the router.toml the profile is for: tells unknown tiers and stale rows"),
    ):
        command = option(command)
    return command


@contextmanager
def _refusing() -> Iterator[None]:
    from anvil.router.config import ConfigError
    from anvil.router.modes import ModeError
    from anvil.router.replay import BadDecisions

    try:
        yield
    except (ConfigError, ModeError, BadDecisions, OSError) as error:
        raise stop(error) from None


def _selected(config: str | None, mode: str | None) -> Selected | None:
    from anvil.router import modes

    return modes.select(config, mode, dict(os.environ)) if config or mode else None


def _configuration(selected: Selected | None) -> RouterConfig | None:
    from anvil.router import config

    return config.load(selected.path) if selected else None


@click.group(cls=Group, invoke_without_command=True)
@click.pass_context
def profile(context: click.Context) -> None:
    """Quality profiles: show one, compare two."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


@profile.command()
@click.argument("file", type=_FILE)
@_options
def show(file: Path, config: str | None, mode: str | None, as_json: bool) -> None:
    """Print the rows of FILE; with a configuration also the verdict the router applies to each."""
    from anvil.lab import profile_diff
    from anvil.router.profile import read

    with _refusing():
        selected = _selected(config, mode)
        kind, rows = read(file.read_bytes(), str(file))
        found = profile_diff.compare((), rows, _configuration(selected), selected.mode if selected else None)
    if as_json:
        told: dict[str, object] = {
            "mode": kind,
            "rows": rows,
            "unknown_tiers": found.unknown_tiers,
            "stale": found.stale,
        }
        click.echo(msgspec.json.encode({"schema": SHOW_SCHEMA, **told}).decode())
        return
    details = {row.key: row for row in rows}
    for change in found.added:
        row = details[change.tier_id.lower(), change.work_class]
        applied = f"  applied: {change.candidate.applied}" if change.candidate.applied else ""
        click.echo(
            f"{row.tier_id}  {row.work_class or 'none'}: {row.decision}  {row.quality_score:.2f}  n={row.sample_n}"
            f"  {row.model_label or '-'}  measured {row.last_measured or 'never'}{applied}"
        )
    for line in profile_diff.lines(msgspec.structs.replace(found, added=[])):
        if line.startswith("WARN"):
            click.echo(line)
    click.echo(f"{len(rows)} rows, mode {kind}")


@profile.command()
@click.argument("live", type=_FILE)
@click.argument("candidate", type=_FILE)
@click.option("--decisions", type=_FILE, help="recorded decisions: tells which requests would have moved")
@_options
def diff(
    live: Path, candidate: Path, decisions: Path | None, config: str | None, mode: str | None, as_json: bool
) -> None:
    """Compare the profile in force, LIVE, with CANDIDATE; nothing is changed, no model is called."""
    from anvil.lab import profile_diff
    from anvil.router import loading, replay
    from anvil.router.profile import read

    with _refusing():
        selected = _selected(config, mode)
        if decisions is not None and selected is None:
            raise stop("--decisions needs the configuration they are run through; give --config")
        before, after = (read(file.read_bytes(), str(file))[1] for file in (live, candidate))
        found = profile_diff.compare(before, after, _configuration(selected), selected.mode if selected else None)
        if decisions is not None and selected is not None:
            loaded = loading.load(selected.path, mode=selected.mode, environ=os.environ, online=False)
            replayed = profile_diff.replay(replay.read(decisions), loaded, before, after)
            found = msgspec.structs.replace(found, replayed=replayed)
    if as_json:
        click.echo(msgspec.json.encode({"schema": DIFF_SCHEMA, **msgspec.to_builtins(found)}).decode())
        return
    for line in profile_diff.lines(found):
        click.echo(line)
    if selected is None:
        click.echo("unknown tiers and stale rows cannot be told without --config", err=True)
    if not found.empty:
        click.echo(f"next: {profile_diff.promotion(candidate)}")
