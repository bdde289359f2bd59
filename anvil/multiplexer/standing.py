"""The nouns of residency: who is resident, who uses it, who waits, what the last swap did."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Literal

from msgspec import Struct

from anvil.multiplexer.config import Row
from anvil.multiplexer.refusal import Refused

Outcome = Literal["done", "rolled_back", "failed"]


class Resident:
    """One stay of a model on the card. ``since`` is loop time, ``started_at`` the container's own mark."""

    def __init__(self, row: Row, since: float, started_at: str) -> None:
        self.row = row
        self.since = since
        self.started_at = started_at
        self.leases: set[Lease] = set()


class Lease:
    """The right of one request to use a resident. ``on_cut`` is called when a swap or the end takes it away."""

    def __init__(self, resident: Resident) -> None:
        self.resident = resident
        self.was_cut = False
        self.on_cut: Callable[[], None] | None = None

    @property
    def row(self) -> Row:
        return self.resident.row

    def cut(self) -> None:
        self.was_cut = True
        if self.on_cut is not None:
            self.on_cut()


class Ticket:
    """One waiting request. ``arrived`` is loop time; a change ends it with an error or a lease."""

    def __init__(self, row: Row, arrived: float) -> None:
        self.row = row
        self.arrived = arrived
        self.error: Refused | None = None
        self.lease: Lease | None = None


class Swap(Struct, frozen=True):
    """For /healthz. ``old`` is None when the card was empty; ``at`` is epoch seconds at its end."""

    old: str | None
    new: str
    outcome: Outcome
    seconds: float
    at: float

    @classmethod
    def now(cls, old: str | None, new: str, outcome: Outcome, seconds: float) -> Swap:
        return cls(old, new, outcome, round(seconds, 3), round(time.time(), 3))
