"""Installs pinned clients, each into a folder of its own, so that an interrupted install leaves nothing half."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.clients.pins import PINS, Pin

INSTALL_LIMIT_S = 600
_NEW = ".new-"


class CannotInstall(Exception):
    """The client is not in the cache and cannot be fetched here; the text says why."""


def root() -> Path:
    """``$ANVIL_CLIENTS_CACHE``, else ``anvil-clients`` in the user's cache."""
    chosen = os.environ.get("ANVIL_CLIENTS_CACHE")
    if chosen:
        return Path(chosen).absolute()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "anvil-clients"


def folder(name: str) -> Path:
    return root() / PINS[name].folder


def present(name: str) -> bool:
    return folder(name).is_dir()


def install(name: str) -> Path:
    """The client's folder, installed first when it is not there. Raises CannotInstall."""
    pin, target = PINS[name], folder(name)
    if target.is_dir():
        return target
    root().mkdir(parents=True, exist_ok=True)
    _sweep()
    new = root() / f"{_NEW}{name}-{os.getpid()}"
    try:
        _npm(pin, new) if pin.registry == "npm" else _pypi(pin, new)
        try:
            new.rename(target)
        except OSError:
            if not target.is_dir():  # else another lane was quicker, with the same content
                raise
    finally:
        shutil.rmtree(new, ignore_errors=True)
    return target


def _sweep() -> None:
    """Remove what killed installs left: their process is gone."""
    for left in root().glob(f"{_NEW}*"):
        pid = left.name.rpartition("-")[2]
        if not Path("/proc", pid).exists() and pid != str(os.getpid()):
            shutil.rmtree(left, ignore_errors=True)


def _npm(pin: Pin, into: Path) -> None:
    into.mkdir()
    path = os.environ["PATH"]
    if pin.name != "node":  # install scripts and engine checks see the Node that will run the client
        path = f"{node_bin()}:{path}"
    _run(
        ["npm", "install", "--prefix", str(into), "--no-audit", "--no-fund", "--loglevel=error", *pin.packages],
        "npm",
        path,
    )


def _pypi(pin: Pin, into: Path) -> None:
    uv = shutil.which("uv") or str(root().parent / "anvil-tools/bin/uv")
    path = os.environ["PATH"]
    _run([uv, "venv", "--quiet", "--relocatable", "--python", sys.executable, str(into)], "uv", path)
    python = str(into / "bin/python")
    _run([uv, "pip", "install", "--quiet", "--python", python, *pin.packages], "uv", path)


def _run(argv: list[str], tool: str, path: str) -> None:
    environment = {k: v for k, v in os.environ.items() if k != "VIRTUAL_ENV"} | {"PATH": path}
    try:
        done = subprocess.run(
            argv,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=INSTALL_LIMIT_S,
        )
    except FileNotFoundError as error:
        raise CannotInstall(f"{tool} is not on PATH") from error
    except subprocess.TimeoutExpired as error:
        raise CannotInstall(f"{tool} did not finish in {INSTALL_LIMIT_S} s") from error
    if done.returncode:
        said = [line for line in (done.stderr + done.stdout).splitlines() if line.strip()]
        raise CannotInstall(f"{tool} failed: {' / '.join(said[:3])[:300]}")


def node_bin() -> Path:
    """The folder of the Node 24 binary."""
    return install("node") / "node_modules/node/bin"
