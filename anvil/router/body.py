"""Reading a request body under a deadline and a minimum rate (contract 2.4)."""

from __future__ import annotations

import asyncio
from typing import Any

from anvil.router.config import ServerConfig
from anvil.router.door import Refusal

# Judged only after this long: a short stall on a good link is not an attack.
GRACE_S = 10.0
# Up to this size the whole body in one await is cheaper than iterating, and its rate can be judged at the end of grace.
ONE_GULP = 10_240
# Bodies above this are admitted to memory only while the process-wide pool has room (contract 2.4).
POOLED = 1_048_576
# Bytes of a refused request that are read and thrown away so that a pipelined next request works.
DRAIN_BYTES = 65_536
DRAIN_S = 1.0


async def read_body(proto: Any, length: int, limits: ServerConfig) -> bytes:
    """A body of ``length`` declared bytes, more than ONE_GULP. Raises Refusal 408 when it comes too slowly."""
    try:
        return await _sip(proto, length, limits)
    except TimeoutError:
        raise too_slow() from None


def gulp_limit(limits: ServerConfig) -> float:
    """Seconds a body of at most ONE_GULP bytes may take: below the minimum rate at the end of grace it is too slow."""
    return min(limits.body_deadline_s, GRACE_S) if limits.body_min_rate else limits.body_deadline_s


def too_slow() -> Refusal:
    return Refusal(408, "request_timeout", "the body came too slowly", reason="slow_body", close=True)


async def _sip(proto: Any, length: int, limits: ServerConfig) -> bytes:
    loop = asyncio.get_running_loop()
    start = loop.time()
    end = start + limits.body_deadline_s
    rate = limits.body_min_rate
    parts: list[bytes] = []
    size = 0
    async with asyncio.timeout_at(min(end, start + GRACE_S) if rate else end) as clock:
        async for part in proto:
            parts.append(part)
            size += len(part)
            if rate:
                clock.reschedule(min(end, start + max(GRACE_S, size / rate)))
    if size > length:
        raise Refusal(400, "invalid_request", "more body than declared", reason="framing", close=True)
    return b"".join(parts)


async def drain(proto: Any, length: int) -> bool:
    """Throw a refused request's body away; False when it is too much or too slow, so the connection must close."""
    if length > DRAIN_BYTES:
        return False
    if length == 0:
        return True
    try:
        async with asyncio.timeout(DRAIN_S):
            await proto()
    except Exception:  # whatever the transport raises, the answer is to close
        return False
    return True
