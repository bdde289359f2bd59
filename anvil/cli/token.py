"""``anvil token``: make a router token, and say how a configured one looks, never its value (operations 18)."""

from __future__ import annotations

import hashlib
import os
import secrets
import sys

import click

# 32 random bytes are 43 URL-safe characters.
TOKEN_BYTES = 32
WEAK_BELOW = 24


@click.group()
def token() -> None:
    """Router tokens: new, status, show."""


@token.command()
def new() -> None:
    """Print a fresh token of 43 URL-safe characters."""
    click.echo(secrets.token_urlsafe(TOKEN_BYTES))


@token.command()
@click.argument("name", default="ANVIL_ROUTER_TOKEN")
def status(name: str) -> None:
    """Say whether the variable NAME is set, weak or unset, with an 8-hex fingerprint."""
    value = os.environ.get(name, "").strip()
    if not value:
        click.echo(f"{name}: unset")
        raise SystemExit(1)
    digest = hashlib.sha256(value.encode()).hexdigest()[:8]
    strength = "weak (under 24 characters)" if len(value) < WEAK_BELOW else "set"
    click.echo(f"{name}: {strength}, fingerprint {digest}")


@token.command()
@click.argument("name", default="ANVIL_ROUTER_TOKEN")
@click.option("--yes", is_flag=True, help="really print the value")
def show(name: str, yes: bool) -> None:
    """Print the value of the variable NAME, only on a terminal and only with --yes."""
    if not yes or not sys.stdout.isatty():
        click.echo("refused: needs --yes and a terminal on stdout", err=True)
        raise SystemExit(2)
    click.echo(os.environ.get(name, ""))
