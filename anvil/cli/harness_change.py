"""A client's files on this machine: what joining our part would change, told to people, and written."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any

import click
import msgspec
from msgspec import Struct

from anvil.cli import harness_file
from anvil.cli.ending import stop
from anvil.cli.exit_codes import FAILED, USAGE
from anvil.cli.harness_place import place
from anvil.cli.harness_router import Answer
from anvil.harness.joining import Joined, joined
from anvil.harness.json5_document import parse
from anvil.harness.json5_edit import written
from anvil.harness.model import Document, File
from anvil.harness.openclaw_merge import Options
from anvil.harness.refusal import Refusal


class Outcome(Struct, frozen=True):
    """One file, as `--json` tells it. ``backup`` holds what stood there before."""

    path: str
    in_step: bool
    written: bool = False
    backup: str | None = None
    notes: tuple[str, ...] = ()


def paths(client: str, answer: Answer, home: Path | None) -> list[tuple[Path, File]]:
    if not all(file.path.startswith("~/") for file in answer.files):
        show_document(answer)
        raise stop(f"{client} has no file to change: do the above by hand", USAGE)
    return [(place(client, file.path, home), file) for file in answer.files]


def changed(client: str, file: File, path: Path, options: dict[str, Any]) -> tuple[bytes | None, Joined]:
    """The file's bytes (None: not there) and what joining ours would make of them."""
    settings = Options(overwrite_url=options["overwrite_url"])
    try:
        original = harness_file.read(path)
        base = _with_map(original, options["rewrite"]) if options.get("allowlist") else original
        return original, joined(client, file, base, settings, rewrite=options["rewrite"])
    except Refusal as refusal:
        raise stop(f"{path}: {refusal}", FAILED) from None
    except OSError as error:
        raise stop(f"{path} cannot be read: {error.strerror}", FAILED) from None


def _with_map(original: bytes | None, rewrite: bool) -> bytes | None:
    """With an empty agents.defaults.models, which the merge never makes by itself but fills where it stands."""
    if original is None or not original.strip():
        return original  # our own document has the map
    document, _ = parse(original)
    defaults = document
    for key in ("agents", "defaults"):
        if defaults.get(key) is None:
            defaults[key] = {}
        defaults = defaults[key]
        if not isinstance(defaults, dict):
            return original  # the merge refuses it with its path
    if defaults.get("models") is not None:
        return original
    defaults["models"] = {}
    return written(original, document, rewrite=rewrite).encode()


def settle(path: Path, original: bytes | None, change: Joined, *, as_json: bool) -> Outcome:
    """Write the change, if there is one, and tell it."""
    tell(path, change, as_json=as_json)
    if change.text is None:
        return Outcome(str(path), in_step=True, notes=change.notes)
    backup = _write(path, original, change.text)
    click.echo(f"{path} written" + (f", before: {backup}" if backup else ""), err=as_json)
    return Outcome(str(path), False, True, str(backup) if backup else None, change.notes)


def make_folder(folder: Path) -> None:
    try:
        harness_file.make_folder(folder)
    except OSError as error:
        raise stop(f"{folder} cannot be made: {error.strerror}", FAILED) from None


def _write(path: Path, original: bytes | None, text: str) -> Path | None:
    if not path.parent.is_dir():
        raise stop(f"{path.parent} does not exist: is the client set up for this user? --mkdir makes it", FAILED)
    try:
        return harness_file.replace(path, original, text)
    except harness_file.ChangedMeanwhile as error:
        raise stop(str(error), FAILED) from None
    except OSError as error:
        raise stop(f"{path} cannot be written: {error.strerror}", FAILED) from None


def tell(path: Path, change: Joined, *, as_json: bool) -> None:
    """The change as a diff, secrets masked; on stderr where stdout is for the document."""
    say(list(change.notes))
    if change.text is None:
        click.echo(f"{path} is in step", err=as_json)
        return
    lines = (change.before.splitlines(keepends=True), change.after.splitlines(keepends=True))
    click.echo("".join(difflib.unified_diff(*lines, str(path), f"{path} (wanted)")), nl=False, err=as_json)


def report(command: str, client: str, outcomes: list[Outcome]) -> None:
    content = {"schema": f"anvil.harness-{command}/v1", "harness": client, "files": outcomes}
    click.echo(msgspec.json.encode(content).decode())


def show_document(document: Document | Answer) -> None:
    for file in document.files:
        click.echo(f"# {file.path}", err=True)
        click.echo(file.text, nl=False)
    say([*document.notes, *exports(document)])


def exports(document: Document | Answer) -> list[str]:
    return [f'export {name}="{value}"' for name, value in document.env.items() if value != f"${{{name}}}"]


def say(lines: list[str]) -> None:
    for line in lines:
        click.echo(line, err=True)
