"""``anvil bootstrap``: a first quality profile from evaluations graded before (lab contract 6.2)."""

from __future__ import annotations

import sys
from pathlib import Path

import click
import msgspec

USAGE = 2
BOOTSTRAP_SCHEMA = "anvil.bootstrap/v1"


@click.command()
@click.option("--replay", "folder", required=True, type=click.Path(path_type=Path), help="folder of evaluations")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="the profile.json to write")
@click.option("--map", "mapped", multiple=True, metavar="LABEL=TIER", help="tier id of a label, instead of the default")
@click.option("--force", is_flag=True, help="write over an existing file of other content")
@click.option("--mkdir", is_flag=True, help="make the folder of --out")
@click.option("--json", "as_json", is_flag=True, help="one JSON document on stdout")
def bootstrap(folder: Path, out: Path, mapped: tuple[str, ...], force: bool, mkdir: bool, as_json: bool) -> None:
    """Write a quality profile from graded evaluations; contacts nothing, the same input gives the same bytes."""
    from anvil.lab import bootstrap as replaying
    from anvil.lab.evaluation import profile_file
    from anvil.lab.evaluation.folder import BadEvaluation
    from anvil.lab.writing import WriteRefused, write_whole

    try:
        rows = replaying.rows(folder, {**replaying.TIERS, **pairs("--map", mapped)})
        data = profile_file.encode(rows, "replay")
        if not (out.is_file() and out.read_bytes() == data):
            write_whole(out, data, force=force, mkdir=mkdir)
    except (BadEvaluation, WriteRefused, BadPair, OSError) as error:
        raise refusal("bootstrap", str(error)) from None
    if as_json:
        found = [msgspec.to_builtins(row) for row in rows]
        click.echo(msgspec.json.encode({"schema": BOOTSTRAP_SCHEMA, "out": str(out), "rows": found}).decode())
        return
    for row in rows:
        click.echo(f"{row.tier_id}  {row.work_class}: {row.decision}  {row.quality_score:.2f}  n={row.sample_n}")
    click.echo(f"wrote {out}; next: anvil profile diff LIVE {out}")


class BadPair(ValueError):
    """An option that should read NAME=VALUE."""


def pairs(option: str, given: tuple[str, ...]) -> dict[str, str]:
    """{name: value} of repeated NAME=VALUE options. Raises BadPair for a malformed or doubled one."""
    found: dict[str, str] = {}
    for text in given:
        name, equals, value = (part.strip() for part in text.partition("="))
        if not (name and equals and value):
            raise BadPair(f"{option} {text}: wanted NAME=VALUE")
        if name in found:
            raise BadPair(f"{option} {name}: given twice")
        found[name] = value
    return found


def refusal(command: str, message: str) -> SystemExit:
    """Say every line of ``message`` on stderr; exit 2."""
    for line in message.splitlines():
        print(f"anvil {command}: {line}", file=sys.stderr)
    return SystemExit(USAGE)
