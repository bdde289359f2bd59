"""What a machine has: one read-only script, run here or through ssh, and what its answer means."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from typing import Literal

from msgspec import Struct

from anvil.lab import machine_shell
from anvil.lab.machine_shell import UNREACHABLE, Runner, run

ALL_SECONDS = 180  # A cold cache of many thousand files is measured once.

# Looks, never changes. `limited` keeps a hung daemon from holding everything up.
SCRIPT = r"""
limited() { if command -v timeout >/dev/null 2>&1; then timeout 20 "$@"; else "$@"; fi; }
section() { printf '\n== %s\n' "$1"; }
models() { # label, folder: one line a repository, with its size in KiB
  for d in "$2"/hub/models--* "$2"/models--*; do
    [ -d "$d/snapshots" ] && printf '%s\t%s\t%s\n' "$1" "${d##*/}" "$(limited du -sk "$d" 2>/dev/null | cut -f1)"
  done
}
section system; uname -s; uname -r; uname -n
section home; printf '%s\n' "$HOME"
section memory
if [ -r /proc/meminfo ]; then sed -n 's/^MemTotal: *\([0-9]*\) kB.*/\1/p' /proc/meminfo
else sysctl -n hw.memsize 2>/dev/null | awk '{print int($1 / 1024)}'; fi
section addresses; hostname -I 2>/dev/null
section gpus
if command -v nvidia-smi >/dev/null 2>&1; then
  if rows=$(limited nvidia-smi --query-gpu=index,uuid,name,memory.total,compute_cap --format=csv,noheader,nounits)
  then printf '%s\n' "$rows"; else echo failed; fi
else echo missing; fi
section disk; df -Pk / | awk 'NR == 2 {print $4}'
section cache
for d in "${HF_HUB_CACHE:-}" "${HUGGINGFACE_HUB_CACHE:-}" "${HF_HOME:-}" "$HOME/.cache/huggingface"; do
  [ -n "$d" ] && [ -d "$d" ] && models "$d" "$d"
done
section docker
command -v docker >/dev/null 2>&1 || { echo missing; exit 0; }
version=$(limited docker version --format '{{.Server.Version}}' 2>/dev/null) || { echo down; exit 0; }
printf '%s\n' "$version"
section compose; limited docker compose version --short 2>/dev/null
section runtimes; limited docker info --format '{{json .Runtimes}}' 2>/dev/null
section images; limited docker image ls --digests --format '{{.Repository}}:{{.Tag}}@{{.Digest}}' 2>/dev/null
section volumes; limited docker volume ls -q 2>/dev/null
section volume-models
engine=$(limited docker image ls --format '{{.Repository}}:{{.Tag}}' 2>/dev/null | grep -E 'vllm|sglang' | head -n 1)
for v in $(limited docker volume ls -q 2>/dev/null); do
  place=$(limited docker volume inspect --format '{{.Mountpoint}}' "$v" 2>/dev/null)
  if [ -r "$place" ]; then models "$v" "$place"
  elif [ -n "$engine" ]; then
    limited docker run --rm --pull never --network none --entrypoint sh -v "$v:/v:ro" "$engine" -c '
      for d in /v/hub/models--* /v/models--*; do
        [ -d "$d/snapshots" ] && printf "%s\t%s\t%s\n" "$0" "${d##*/}" "$(du -sk "$d" | cut -f1)"
      done' "$v" 2>/dev/null
  fi
done
exit 0
"""


class Card(Struct, frozen=True, kw_only=True):
    index: int
    uuid: str
    name: str
    total_mib: int
    compute: str


class CachedModel(Struct, frozen=True, kw_only=True):
    """A repository in a Hugging Face cache. ``place`` is a docker volume or a folder of the host."""

    place: str
    repo: str
    size_gb: float
    volume: bool


class Facts(Struct, frozen=True, kw_only=True):
    """Sizes in GB (2^30). ``gpu_tool`` says why ``cards`` may be empty, ``docker`` is the server's version or None."""

    platform: Literal["linux", "wsl2", "macos", "windows"]
    hostname: str
    home: str
    memory_gb: float | None
    free_gb: float | None
    addresses: tuple[str, ...] = ()
    gpu_tool: Literal["ok", "missing", "failed"] = "ok"
    cards: tuple[Card, ...] = ()
    docker: str | None = None
    docker_state: Literal["ok", "missing", "down"] = "ok"
    compose: str | None = None
    runtimes: tuple[str, ...] = ()
    images: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    models: tuple[CachedModel, ...] = ()


