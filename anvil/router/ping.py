"""Keep-alive comments while an answer is held or a tier is silent (contract 13.6).

The price is the hand-off by status: once a comment has left under a 200, a failed walk can only be told by an error
event. Off by default.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING

from anvil.router.exchange import CallerGone, Exchange

if TYPE_CHECKING:
    from anvil.router.runtime import Runtime

COMMENT = b": anvil\n\n"


class Pinger:
    """Sends a comment whenever nothing was sent for ``every`` seconds, from the start of the walk to its end."""

    def __init__(self, runtime: Runtime, exchange: Exchange, every: float) -> None:
        self._runtime = runtime
        self._exchange = exchange
        self._every = every
        self._quiet_since = time.perf_counter()
        self._task = asyncio.ensure_future(self._run())

    async def _run(self) -> None:
        exchange = self._exchange
        with contextlib.suppress(CallerGone):
            while True:
                quiet_since = max(exchange.sent_at, self._quiet_since)
                left = quiet_since + self._every - time.perf_counter()
                if left > 0:
                    await asyncio.sleep(left)
                    continue
                self._quiet_since = time.perf_counter()
                if not exchange.started_stream:
                    exchange.pinged = True
                    await self._runtime.start_stream(exchange, None)
                await exchange.outlet.send(COMMENT)

    async def stop(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
