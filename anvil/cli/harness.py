"""``anvil harness``: configure a coding client for a router (contract router.md 2.14, lab.md 12)."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from anvil.cli import harness_render, topology_file
from anvil.cli.ending import stop
from anvil.cli.exit_codes import FAILED
from anvil.cli.harness_change import (
    Outcome,
    changed,
    exports,
    make_folder,
    paths,
    report,
    say,
    settle,
    show_document,
    tell,
)
from anvil.cli.harness_router import ask, decoded
from anvil.cli.harness_validate import validate
from anvil.cli.listing import Group
from anvil.harness import HARNESSES

# These clients ask their maker's own servers.
CLOSED: Final = ("cursor", "amp", "devin")

Command = TypeVar("Command", bound=Callable[..., Any])


def _known(ctx: click.Context, param: click.Parameter, value: str) -> str:
    if value in HARNESSES:
        return value
    if value.lower() in CLOSED:
        raise click.BadParameter(f"{value} cannot be pointed at another server", ctx, param)
    near = difflib.get_close_matches(value, HARNESSES, n=1)
    hint = f"did you mean {near[0]}?" if near else f"use one of {', '.join(HARNESSES)}"
    raise click.BadParameter(f"no client {value!r}; {hint}", ctx, param)


def _live(command: Command) -> Command:
    """The client, and where the router is."""
    for option in (
        click.option("--version", "release", default="", help="The client's release, where its format depends on it."),
        click.option("--token-env", metavar="NAME", help="Variable that holds the token, here and for the client."),
        click.option(
            "--url",
            default="http://127.0.0.1:8000",
            show_default=True,
            envvar="ANVIL_ROUTER_URL",
            help="The router.  [env: ANVIL_ROUTER_URL]",
        ),
        click.argument("client", callback=_known),
    ):
        command = option(command)
    return command


def _home(command: Command) -> Command:
    for option in (
        click.option("--rewrite", is_flag=True, help="JSON5 may become plain JSON where a comment cannot be kept."),
        click.option("--overwrite-url", is_flag=True, help="OpenClaw: replace a base URL that is set."),
        click.option(
            "--home",
            type=click.Path(exists=True, file_okay=False, path_type=Path),
            help="Whose files; default: your own.",
        ),
    ):
        command = option(command)
    return command


@click.group(cls=Group)
def harness() -> None:
    """Configure a coding client for a router: openclaw, claude-code, codex, opencode, pi, aider, cline, continue."""


@harness.command()
@_live
@click.option("--json", "as_json", is_flag=True, help="The router's answer as it is.")
def show(client: str, url: str, token_env: str | None, release: str, as_json: bool) -> None:
    """Print what CLIENT needs. Secrets appear by variable name only."""
    content = ask(client, url, token_env, release)
    if as_json:
        click.echo(content.decode().rstrip("\n"))
        return
    show_document(decoded(content))


_JSON = click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")


@harness.command()
@_live
@_home
@click.option("--mkdir", is_flag=True, help="Make missing folders.")
@_JSON
def apply(
    client: str, url: str, token_env: str | None, release: str, mkdir: bool, as_json: bool, **options: Any
) -> None:
    """Join it into your own files: foreign keys stay, a backup is kept, the change is printed."""
    answer = decoded(ask(client, url, token_env, release))
    outcomes = []
    for path, file in paths(client, answer, options["home"]):
        original, change = changed(client, file, path, options)
        if mkdir and change.text is not None:
            make_folder(path.parent)
        outcomes.append(settle(path, original, change, as_json=as_json))
    in_files = any(name in file.text for name in answer.env for file in answer.files)
    say([*answer.notes, *([] if in_files else exports(answer))])
    if as_json:
        report("apply", client, outcomes)


@harness.command()
@_live
@_home
@_JSON
def check(client: str, url: str, token_env: str | None, release: str, as_json: bool, **options: Any) -> None:
    """Say whether your files still agree with the router. Exit 1 when they do not."""
    answer = decoded(ask(client, url, token_env, release))
    outcomes = []
    for path, file in paths(client, answer, options["home"]):
        _, change = changed(client, file, path, options)
        tell(path, change, as_json=as_json)
        outcomes.append(Outcome(str(path), in_step=change.text is None, notes=change.notes))
    if as_json:
        report("check", client, outcomes)
    if not all(outcome.in_step for outcome in outcomes):
        raise stop(f"{client} differs from the router; `anvil harness apply {client}` brings it in step", FAILED)


@harness.command()
@click.argument("client", callback=_known)
@topology_file.option
@click.option("--base-url", help="The router as the client reaches it.  [default: http://127.0.0.1:PORT]")
@click.option("--token-env", metavar="NAME", help="Variable that holds the token.")
@click.option("--version", "release", default="", help="The client's release, where its format depends on it.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Write to a new file.")
@click.option("--merge-into", type=click.Path(dir_okay=False, path_type=Path), help="Join it into this file.")
@click.option("--allowlist", is_flag=True, help="OpenClaw: make agents.defaults.models, which hides all other models.")
@click.option("--overwrite-url", is_flag=True, help="OpenClaw: replace a base URL that is set.")
@click.option("--rewrite", is_flag=True, help="JSON5 may become plain JSON where a comment cannot be kept.")
@click.option("--force", is_flag=True, help="--out may replace a file.")
@click.option("--mkdir", is_flag=True, help="Make missing folders.")
@_JSON
def render(**options: Any) -> None:
    """The same from a topology, for machines that a deploy cannot reach."""
    harness_render.render(**options)


harness.add_command(validate)
