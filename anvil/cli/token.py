"""``anvil token``: make a router token, and say how a configured one looks, never its value (operations 18)."""

from __future__ import annotations

import hashlib
import os
import secrets
import sys

import click
import msgspec

from anvil.cli.ending import stop
from anvil.cli.exit_codes import FAILED

SCHEMA = "anvil.token/v1"
# 32 random bytes are 43 URL-safe characters.
TOKEN_BYTES = 32
WEAK_BELOW = 24

_JSON = click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")


@click.group()
def token() -> None:
    """Router tokens: new, status, show."""


@token.command()
@_JSON
def new(as_json: bool) -> None:
    """Print a fresh token of 43 URL-safe characters."""
    made = secrets.token_urlsafe(TOKEN_BYTES)
    _tell({"token": made}, made, as_json)


@token.command()
@click.argument("name", default="ANVIL_ROUTER_TOKEN")
@_JSON
def status(name: str, as_json: bool) -> None:
    """Say whether the variable NAME is set, weak or unset, with an 8-hex fingerprint.

    Exit 0: set or weak. 1: unset.
    """
    value = os.environ.get(name, "").strip()
    digest = hashlib.sha256(value.encode()).hexdigest()[:8] if value else None
    state = "unset" if digest is None else "weak" if len(value) < WEAK_BELOW else "set"
    told = f"weak (under {WEAK_BELOW} characters)" if state == "weak" else state
    line = f"{name}: {told}" + (f", fingerprint {digest}" if digest else "")
    _tell({"name": name, "state": state, "fingerprint": digest}, line, as_json)
    if digest is None:
        raise SystemExit(FAILED)


@token.command()
@click.argument("name", default="ANVIL_ROUTER_TOKEN")
@click.option("--yes", is_flag=True, help="really print the value")
@_JSON
def show(name: str, yes: bool, as_json: bool) -> None:
    """Print the value of the variable NAME, only on a terminal and only with --yes."""
    if not yes or not sys.stdout.isatty():
        raise stop("refused: needs --yes and a terminal on stdout")
    value = os.environ.get(name, "")
    _tell({"name": name, "token": value}, value, as_json)


def _tell(document: dict[str, str | None], line: str, as_json: bool) -> None:
    click.echo(msgspec.json.encode({"schema": SCHEMA, **document}).decode() if as_json else line)
