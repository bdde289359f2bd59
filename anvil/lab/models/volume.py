"""A docker volume's cache, read through a throw-away container and laid out again here as a tree without contents.

Sizes are kept by sparse files, links as links, and the few small documents that facts are read from are real: the same
reader then serves folders and volumes.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from anvil.lab.machine_shell import Reach

SECONDS = 300
_NOT_FOUND = 127
_MOUNT = "/cache"
# busybox and coreutils alike. `f size mtime path`, `l target path` in two lines, `d path base64`.
_LIST = f"""cd {_MOUNT}/hub 2>/dev/null || cd {_MOUNT} || exit 1
find . -path './models--*' -type f -exec stat -c 'f %s %Y %n' {{}} + 2>/dev/null
find . -path './models--*' -type l -exec sh -c 'for p; do echo "l $p"; readlink "$p"; done' - {{}} + 2>/dev/null
for p in models--*/refs/main models--*/snapshots/*/config.json models--*/snapshots/*/generation_config.json \
  models--*/snapshots/*/hf_quant_config.json models--*/snapshots/*/README.md; do
  [ -f "$p" ] && [ "$(wc -c <"$p")" -le 1048576 ] && echo "d $p $(base64 <"$p" | tr -d '\\n')"
done
echo end
"""
_VOLUME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*")


class Ended(NamedTuple):
    code: int
    out: str
    error: str


Run = Callable[[Sequence[str]], Ended]


class VolumeFailed(Exception):
    """docker said no, or its answer is none; the sentence carries its words."""


class ToolMissing(Exception):
    """There is no docker program there, or no ssh here."""


def check_name(volume: str) -> None:
    """Raises ValueError for what docker would take for a path."""
    if not _VOLUME.fullmatch(volume):
        raise ValueError(f"volume {volume!r} is no docker volume's name (no / \\ : in it)")


def run(words: Sequence[str]) -> Ended:
    """Raises ToolMissing, VolumeFailed when it hangs."""
    try:
        done = subprocess.run(words, capture_output=True, text=True, errors="replace", timeout=SECONDS, check=False)
    except FileNotFoundError:
        raise ToolMissing(f"{words[0]} is not installed here") from None
    except subprocess.TimeoutExpired:
        raise VolumeFailed(f"{words[0]} {words[1]}: no answer in {SECONDS} s") from None
    return Ended(done.returncode, done.stdout, done.stderr)


def listing(volume: str, image: str, reach: Reach = list, run: Run = run) -> str:
    """What the volume holds; nothing is pulled, written or reached. Raises VolumeFailed, ToolMissing."""
    words = ["docker", "run", "--rm", "--pull", "never", "--network", "none", "--entrypoint", "sh"]
    ended = run(reach([*words, "-v", f"{volume}:{_MOUNT}:ro", image, "-c", _LIST]))
    if ended.code == _NOT_FOUND and not ended.out:
        raise ToolMissing("docker is not installed there")
    if ended.code:
        lines = ended.error.strip().splitlines()
        raise VolumeFailed(f"docker run {image}: exit {ended.code}: {lines[-1] if lines else 'no message'}")
    if not ended.out.rstrip().endswith("end"):
        raise VolumeFailed(f"docker run {image}: the listing of {volume} was cut short")
    return ended.out


def lay_out(text: str, root: Path) -> None:
    """Rebuild the tree of a listing under the empty folder ``root``. Entries that would leave it are skipped."""
    lines = iter(text.splitlines())
    for line in lines:
        kind, _, rest = line.partition(" ")
        if kind == "f":
            size, _, tail = rest.partition(" ")
            modified, _, name = tail.partition(" ")
            _sparse(_inside(root, name), size, modified)
        elif kind == "l":
            _link(root, _inside(root, rest), next(lines, ""))
        elif kind == "d":
            name, _, content = rest.rpartition(" ")
            _document(_real(root, name), content)


def _inside(root: Path, name: str) -> Path | None:
    pure = PurePosixPath(name)
    if pure.is_absolute() or ".." in pure.parts or not pure.parts or not pure.parts[0].startswith("models--"):
        return None
    return root / pure


def _real(root: Path, name: str) -> Path | None:
    """A link inside a snapshot stands for its blob; nothing outside the tree is written."""
    path = _inside(root, name)
    real = path.resolve() if path else None
    return real if real and real.is_relative_to(root.resolve()) else None


def _sparse(path: Path | None, size: str, modified: str) -> None:
    if path is None or not size.isdigit() or not modified.isdigit():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.truncate(int(size))
    os.utime(path, (int(modified), int(modified)))


def _link(root: Path, path: Path | None, target: str) -> None:
    if path is None or not target or target.startswith("/"):
        return
    if not Path(os.path.normpath(path.parent / target)).is_relative_to(root):
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.is_symlink():
        path.symlink_to(target)


def _document(path: Path | None, content: str) -> None:
    if path is None or not path.is_file():
        return
    try:
        path.write_bytes(base64.b64decode(content, validate=True))
    except binascii.Error as error:
        raise VolumeFailed(f"the listing holds an unreadable document: {error}") from None
