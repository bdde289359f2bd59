"""Starting until ready, stopping until confirmed (contract lab.md 11)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from anvil.multiplexer.config import Row
from anvil.multiplexer.containers import ContainerError, Containers

# Looks at a container that starts or stops: soon, then less often; lab.md 11 allows 2 s at most.
FIRST_LOOK_S = 0.05
LAST_LOOK_S = 1.0
# A stop that the runtime reported may take a moment to show.
CONFIRM_S = 5.0
TAIL_CHARS = 600

Ready = Callable[[Row], Awaitable[bool]]


class StartFailed(Exception):
    """The model did not come up; the text says why, with the container's last lines."""


class StillRunning(Exception):
    """A stop could not be confirmed."""

    def __init__(self, row: Row, why: str) -> None:
        super().__init__(f"{row.container} could not be stopped ({why}): the GPU may still be occupied")
        self.row = row


class Lifecycle:
    """``ready`` asks an engine's /health once; it never raises."""

    def __init__(self, containers: Containers, ready: Ready) -> None:
        self.containers = containers
        self._ready = ready

    async def start(self, row: Row) -> str:
        """When the model answers, what ``settle`` says. Raises StartFailed; the container may then still run."""
        try:
            await self.containers.start(row)
        except ContainerError as error:
            raise StartFailed(f"{row.container} does not start: {error}") from None
        return await self.settle(row)

    async def settle(self, row: Row) -> str:
        """Wait for a started container; its ``State.started_at``, by which a later restart is told.

        Raises StartFailed at once when it exits or its runtime restarts it, else after start_timeout_s.
        """
        try:
            async with asyncio.timeout(row.start_timeout_s):
                first = await self._running(row)
                wait = FIRST_LOOK_S
                while not await self._ready(row):
                    await self._running(row, first)
                    await asyncio.sleep(wait)
                    wait = min(wait * 1.5, LAST_LOOK_S)
                # something else may answer on its port
                return await self._running(row, first)
        except TimeoutError:
            raise StartFailed(f"{row.container} was not ready within {row.start_timeout_s:g} s") from None
        except ContainerError as error:
            raise StartFailed(f"{row.container}: {error}") from None

    async def stop(self, row: Row) -> None:
        """Raises StillRunning unless the container is seen stopped."""
        try:
            await self.containers.stop(row)
            async with asyncio.timeout(CONFIRM_S):
                while (await self.containers.inspect(row)).running:
                    await asyncio.sleep(FIRST_LOOK_S)
        except ContainerError as error:
            raise StillRunning(row, str(error)) from None
        except TimeoutError:
            raise StillRunning(row, "it still runs after a stop") from None

    async def _running(self, row: Row, since: str | None = None) -> str:
        state = await self.containers.inspect(row)
        if state.running and since in (None, state.started_at):
            return state.started_at
        tail = (await self.containers.tail(row)).strip()[-TAIL_CHARS:]
        how = "crashed and was restarted" if state.running else f"exited with code {state.exit_code}"
        raise StartFailed(f"{row.container} {how}: {tail or 'no output'}")
