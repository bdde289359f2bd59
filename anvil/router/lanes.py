"""Admission: how many requests are in progress, per lane and per client, and how much they hold (contract 2.3, 2.4)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from anvil.router.door import Refusal

# Bodies above this are admitted to memory only while the process-wide pool has room (contract 2.4).
POOLED = 1_048_576


class Lane:
    """A counter with a limit; a full lane refuses at once, it never queues."""

    def __init__(self, name: str, limit: int) -> None:
        self.name = name
        self.limit = limit
        self.in_flight = 0

    def enter(self) -> None:
        """Raises Refusal 503 when full."""
        if self.in_flight >= self.limit:
            raise busy()
        self.in_flight += 1

    def leave(self) -> None:
        self.in_flight -= 1


class Clients:
    """Requests in progress per client address; 0 = no cap."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._counts: dict[str, int] = {}

    def enter(self, address: str) -> None:
        """Raises Refusal 429 above the cap."""
        count = self._counts.get(address, 0)
        if count >= self.limit:
            raise Refusal(
                429,
                "rate_limited",
                "too many requests in progress from this client",
                reason="per_client",
                headers=[("retry-after", "1")],
            )
        self._counts[address] = count + 1

    def leave(self, address: str) -> None:
        count = self._counts.get(address, 0) - 1
        if count > 0:
            self._counts[address] = count
        else:
            self._counts.pop(address, None)


class Pool:
    """Bytes of large bodies and held answers in memory, all requests together (contract 2.4)."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0

    def grow(self, size: int) -> bool:
        """Take room for held bytes; False when the pool is full."""
        if self.used + size > self.limit:
            return False
        self.used += size
        return True

    def shrink(self, size: int) -> None:
        self.used -= size

    @contextmanager
    def reserve(self, size: int) -> Iterator[None]:
        """Raises Refusal 503 when the pool is full."""
        if self.used + size > self.limit:
            raise busy(close=True)
        self.used += size
        try:
            yield
        finally:
            self.used -= size


def busy(*, close: bool = False) -> Refusal:
    return Refusal(
        503,
        "server_busy",
        "the router is at its limit, try again",
        reason="busy",
        close=close,
        headers=[("retry-after", "1")],
    )
