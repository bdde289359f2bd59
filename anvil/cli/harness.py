"""``anvil harness``: configure a coding client for a router (contract router.md 2.14, lab.md 12)."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from anvil.cli import harness_file, topology_file
from anvil.cli.harness_router import Answer, ask, decoded, described
from anvil.cli.topology_file import FAILED, USAGE, stop
from anvil.harness import HARNESSES
from anvil.harness.joining import Joined, joined
from anvil.harness.model import Document, File
from anvil.harness.openclaw_merge import Options
from anvil.harness.refusal import Refusal

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
        click.option("--url", default="http://127.0.0.1:8000", show_default=True, envvar="ANVIL_ROUTER_URL"),
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


@click.group()
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
    _print(decoded(content))


@harness.command()
@_live
@_home
@click.option("--mkdir", is_flag=True, help="Make missing folders.")
def apply(client: str, url: str, token_env: str | None, release: str, mkdir: bool, **options: Any) -> None:
    """Join it into your own files: foreign keys stay, a backup is kept, the change is printed."""
    answer = decoded(ask(client, url, token_env, release))
    for path, file in _paths(client, answer, options["home"]):
        original, change = _change(client, file, path, options)
        _tell(path, change)
        if change.text is None:
            continue
        if mkdir:
            path.parent.mkdir(parents=True, exist_ok=True)
        _write(path, original, change.text)
    in_files = any(name in file.text for name in answer.env for file in answer.files)
    _say([*answer.notes, *([] if in_files else _exports(answer))])


@harness.command()
@_live
@_home
def check(client: str, url: str, token_env: str | None, release: str, **options: Any) -> None:
    """Say whether your files still agree with the router. Exit 1 when they do not."""
    answer = decoded(ask(client, url, token_env, release))
    drift = []
    for path, file in _paths(client, answer, options["home"]):
        _, change = _change(client, file, path, options)
        _tell(path, change)
        drift += [path] if change.text is not None else []
    if drift:
        raise stop(f"{client} differs from the router; `anvil harness apply {client}` brings it in step", FAILED)


@harness.command()
@click.argument("client", callback=_known)
@topology_file.option
@click.option("--base-url", help="The router as the client reaches it.  [default: http://127.0.0.1:PORT]")
@click.option("--token-env", metavar="NAME", help="Variable that holds the token.")
@click.option("--version", "release", default="", help="The client's release, where its format depends on it.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Write to a new file.")
@click.option("--merge-into", type=click.Path(dir_okay=False, path_type=Path), help="Join it into this file.")
@_home
def render(
    client: str, topology: Path | None, base_url: str | None, token_env: str | None, release: str,
    out: Path | None, merge_into: Path | None, **options: Any,
) -> None:  # fmt: skip
    """The same from a topology, for machines that a deploy cannot reach."""
    versions = HARNESSES[client].versions
    if release and release not in versions:
        raise stop(f"version {release!r} is not known; use one of {', '.join(versions) or 'none'}", USAGE)
    document = HARNESSES[client].render(described(topology, base_url, token_env), release)
    if out is None and merge_into is None:
        _print(document)
        return
    if (out and merge_into) or len(document.files) != 1:
        raise stop("use either --out or --merge-into", USAGE)
    path, file = merge_into or out or Path(), document.files[0]
    if out and path.exists():
        raise stop(f"{path} is there already; use --merge-into to join it", USAGE)
    original, change = (None, Joined(file.text, "", "")) if out else _change(client, file, path, options)
    if merge_into:
        _tell(path, change)
    if change.text is not None:
        _write(path, original, change.text)


# ------------------------------------------------------------------------------------------------- the files


def _paths(client: str, answer: Answer, home: Path | None) -> list[tuple[Path, File]]:
    if not all(file.path.startswith("~/") for file in answer.files):
        _print(answer)
        raise stop(f"{client} has no file to change: do the above by hand", USAGE)
    return [((home or Path.home()) / file.path[2:], file) for file in answer.files]


def _change(client: str, file: File, path: Path, options: dict[str, Any]) -> tuple[bytes | None, Joined]:
    settings = Options(overwrite_url=options["overwrite_url"])
    try:
        original = harness_file.read(path)
        return original, joined(client, file, original, settings, rewrite=options["rewrite"])
    except Refusal as refusal:
        raise stop(f"{path}: {refusal}", FAILED) from None
    except OSError as error:
        raise stop(f"{path} cannot be read: {error.strerror}", FAILED) from None


def _write(path: Path, original: bytes | None, text: str) -> None:
    if not path.parent.is_dir():
        raise stop(f"{path.parent} does not exist: is the client set up for this user?", FAILED)
    try:
        backup = harness_file.replace(path, original, text)
    except harness_file.ChangedMeanwhile as error:
        raise stop(str(error), FAILED) from None
    except OSError as error:
        raise stop(f"{path} cannot be written: {error.strerror}", FAILED) from None
    click.echo(f"{path} written" + (f", before: {backup}" if backup else ""))


def _tell(path: Path, change: Joined) -> None:
    _say(list(change.notes))
    if change.text is None:
        click.echo(f"{path} is in step")
        return
    lines = (change.before.splitlines(keepends=True), change.after.splitlines(keepends=True))
    click.echo("".join(difflib.unified_diff(*lines, str(path), f"{path} (wanted)")), nl=False)


def _print(document: Document | Answer) -> None:
    for file in document.files:
        click.echo(f"# {file.path}", err=True)
        click.echo(file.text, nl=False)
    _say([*document.notes, *_exports(document)])


def _exports(document: Document | Answer) -> list[str]:
    return [f'export {name}="{value}"' for name, value in document.env.items() if value != f"${{{name}}}"]


def _say(lines: list[str]) -> None:
    for line in lines:
        click.echo(line, err=True)
