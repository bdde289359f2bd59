"""Files the lab writes: whole or not at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


class WriteRefused(Exception):
    """The target may not be written; the sentence names it and the flag that allows it. Nothing was written."""


def write_whole(path: Path, data: bytes, *, force: bool = False, mkdir: bool = False) -> None:
    """Put ``data`` at ``path`` in one step: temporary file beside it, fsync, rename (lab contract 1).

    Raises WriteRefused when the parent is missing (allow with ``mkdir``) or the file exists (``force``); OSError.
    """
    check_target(path, force=force, mkdir=mkdir)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    new = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        new.chmod(0o644)
        new.replace(path)
    finally:
        new.unlink(missing_ok=True)


def check_target(path: Path, *, force: bool = False, mkdir: bool = False) -> None:
    """Say early, before anything is measured, that ``path`` could not be written. Raises WriteRefused."""
    if path.is_dir():
        raise WriteRefused(f"{path}: is a folder; name a file")
    if path.exists() and not force:
        raise WriteRefused(f"{path}: exists; name another file or give --force")
    if not path.parent.is_dir() and not mkdir:
        raise WriteRefused(f"{path.parent}: no such folder; create it or give --mkdir")
