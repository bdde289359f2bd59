"""Cached models as prune candidates, and what keeps them: topology, recipes, running containers, open files."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from anvil.lab.machine_shell import Reach
from anvil.lab.models.cache import Found, document, files
from anvil.lab.models.facts import facts, is_real
from anvil.lab.models.index import advice
from anvil.topology.retention import Candidate

_SHARD = re.compile(r"(.*)-(\d{5})-of-(\d{5})(\.\w+)")
_WEIGHTS = (".safetensors", ".gguf", ".bin")
_DOCKER_SECONDS = 20
_NO_COMMAND = 127
_NOT_UP = re.compile(r"daemon (is )?running", re.IGNORECASE)
# of containers that ended since they were listed; the others are told all the same
_ENDED = re.compile(r"no such (object|container)", re.IGNORECASE)


def candidates(
    found: Iterable[Found], computes: tuple[str, ...] = (), shown: Callable[[Path], str] = str
) -> tuple[Candidate, ...]:
    return tuple(_candidate(each, computes, shown) for each in found if each.cache)


def _candidate(found: Found, computes: tuple[str, ...], shown: Callable[[Path], str]) -> Candidate:
    told = facts(found)
    return Candidate(
        repo=found.repo,
        path=shown(found.folder),
        size_bytes=found.size_bytes + found.incomplete_bytes,
        format=told.format,
        whole=whole(found.snapshot),
        real=is_real(found.repo, found.size_bytes, told.format, told.model_type),
        incomplete_since=found.incomplete_since,
        hazards=tuple(f"{each.level}: {each.sentence}" for each in advice(found.repo, told, computes)),
    )


def whole(snapshot: Path) -> bool:
    """Weights are there, and none that the index or the shard numbers promise is missing."""
    names = {str(path.relative_to(snapshot)) for path in files(snapshot)}
    wanted: set[str] = set()
    for name in names:
        if name.endswith(".index.json"):
            weights = document(snapshot / name).get("weight_map")
            folder = name.rpartition("/")[0]
            wanted |= {f"{folder}/{each}".lstrip("/") for each in set(_values(weights))}
        elif match := _SHARD.fullmatch(name):
            stem, _, count, suffix = match.groups()
            wanted |= {f"{stem}-{part:05}-of-{count}{suffix}" for part in range(1, int(count) + 1)}
    return wanted <= names and any(name.endswith(_WEIGHTS) for name in names)


def _values(table: object) -> Iterator[str]:
    yield from (str(value) for value in (table.values() if isinstance(table, dict) else ()))


Run = Callable[[Sequence[str]], str | None]


class ContainersUnknown(Exception):
    """Containers may be running, and nobody can say which."""


def docker(words: Sequence[str]) -> str | None:
    """What docker printed, None when it is absent or its daemon is not up: then no container of it runs here.

    Raises ContainersUnknown when it hangs or refuses, as it does to a user who may not ask.
    """
    try:
        done = subprocess.run(
            words, capture_output=True, text=True, errors="replace", timeout=_DOCKER_SECONDS, check=False
        )
    except FileNotFoundError:
        return None
    except subprocess.TimeoutExpired:
        raise ContainersUnknown(f"docker did not answer in {_DOCKER_SECONDS} s; what runs is unknown") from None
    said = done.stderr.strip()
    if done.returncode == 0 or _ENDED.search(said):
        return done.stdout
    if done.returncode == _NO_COMMAND or _NOT_UP.search(said):
        return None
    why = said.splitlines()[-1] if said else f"exit {done.returncode}"
    raise ContainersUnknown(f"{why}; which containers run is unknown, ask as a user who may use docker")


def container_texts(reach: Reach = list, run: Run = docker) -> list[str]:
    """Command lines of running containers. Raises ContainersUnknown."""
    ids = (run(reach(["docker", "ps", "-q"])) or "").split()
    shown = "{{json .Config}} {{json .Path}} {{json .Args}}"
    text = run(reach(["docker", "inspect", "--format", shown, *ids])) if ids else None
    return [text] if text else []


def open_files(processes: Path = Path("/proc")) -> list[str]:
    """Paths of model caches that some process of this machine has open or mapped, as far as this user may see."""
    found: set[str] = set()
    for process in processes.glob("[0-9]*"):
        try:
            mapped = (process / "maps").read_text(errors="replace")
            found |= {line.split(None, 5)[-1] for line in mapped.splitlines() if "models--" in line}
            for descriptor in (process / "fd").iterdir():
                target = os.readlink(descriptor)
                if "models--" in target:
                    found.add(target)
        except OSError:
            continue
    return sorted(found)
