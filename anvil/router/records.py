"""The story of an Exchange as one frozen decision record (contract 16.2)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from anvil.router.cost import split
from anvil.router.decisions import lossy_names
from anvil.router.decisions.record import (
    FELL_BACK_OUTCOMES,
    Attempt,
    Decision,
    Dropped,
    IntentRecord,
    IntentSignals,
    Needs,
    id_time,
    timestamp,
)

if TYPE_CHECKING:
    from anvil.router.exchange import Exchange, Try
    from anvil.router.intent import Intent
    from anvil.router.runtime import Runtime
    from anvil.router.turn import Turn

_NO_DROPS = Dropped()
DIALECTS = {"chat": "openai", "route": "openai", "messages": "anthropic", "count_tokens": "anthropic"}


def build(runtime: Runtime, exchange: Exchange) -> Decision:
    """One record, whatever the request's end. Called once, after the last byte."""
    turn, policy, served = exchange.turn, exchange.policy, exchange.served
    attempts = tuple([_attempt(entry) for entry in exchange.attempts])
    cost, wasted = split([(a.tier_id, a.cost_usd) for a in attempts], served.tier_id if served else None)
    privacy = runtime.privacy.get(served.tier_id) if served else None
    model = exchange.caller_model if turn is None else turn.model
    identity = runtime.identity
    urgency = runtime.scrubber.word(exchange.urgency) if exchange.urgency else None
    return Decision(
        id=exchange.decision_id,
        ts=timestamp(id_time(exchange.decision_id)),
        release=identity.release,
        config_hash=identity.config_hash,
        mapping_version=identity.mapping_version,
        mode=identity.mode,
        endpoint=exchange.endpoint,
        dialect=turn.dialect if turn is not None else DIALECTS.get(exchange.endpoint, "responses"),
        stream=turn.stream if turn is not None else False,
        pinged=exchange.pinged,
        caller_model=None if model is None else runtime.scrubber.word(model.strip()),  # blanks around it mean nothing
        intent=_intent(exchange.intent, turn, urgency),
        work_class=exchange.intent.work_class if exchange.intent is not None else None,
        needs=_needs(exchange.intent, turn),
        requested_tiers=policy.requested if policy is not None else (),
        dropped=policy.dropped if policy is not None else _NO_DROPS,
        gate_note=policy.gate_note if policy is not None else "",
        residency=policy.residency if policy is not None else None,
        attempts=attempts,
        served_tier=served.tier_id if served else None,
        served_model=served.model if served else None,
        served_tier_privacy=privacy,
        outcome=exchange.outcome or "internal_error",
        status=exchange.status,
        committed=exchange.committed,
        fell_back=any([a.outcome in FELL_BACK_OUTCOMES for a in attempts]),
        lossy=_lossy(runtime, exchange),
        total_prompt_tokens=sum([a.prompt_tokens for a in attempts]),
        total_completion_tokens=sum([a.completion_tokens for a in attempts]),
        cost_usd=cost,
        wasted_cost_usd=wasted,
        received_ms=(exchange.received_at - exchange.started_at) * 1000,
        ttft_ms=(exchange.first_byte_at - exchange.started_at) * 1000 if exchange.first_byte_at is not None else None,
        duration_ms=(exchange.finished_at - exchange.started_at) * 1000,
        trace_id=exchange.trace_id,
    )


def _lossy(runtime: Runtime, exchange: Exchange) -> tuple[str, ...]:
    noticed = exchange.turn.lossy if exchange.turn is not None else []
    if not noticed and not exchange.lossy:
        return ()
    return lossy_names([*noticed, *exchange.lossy], runtime.scrubber.word)


def _attempt(entry: Try) -> Attempt:
    return Attempt(
        tier_id=entry.tier_id,
        outcome=entry.outcome,
        model=entry.model,
        verdict=entry.verdict or None,
        failure_class=entry.failure_class,
        verifier_passed=entry.verifier_passed,
        verify_reason=entry.verify_reason,
        advisories=entry.advisories,
        upstream_status=entry.upstream_status,
        prompt_tokens=entry.prompt_tokens,
        completion_tokens=entry.completion_tokens,
        cached_tokens=entry.cached_tokens,
        usage_source=entry.usage_source,
        cost_usd=entry.cost_usd,
        wait_ms=entry.wait_ms,
        ttft_ms=entry.ttft_ms,
        duration_ms=entry.duration_ms,
    )


def _intent(intent: Intent | None, turn: Turn | None, urgency: str | None) -> IntentRecord | None:
    if intent is None or turn is None:
        return None
    signals = IntentSignals(
        token_estimate=max(intent.token_estimate, turn.signals.words),
        thinking_enabled=turn.signals.thinking,
        has_tools=turn.signals.has_tools,
        matched_keywords=intent.matched_keywords,
        urgency=urgency,
    )
    return IntentRecord(
        source=intent.source,
        preset=intent.preset,
        ambiguous=intent.ambiguous,
        confidence=intent.confidence,
        signals=signals,
    )


def _needs(intent: Intent | None, turn: Turn | None) -> Needs | None:
    if turn is None:
        return None
    signals = turn.signals
    return Needs(
        context=signals.words if intent is None else max(intent.token_estimate, signals.words),
        tools=signals.tool_artifacts,
        images=signals.images > 0,
        documents=signals.documents > 0,
        audio=signals.audio,
    )
