"""The observer hook: one object of the operator's hears of every finished request, off its path (contract 21.4)."""

from __future__ import annotations

import contextlib
import importlib
import queue
import threading
from collections.abc import Callable

from anvil.router.config import ConfigError
from anvil.router.decisions.record import Decision

# Records waiting for a slow observer; more are dropped and counted.
WAITING = 1024

Observe = Callable[[Decision], object]


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
        self._queue: queue.Queue[Decision | None] = queue.Queue(WAITING)
        self._thread = threading.Thread(target=self._run, name="observer", daemon=True)
        self._thread.start()

    def tell(self, decision: Decision) -> None:
        try:
            self._queue.put_nowait(decision)
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
        while (decision := self._queue.get()) is not None:
            try:
                self._observe(decision)
            except Exception:  # an operator's code must not end the thread
                self._dropped()
        with contextlib.suppress(Exception):
            getattr(self._observe, "close", _nothing)()


def _nothing() -> None:
    """For observers without an end of their own."""
