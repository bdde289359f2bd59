"""Is there memory for a model? Asked before anybody is drained, so that a doomed swap harms nobody (lab.md 11)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

from anvil.multiplexer.config import Row
from anvil.multiplexer.refusal import Refused

# Runtime buffers and allocator slack on top of the weights.
MARGIN = 1.15
GIGA = 1e9
ASK_S = 5.0


class Guard:
    """``ram`` and ``vram`` give what is free now in 10^9 bytes, None when unknown: unknown is unlimited."""

    def __init__(
        self,
        ram_cap_gb: float | None,
        ram: Callable[[], float | None],
        vram: Callable[[], Awaitable[float | None]],
    ) -> None:
        self._cap = ram_cap_gb
        self._ram = ram
        self._vram = vram

    async def check(self, row: Row, evictee: Row | None) -> None:
        """Raises Refused insufficient_memory. ``evictee`` leaves first, so its estimate counts as free."""
        ram = budget(self._ram(), evictee, evictee.est_weight_gb if evictee else None)
        if self._cap is not None:
            ram = self._cap if ram is None else min(ram, self._cap)
        _require(row, "RAM", row.est_weight_gb, ram)
        if row.vram_gb is not None:
            vram = budget(await self._vram(), evictee, evictee.vram_gb if evictee else None)
            _require(row, "VRAM", row.vram_gb, vram)


def budget(free: float | None, evictee: Row | None, freed: float | None) -> float | None:
    """What there will be once the evictee is gone; None when either part is unknown."""
    if free is None or (evictee is not None and freed is None):
        return None
    return free + (freed or 0.0)


def _require(row: Row, what: str, estimate: float | None, budget: float | None) -> None:
    if estimate is None or budget is None or estimate * MARGIN <= budget:
        return
    raise Refused(
        "insufficient_memory", f"{row.name} needs {estimate * MARGIN:.1f} GB of {what}, {budget:.1f} GB can be had"
    )


def available_ram(file: Path = Path("/proc/meminfo")) -> float | None:
    """MemAvailable; None where there is no such file."""
    try:
        lines = file.read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        name, _, value = line.partition(":")
        if name == "MemAvailable":
            return int(value.split()[0]) * 1024 / GIGA
    return None


async def free_vram(gpu: str | None, program: str = "nvidia-smi") -> float | None:
    """Free memory of one card; None without nvidia-smi, and where it sees several cards and none was named."""
    words = [program, "--query-gpu=memory.free", "--format=csv,noheader,nounits", *([f"--id={gpu}"] if gpu else [])]
    try:
        process = await asyncio.create_subprocess_exec(
            *words, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
        )
    except OSError:
        return None
    try:
        async with asyncio.timeout(ASK_S):
            output, _ = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        return None
    rows = output.split()
    if process.returncode or len(rows) != 1 or not rows[0].isdigit():
        return None
    return int(rows[0]) * 1_048_576 / GIGA
