"""Usage errors in one line, with the nearest name there is (contract lab.md 1)."""

from __future__ import annotations

import difflib
from typing import IO, Any

import click


class OneLine(click.ClickException):
    """Exit 2, ``anvil COMMAND: sentence`` on stderr."""

    exit_code = 2

    def show(self, file: IO[Any] | None = None) -> None:
        click.echo(self.format_message(), file=file, err=file is None)


def one_line(error: click.UsageError) -> click.ClickException:
    """The same error without click's three lines of usage; help for a group that was given nothing stays help."""
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        return error
    where = error.ctx.command_path if error.ctx else "anvil"
    said = " ".join(error.format_message().split())
    return OneLine(f"{where}: {said}{_nearest(error, said)}")


def _nearest(error: click.UsageError, said: str) -> str:
    if error.ctx is None or "Did you mean" in said:
        return ""
    if isinstance(error, click.NoSuchOption):
        known = [name for each in error.ctx.command.get_params(error.ctx) for name in each.opts if name.startswith("-")]
        return _hint(error.option_name, known)
    command = error.ctx.command
    if said.startswith("No such command") and isinstance(command, click.Group):
        return _hint(said.split("'")[1], command.list_commands(error.ctx))
    return ""


def _hint(word: str, known: list[str]) -> str:
    near = difflib.get_close_matches(word, known, n=1)
    return f" Did you mean {near[0]}?" if near else f" There are: {', '.join(sorted(known))}."
