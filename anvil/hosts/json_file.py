"""A document that somebody else owns too: ours is joined in, judged by its own program, and swapped in only when whole.

The operation knows nothing of what is in it: `edit` turns the live bytes into the wanted text, and `judge` asks the
program that reads the document.
"""

from __future__ import annotations

import hashlib
import posixpath
from collections.abc import Callable

from pyinfra.api.command import StringCommand
from pyinfra.api.exceptions import OperationError
from pyinfra.api.facts import FactBase
from pyinfra.api.host import Host
from pyinfra.api.operation import operation
from pyinfra.context import host

from anvil.hosts.announce import announce, show_diff, warn
from anvil.hosts.files import DIGEST, FileState, FileText
from anvil.hosts.services import failing
from anvil.hosts.shell import Answer, Commands, Struct, captured, reading, script
from anvil.hosts.text_file import write_command

KEPT_BACKUPS = 10
NEW_MODE = "600"

# P18: no `readlink -f` on older macOS; a link is followed one step at a time.
_RESOLVE = """case $1 in "~/"*) path=$HOME/${1#"~/"} ;; *) path=$1 ;; esac
hops=0
while [ -L "$path" ] && [ "$hops" -lt 20 ]; do
  next=$(readlink "$path") || exit 1
  case $next in /*) path=$next ;; *) path=$(dirname "$path")/$next ;; esac
  hops=$((hops + 1))
done
[ ! -L "$path" ] || { echo "its links go in a circle"; exit 1; }
[ -d "$(dirname "$path")" ] || exit 44
if [ -w "$(dirname "$path")" ]; then echo writable; else echo read-only; fi
echo "$path"
"""
# Compare and swap: the file is moved in only over the very bytes it was made from.
_SWAP = (
    DIGEST
    + """path=$1 candidate=$2 expected=$3 backup=$4 keep=$5 made=$6
trap 'rm -f "$candidate" ${backup:+"$backup.new"}' EXIT
[ "$(digest "$candidate")" = "$made" ] || { echo "another run writes $path at the same time: run again" >&2; exit 1; }
if [ "$expected" = absent ]; then found=absent; [ ! -e "$path" ] || found=present
else found=$(digest "$path"); fi
[ "$found" = "$expected" ] || { echo "$path changed meanwhile, nothing was written: run again" >&2; exit 1; }
if [ "$expected" != absent ] && [ "$(digest "$backup" 2>/dev/null)" != "$expected" ]; then
  { cp -p "$path" "$backup.new" && [ "$(digest "$backup.new")" = "$expected" ] && [ ! -d "$backup" ] &&
    mv -f "$backup.new" "$backup"; } || { echo "no backup could be written, $path is unchanged: $backup" >&2; exit 1; }
fi
[ -z "$backup" ] || touch "$backup"
mv -f "$candidate" "$path" || exit 1
ls -1t "$path".anvil-???????? 2>/dev/null | tail -n "+$((keep + 1))" | while read -r old; do rm -f "$old"; done
"""
)
_DROP = 'rm -f "$1"'


class PathAnswer(Answer, frozen=True, kw_only=True):
    """`writable`: whether the path's folder lets this user make files."""

    path: str = ""
    writable: bool = True


class ResolvedPath(FactBase[PathAnswer]):
    """`~` expanded and links followed, on the host; "absent" when not even the folder exists."""

    def command(self, path: str) -> StringCommand:
        return captured(_RESOLVE, path)

    def process(self, output: list[str]) -> PathAnswer:
        got = reading(output)
        if got.code:
            return PathAnswer(status="absent" if got.code == 44 else "error", error=got.text.strip())
        writable, _, path = got.text.strip().partition("\n")
        return PathAnswer(status="ok", path=path, writable=writable == "writable")


class Edit(Struct, frozen=True, kw_only=True):
    """`text` None: nothing to do. `before` and `after` are what `--diff` may show: secrets masked by the editor."""

    text: str | None
    before: str = ""
    after: str = ""
    notes: tuple[str, ...] = ()


# Reasons of the document's own program against a candidate, given the host, the candidate's path and the live one's.
Judge = Callable[[Host, str, str], tuple[str, ...]]


