"""The newest records in memory, and readers that follow them (contract 16.3, 2.13)."""

from __future__ import annotations

import threading
from typing import Final

from anvil.router.decisions.record import Decision


class Ring:
    """``size`` newest records in the order they were finished. Thread-safe; readers get copies.

    Every record has a position, 0 for the first of the worker. A follower keeps the position it wants next, so a slow
    one costs no memory.
    """

    def __init__(self, size: int) -> None:
        self.size: Final = size
        self._slots: list[Decision] = []
        self._total = 0
        self._lock = threading.Lock()

    def append(self, decision: Decision) -> None:
        with self._lock:
            if self._total < self.size:
                self._slots.append(decision)
            else:
                self._slots[self._total % self.size] = decision
            self._total += 1

    @property
    def total(self) -> int:
        """Records ever appended: the position of the next one."""
        return self._total

    def snapshot(self) -> list[Decision]:
        """All records, oldest first."""
        with self._lock:
            start = self._total % self.size if self._total > self.size else 0
            return self._slots[start:] + self._slots[:start]

    def since(self, position: int, most: int) -> tuple[list[Decision], int]:
        """At most ``most`` records from ``position`` on, and how many before them were already overwritten."""
        with self._lock:
            first = max(position, self._total - len(self._slots))
            last = min(self._total, first + most)
            found = [self._slots[index % self.size] for index in range(first, last)]
        return found, first - position

    def get(self, decision_id: str) -> Decision | None:
        return next((record for record in reversed(self.snapshot()) if record.id == decision_id), None)

    def position_after(self, decision_id: str) -> int | None:
        """The position that follows a record, None when the ring does not hold it."""
        with self._lock:
            first = self._total - len(self._slots)
            for position in range(self._total - 1, first - 1, -1):
                if self._slots[position % self.size].id == decision_id:
                    return position + 1
        return None
