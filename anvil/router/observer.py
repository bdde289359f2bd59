"""The observer hook: one object of the operator's hears of every finished request, off its path (contract 21.4)."""

from __future__ import annotations

import contextlib
import importlib
import queue
import threading
from collections.abc import Callable

from anvil.router.config import ConfigError
from anvil.router.decisions.record import Decision
from anvil.router.turn import Turn

# Records waiting for a slow observer; more are dropped and counted. With texts: a whole request may be a megabyte.
WAITING = 1024
WAITING_WITH_TEXTS = 64

# called with the record; with (record, turn or None, answer text or None) if it has a true ``wants_texts``
Observe = Callable[..., object]


def find(path: str) -> Observe:
    """The callable that ``module:name`` names. Raises ConfigError when there is none."""
    module, _, name = path.partition(":")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ConfigError([f"router.observer: {path}: {error}; give module:name of a callable"]) from None
    if not callable(found):
        raise ConfigError([f"router.observer: {path} is not callable"])
    observe: Observe = found
    return observe


class Observer:
    """Calls the observer in a thread of its own; one that raises, blocks or is slow costs it records, no request.

    An observer with a ``close`` may end its work in it: it is called after the last record.
    """

    def __init__(self, observe: Observe, dropped: Callable[[], None]) -> None:
        self._observe = observe
        self._dropped = dropped
        self.wants_texts = getattr(observe, "wants_texts", False) is True
        waiting = WAITING_WITH_TEXTS if self.wants_texts else WAITING
        self._queue: queue.Queue[tuple[Decision, Turn | None, str | None] | None] = queue.Queue(waiting)
        self._thread = threading.Thread(target=self._run, name="observer", daemon=True)
        self._thread.start()

    def tell(self, decision: Decision, turn: Turn | None = None, answer: str | None = None) -> None:
        try:
            self._queue.put_nowait((decision, turn, answer) if self.wants_texts else (decision, None, None))
        except queue.Full:
            self._dropped()

    def close(self, timeout: float = 1.0) -> None:
        """What waits is still told, for at most ``timeout`` seconds."""
        try:
            self._queue.put(None, timeout=timeout)
        except queue.Full:
            return
        self._thread.join(timeout)

    def _run(self) -> None:
        while (told := self._queue.get()) is not None:
            try:
                self._observe(*told if self.wants_texts else told[:1])
            except Exception:  # an operator's code must not end the thread
                self._dropped()
        with contextlib.suppress(Exception):
            getattr(self._observe, "close", _nothing)()


def _nothing() -> None:
    """For observers without an end of their own."""
