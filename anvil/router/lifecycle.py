"""The life of one request past the door: every end leads to exactly one record (contract 1.2, 16.1)."""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from anvil.router import dialects, exhaustion
from anvil.router.exchange import CallerGone, Exchange, Plain
from anvil.router.turn import BadRequest, Fault

if TYPE_CHECKING:
    from anvil.router.runtime import Runtime

Steps = Callable[[Exchange], Awaitable[Plain | None]]
DIALECT = {"chat": "openai", "messages": "anthropic", "responses": "responses", "count_tokens": "anthropic"}
# What nginx writes for a caller that closed before any byte; only ever seen in records.
CLIENT_CLOSED = 499
# W3C Trace Context: version ff and ids of zeros are invalid, later versions may carry more behind a hyphen
_TRACEPARENT = re.compile(
    r"(?!ff|00.{53}-)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(?:-.*)?"
)


async def recorded(runtime: Runtime, exchange: Exchange, steps: Steps) -> Plain | None:
    """Run the steps of one request; exactly one record is written, whatever happens."""
    exchange.deadline = exchange.received_at + runtime.config.limits.request_deadline_s
    exchange.trace_id = _trace_id(exchange.inbound.get("traceparent"))
    runtime.active.add(exchange)
    try:
        return _dressed(runtime, exchange, await steps(exchange))
    except BadRequest as refused:
        runtime.refused("json")
        return _dressed(runtime, exchange, bad_request(exchange, refused))
    except (CallerGone, asyncio.CancelledError):
        _note_gone(runtime, exchange)
        raise
    except Exception as error:
        runtime.defect(error)
        plain = _defect(exchange)
        if not exchange.started_stream:
            return _dressed(runtime, exchange, plain)
        if not exchange.committed:  # a comment has left under a 200
            with contextlib.suppress(CallerGone):
                await told_late(runtime, exchange, plain)
        return None
    finally:
        runtime.active.discard(exchange)
        runtime.finish(exchange)


def decide(runtime: Runtime, exchange: Exchange) -> None:
    """Steps 4 and 5 of contract 1.2."""
    turn = exchange.turn
    assert turn is not None
    exchange.intent = runtime.intents.resolve(turn)
    exchange.policy = runtime.policy.decide(exchange.intent, turn.signals)


def bad_request(exchange: Exchange, refused: BadRequest) -> Plain:
    """The 400 of a request that cannot be accepted, in its dialect's envelope."""
    module = dialects.caller(DIALECT.get(exchange.endpoint, "openai"))
    body = module.error(refused.status, refused.type, refused.message, details=refused.details)
    return exhaustion.end(exchange, "invalid_request", refused.status, body)


def _dressed(runtime: Runtime, exchange: Exchange, plain: Plain | None) -> Plain | None:
    if plain is None:
        return None
    entry = exchange.served
    plain.headers = [*runtime.answer_headers(exchange, entry), *plain.headers]
    if exchange.first_byte_at is None and exchange.outcome == "served":
        exchange.first_byte_at = time.perf_counter()
    return plain


async def told_late(runtime: Runtime, exchange: Exchange, plain: Plain) -> None:
    """The walk failed after a comment had left under a 200: one error event is all that can still be said."""
    turn = exchange.turn
    assert turn is not None
    model = turn.model or dialects.caller(turn.dialect).DEFAULT_MODEL
    writer = dialects.caller(turn.dialect).writer(turn, runtime.reply(model, turn.signals.words, False))
    limited = bool(exchange.attempts) and exchange.attempts[-1].failure_class == "rate_limited"
    fault = Fault("rate_limited" if limited else "unavailable", exchange.outcome or "exhausted")
    await exchange.outlet.send(writer.abort(fault, plain.status))
    exchange.status = 200


def _note_gone(runtime: Runtime, exchange: Exchange) -> None:
    if exchange.outcome in (None, "served"):
        exchange.outcome = "client_gone"
        exchange.status = 200 if exchange.committed else CLIENT_CLOSED
    runtime.caller_gone("live" if exchange.committed else "waiting")


def _defect(exchange: Exchange) -> Plain:
    """A defect of ours outside any attempt: a real 500 while nothing was sent."""
    exchange.outcome = "internal_error"
    module = dialects.caller(DIALECT.get(exchange.endpoint, "openai"))
    exchange.status = 500
    return Plain(500, module.error(500, "internal_error", "the router failed on this request"))


def _trace_id(value: str | None) -> str | None:
    found = _TRACEPARENT.fullmatch(value.strip()) if value else None
    return found.group(1) if found else None
