"""``anvil multiplexer``: one card, several models, one resident (contract lab.md 11)."""

from __future__ import annotations

import os
from pathlib import Path

import click

from anvil.cli.ending import stop


@click.command()
@click.option(
    "--config",
    "file",
    required=True,
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="multiplexer.toml: address, token variables, limits and the registry of models.",
)
def multiplexer(file: Path) -> None:
    """Serve several models on one card, swapping them on demand.

    Exit 0: stopped by a signal. 1: the port is taken. 2: usage, an unreadable or refused file, a missing token.
    """
    from anvil.multiplexer import config, server
    from anvil.router.config import ConfigError

    try:
        read = config.load(file)
        tokens = config.tokens(read, os.environ)
    except ConfigError as error:
        raise stop(error) from None
    server.serve(read, tokens)