class FactsError(Exception):
    """The machine could not be asked."""


def here(runner: Runner = run) -> Facts:
    """Of this machine. Raises FactsError, FileNotFoundError (no shell)."""
    return _asked(machine_shell.here(), "this machine", runner)


def there(target: str, runner: Runner = run) -> Facts:
    """Of USER@HOST, as ssh knows it. Raises FactsError, FileNotFoundError (no ssh)."""
    return _asked(machine_shell.there(target), target, runner)


def _asked(argv: Sequence[str], name: str, runner: Runner) -> Facts:
    ran = runner(argv, SCRIPT, ALL_SECONDS)
    if ran.code:
        how = "ssh cannot reach it" if ran.code == UNREACHABLE and argv[0] == "ssh" else f"{argv[0]} failed"
        raise FactsError(f"{name}: {how}: {ran.why()}")
    return parsed(ran.out)


def parsed(output: str) -> Facts:
    """The script's answer. Raises FactsError when it is somebody else's (a login banner alone, for example)."""
    told = _sections(output)
    if len(told.get("system", ())) < 3:
        raise FactsError("the machine answered something else than the questions; does its shell print on its own?")
    system, release, hostname = told["system"][:3]
    gpus = told.get("gpus", [])
    docker = (told.get("docker") or ["missing"])[0]
    answers = docker not in ("missing", "down")
    return Facts(
        platform=_platform(system, release),
        hostname=hostname,
        home=_first(told, "home") or "/root",
        memory_gb=_gb(_first(told, "memory")),
        free_gb=_gb(_first(told, "disk")),
        addresses=tuple(word for line in told.get("addresses", ()) for word in line.split()),
        gpu_tool="missing" if gpus == ["missing"] else "failed" if gpus == ["failed"] else "ok",
        cards=tuple(_cards("\n".join(gpus))),
        docker=docker if answers else None,
        docker_state="ok" if answers else "missing" if docker == "missing" else "down",
        compose=_first(told, "compose"),
        runtimes=_runtimes(_first(told, "runtimes")),
        images=tuple(line for line in told.get("images", ()) if "<none>:" not in line),
        volumes=tuple(told.get("volumes", ())),
        models=(*_models(told.get("volume-models", ()), True), *_models(told.get("cache", ()), False)),
    )


def _sections(output: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in output.splitlines():
        if line.startswith("== "):
            lines = found.setdefault(line[3:].strip(), [])
        elif line.strip():
            lines.append(line.strip())
    return found


def _first(told: dict[str, list[str]], section: str) -> str | None:
    return next(iter(told.get(section, ())), None)


def _gb(kib: str | None) -> float | None:
    return round(int(kib) / 2**20, 1) if kib and kib.isdigit() else None


def _platform(system: str, release: str) -> Literal["linux", "wsl2", "macos", "windows"]:
    if system == "Darwin":
        return "macos"
    if system.startswith(("MINGW", "MSYS", "CYGWIN")):
        return "windows"
    return "wsl2" if "microsoft" in release.lower() else "linux"


def _cards(text: str) -> list[Card]:
    rows = [[cell.strip() for cell in row] for row in csv.reader(io.StringIO(text)) if len(row) == 5]
    return [
        Card(index=int(index), uuid=uuid, name=name, total_mib=int(float(total)), compute=compute)
        for index, uuid, name, total, compute in rows
        if index.isdigit() and total.replace(".", "", 1).isdigit()
    ]


def _runtimes(text: str | None) -> tuple[str, ...]:
    try:
        known = json.loads(text or "{}")
    except ValueError:
        return ()
    return tuple(sorted(known)) if isinstance(known, dict) else ()


def _models(lines: Sequence[str], volume: bool) -> list[CachedModel]:
    """A folder ``models--OWNER--REPO``; the name itself may hold ``--`` after the owner."""
    found = []
    for place, folder, kib in (row for line in lines if len(row := line.split("\t")) == 3):
        owner, _, repo = folder.removeprefix("models--").partition("--")
        found.append(
            CachedModel(
                place=place,
                repo=f"{owner}/{repo}" if repo else owner,
                size_gb=_gb(kib) or 0.0,
                volume=volume,
            )
        )
    return found
