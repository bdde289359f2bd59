"""Which model is resident, who uses it, who waits for another: one Condition, one change at a time (lab.md 11).

Everything runs on one event loop. Requests only take leases, wait and leave; a single task at a time changes what is
resident, so a caller that goes away never leaves a swap half done.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from anvil.multiplexer.card import Card, Log
from anvil.multiplexer.config import MultiplexerConfig, Row
from anvil.multiplexer.containers import ContainerError
from anvil.multiplexer.guard import Guard
from anvil.multiplexer.lifecycle import Lifecycle, StartFailed
from anvil.multiplexer.refusal import Refused
from anvil.multiplexer.standing import Lease, Outcome, Resident, Swap, Ticket

WATCH_S = 5.0
# A socket of a dead process refuses before its runtime says that it is dead.
DEATH_SHOWS_S = 0.5


class Residency:
    """``open`` once on the loop, then ``lease``; ``drain`` and ``close`` at the end."""

    def __init__(self, config: MultiplexerConfig, lifecycle: Lifecycle, guard: Guard, log: Log) -> None:
        self.rows = {row.name: row for row in config.registry}
        self.resident: Resident | None = None
        self.last_swap: Swap | None = None
        self.drain_wait_ms: float | None = None
        self._drain_timeout = config.drain_timeout_s
        self._min_resident = config.min_resident_s
        self._card = Card(lifecycle, log)
        self._guard = guard
        self._log = log
        self._condition = asyncio.Condition()
        self._tickets: dict[Ticket, None] = {}
        self._leases: set[Lease] = set()
        self._change: asyncio.Task[None] | None = None
        self._swapping = False
        self._adopted = False
        self.closed = False
        self._tasks: set[asyncio.Task[Any]] = set()

    # ------------------------------------------------------------------------------------- for requests

    @asynccontextmanager
    async def lease(self, name: str) -> AsyncIterator[Lease]:
        """The model, resident for as long as the block runs (a swap may cut it after drain_timeout_s).

        Raises Refused: unknown model, no memory, does not start, shutting down.
        """
        lease = await self._admit(name)
        try:
            yield lease
        finally:
            self._release(lease)

    async def lost(self, lease: Lease) -> bool:
        """After a refused connection: whether the lease's resident is gone, so that asking again may help."""
        end = asyncio.get_running_loop().time() + DEATH_SHOWS_S
        while True:
            await self.look()
            gone = self.resident is not lease.resident
            if gone or asyncio.get_running_loop().time() >= end:
                return gone
            await asyncio.sleep(DEATH_SHOWS_S / 10)

    async def replaced(self, lease: Lease) -> bool:
        """After an answer that no resident gives: whether another process than the lease's resident gave it."""
        await self.look()
        return self.resident is not lease.resident

    @property
    def starting(self) -> Row | None:
        return self._card.starting

    def in_flight(self) -> dict[str, int]:
        counts = dict.fromkeys(self.rows, 0)
        for lease in self._leases:
            counts[lease.row.name] += 1
        return counts

    def waiting(self) -> dict[str, int]:
        counts = dict.fromkeys(self.rows, 0)
        for ticket in self._tickets:
            counts[ticket.row.name] += ticket.lease is None
        return counts

    # -------------------------------------------------------------------------------------- life

    def open(self) -> None:
        """Adopt what was left running, and watch from now on."""
        self._swapping = True
        self._change = self._spawn(self._run(None, self._adopt()))
        self._spawn(self._watch())

    def drain(self) -> None:
        """No new leases; who waits is refused. Leases end by themselves or through ``cut``."""
        self.closed = True
        self._wake()

    def cut(self) -> int:
        """End every relay; how many there were."""
        cut = list(self._leases)
        for lease in cut:
            lease.cut()
        return len(cut)

    def close(self) -> None:
        """What is resident stays: the next start adopts it."""
        self.closed = True
        for task in list(self._tasks):
            task.cancel()

    async def look(self) -> bool:
        """Forget the resident when its container died, even if the runtime restarted it; whether it did."""
        resident = self.resident
        if resident is None or self._swapping:
            return False
        try:
            state = await self._card.lifecycle.containers.inspect(resident.row)
        except ContainerError as error:
            self._log.warning("the resident cannot be inspected", container=resident.row.container, error=str(error))
            return False
        alive = state.running and state.started_at == resident.started_at
        if alive or self.resident is not resident or self._swapping:
            return False
        self._log.error("the resident died", container=resident.row.container, exit_code=state.exit_code)
        self.resident = None
        self._card.died(resident.row)
        self._wake()
        return True

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(WATCH_S)
            await self.look()

    # -------------------------------------------------------------------------------------- waiting

    async def _admit(self, name: str) -> Lease:
        row = self.rows.get(name)
        if row is None:
            raise Refused("model_not_found", f"no model {name[:200]!r}; there are {', '.join(self.rows)}")
        ticket = Ticket(row, asyncio.get_running_loop().time())
        async with self._condition:
            self._tickets[ticket] = None
            try:
                while (lease := self._take(ticket)) is None:
                    self._advance()
                    await self._condition.wait()
                return lease
            except BaseException:
                if ticket.lease is not None:
                    self._release(ticket.lease)
                raise
            finally:
                del self._tickets[ticket]
                self._condition.notify_all()

    def _take(self, ticket: Ticket) -> Lease | None:
        if self.closed:
            raise Refused("backend_unavailable", "the multiplexer is shutting down")
        if ticket.error is not None:
            raise ticket.error
        if not self._swapping:
            self._grant(ticket)
        return ticket.lease

    def _grant(self, ticket: Ticket) -> None:
        """A lease when the ticket's model is resident: residency and count are taken together."""
        resident = self.resident
        if ticket.lease is None and resident is not None and resident.row is ticket.row:
            ticket.lease = Lease(resident)
            resident.leases.add(ticket.lease)
            self._leases.add(ticket.lease)

    def _release(self, lease: Lease) -> None:
        self._leases.discard(lease)
        lease.resident.leases.discard(lease)
        self._wake()

    def _advance(self) -> None:
        """Begin the change that the longest waiting request needs, unless one is under way."""
        if self._change is not None:
            return
        resident = self.resident.row if self.resident else None
        head = next((each.row for each in self._tickets if each.row is not resident and each.lease is None), None)
        if head is not None:
            self._change = self._spawn(self._run(head, self._change_to(head)))

    def _wanted(self, row: Row) -> bool:
        return any(ticket.row is row and ticket.lease is None for ticket in self._tickets)

    def _refuse(self, row: Row | None, error: Refused) -> None:
        """Everybody who waits for the row (None: for any) learns why, instead of each trying anew."""
        self._log.error("no swap", model=row.name if row else "", kind=error.kind, reason=error.message)
        for ticket in self._tickets:
            if ticket.lease is None and (row is None or ticket.row is row):
                ticket.error = error.again()

    def _wake(self) -> None:
        self._spawn(self._notify())

    async def _notify(self) -> None:
        async with self._condition:
            self._condition.notify_all()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    # -------------------------------------------------------------------------------------- changing

    async def _run(self, row: Row | None, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except Refused as error:
            self._refuse(row, error)
        except Exception as error:
            self._log.exception("a swap failed", error)
            self._refuse(row, Refused("internal_error", "the multiplexer failed on this swap"))
        finally:
            self._swapping = False
            self._card.starting = None
            self._change = None
            for ticket in self._tickets:  # before anybody can begin the next swap: who waited is served
                self._grant(ticket)
            await self._notify()

    async def _change_to(self, row: Row) -> None:
        if not self._adopted:
            self._swapping = True
            await self._adopt()
            self._swapping = False
            await self._notify()
            if self.resident is not None and self.resident.row is row:
                return
        await self._guard.check(row, self._evictee())
        if await self._due(row):
            await self._guard.check(row, self._evictee())  # it may be seconds later
        if not self._wanted(row):
            return
        self._swapping = True
        old = self.resident
        if old is not None:
            await self._drained(old, row)
        if self._wanted(row):
            await self._replace(old, row)

    def _evictee(self) -> Row | None:
        return self.resident.row if self.resident else None

    async def _due(self, row: Row) -> bool:
        """Wait until the resident has had min_resident_s, or who waits has; whether that took any time."""
        waited = False
        async with self._condition:
            while self._wanted(row) and (rest := self._rest(row)) > 0:
                waited = True
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(rest):
                        await self._condition.wait()
        return waited

    def _rest(self, row: Row) -> float:
        if self.resident is None:
            return 0.0
        oldest = min(ticket.arrived for ticket in self._tickets if ticket.row is row and ticket.lease is None)
        return min(self.resident.since, oldest) + self._min_resident - asyncio.get_running_loop().time()

    async def _drained(self, old: Resident, row: Row) -> None:
        now = asyncio.get_running_loop().time
        begun = now()
        async with self._condition:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._drain_timeout):
                    while old.leases and self._wanted(row):
                        await self._condition.wait()
        self.drain_wait_ms = round((now() - begun) * 1000, 1)
        if old.leases and self._wanted(row):
            self._log.warning("a swap cuts requests", model=old.row.name, cut=len(old.leases))
            for lease in list(old.leases):
                lease.cut()

    async def _replace(self, old: Resident | None, row: Row) -> None:
        now = asyncio.get_running_loop().time
        begun = now()
        outcome: Outcome = "failed"
        before = old.row if old else None
        try:
            await self._card.empty(before)  # when it cannot be, the resident is not forgotten
            self.resident = None
            try:
                mark = await self._card.start(row)
                self.resident = Resident(row, now(), mark)
                outcome = "done"
            except StartFailed as error:
                if await self._rolled_back(row, before):
                    outcome = "rolled_back"
                raise Refused("backend_unavailable", str(error)) from None
        finally:
            seconds = now() - begun
            self.last_swap = Swap.now(before.name if before else None, row.name, outcome, seconds)
            self._log.info("swap", old=self.last_swap.old, new=row.name, outcome=outcome, seconds=round(seconds, 2))

    async def _rolled_back(self, row: Row, before: Row | None) -> bool:
        mark = await self._card.roll_back(row, before)
        if mark is None or before is None:
            return False
        self.resident = Resident(before, asyncio.get_running_loop().time(), mark)
        return True

    async def _adopt(self) -> None:
        """The newest container found running becomes resident. Raises Refused; it is then tried again."""
        found = await self._card.found(list(self.rows.values()))
        self._adopted = True
        if found is not None and (mark := await self._card.adopt(found)) is not None:
            self.resident = Resident(found, asyncio.get_running_loop().time(), mark)
