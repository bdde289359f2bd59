"""Files the lab writes: whole or not at all."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class WriteRefused(Exception):
    """The target may not be written; the sentence names it and the flag that allows it. Nothing was written."""


class WriteFailed(OSError):
    """It was tried and failed, as on a full disk; the sentence names the file. What stood there before stands."""

    def __str__(self) -> str:
        return f"{self.filename}: cannot be written: {self.strerror}"


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Failures of writing inside name ``path``: the system says the name of a temporary file, or none."""
    try:
        yield
    except OSError as error:
        raise WriteFailed(error.errno, error.strerror or str(error), str(path)) from None


def write_whole(path: Path, data: bytes, *, force: bool = False, mkdir: bool = False) -> None:
    """Put ``data`` at ``path`` in one step: temporary file beside it, fsync, rename (lab contract 1). A link stays one,
    what it leads to is written; a file that was there keeps its mode, a new one is readable by all.

    Raises WriteRefused when the parent is missing (allow with ``mkdir``) or the file exists (``force``); WriteFailed.
    """
    check_target(path, force=force, mkdir=mkdir)
    with naming(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        _replace(Path(os.path.realpath(path)), data)


def _replace(path: Path, data: bytes) -> None:
    mode = stat.S_IMODE(path.stat().st_mode) if path.exists() else 0o644
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    new = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        new.chmod(mode)
        new.replace(path)
    finally:
        new.unlink(missing_ok=True)


def check_target(path: Path, *, force: bool = False, mkdir: bool = False) -> None:
    """Say early, before anything is measured, that ``path`` could not be written. Raises WriteRefused."""
    if path.is_dir():
        raise WriteRefused(f"{path}: is a folder; name a file")
    if path.exists() and not path.is_file():
        raise WriteRefused(f"{path}: is no plain file; name one")
    if path.exists() and not force:
        raise WriteRefused(f"{path}: exists; name another file or give --force")
    if not path.parent.is_dir() and not mkdir:
        raise WriteRefused(f"{path.parent}: no such folder; create it or give --mkdir")