@operation()
def json_file(path: str, edit: Callable[[bytes | None], Edit], judge: Judge) -> Commands:
    """
    Make the document at `path` (`~` and links allowed) hold what `edit` wants, and nothing else changed.

    + edit: the live bytes (None = absent) -> the wanted text; raises ValueError to refuse
    + judge: reasons of the document's own program against a candidate
    """
    found = host.get_fact(ResolvedPath, path)
    if not found.ok:
        raise OperationError(f"{path}: {found.error or 'its folder does not exist: nothing is set up for this user'}")
    live = host.get_fact(FileText, found.path)
    if live.status not in ("ok", "absent"):
        raise OperationError(f"{path}: cannot be read: {live.error}")
    current = live.content if live.ok else None
    wanted = edited(path, edit, current)
    text = wanted.text
    if not announced(path, wanted, created=not live.ok) or text is None:
        host.noop(f"{path} holds it already")
        return
    if not found.writable:
        raise OperationError(f"{found.path}: its folder is not writable for this user; make it so, or run as its owner")
    stat = host.get_fact(FileState, found.path)
    candidate = f"{found.path}.anvil-candidate"
    yield write_command(candidate, text, stat.mode or NEW_MODE, stat.ids)
    if reasons := judge(host, candidate, found.path):
        yield script(_DROP, candidate)
        yield failing(f"{path}: its own program refuses the candidate: {'; '.join(reasons)}")
        return
    digest = hashlib.sha256(current).hexdigest() if current is not None else ""
    backup = backup_of(found.path, current) if current is not None else ""
    made = hashlib.sha256(text.encode()).hexdigest()
    yield script(_SWAP, found.path, candidate, digest or "absent", backup, KEPT_BACKUPS, made)
    if edited(path, edit, host.get_fact(FileText, found.path).content).text is not None:
        yield failing(f"{path}: read back, it does not hold what was written")


def backup_of(path: str, content: bytes) -> str:
    """Where a copy of exactly these bytes is kept."""
    return f"{path}.anvil-{hashlib.sha256(content).hexdigest()[:8]}"


def announced(path: str, wanted: Edit, *, created: bool) -> bool:
    """Says what an edit is about to do; False when it does nothing."""
    for note in wanted.notes:
        warn(note.removeprefix("WARN ")) if note.startswith("WARN ") else announce(note)
    if wanted.text is None:
        return False
    announce(f"{path}: {'created' if created else 'changed'}")
    show_diff(path, wanted.before, wanted.after)
    return True


def edited(path: str, edit: Callable[[bytes | None], Edit], current: bytes | None) -> Edit:
    try:
        return edit(current)
    except ValueError as refused:
        raise OperationError(f"{path}: {refused}") from None


@operation()
def plugin_files(path: str, files: dict[str, str]) -> Commands:
    """
    Make a folder (`~` allowed) hold exactly these files; what is stale in it is removed.
    """
    folder = _folder(path)
    held = host.get_fact(FolderDigests, folder)
    if held.status == "error":
        raise OperationError(f"{path}: {held.error}")
    wanted = {name: hashlib.sha256(text.encode()).hexdigest() for name, text in files.items()}
    changed = [name for name in wanted if held.digests.get(name) != wanted[name]]
    stale = [name for name in held.digests if name not in wanted]
    if not changed and not stale:
        host.noop(f"{path} is as wanted")
        return
    announce(f"{path}: {len(changed)} files written, {len(stale)} removed")
    for name in sorted({posixpath.dirname(f"{folder}/{name}") for name in changed}):
        yield script('mkdir -p "$1"', name)
    for name in sorted(changed):
        yield write_command(f"{folder}/{name}", files[name], "644")
    if stale:
        yield script('cd "$1" && shift && rm -f -- "$@"', folder, *stale)


def _folder(path: str) -> str:
    """The folder may not exist yet, so only `~` is expanded."""
    return host.get_fact(ExpandedPath, path).path


class ExpandedPath(FactBase[PathAnswer]):
    def command(self, path: str) -> StringCommand:
        return captured('case $1 in "~/"*) echo "$HOME/${1#"~/"}" ;; *) echo "$1" ;; esac', path)

    def process(self, output: list[str]) -> PathAnswer:
        return PathAnswer(status="ok", path=reading(output).text.strip())


class DigestsAnswer(Answer, frozen=True, kw_only=True):
    digests: dict[str, str] = {}  # noqa: RUF012 - msgspec copies the default


class FolderDigests(FactBase[DigestsAnswer]):
    """SHA-256 of every file below a folder, by its path within it."""

    def command(self, folder: str) -> StringCommand:
        body = 'cd "$1" 2>/dev/null || exit 44\nfind . -type f | while read -r f; do echo "$(digest "$f") $f"; done'
        return captured(DIGEST + body, folder)

    def process(self, output: list[str]) -> DigestsAnswer:
        got = reading(output)
        if got.code:
            return DigestsAnswer(status="absent" if got.code == 44 else "error", error=got.text.strip())
        rows = [line.split(" ", 1) for line in got.lines if " " in line]
        return DigestsAnswer(status="ok", digests={name.removeprefix("./"): digest for digest, name in rows})
