"""How a command ends early: its name and a sentence on stderr, and what the exit code means (contract lab.md 1)."""

from __future__ import annotations

import errno
import os
from typing import IO, Any

import click

from anvil.cli.exit_codes import FAILED, USAGE
from anvil.lab.writing import WriteFailed


class Ended(click.ClickException):
    """Every line of the message goes to stderr behind the command's name, nothing to stdout."""

    def __init__(self, message: str, code: int, command: str | None = None) -> None:
        super().__init__(message)
        self.exit_code = code  # type: ignore[misc] # click reads it from the instance, and declares it on the class
        context = click.get_current_context(silent=True)  # gone by the time click shows it
        path = command or (context.command_path if context else "anvil")
        self._name = path if path.split()[0] == "anvil" else f"anvil {path}"

    def show(self, file: IO[Any] | None = None) -> None:
        for line in self.message.splitlines():
            click.echo(f"{self._name}: {line}", file=file, err=file is None)


def stop(message: object, code: int = USAGE) -> click.ClickException:
    """The exception to raise; by default a refusal with nothing tried."""
    return Ended(str(message), code)


def unauthorized(token_env: str) -> click.ClickException:
    """What a router's 401 means: no token was sent, or one that it does not know."""
    if os.environ.get(token_env, "").strip():
        return stop(f"the router refuses the token in {token_env}: it is not one of its own", FAILED)
    return stop(f"the router wants a token: set {token_env}, or name another variable with --token-env", FAILED)


def failed(error: OSError, command: str | None = None) -> Exception:
    """The same without a traceback; a reader that had enough (EPIPE) is left to click, which ends silently.

    ``command`` is what ran, where its context is gone."""
    if error.errno == errno.EPIPE:
        return error
    said = str(error) if isinstance(error, WriteFailed) else f"{error.filename or 'a file'}: {error.strerror or error}"
    return Ended(said, FAILED, command)
