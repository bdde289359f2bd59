"""`docker inspect`, here or on another machine through ssh, with the docker that is there."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import msgspec

from anvil.lab.machine_shell import Reach
from anvil.lab.recipes.inspected import Container

SECONDS = 30
NOT_FOUND = 127  # A shell's word for a program that is missing on the far side.


class Ended(NamedTuple):
    code: int
    out: str
    error: str


Run = Callable[[Sequence[str]], Ended]


class DockerFailed(Exception):
    """docker ran and said no; the sentence carries its words."""


class DockerMissing(Exception):
    """There is no docker program there, or no ssh here."""


def run(words: Sequence[str]) -> Ended:
    """Raises DockerMissing, DockerFailed when it hangs."""
    try:
        done = subprocess.run(words, capture_output=True, text=True, errors="replace", timeout=SECONDS, check=False)
    except FileNotFoundError:
        raise DockerMissing(f"{words[0]} is not installed here") from None
    except subprocess.TimeoutExpired:
        raise DockerFailed(f"{' '.join(words)}: no answer in {SECONDS} s") from None
    return Ended(done.returncode, done.stdout, done.stderr)


def inspect(name: str, reach: Reach = list, run: Run = run) -> Container:
    """The container's and its image's documents. Raises DockerMissing, DockerFailed."""
    container = _first(run(reach(["docker", "container", "inspect", "--", name])), name)
    image = str(container.get("Image") or "")
    found = run(reach(["docker", "image", "inspect", "--", image])) if image else Ended(1, "", "")
    return Container(container, _first(found, image) if found.code == 0 else {})


def _first(ended: Ended, name: str) -> dict[str, Any]:
    if ended.code == NOT_FOUND:
        raise DockerMissing("docker is not installed there")
    if ended.code:
        lines = ended.error.strip().splitlines()
        raise DockerFailed(f"docker inspect {name}: exit {ended.code}: {lines[-1] if lines else 'no message'}")
    try:
        return msgspec.json.decode(ended.out, type=list[dict[str, Any]])[0]
    except (msgspec.DecodeError, IndexError):
        raise DockerFailed(f"docker inspect {name}: answered no document") from None
