"""``anvil replay``: see which recorded requests a new configuration or profile would move, before it is promoted."""

from __future__ import annotations

import os
from pathlib import Path

import click
import msgspec

SCHEMA = "anvil.replay/v1"


@click.command()
@click.argument("decisions", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--config", required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--profile", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="candidate profile.json")
@click.option("--json", "as_json", is_flag=True, help="one JSON document on stdout")
def replay(decisions: Path, config: Path, profile: Path | None, as_json: bool) -> None:
    """Run the metadata of recorded DECISIONS through a candidate configuration; no model is called."""
    from anvil.router import loading
    from anvil.router import replay as replaying
    from anvil.router.config import ConfigError
    from anvil.router.profile import Profile

    try:
        candidate = loading.load(config, mode=None, environ=os.environ, online=False)
        table = Profile.load(profile.read_bytes(), candidate.config, name=str(profile)) if profile else None
        found = list(replaying.moves(replaying.read(decisions), candidate, table))
    except (ConfigError, replaying.BadDecisions, OSError) as error:
        for line in str(error).splitlines():
            click.echo(f"anvil: {line}", err=True)
        raise SystemExit(2) from None
    moved = [move for move in found if move.moved]
    if as_json:
        rows = [msgspec.to_builtins(move) for move in moved]
        click.echo(msgspec.json.encode({"schema": SCHEMA, "replayed": len(found), "moved": rows}).decode())
        return
    for move in moved:
        before, after = move.before[0] if move.before else "nobody", move.after[0] if move.after else "nobody"
        click.echo(
            f"{move.id}  {move.preset or 'inferred'} ({move.work_class or '-'}): {before} -> {after}  {move.why}"
        )
    click.echo(f"{len(moved)} of {len(found)} recorded requests would go to another tier first")
