"""What the multiplexer needs of whatever runs its models: docker.py and processes.py give it, tests inject theirs."""

from __future__ import annotations

from typing import Protocol

from msgspec import Struct

from anvil.multiplexer.config import Row


class State(Struct, frozen=True):
    """One look at a container. ``exit_code`` when it ran and ended; ``started_at`` orders by age (text or number)."""

    running: bool
    exit_code: int | None = None
    started_at: str = ""


class ContainerError(Exception):
    """The runtime refused or is not there; the text is one line for operators and callers."""


class Containers(Protocol):
    """Every method raises ContainerError. Only containers of the registry are ever named."""

    async def start(self, row: Row) -> None:
        """Returns once it was started, ready or not. Nothing happens to one that runs."""

    async def stop(self, row: Row) -> None:
        """Returns when the runtime says that it has stopped."""

    async def inspect(self, row: Row) -> State: ...

    async def tail(self, row: Row) -> str:
        """Its last lines of output."""

    async def release(self) -> None:
        """The multiplexer ends; never raises."""
