"""What runs on the card: emptied, filled, rolled back, taken over. Knows nothing of requests (lab.md 11)."""

from __future__ import annotations

from typing import Protocol

from anvil.multiplexer.config import Row
from anvil.multiplexer.containers import ContainerError
from anvil.multiplexer.lifecycle import Lifecycle, StartFailed, StillRunning
from anvil.multiplexer.refusal import Refused


class Log(Protocol):
    def info(self, message: str, **fields: object) -> None: ...
    def warning(self, message: str, **fields: object) -> None: ...
    def error(self, message: str, **fields: object) -> None: ...
    def exception(self, message: str, error: BaseException) -> None: ...


class Card:
    """Its methods are called by one task at a time. A mark is the ``State.started_at`` of a container that is ready."""

    def __init__(self, lifecycle: Lifecycle, log: Log) -> None:
        self.lifecycle = lifecycle
        self.starting: Row | None = None
        self._log = log
        # a container that may still hold the card; nothing starts before it is seen stopped
        self._stuck: Row | None = None

    def died(self, row: Row) -> None:
        """Its runtime may bring it back at any moment: it is stopped before anything else starts."""
        self._stuck = row

    async def empty(self, old: Row | None) -> None:
        """Raises Refused; what was there may then still be there."""
        try:
            if self._stuck is not None:
                await self.lifecycle.stop(self._stuck)
                self._stuck = None
            if old is not None:
                await self.lifecycle.stop(old)
        except StillRunning as error:
            raise Refused("backend_unavailable", str(error)) from None

    async def start(self, row: Row) -> str:
        """The mark. Raises StartFailed."""
        self.starting = row
        return await self.lifecycle.start(row)

    async def roll_back(self, row: Row, old: Row | None) -> str | None:
        """After a failed start of ``row``: the card is cleared and the old model comes back; its mark, if it does."""
        if not await self._cleared(row) or old is None:
            return None
        try:
            return await self.start(old)
        except StartFailed as error:
            self._log.error("the old model does not come back", container=old.container, reason=str(error))
            await self._cleared(old)
            return None

    async def found(self, rows: list[Row]) -> Row | None:
        """The newest container found running; the others are stopped. Raises Refused."""
        try:
            states = [(await self.lifecycle.containers.inspect(row), row) for row in rows]
            running = [(state.started_at, row) for state, row in states if state.running]
            newest_first = [row for _, row in sorted(running, key=lambda each: each[0], reverse=True)]
            for row in newest_first[1:]:
                self._log.warning("stopping a left-over container", container=row.container)
                await self.lifecycle.stop(row)
        except (ContainerError, StillRunning) as error:
            raise Refused("backend_unavailable", str(error)) from None
        return newest_first[0] if newest_first else None

    async def adopt(self, row: Row) -> str | None:
        """The mark of a left-over container once it is ready; None when it is of no use and was stopped."""
        self.starting = row
        try:
            mark = await self.lifecycle.settle(row)
        except StartFailed as error:
            self._log.error("a left-over container is of no use", container=row.container, reason=str(error))
            await self._cleared(row)
            return None
        self._log.info("adopted", container=row.container, model=row.name)
        return mark

    async def _cleared(self, row: Row) -> bool:
        try:
            await self.lifecycle.stop(row)
        except StillRunning as error:
            self._log.error(str(error))
            self._stuck = row
            return False
        return True
