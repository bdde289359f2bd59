"""CPU time and memory of a whole process tree, found by the port it listens on (Linux /proc)."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

PROC = Path("/proc")
_LISTEN = "0A"
_TICK_NS = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
# Linux's clock id of "CPU time of process PID" (clock_getcpuclockid(3)): nanoseconds, ended threads included.
_SCHED = 2


def listeners(port: int) -> set[int]:
    """Ids of the processes that hold a listening socket on 127.0.0.1 or any address at ``port``.

    By socket, not by name: vllm-router renames its process.
    """
    inodes = {f"socket:[{inode}]" for inode in _listening_inodes(port)}
    return {pid for pid in _all_pids() if inodes & set(_links(pid))}


def tree(roots: Iterable[int]) -> set[int]:
    """``roots`` and all their descendants that are alive."""
    parents = {pid: parent for pid in _all_pids() if (parent := _parent(pid)) is not None}
    found = {pid for pid in roots if pid in parents}
    while grown := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= grown
    return found


def cpu_ns(pids: Iterable[int]) -> int:
    """User and system time spent so far, nanoseconds: all threads, and children that were waited for."""
    return sum(_own_cpu_ns(pid) + _waited_cpu_ns(pid) for pid in pids)


def memory_kib(pids: Iterable[int]) -> tuple[int, int]:
    """(resident, proportional) set size, KiB, summed."""
    rss = pss = 0
    for pid in pids:
        try:
            text = (PROC / str(pid) / "smaps_rollup").read_text()
        except OSError:
            continue
        rss += _field(text, "Rss")
        pss += _field(text, "Pss")
    return rss, pss


def _own_cpu_ns(pid: int) -> int:
    try:
        return time.clock_gettime_ns((~pid << 3) | _SCHED)
    except OSError:
        return 0


def _waited_cpu_ns(pid: int) -> int:
    fields = _stat(pid)
    return (int(fields[13]) + int(fields[14])) * _TICK_NS if fields else 0


def _stat(pid: int) -> list[str]:
    """Fields of /proc/PID/stat from the third (state) on; the second may hold blanks."""
    try:
        return (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _parent(pid: int) -> int | None:
    fields = _stat(pid)
    return int(fields[1]) if fields and fields[0] != "Z" else None


def _all_pids() -> list[int]:
    return [int(entry.name) for entry in PROC.iterdir() if entry.name.isdigit()]


def _links(pid: int) -> list[str]:
    """Targets of a process's descriptors; none for a process that is gone or another user's."""
    folder = PROC / str(pid) / "fd"
    links = []
    with suppress(OSError):
        for name in os.listdir(folder):
            with suppress(OSError):  # closed meanwhile
                links.append(os.readlink(folder / name))
    return links


def _listening_inodes(port: int) -> list[str]:
    rows = (line.split() for line in (PROC / "net/tcp").read_text().splitlines()[1:])
    return [row[9] for row in rows if row[3] == _LISTEN and int(row[1].rpartition(":")[2], 16) == port]


def _field(text: str, name: str) -> int:
    match = re.search(rf"^{name}:\s+(\d+) kB", text, re.MULTILINE)
    return int(match[1]) if match else 0
