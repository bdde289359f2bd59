"""``anvil replay``: see which recorded requests a new configuration or profile would move, before it is promoted."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from anvil.cli.ending import stop
from anvil.cli.exit_codes import FAILED

if TYPE_CHECKING:
    from anvil.router.replay import Move

SCHEMA = "anvil.replay/v1"


@click.command()
@click.argument("decisions", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--config", required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--profile", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="candidate profile.json")
@click.option("--fail-on-change", is_flag=True, help="exit 1 when a request would go to another tier first")
@click.option("--json", "as_json", is_flag=True, help="one JSON document on stdout")
def replay(decisions: Path, config: Path, profile: Path | None, fail_on_change: bool, as_json: bool) -> None:
    """Run the metadata of recorded DECISIONS through a candidate configuration; no model is called.

    Exit 0: replayed. 1: with --fail-on-change, something moved. 2: usage, or a file that cannot be read.
    """
    from anvil.router import loading
    from anvil.router import replay as replaying
    from anvil.router.config import ConfigError
    from anvil.router.profile import Profile

    try:
        candidate = loading.load(config, mode=None, environ=os.environ, online=False)
        table = Profile.load(profile.read_bytes(), candidate.config, name=str(profile)) if profile else None
        found = list(replaying.moves(replaying.read(decisions), candidate, table))
    except (ConfigError, replaying.BadDecisions, OSError) as error:
        raise stop(error) from None
    moved = [move for move in found if move.moved]
    if as_json:
        rows = [msgspec.to_builtins(move) for move in moved]
        groups = [dict(zip(("work_class", "before", "after", "requests"), group, strict=True)) for group in _by(moved)]
        document = {"schema": SCHEMA, "replayed": len(found), "moved": rows, "by_tier_and_class": groups}
        click.echo(msgspec.json.encode(document).decode())
    else:
        _tell(moved, len(found))
    if moved and fail_on_change:
        raise SystemExit(FAILED)


def _tell(moved: Sequence[Move], replayed: int) -> None:
    for move in moved:
        before, after = _first(move)
        click.echo(
            f"{move.id}  {move.preset or 'inferred'} ({move.work_class or '-'}): {before or 'nobody'} ->"
            f" {after or 'nobody'}  {move.why}"
        )
    for work_class, before, after, requests in _by(moved):
        click.echo(f"{work_class or 'none'}: {before or 'nobody'} -> {after or 'nobody'}  {requests}")
    click.echo(f"{len(moved)} of {replayed} recorded requests would go to another tier first")


def _first(move: Move) -> tuple[str | None, str | None]:
    return next(iter(move.before), None), next(iter(move.after), None)


def _by(moved: Sequence[Move]) -> list[tuple[str | None, str | None, str | None, int]]:
    """Work class, first tier before and after (None: nobody), and how many requests; the most first."""
    counts = Counter((move.work_class, *_first(move)) for move in moved)
    return [(*key, many) for key, many in sorted(counts.items(), key=lambda item: (-item[1], str(item[0])))]
