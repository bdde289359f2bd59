"""A user's configuration file on this machine: read, kept as a backup, replaced in one step."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path

PRIVATE = 0o600


class ChangedMeanwhile(Exception):
    """Another program wrote the file between reading and writing it."""


def read(path: Path) -> bytes | None:
    """None only for a file that is not there; every other trouble is an OSError."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def replace(path: Path, original: bytes | None, text: str) -> Path | None:
    """Write ``text`` where ``original`` was read; a symlink's target is written. Returns the backup, if one was due.

    Raises ChangedMeanwhile, OSError.
    """
    target = path.resolve()
    backup = _backup(target, original) if original is not None else None
    mode = target.stat().st_mode & 0o7777 if original is not None else PRIVATE
    handle, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    new = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(text.encode())
            file.flush()
            os.fsync(file.fileno())
        new.chmod(mode)
        if read(target) != original:
            raise ChangedMeanwhile(f"{path} was changed meanwhile; nothing is written, run again")
        new.replace(target)
    finally:
        new.unlink(missing_ok=True)
    return backup


def _backup(target: Path, original: bytes) -> Path:
    """Named by its content, so that a second run never overwrites the pristine one."""
    backup = target.with_name(f"{target.name}.anvil-{hashlib.sha256(original).hexdigest()[:8]}")
    if read(backup) != original:
        handle, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
        with os.fdopen(handle, "wb") as file:
            file.write(original)
            file.flush()
            os.fsync(file.fileno())
        Path(name).chmod(target.stat().st_mode & 0o7777)
        Path(name).replace(backup)
    return backup
