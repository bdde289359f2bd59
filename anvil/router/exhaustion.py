"""The honest ends: over context, nothing available, the caller's own mistake (contract 2.7, 15.5, 20.4)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from anvil.router import dialects
from anvil.router.config import TierConfig
from anvil.router.decisions.record import Outcome
from anvil.router.exchange import Exchange, Plain, Try
from anvil.router.redact import upstream_message
from anvil.router.turn import Fault

if TYPE_CHECKING:
    from anvil.router.backends import Backend
    from anvil.router.runtime import Runtime

# No other moment changes these; the SDKs obey x-should-retry, and Claude Code would ask eleven times in three minutes.
_LASTING: tuple[Outcome, ...] = ("unbound", "gated", "constrained")
NEUTRAL = "no model is available for this request right now"


def over_context(runtime: Runtime, exchange: Exchange) -> Plain:
    """413, worded so that clients recognise a context overflow and nothing else is worded so."""
    turn = exchange.turn
    assert turn is not None
    largest = max((tier.context_limit for tier in _considered(runtime, exchange)), default=0)
    words = turn.signals.words
    module = dialects.caller(turn.dialect)
    if turn.dialect == "anthropic":
        message = f"prompt is too long: at least {words} tokens > {largest} maximum"
        body = module.error(413, "payload_too_large", message)
    else:
        # "this model's" is what litellm, and with it aider, looks for; without it they ask until they are stopped
        message = f"this request is too long: this model's maximum context length is {largest} tokens"
        body = module.error(413, "payload_too_large", message, code="context_length_exceeded")
    return end(exchange, "over_context", 413, body)


def exhausted(
    runtime: Runtime, exchange: Exchange, retry_after_s: float | None = None, kind: Outcome = "exhausted"
) -> Plain:
    """The configured status, neutral text; ``kind`` is unbound, gated, constrained or exhausted (default)."""
    turn = exchange.turn
    assert turn is not None
    status = runtime.config.exhaustion_status
    runtime.log.warning(operator_text(runtime, exchange, kind), decision=exchange.decision_id)
    plain = end(exchange, kind, status, dialects.caller(turn.dialect).error(status, "service_unavailable", NEUTRAL))
    if retry_after_s is not None:
        plain.headers = [*plain.headers, ("retry-after", str(max(1, math.ceil(retry_after_s))))]
    if kind in _LASTING:
        plain.headers = [*plain.headers, ("x-should-retry", "false")]
    return plain


def deadline(runtime: Runtime, exchange: Exchange) -> Plain:
    plain = exhausted(runtime, exchange)
    exchange.outcome = "deadline"
    return plain


def nothing_left(runtime: Runtime, exchange: Exchange) -> Plain:
    """Policy left no tier: 413 when size alone did it, else the exhaustion status of its kind."""
    policy = exchange.policy
    assert policy is not None
    if policy.kind == "over_context":
        return over_context(runtime, exchange)
    return exhausted(runtime, exchange, kind=policy.kind or "exhausted")


def caller_error(runtime: Runtime, exchange: Exchange, backend: Backend, entry: Try, fault: Fault) -> Plain:
    """The tier's 400 or 422 with its own words, scrubbed of everything that names the tier."""
    turn = exchange.turn
    assert turn is not None
    url = urlsplit(backend.base)
    message = upstream_message(
        fault.message,
        runtime.scrubber,
        base_url_host=url.hostname or "",
        port=url.port,
        tier_id=backend.id,
        model=backend.model,
        caller_model=turn.model,
    )
    exchange.served = entry
    status = fault.status or 400
    plain = end(
        exchange, "caller_error", status, dialects.caller(turn.dialect).error(status, "invalid_request", message)
    )
    exchange.served = None
    plain.headers = [*plain.headers, ("x-anvil-tier", backend.id), ("x-anvil-model", backend.model or "")]
    return plain


def end(exchange: Exchange, outcome: Outcome, status: int, body: bytes) -> Plain:
    exchange.outcome = outcome
    exchange.status = status
    return Plain(status, body)


def operator_text(runtime: Runtime, exchange: Exchange, kind: Outcome) -> str:
    """What the operator reads on stderr; tiers are named here and nowhere in an answer."""
    policy = exchange.policy
    if kind in ("unbound", "gated", "constrained") and policy is not None:
        advice = "check credentials and endpoints; " if kind == "unbound" else ""
        return f"{kind}: {advice}{policy.why}"
    story = ", ".join(f"{entry.tier_id} {entry.outcome} ({entry.verify_reason})" for entry in exchange.attempts)
    return f"exhausted: {story or 'nothing was tried'}"


def _considered(runtime: Runtime, exchange: Exchange) -> list[TierConfig]:
    policy = exchange.policy
    ids = set(policy.requested) | set(policy.dropped.context) if policy is not None else set()
    return [tier for tier in runtime.config.tiers if tier.id in ids]
