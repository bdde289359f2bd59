"""The two C programs, compiled when their sources change."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

HERE = Path(__file__).parent


class Missing(Exception):
    """Something this machine lacks; the text says how to get it."""


def cache() -> Path:
    """Where programs and peers are kept between runs."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "anvil-bench"


def build(name: str) -> Path:
    """Path of the compiled ``name``.c. Raises Missing without a C compiler, CalledProcessError on bad source."""
    source = HERE / f"{name}.c"
    digest = hashlib.sha256(source.read_bytes()).hexdigest()[:16]
    program = cache() / f"{name}-{digest}"
    if program.exists():
        return program
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        raise Missing("no C compiler: the load generator and the upstream cannot be built; run: apt-get install gcc")
    program.parent.mkdir(parents=True, exist_ok=True)
    fresh = program.with_suffix(f".{os.getpid()}")
    subprocess.run([compiler, "-O2", "-Wall", "-Wextra", "-o", str(fresh), str(source)], check=True)
    fresh.replace(program)
    return program
