"""Planted caches and model folders."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

BIG = 300_000_000


def sparse(path: Path, size: int = BIG) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.truncate(size)
    return path


def model(
    root: Path, folder: str, config: dict[str, Any] | None = None, weights: str = "model.safetensors",
    commit: str = "c1", size: int = BIG, named: bool = True, **documents: Any,
) -> Path:  # fmt: skip
    """An entry of a cache: blobs, a snapshot of links to them, refs/main."""
    base = root / folder
    sparse(base / "blobs" / f"w-{commit}", size)
    snapshot = base / "snapshots" / commit
    (snapshot / weights).parent.mkdir(parents=True)
    ups = "/".join([".."] * (2 + weights.count("/")))
    (snapshot / weights).symlink_to(f"{ups}/blobs/w-{commit}")
    texts = {"config.json": config, **{name.replace("_json", ".json"): text for name, text in documents.items()}}
    for name, content in texts.items():
        if content is not None:
            blob = base / "blobs" / f"{name}-{commit}"
            blob.write_text(content if isinstance(content, str) else json.dumps(content))
            (snapshot / name).symlink_to(f"../../blobs/{name}-{commit}")
    if named:
        (base / "refs").mkdir(exist_ok=True)
        (base / "refs/main").write_text(commit)
    return snapshot


def plain(folder: Path, config: dict[str, Any] | None, weights: str | None = "model.safetensors") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    if config is not None:
        (folder / "config.json").write_text(json.dumps(config))
    if weights:
        sparse(folder / weights)
    return folder
