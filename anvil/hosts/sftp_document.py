"""The operations of json_file for a host that runs no command for us: same merge, same backup, over SFTP alone."""

from __future__ import annotations

import posixpath
from collections.abc import Callable

from pyinfra.api.command import FunctionCommand
from pyinfra.api.host import Host
from pyinfra.api.operation import operation
from pyinfra.api.state import State
from pyinfra.context import host

from anvil.hosts import sftp
from anvil.hosts.announce import announce
from anvil.hosts.json_file import KEPT_BACKUPS, Edit, announced, backup_of, edited
from anvil.hosts.shell import Commands

NEW_MODE = 0o600
_BACKUP_LETTERS = 8


@operation()
def document_by_sftp(path: str, edit: Callable[[bytes | None], Edit]) -> Commands:
    """
    Make the document at `path` (`~` and links allowed) hold what `edit` wants. Nothing there can judge it.

    + edit: the live bytes (None = absent) -> the wanted text; raises ValueError to refuse
    """
    with sftp.files(host) as remote:
        place = remote.resolved(path)
        live = remote.read(place)
    wanted = edited(path, edit, live.content if live else None)
    text = wanted.text
    if not announced(path, wanted, created=live is None) or text is None:
        host.noop(f"{path} holds it already")
        return

    def swap(files: sftp.Files) -> None:
        if live is not None:
            files.keep(backup_of(place, live.content), live)
        files.put(place, text.encode(), live, NEW_MODE)
        _prune(files, place)
        if edited(path, edit, text.encode()).text is not None:
            raise sftp.SftpError(f"{path}: read back, it does not hold what was written")

    yield _within(swap)


@operation()
def folder_by_sftp(path: str, files: dict[str, str]) -> Commands:
    """
    Make a folder (`~` allowed) hold exactly these files; what is stale in it is removed.
    """
    with sftp.files(host) as remote:
        folder = remote.expanded(path)
        held = remote.below(folder)
    wanted = {name: text.encode() for name, text in files.items()}
    changed = [name for name in wanted if name not in held or held[name].content != wanted[name]]
    stale = [name for name in held if name not in wanted]
    if not changed and not stale:
        host.noop(f"{path} is as wanted")
        return
    announce(f"{path}: {len(changed)} files written, {len(stale)} removed")

    def lay_down(remote: sftp.Files) -> None:
        for name in sorted(changed):
            remote.make_folder(posixpath.dirname(f"{folder}/{name}"))
            remote.put(f"{folder}/{name}", wanted[name], held.get(name), 0o644)
        for name in stale:
            remote.remove(f"{folder}/{name}")

    yield _within(lay_down)


def _prune(files: sftp.Files, place: str) -> None:
    folder, name = posixpath.split(place)
    for old in files.newest_first(folder, f"{name}.anvil-", _BACKUP_LETTERS)[KEPT_BACKUPS:]:
        files.remove(f"{folder}/{old}")


def _within(work: Callable[[sftp.Files], None]) -> FunctionCommand:
    """No argument of the command holds a byte of a document: pyinfra may print arguments."""

    def over_sftp(state: State, host: Host) -> bool:
        try:
            with sftp.files(host) as remote:
                work(remote)
        except sftp.SftpError as error:
            host.log_styled(str(error), fg="red")
            return False
        return True

    return FunctionCommand(over_sftp, (), {})
