"""Shell commands for a host: constant scripts, values only as quoted arguments, secrets only on standard input."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Generator, Sequence
from typing import Literal, NotRequired, TypedDict, Unpack

import msgspec
from pyinfra.api.command import PyinfraCommand, QuoteString, StringCommand
from pyinfra.api.host import Host
from pyinfra.api.state import State

COMMAND_SECONDS = 20  # A hung daemon must become an answer, not a hung run.
OUTPUT_BYTES = 4 << 20  # Enough for an inspect of every container; a log flood stays bounded.

# `timeout` is not on macOS: there the command runs without a limit of its own.
_LIMITED = """limited() {
  if command -v timeout >/dev/null 2>&1; then timeout "$@"; else shift; "$@"; fi
}
"""

Commands = Generator[PyinfraCommand, None, None]
Status = Literal["ok", "tool_missing", "daemon_down", "absent", "error"]
TIMED_OUT, NOT_FOUND = 124, 127


class CommandArguments(TypedDict):
    """The connector arguments our commands set for themselves."""

    _stdin: NotRequired[str]
    _timeout: NotRequired[int]


class Struct(msgspec.Struct, frozen=True, kw_only=True):
    """A value that pyinfra's own JSON output can print."""

    def to_json(self) -> object:
        return msgspec.to_builtins(self)


class Answer(Struct, frozen=True, kw_only=True):
    """What every fact result begins with: a missing tool, a daemon that is down and an absent thing are different."""

    status: Status
    error: str = ""

    @property
    def ok(self) -> bool:
        return self.status == "ok"


class Reading(Struct, frozen=True, kw_only=True):
    """Exit status and output (both streams, undecodable bytes replaced) of one captured script."""

    code: int
    text: str

    @property
    def lines(self) -> list[str]:
        return self.text.splitlines()


class StreamedCommand(StringCommand):
    """A command whose output people watch: pulls and loads take minutes."""

    def execute(self, state: State, host: Host, connector_arguments: object) -> object:
        arguments = {**dict(connector_arguments), **self.connector_arguments}  # type: ignore[call-overload]  # a TypedDict
        return host.run_shell_command(self, print_output=True, print_input=state.print_input, **arguments)


class HiddenLines(list[str]):
    """Standard input for a fact. pyinfra prints a fact's keyword arguments at `-v`; these print as a mask."""

    def __repr__(self) -> str:
        return "*MASKED*"

    __str__ = __repr__


def words(*arguments: str | int) -> StringCommand:
    """A command of literal words, every one of them quoted."""
    return StringCommand(*(QuoteString(str(argument)) for argument in arguments))


def script(text: str, *arguments: str | int, **own: Unpack[CommandArguments]) -> StringCommand:
    """`text` is a constant; what varies comes in as "$1", "$2", ..."""
    return StringCommand("sh", "-c", QuoteString(text), "anvil", words(*arguments), **own)


def streamed(text: str, *arguments: str | int, **own: Unpack[CommandArguments]) -> StreamedCommand:
    return StreamedCommand("sh", "-c", QuoteString(text), "anvil", words(*arguments), **own)


def captured(text: str, *arguments: str | int, limit: int = OUTPUT_BYTES) -> StringCommand:
    """A script for a fact: exits 0 whatever happens and prints base64 of its last `limit` bytes and its exit status.

    `limited 20 COMMAND` inside it runs the command under a time limit where the host has `timeout`.
    """
    body = f'{{ ( {_LIMITED}{text}\n); printf "\\n%s" "$?"; }} 2>&1 | tail -c {limit} | base64'
    return script(body, *arguments)


def reading(output: Sequence[str]) -> Reading:
    """What `captured` printed, decoded. Anything else reads as a failure with that text."""
    try:
        raw = base64.b64decode("".join(line.strip() for line in output), validate=True)
    except (binascii.Error, ValueError):
        return Reading(code=1, text="\n".join(output))
    body, _, code = raw.decode("utf-8", "replace").rpartition("\n")
    return Reading(code=int(code) if code.isdigit() else 1, text=body)
