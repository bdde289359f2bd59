"""Which secrets a host already holds: names only, values never leave it."""

from __future__ import annotations

from collections.abc import Collection

import msgspec
from pyinfra.api.command import StringCommand
from pyinfra.api.facts import FactBase

from anvil.hosts.shell import Answer, captured, reading


class NamesAnswer(Answer, frozen=True, kw_only=True):
    """`lengths` of the values in characters, by name."""

    lengths: dict[str, int] = msgspec.field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.lengths)


class SecretNames(FactBase[NamesAnswer]):
    """The variable names of a secrets.env and how long each value is; "absent" when there is none."""

    def command(self, path: str) -> StringCommand:
        rows = "/^[A-Za-z_][A-Za-z0-9_]*=/ { print $1, length($0) - length($1) - 3 }"
        body = f'[ -e "$1" ] || exit 44\nawk -F= \'{rows}\' "$1"'
        return captured(body, path)

    def process(self, output: list[str]) -> NamesAnswer:
        got = reading(output)
        if got.code == 44:
            return NamesAnswer(status="absent")
        if got.code:
            # The text of a failed read could hold a line of the file: only the status goes on.
            return NamesAnswer(status="error", error=f"secrets.env cannot be read (exit status {got.code})")
        rows = (line.split() for line in got.lines)
        return NamesAnswer(status="ok", lengths={row[0]: max(0, int(row[1])) for row in rows if len(row) == 2})


def would_be_lost(
    held: Collection[str], wanted: Collection[str], given: Collection[str], dropped: Collection[str] = ()
) -> list[str]:
    """Names the host holds and still needs, but the controller has no value for: a redeploy must not lose them."""
    return sorted(name for name in held if name in wanted and name not in given and name not in dropped)
