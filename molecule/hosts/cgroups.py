"""A control group per host: two systemds in one group would take each other's services for their own."""

from __future__ import annotations

from pathlib import Path

from base import tag
from shell import quiet

TREE = Path("/sys/fs/cgroup")


def hierarchies() -> list[Path]:
    """Where systemd keeps its tree: cgroup v2 alone, or the two of the hybrid layout."""
    if (TREE / "cgroup.controllers").is_file():
        return [TREE]
    return [path for path in (TREE / "systemd", TREE / "unified") if (path / "cgroup.procs").is_file()]


def launcher(name: str) -> list[str]:
    """Words to put before a command so that it starts in the host's own group."""
    groups = [hierarchy / tag(name) for hierarchy in hierarchies()]
    for group in groups:
        group.mkdir(exist_ok=True)
    enter = "".join(f"echo $$ > {group}/cgroup.procs; " for group in groups)
    return ["sh", "-ec", f'{enter}exec "$@"', "anvil-lab"]


def remove(name: str) -> None:
    """Remove the host's groups and the empty ones dockerd leaves at the top; a group with processes stays."""
    leftovers = [hierarchy / tag(name) for hierarchy in hierarchies()] + list(TREE.glob("*/docker"))
    for group in leftovers:
        quiet("find", group, "-depth", "-type", "d", "-exec", "rmdir", "{}", ";")
