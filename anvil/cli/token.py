"""``anvil token``: make a router token, and say how a configured one looks, never its value (operations 18)."""

from __future__ import annotations

import hashlib
import os
import secrets
import sys
from collections.abc import Mapping
from pathlib import Path

import click
import msgspec

from anvil.cli import topology_file
from anvil.cli.ending import stop
from anvil.cli.exit_codes import FAILED, MISSING_PROGRAM
from anvil.cli.listing import Group
from anvil.lab import router_token
from anvil.lab.router_token import Token
from anvil.topology import load
from anvil.topology.model import Topology

SCHEMA = "anvil.token/v1"
# 32 random bytes are 43 URL-safe characters.
TOKEN_BYTES = 32
WEAK_BELOW = 24

_JSON = click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")


@click.group(cls=Group)
def token() -> None:
    """Router tokens: new, status, show."""


@token.command()
@_JSON
def new(as_json: bool) -> None:
    """Print a fresh token of 43 URL-safe characters."""
    made = secrets.token_urlsafe(TOKEN_BYTES)
    _tell({"token": made}, made, as_json)


@token.command()
@click.argument("name", required=False)
@topology_file.option
@_JSON
def status(name: str | None, topology: Path | None, as_json: bool) -> None:
    """Say whether a token is set, weak or unset, with an 8-hex fingerprint.

    With a topology (--topology, or ANVIL_TOPOLOGY): those of its router, as the router that runs has them, after the
    state it is in. Without one: the variable NAME [ANVIL_ROUTER_TOKEN] of this environment.

    Exit 0: set or weak. 1: unset, or the router does not run or cannot be asked. 2: usage. 127: no docker or ssh.
    """
    if topology is not None or os.environ.get(load.VARIABLE, "").strip():
        _of_the_router(topology_file.loaded(topology_file.path(topology)), name, as_json)
        return
    name = name or "ANVIL_ROUTER_TOKEN"
    value = os.environ.get(name, "").strip()
    digest = hashlib.sha256(value.encode()).hexdigest()[:8] if value else None
    state = "unset" if digest is None else "weak" if len(value) < WEAK_BELOW else "set"
    _tell({"name": name, "state": state, "fingerprint": digest}, _line(Token(name, state, digest)), as_json)
    if digest is None:
        raise SystemExit(FAILED)


def _of_the_router(topology: Topology, name: str | None, as_json: bool) -> None:
    names = (name,) if name else topology.router.token
    try:
        found = router_token.standing(topology, names, WEAK_BELOW)
    except router_token.TokenError as error:
        raise stop(str(error), MISSING_PROGRAM if error.missing else FAILED) from None
    except FileNotFoundError as error:
        raise stop(f"{error.filename} is missing on this machine", MISSING_PROGRAM) from None
    running = found.state == "running"
    told = "running" if running else f"not running ({found.state})"
    lines = [f"{found.container} on {found.machine}: {told}", *map(_line, found.tokens)]
    lines += ["it asks nobody for a token"] if running and not names else []
    _tell(msgspec.to_builtins(found), "\n".join(lines), as_json)
    if not running or any(each.state in ("unset", "unknown") for each in found.tokens):
        raise SystemExit(FAILED)


def _line(token: Token) -> str:
    told = f"weak (under {WEAK_BELOW} characters)" if token.state == "weak" else token.state
    return f"{token.name}: {told}" + (f", fingerprint {token.fingerprint}" if token.fingerprint else "")


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


def _tell(document: Mapping[str, object], line: str, as_json: bool) -> None:
    click.echo(msgspec.json.encode({"schema": SCHEMA, **document}).decode() if as_json else line)
