"""Which secrets a host already holds: names only, values never leave it."""

from __future__ import annotations

from collections.abc import Collection

from pyinfra.api.command import StringCommand
from pyinfra.api.facts import FactBase

from anvil.hosts.shell import Answer, captured, reading


class NamesAnswer(Answer, frozen=True, kw_only=True):
    names: tuple[str, ...] = ()


class SecretNames(FactBase[NamesAnswer]):
    """The variable names of a secrets.env; "absent" when there is none."""

    def command(self, path: str) -> StringCommand:
        body = '[ -e "$1" ] || exit 44\nsed -n "s/^\\([A-Za-z_][A-Za-z0-9_]*\\)=.*/\\1/p" "$1"'
        return captured(body, path)

    def process(self, output: list[str]) -> NamesAnswer:
        got = reading(output)
        if got.code == 44:
            return NamesAnswer(status="absent")
        if got.code:
            # The text of a failed read could hold a line of the file: only the status goes on.
            return NamesAnswer(status="error", error=f"secrets.env cannot be read (exit status {got.code})")
        return NamesAnswer(status="ok", names=tuple(got.lines))


def would_be_lost(
    held: Collection[str], wanted: Collection[str], given: Collection[str], dropped: Collection[str] = ()
) -> list[str]:
    """Names the host holds and still needs, but the controller has no value for: a redeploy must not lose them."""
    return sorted(name for name in held if name in wanted and name not in given and name not in dropped)
