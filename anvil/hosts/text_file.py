"""The write primitive: a file appears whole, private from its first byte, or not at all."""

from __future__ import annotations

import hashlib
import posixpath

from pyinfra.api.command import StringCommand
from pyinfra.api.exceptions import OperationError, OperationValueError
from pyinfra.api.operation import operation
from pyinfra.context import host

from anvil.hosts.announce import announce, show_diff, wants_diff
from anvil.hosts.files import FileAnswer, FileState, FileText
from anvil.hosts.shell import Commands, script

# The size goes first on standard input: a dropped link ends the input early, and a short file must never be moved in.
_WRITE = """umask 077
new=$(mktemp "$1/.anvil-XXXXXXXX") || exit 1
trap 'rm -f "$new"' EXIT
trap 'exit 1' HUP INT TERM PIPE
IFS= read -r size && cat > "$new" || exit 1
[ "$(($(wc -c < "$new")))" -eq "$size" ] || { echo "the text was cut short, $2 is unchanged" >&2; exit 1; }
chmod "$3" "$new" || exit 1
[ -z "$4" ] || chown "$4" "$new" || exit 1
[ -z "$5" ] || [ ! -e "$2" ] || cp -p "$2" "$5" || exit 1
mv -f "$new" "$2"
"""
_REPAIR = 'chmod "$2" "$1" && { [ -z "$3" ] || chown "$3" "$1"; }'
_DIRECTORY = 'mkdir -p "$1" && ' + _REPAIR


def write_command(path: str, text: str, mode: str, owner: str = "", previous: str = "") -> StringCommand:
    """Write `text` (empty, or ending in a newline) to `path` atomically; `previous` names a copy of the old file."""
    if text and not text.endswith("\n"):
        raise OperationValueError(f"{path}: the text must end with a newline")
    size = len(text.encode())
    return script(_WRITE, posixpath.dirname(path) or ".", path, mode, owner, previous, _stdin=f"{size}\n{text}")


def digest_of(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def difference(live: FileAnswer, digest: str, mode: str, owner: str) -> str:
    """Why the file must change: "missing", "content", "mode 644 -> 600", "owner a:b -> c:d", or "" when it must not."""
    if live.status == "absent":
        return "missing"
    if live.kind != "file" or live.sha256 != digest:
        return "content"
    if not live.has_mode(mode):
        return f"mode {live.mode} -> {mode}"
    if not live.belongs_to(owner):
        return f"owner {live.owner} -> {owner}"
    return ""


@operation()
def text_file(
    path: str,
    text: str,
    mode: str = "640",
    owner: str = "",
    secret: bool = False,
    previous: str = "",
    shown: bool = True,
    seed: bool = False,
) -> Commands:
    """
    Make `path` hold exactly `text`.

    + path: absolute; its folder must exist
    + text: empty, or ending with a newline
    + secret: compare by digest only and never show a line of it
    + shown: whether `--diff` prints its lines
    + previous: where to keep the text that was there before
    + seed: write it only where there is no file
    """
    live = host.get_fact(FileState, path)
    if live.status not in ("ok", "absent"):
        raise OperationError(f"{path}: {live.error}")
    if live.kind == "directory":
        raise OperationError(f"{path}: is a directory")
    why = difference(live, digest_of(text), mode, owner)
    if not why or (seed and live.ok):
        host.noop(f"{path} is as wanted" if not why else f"{path} exists")
        return
    announce(f"{path}: {why}")
    if why in ("missing", "content"):
        if secret:
            announce(f"{path}: changed (digest)")
        elif shown and wants_diff():
            show_diff(path, host.get_fact(FileText, path).text, text)
        yield write_command(path, text, mode, owner, previous)
    else:
        yield script(_REPAIR, path, mode, owner)


@operation()
def directory(path: str, mode: str = "755", owner: str = "") -> Commands:
    """
    Make `path` a directory of that mode and owner; what is in it is left alone.
    """
    live = host.get_fact(FileState, path)
    if live.status not in ("ok", "absent"):
        raise OperationError(f"{path}: {live.error}")
    if live.status == "ok" and live.kind not in ("directory", "link"):
        raise OperationError(f"{path}: exists and is not a directory")
    settled = live.kind == "link" or (live.has_mode(mode) and live.belongs_to(owner))
    if live.ok and settled:
        host.noop(f"{path} is there")
        return
    announce(f"{path}: {'missing' if live.status == 'absent' else f'mode {live.mode}, owner {live.owner}'}")
    yield script(_DIRECTORY, path, mode, owner)
