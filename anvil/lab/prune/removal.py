"""Removal of one folder at a time, each judged again right before (lab contract 10)."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

from msgspec import Struct

from anvil.topology.retention import Item


class Skipped(Struct, frozen=True):
    path: str
    why: str


class Removed(Struct, frozen=True, kw_only=True):
    """Bytes are credited only for paths that are gone."""

    removed: tuple[str, ...]
    freed_bytes: int
    skipped: tuple[Skipped, ...]


def remove(items: Iterable[Item], roots: Iterable[Path], still_protected: Callable[[Item], bool]) -> Removed:
    """One failure goes to ``skipped`` and the rest continues. ``still_protected`` is asked right before each."""
    known = tuple(roots)
    gone: list[str] = []
    skipped: list[Skipped] = []
    freed = 0
    for item in items:
        why = refusal(item.path, known) or ("is protected now" if still_protected(item) else None) or _remove(item.path)
        if why is None:
            gone.append(item.path)
            freed += item.size_bytes
        else:
            skipped.append(Skipped(item.path, why))
    return Removed(removed=tuple(gone), freed_bytes=freed, skipped=tuple(skipped))


def refusal(path: str, roots: Iterable[Path]) -> str | None:
    """Why the folder may not be removed; None = it may."""
    if not path or not os.path.isabs(path):
        return "is no absolute path"
    if os.path.islink(path):
        return "is a symbolic link"
    if not os.path.isdir(path):
        return "is no folder"
    real = _normal(path)
    if os.path.ismount(path) or os.path.dirname(real) == real:
        return "is the root of a file system"
    if not any(_strictly_inside(real, _normal(str(root))) for root in roots):
        return "does not lie inside a known cache"
    return None


def _normal(path: str) -> str:
    return os.path.normcase(os.path.realpath(path))


def _strictly_inside(path: str, root: str) -> bool:
    """By whole path parts: /cache-2 is not inside /cache."""
    try:
        return path != root and os.path.commonpath([path, root]) == root
    except ValueError:
        return False


def _remove(path: str) -> str | None:
    try:
        shutil.rmtree(path)
    except OSError as error:
        return f"cannot be removed: {error.strerror or error}"
    return "is still there" if os.path.lexists(path) else None
