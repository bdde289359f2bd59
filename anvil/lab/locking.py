"""One run at a time over a file or folder, by the kernel's advisory lock: it goes when the process does."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class Busy(Exception):
    """Another run is at work there; the sentence names the place."""


@contextmanager
def alone(place: Path, *, wait: bool = False) -> Iterator[None]:
    """Hold ``place``, a folder or file that exists, until the block ends. Raises Busy unless ``wait``, OSError."""
    handle = os.open(place, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            raise Busy(f"{place}: another run is at work on it; wait for its end") from None
        yield
    finally:
        os.close(handle)
