"""``anvil score``: which model for which role, by published numbers only (lab contract 14)."""

from __future__ import annotations

from pathlib import Path

import click
import msgspec

from anvil.cli.catalogue import as_json, document, say
from anvil.cli.ending import stop
from anvil.lab.score import candidates, mixture

SCHEMA = "anvil.score/v1"


@click.command()
@click.option("--no-local", is_flag=True, help="Only the researched candidates.")
@click.option(
    "--library",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("model-library"),
    show_default=True,
    help="What `anvil models index` wrote.",
)
@as_json
def score(no_local: bool, library: Path, as_json: bool) -> None:
    """Pick a heavy and a fast model for coding, research and writing; what is not published is unknown."""
    known = candidates.researched()
    if not no_local:
        if not (library / "cards").is_dir():
            say(f"{library}: no index there; only researched candidates are compared (`anvil models index`)")
        try:
            known = candidates.joined(known, candidates.local(library))
        except candidates.LibraryError as error:
            raise stop(error) from None
    made = mixture.mixture(known)
    if as_json:
        document(SCHEMA, msgspec.to_builtins(made))
    else:
        click.echo(mixture.markdown(made), nl=False)
