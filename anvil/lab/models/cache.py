"""Model folders under cache roots and plain directories, with their snapshot and exact size. Reads only."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec
from msgspec import Struct

OWNER_REPO = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*/[A-Za-z0-9][A-Za-z0-9_.-]*")
_PREFIX = "models--"
_WEIGHTS = (".safetensors", ".gguf", ".bin")
_DEPTH = 3
_INCOMPLETE = ".incomplete"
_CONFIG_LIMIT = 8 << 20


class Found(Struct, frozen=True, kw_only=True):
    """One model on disk. ``snapshot`` is the folder an engine loads; sizes in bytes, each blob once; times as epoch
    seconds. ``incomplete_since`` is the last write to an interrupted download."""

    repo: str
    folder: Path
    snapshot: Path
    cache: bool
    size_bytes: int
    incomplete_bytes: int = 0
    incomplete_since: float | None = None


def scan(caches: Iterable[Path], directories: Iterable[Path]) -> tuple[Found, ...]:
    """Every model folder once, in the order of the roots."""
    found: dict[Path, Found] = {}
    for root in caches:
        for folder in sorted(root.glob(f"{_PREFIX}*")):
            if folder.is_dir() and not folder.is_symlink():
                found.setdefault(folder.resolve(), _cached(folder))
    for root in directories:
        for folder in _plain(root, _DEPTH):
            made = _cached(folder) if folder.name.startswith(_PREFIX) else _directory(folder)
            found.setdefault(folder.resolve(), made)
    return tuple(found.values())


def repo_of(folder: str) -> str:
    """`models--OWNER--REPO` -> `OWNER/REPO`; the repository's own name may hold `--`."""
    return folder.removeprefix(_PREFIX).replace("--", "/", 1)


def document(path: Path) -> dict[str, object]:
    """A JSON object file; {} when it is missing, too large or something else."""
    try:
        if path.stat().st_size > _CONFIG_LIMIT:
            return {}
        return msgspec.json.decode(path.read_bytes(), type=dict[str, object])
    except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}


def files(folder: Path) -> tuple[Path, ...]:
    """Files below a folder that can be opened, nested ones too."""
    walked = (Path(where, name) for where, _, names in os.walk(folder) for name in names)
    return tuple(sorted(path for path in walked if path.is_file()))


def _cached(folder: Path) -> Found:
    blobs = folder / "blobs"
    kept = [path for path in _entries(blobs) if path.name.endswith(_INCOMPLETE)]
    whole = [path for path in _entries(blobs) if not path.name.endswith(_INCOMPLETE)]
    stats = [path.stat() for path in kept]
    # Without symlinks (Windows) the snapshots hold the files themselves.
    size = _size(whole) if whole else _size(files(folder / "snapshots"))
    return Found(
        repo=repo_of(folder.name),
        folder=folder,
        snapshot=_snapshot(folder),
        cache=True,
        size_bytes=size,
        incomplete_bytes=sum(stat.st_size for stat in stats),
        incomplete_since=max((stat.st_mtime for stat in stats), default=None),
    )


def _directory(folder: Path) -> Found:
    return Found(repo=_told_name(folder), folder=folder, snapshot=folder, cache=False, size_bytes=_size(files(folder)))


def _told_name(folder: Path) -> str:
    """What config.json calls it when that is a repository's name; a path of somebody's machine is none."""
    told = document(folder / "config.json").get("_name_or_path")
    return told if isinstance(told, str) and OWNER_REPO.fullmatch(told) else folder.name


def _snapshot(folder: Path) -> Path:
    snapshots = folder / "snapshots"
    try:
        named = snapshots / (folder / "refs/main").read_text(encoding="utf-8").strip()
        if named.parent == snapshots and named.is_dir():
            return named
    except (OSError, UnicodeDecodeError):
        pass
    candidates = [path for path in _entries(snapshots) if path.is_dir()]
    return max(candidates, key=_worth, default=snapshots)


def _worth(snapshot: Path) -> tuple[bool, int, float]:
    return (snapshot / "config.json").is_file(), len(files(snapshot)), snapshot.stat().st_mtime


def _plain(root: Path, depth: int) -> Iterator[Path]:
    """The nearest folders that hold weights or a config; nothing inside one of them is a further model."""
    for folder in sorted(path for path in _entries(root) if path.is_dir() and not path.is_symlink()):
        if folder.name.startswith(_PREFIX) or _is_model(folder):
            yield folder
        elif depth > 1:
            yield from _plain(folder, depth - 1)


def _is_model(folder: Path) -> bool:
    return any(path.name == "config.json" or path.suffix in _WEIGHTS for path in _entries(folder) if path.is_file())


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []


def _size(paths: Iterable[Path]) -> int:
    stats = [path.stat() for path in paths]
    return sum({(stat.st_dev, stat.st_ino): stat.st_size for stat in stats}.values())
