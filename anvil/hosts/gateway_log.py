"""A log that grows on a host while somebody uses what writes it."""

from __future__ import annotations

import time
from collections.abc import Callable

import gevent  # type: ignore[import-untyped]  # pyinfra runs on it; its sleep lets the other hosts work
from pyinfra.api.command import StringCommand
from pyinfra.api.exceptions import OperationError
from pyinfra.api.facts import FactBase
from pyinfra.api.operation import operation
from pyinfra.context import host, state

from anvil.hosts.announce import announce
from anvil.hosts.files import FileText
from anvil.hosts.json_file import ExpandedPath
from anvil.hosts.shell import Answer, Commands, captured, reading, script

PAUSE_SECONDS = 2
SETTLE_SECONDS = 5  # A fallback of the last message fires a little later.


@operation()
def lines_awaited(
    path: str, enough: Callable[[str], bool], take: Callable[[str], None], wanted: str, seconds: int
) -> Commands:
    """
    Wait until a log holds enough, or the time is up, and hand over its text. Never fails, changes nothing.

    + enough: whether this text is all that was waited for
    + take: is given the last text that was read
    + wanted: what the person at the terminal is asked to do
    """
    if not state.is_executing:
        host.noop("known when the log is written")
        return
    host.log_styled(f"{wanted}; waiting up to {seconds} s", fg="yellow")
    deadline, text = time.monotonic() + seconds, ""
    while not enough(text) and time.monotonic() < deadline:
        gevent.sleep(PAUSE_SECONDS)
        text = _read(path)
    if enough(text):
        gevent.sleep(SETTLE_SECONDS)
        text = _read(path)
    take(text)
    yield from ()


def _read(path: str) -> str:
    return host.get_fact(FileText, path).text


class FolderThere(FactBase[Answer]):
    def command(self, path: str) -> StringCommand:
        return captured('[ -e "$1" ] || exit 44', path)

    def process(self, output: list[str]) -> Answer:
        got = reading(output)
        return Answer(status={0: "ok", 44: "absent"}.get(got.code, "error"), error=got.text.strip())  # type: ignore[arg-type]  # a Status


@operation()
def removed(paths: tuple[str, ...]) -> Commands:
    """
    Remove our own files and folders (`~` allowed) where they are there.
    """
    found = [host.get_fact(ExpandedPath, path).path for path in paths]
    there = {path: host.get_fact(FolderThere, path) for path in found}
    if wrong := [f"{path}: {each.error}" for path, each in there.items() if each.status == "error"]:
        raise OperationError("; ".join(wrong))
    if not (left := [path for path, each in there.items() if each.ok]):
        host.noop("none of them is there")
        return
    announce(f"removed: {', '.join(left)}")
    yield script('rm -rf -- "$@"', *left)
