"""Server-sent events of new decisions (contract 2.13)."""

from __future__ import annotations

import asyncio
from typing import Final

from anvil.router.decisions.query import Query
from anvil.router.decisions.record import ID_PATTERN, Decision, encode
from anvil.router.decisions.ring import Ring

MAX_FOLLOWERS: Final = 8
MAX_BEHIND: Final = 1000
COMMENT_EVERY_S: Final = 15.0
# records looked at between two turns of the event loop
CHUNK: Final = 100


class TooManyFollowers(Exception):
    """Eight readers follow already: answer 503."""


class Followers:
    """The readers of one ring. ``notify`` after each append; it costs one test while nobody follows."""

    def __init__(self, ring: Ring) -> None:
        self._ring = ring
        self._open: set[Follower] = set()

    def __len__(self) -> int:
        return len(self._open)

    def notify(self) -> None:
        for follower in self._open:
            follower.wake()

    def follow(self, query: Query, last_id: str | None = None) -> Follower:
        """A new reader, which holds a place until ``close``. Raises TooManyFollowers."""
        if len(self._open) >= MAX_FOLLOWERS:
            raise TooManyFollowers
        follower = Follower(self._ring, query, last_id, self._open)
        self._open.add(follower)
        return follower

    def close(self) -> None:
        for follower in list(self._open):
            follower.close()


class Follower:
    """An async iterator of SSE bytes. It starts with a comment, so that the headers leave at once.

    Resumes after ``last_id`` when the ring still holds it; else with what is newer than it, after a gap event when
    records were lost. Without an id it starts with the newest ``query.limit`` matches (none when not given).
    """

    def __init__(self, ring: Ring, query: Query, last_id: str | None, places: set[Follower]) -> None:
        self._ring = ring
        self._accept = query.predicate()
        self._places = places
        self._wake = asyncio.Event()
        self._closed = False
        # after resuming from an unknown id: of the records before this position only those with a newer id are sent
        self._newer_than = ""
        self._replayed_until = 0
        self._position = ring.total
        self._backlog: list[bytes] = [b": anvil\n\n"]
        last_id = last_id or query.after
        if last_id and ID_PATTERN.fullmatch(last_id):
            self._resume(last_id)
        elif query.limit:
            newest = [record for record in ring.snapshot() if self._accept(record)][-query.limit :]
            self._backlog += [_event(record) for record in newest]

    def _resume(self, last_id: str) -> None:
        position = self._ring.position_after(last_id)
        if position is None:
            self._newer_than = last_id
            self._replayed_until = self._ring.total
            position = 0
        self._position = position

    def wake(self) -> None:
        if not self._wake.is_set():
            self._wake.set()

    def close(self) -> None:
        """Give the place back; a waiting reader ends. Idempotent."""
        self._closed = True
        self._places.discard(self)
        self.wake()

    def __aiter__(self) -> Follower:
        return self

    async def __anext__(self) -> bytes:
        if self._backlog:
            chunk, self._backlog = b"".join(self._backlog), []
            return chunk
        while not self._closed:
            self._wake.clear()
            if self._position < self._ring.total:
                chunk = self._read()
                if chunk:
                    return chunk
                await asyncio.sleep(0)
                continue
            try:
                await asyncio.wait_for(self._wake.wait(), COMMENT_EVERY_S)
            except TimeoutError:
                return b": anvil\n\n"
        raise StopAsyncIteration

    def _read(self) -> bytes:
        records, missed = self._ring.since(max(self._position, self._ring.total - MAX_BEHIND), CHUNK)
        missed += max(0, self._ring.total - MAX_BEHIND - self._position)
        start = self._position + missed
        self._position = start + len(records)
        gap = b'event: gap\ndata: {"missed":%d}\n\n' % missed if missed else b""
        return gap + b"".join([_event(record) for at, record in enumerate(records, start) if self._wants(at, record)])

    def _wants(self, position: int, record: Decision) -> bool:
        seen = position < self._replayed_until and record.id <= self._newer_than
        return not seen and self._accept(record)


def _event(record: Decision) -> bytes:
    return b"event: decision\nid: %s\ndata: %s\n\n" % (record.id.encode(), encode(record))
