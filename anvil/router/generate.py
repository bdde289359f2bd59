"""The POST endpoints: parse, intent, policy, walk (contract 1.2)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from anvil.router import advise, count, dialects, echo, exhaustion
from anvil.router.decisions.record import Endpoint
from anvil.router.dialects import responses_request
from anvil.router.exchange import Exchange, Outlet, Plain
from anvil.router.lifecycle import DIALECT, decide, recorded, told_late
from anvil.router.ping import Pinger
from anvil.router.walk import Walk

if TYPE_CHECKING:
    from anvil.router.door import Head
    from anvil.router.runtime import Runtime
    from anvil.router.turn import Turn

# A Responses caller that sends this as "joined" gets the tools of its namespaces to tiers (dialects.responses_tools).
NAMESPACES = "x-anvil-namespaces"
Handler = Callable[["Runtime", Outlet, "Head", bytes], Awaitable[Plain | None]]


async def handle(runtime: Runtime, endpoint: Endpoint, outlet: Outlet, head: Head, data: bytes) -> Plain | None:
    """Answer one generation request past the door."""
    exchange = Exchange.begin(endpoint, outlet, head)
    return await recorded(runtime, exchange, lambda begun: _steps(runtime, begun, data))


async def _steps(runtime: Runtime, exchange: Exchange, data: bytes) -> Plain | None:
    exchange.turn = _turn(exchange, data)
    if runtime.loaded.echo:
        plain = await echo.answer(runtime, exchange)
        exchange.outcome, exchange.status = "served", 200
        return plain
    decide(runtime, exchange)
    policy = exchange.policy
    assert policy is not None
    if not policy.tiers:
        return exhaustion.nothing_left(runtime, exchange)
    plain = await _walk(runtime, exchange)
    if not exchange.outcome:
        exchange.outcome = "aborted_after_commit" if exchange.aborted else "served"
        exchange.status = plain.status if plain is not None else 200
    return plain


def _turn(exchange: Exchange, data: bytes) -> Turn:
    if exchange.endpoint == "responses" and exchange.inbound.get(NAMESPACES) == "joined":
        return responses_request.parse(data, join_namespaces=True)
    return dialects.caller(DIALECT[exchange.endpoint]).parse(data)


async def _walk(runtime: Runtime, exchange: Exchange) -> Plain | None:
    every = runtime.config.hold_ping_s
    turn = exchange.turn
    if not every or turn is None or not turn.stream:
        return await Walk(runtime, exchange).run()
    pinger = Pinger(runtime, exchange, every)
    try:
        plain = await Walk(runtime, exchange).run()
    finally:
        await pinger.stop()
    if plain is None or not exchange.started_stream:
        return plain
    await told_late(runtime, exchange, plain)
    return None


def _generation(endpoint: Endpoint) -> Handler:
    async def handler(runtime: Runtime, outlet: Outlet, head: Head, data: bytes) -> Plain | None:
        return await handle(runtime, endpoint, outlet, head, data)

    return handler


HANDLERS: dict[str, Handler] = {
    "chat": _generation("chat"),
    "messages": _generation("messages"),
    "responses": _generation("responses"),
    "count_tokens": count.handle,
    "route": advise.handle,
}
