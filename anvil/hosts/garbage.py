"""What lies under a machine's root and how old it is, and its removal; which of it is garbage is decided elsewhere."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping

from pyinfra.api.command import StringCommand
from pyinfra.api.exceptions import OperationValueError
from pyinfra.api.facts import FactBase
from pyinfra.api.operation import operation
from pyinfra.context import host

from anvil.hosts.announce import announce
from anvil.hosts.shell import Answer, Commands, Struct, captured, reading, script

# Newest first would not be portable; ages in seconds are. Dot folders are releases that were never finished.
_LIST = """cd "$1" 2>/dev/null || exit 44
shift; now=$(date +%s)
for folder in "$@"; do
  for each in "$folder"/* "$folder"/.[!.]*; do
    [ -e "$each" ] || [ -L "$each" ] || continue
    changed=$(stat -c %Y "$each" 2>/dev/null || stat -f %m "$each") || continue
    printf '%s %s\\n' "$((now - changed))" "$each"
  done
done
exit 0
"""
# A promotion or another deploy may be reading: the same lock as theirs. macOS has no flock, and no second operator.
_REMOVE = """root=$1; shift
cd "$root" || exit 1
umask 077
exec 9>>.lock || exit 1
! command -v flock >/dev/null 2>&1 || flock -w 30 9 || { echo "busy: .lock is held by $(cat .lock)" >&2; exit 12; }
rm -rf -- "$@"
"""


class Entry(Struct, frozen=True, kw_only=True):
    """`path` is relative to the root, `age_s` since it last changed."""

    path: str
    age_s: int


class EntriesAnswer(Answer, frozen=True, kw_only=True):
    entries: tuple[Entry, ...] = ()


class Entries(FactBase[EntriesAnswer]):
    """Everything directly inside some folders of a root; a folder that is missing holds nothing."""

    def command(self, root: str, folders: tuple[str, ...]) -> StringCommand:
        return captured(_LIST, root, *folders)

    def process(self, output: list[str]) -> EntriesAnswer:
        got = reading(output)
        if got.code:
            return EntriesAnswer(status="absent" if got.code == 44 else "error", error=got.text.strip())
        rows = [line.split(" ", 1) for line in got.lines if " " in line]
        return EntriesAnswer(
            status="ok", entries=tuple(Entry(path=path, age_s=int(age)) for age, path in rows if _number(age))
        )


def _number(text: str) -> bool:
    return text.removeprefix("-").isdigit()


@operation()
def entries_removed(root: str, doomed: Mapping[str, str]) -> Commands:
    """
    Remove files and folders of the root for good.

    + doomed: path relative to the root, and why it may go
    """
    for path in doomed:
        if not inside(path):
            raise OperationValueError(f"{path!r} is not strictly inside a folder of {root}")
    present = {
        entry.path for entry in host.get_fact(Entries, root, tuple(sorted({*map(posixpath.dirname, doomed)}))).entries
    }
    doomed = {path: why for path, why in doomed.items() if path in present}
    if not doomed:
        host.noop("nothing to remove")
        return
    for path, why in doomed.items():
        announce(f"{root}/{path}: {why}")
    yield script(_REMOVE, root, *(f"./{path}" for path in doomed))


def inside(path: str) -> bool:
    """Whether a relative path names something below a folder of its root, without a way out."""
    return posixpath.normpath(path) == path and not path.startswith(("/", "../")) and "/" in path
