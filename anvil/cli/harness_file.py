"""A user's configuration file on this machine: read, kept as a backup, replaced in one step."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat
import tempfile
from pathlib import Path

PRIVATE = 0o600
KEPT_BACKUPS = 10


class ChangedMeanwhile(Exception):
    """Another program wrote the file between reading and writing it."""


def read(path: Path) -> bytes | None:
    """None only for a file that is not there; every other trouble is an OSError."""
    try:
        if not stat.S_ISREG(path.stat().st_mode) and not path.is_dir():
            raise OSError(errno.EINVAL, "it is no file")  # a pipe would be waited for without end
        return path.read_bytes()
    except FileNotFoundError:
        return None


def make_folder(folder: Path) -> None:
    """With all that is missing above it; it belongs to whoever owns what is there already. Raises OSError."""
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for each in reversed(missing):
        _settle(each)


def replace(path: Path, original: bytes | None, text: str) -> Path | None:
    """Write ``text`` where ``original`` was read; a symlink's target is written, mode and owner stay.

    Returns the backup, if one was due. Raises ChangedMeanwhile, OSError.
    """
    target = path.resolve()
    live = target.stat() if original is not None else None
    if live is not None and not (live.st_mode & 0o222 and os.access(target, os.W_OK)):
        raise OSError(errno.EACCES, "it is read-only")
    backup = _backup(target, original, live) if original is not None and live is not None else None
    new = _written(target, text.encode(), live)
    try:
        if read(target) != original:
            raise ChangedMeanwhile(f"{path} was changed meanwhile; nothing is written, run again")
        new.replace(target)
    finally:
        new.unlink(missing_ok=True)
    if backup is not None:
        _prune(target, backup)
    return backup


def _written(target: Path, content: bytes, live: os.stat_result | None) -> Path:
    """A new file beside ``target`` with its mode and owner; nothing is left of it when it cannot be written."""
    handle, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    new = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        new.chmod(PRIVATE if live is None else stat.S_IMODE(live.st_mode))
        _settle(new) if live is None else _hand_over(new, live)
    except BaseException:
        new.unlink(missing_ok=True)
        raise
    return new


def _settle(made: Path) -> None:
    """What root makes in somebody's home is theirs."""
    if os.geteuid() == 0:
        _hand_over(made, made.parent.stat())


def _hand_over(path: Path, owner: os.stat_result) -> None:
    """To this owner and group. Raises PermissionError where only root could.

    A group that this user is not in cannot be given; its rights then go, lest another group has them.
    """
    ours = path.stat()
    if (ours.st_uid, ours.st_gid) == (owner.st_uid, owner.st_gid):
        return
    mode = stat.S_IMODE(ours.st_mode)
    if ours.st_uid != owner.st_uid:
        os.chown(path, owner.st_uid, owner.st_gid)
        path.chmod(mode)
        return
    try:
        os.chown(path, -1, owner.st_gid)
    except PermissionError:
        mode &= ~stat.S_IRWXG
    path.chmod(mode)


def _backup(target: Path, original: bytes, live: os.stat_result) -> Path:
    """Named by its content, so that a second run never overwrites the pristine one."""
    backup = target.with_name(f"{target.name}.anvil-{hashlib.sha256(original).hexdigest()[:8]}")
    if read(backup) != original:
        _written(backup, original, live).replace(backup)
    return backup


def _prune(target: Path, backup: Path) -> None:
    """The newest ten backups stay (contract operations.md 13.2)."""
    found = [each for each in target.parent.glob(f"{_literal(target.name)}.anvil-????????") if each != backup]
    found.sort(key=lambda each: each.lstat().st_mtime)
    for old in found[: max(0, len(found) + 1 - KEPT_BACKUPS)]:
        with contextlib.suppress(OSError):
            old.unlink()


def _literal(name: str) -> str:
    """For a glob."""
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in name)
