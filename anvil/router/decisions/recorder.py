"""The one object a finished request meets: ring, followers, store, metrics and audit line in one call (contract 16)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from anvil.router.config import DecisionsConfig
from anvil.router.decisions import search
from anvil.router.decisions.follow import Follower, Followers
from anvil.router.decisions.query import Query
from anvil.router.decisions.record import Decision, encode
from anvil.router.decisions.ring import Ring

if TYPE_CHECKING:
    from anvil.router.decisions.store import Store


class DecisionMetrics(Protocol):
    """What the recorder needs of ``anvil.router.metrics.Metrics``."""

    def observe(self, decision: Decision) -> None: ...
    def decision_dropped(self, reason: str, rows: int) -> None: ...
    def store_failed(self, reason: str) -> None: ...
    def gauge(self, name: str, read: Callable[[], float]) -> None: ...


class DecisionLog(Protocol):
    """What the recorder needs of ``anvil.router.log.Log``."""

    def decision(self, decision: Decision) -> None: ...
    def warning(self, message: str) -> None: ...


class Recorder:
    """``record`` is called once per request on the event loop and never raises; everything else serves readers."""

    def __init__(self, config: DecisionsConfig, metrics: DecisionMetrics, log: DecisionLog) -> None:
        self.ring = Ring(config.ring_size)
        self.followers = Followers(self.ring)
        self._metrics = metrics
        self._log = log
        self.store: Store | None = None
        if config.store_path:
            from anvil.router.decisions.store import Store  # SQLite costs memory that a ring alone does not need

            self.store = Store(config, dropped=metrics.decision_dropped, failed=metrics.store_failed, warn=log.warning)
        metrics.gauge("anvil_decision_queue_length", lambda: len(self.store) if self.store else 0)
        metrics.gauge("anvil_decision_followers", lambda: len(self.followers))

    def record(self, decision: Decision) -> None:
        """Append to the ring, then tell followers, store, metrics and log. A sink that fails costs only itself."""
        self.ring.append(decision)
        if len(self.followers):
            self.followers.notify()
        try:
            self._metrics.observe(decision)
            self._log.decision(decision)
            if self.store is not None:
                self.store.put(decision)
        except Exception as error:  # an answer must not fail because something could not be written down (13.1)
            self._log.warning(f"decision {decision.id} was not fully recorded: {type(error).__name__}")

    async def get(self, decision_id: str) -> bytes | None:
        """One record as JSON, from the ring or the store; None: unknown."""
        record = self.ring.get(decision_id)
        if record is not None:
            return encode(record)
        if self.store is None:
            return None
        from anvil.router.decisions import stored

        try:
            return await asyncio.to_thread(stored.one_from_store, self.store.path, decision_id)
        except stored.StoreError as error:
            self._unreadable(error)
            return None

    async def query(self, query: Query) -> search.Page:
        """One page. The store is read in a thread; while it cannot be read the ring answers alone."""
        ring = search.from_ring(self.ring.snapshot(), query)
        if self.store is None:
            return search.merge(query, ring, [], None)
        from anvil.router.decisions import stored

        try:
            rows, stopped_at = await asyncio.to_thread(stored.from_store, self.store.path, query)
        except stored.StoreError as error:
            self._unreadable(error)
            rows, stopped_at = [], None
        return search.merge(query, ring, rows, stopped_at)

    def follow(self, query: Query, last_id: str | None = None) -> Follower:
        """An async iterator of SSE bytes; the caller must ``close()`` it. Raises TooManyFollowers."""
        return self.followers.follow(query, last_id)

    def close(self, timeout: float = 2.0) -> None:
        """End followers and flush the store for at most ``timeout`` seconds (blocks: call it last, or in a thread)."""
        self.followers.close()
        if self.store is not None:
            self.store.close(timeout)

    def _unreadable(self, error: Exception) -> None:
        self._metrics.store_failed("read")
        self._log.warning(f"decision store cannot be read: {type(error).__name__}")
