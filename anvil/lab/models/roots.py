"""Where Hugging Face caches lie on this machine (lab contract 8)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from glob import glob
from pathlib import Path

_WSL_PROFILES = "/mnt/c/Users/*/.cache/huggingface/hub"


def roots(environ: Mapping[str, str], home: Path, profiles: str = _WSL_PROFILES) -> tuple[Path, ...]:
    """The existing cache folders, each once. HF_HOME holds a `hub` folder; the two hub variables name one itself."""
    found = [_hub(Path(environ["HF_HOME"]))] if environ.get("HF_HOME") else []
    found += [Path(environ[name]) for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE") if environ.get(name)]
    found.append(home / ".cache/huggingface/hub")
    if environ.get("USERPROFILE"):
        found.append(Path(environ["USERPROFILE"]) / ".cache/huggingface/hub")
    return existing([*found, *map(Path, sorted(glob(profiles)))])


def existing(paths: Iterable[Path]) -> tuple[Path, ...]:
    """Normalised, without repetition, only folders that are there."""
    resolved = dict.fromkeys(path.expanduser().resolve() for path in paths)
    return tuple(path for path in resolved if path.is_dir())


def named(text: str) -> list[Path]:
    """`A:B` as given on a command line; a folder that holds a cache's `hub` stands for it."""
    paths = [Path(part).expanduser() for part in text.split(":") if part]
    return [path / "hub" if (path / "hub").is_dir() and not any(path.glob("models--*")) else path for path in paths]


def _hub(path: Path) -> Path:
    return path if path.name == "hub" else path / "hub"
