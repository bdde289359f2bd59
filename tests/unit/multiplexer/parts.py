"""Scripted containers, and an event loop whose seconds cost nothing."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any

from anvil.multiplexer.config import MultiplexerConfig, Row
from anvil.multiplexer.containers import ContainerError, State
from anvil.multiplexer.guard import Guard
from anvil.multiplexer.lifecycle import Lifecycle
from anvil.multiplexer.residency import Residency


class _Skipping(selectors.SelectSelector):
    skipped = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self.skipped += timeout or 0.0
        return super().select(0)


class VirtualLoop(asyncio.SelectorEventLoop):
    """Time stands still while anything runs and jumps to the next timer when nothing does."""

    def __init__(self) -> None:
        self._skipping = _Skipping()
        super().__init__(self._skipping)

    def time(self) -> float:
        return self._skipping.skipped


def run(work: Coroutine[Any, Any, None]) -> None:
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(work)


def row(name: str, **more: Any) -> Row:
    return Row(name=name, container=f"c-{name}", port=1, **more)


@dataclass
class Lines:
    lines: list[str] = field(default_factory=list)

    def info(self, message: str, **fields: object) -> None:
        self.lines.append(f"{message} {fields}")

    warning = error = info

    def exception(self, message: str, error: BaseException) -> None:
        self.lines.append(f"{message} {error!r}")


@dataclass
class Fake:
    """Containers by name. ``broken`` never become ready, ``exits`` end at once, ``stuck`` ignore a stop."""

    start_s: float = 1.0
    stop_s: float = 1.0
    up: dict[str, float] = field(default_factory=dict)
    ready_at: dict[str, float] = field(default_factory=dict)
    broken: set[str] = field(default_factory=set)
    exits: dict[str, int] = field(default_factory=dict)
    stuck: set[str] = field(default_factory=set)
    absent: set[str] = field(default_factory=set)
    silent: bool = False
    story: list[str] = field(default_factory=list)
    overlapped: bool = False
    most: int = 0

    async def start(self, row: Row) -> None:
        if row.name in self.absent:
            raise ContainerError("no such container")
        self.story.append(f"start {row.name}")
        if row.name in self.exits:
            return
        now = asyncio.get_running_loop().time()
        self.up[row.name] = now
        self.ready_at[row.name] = now + self.start_s
        self.overlapped |= len(self.up) > 1

    async def stop(self, row: Row) -> None:
        await asyncio.sleep(self.stop_s)
        self.story.append(f"stop {row.name}")
        if row.name not in self.stuck:
            self.up.pop(row.name, None)

    async def inspect(self, row: Row) -> State:
        if self.silent:
            raise ContainerError("the daemon does not answer")
        if row.name in self.up:
            return State(True, None, f"{self.up[row.name]:020.3f}")
        return State(False, self.exits.get(row.name, 0))

    async def tail(self, row: Row) -> str:
        return f"last words of {row.name}"

    async def release(self) -> None:
        return

    async def ready(self, row: Row) -> bool:
        if row.name not in self.up or row.name in self.broken:
            return False
        return asyncio.get_running_loop().time() >= self.ready_at.get(row.name, 0.0)


def residency(fake: Fake, *rows: Row, guard: Guard | None = None, log: Lines | None = None, **more: Any) -> Residency:
    config = MultiplexerConfig(registry=rows or (row("a"), row("b"), row("c")), **more)
    made = Residency(config, Lifecycle(fake, fake.ready), guard or unlimited(), log or Lines())
    made.open()
    return made


def unlimited(ram: float | None = None, vram: float | None = None, cap: float | None = None) -> Guard:
    async def card() -> float | None:
        return vram

    return Guard(cap, lambda: ram, card)
