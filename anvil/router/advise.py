"""POST /v1/route: the decision alone, no tier is called (contract 2.11)."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Raw

from anvil.router import exhaustion
from anvil.router.dialects import openai_chat
from anvil.router.exchange import Exchange, Outlet, Plain
from anvil.router.intent import Intent, read_hints
from anvil.router.lifecycle import recorded
from anvil.router.policy import Decision
from anvil.router.reading import check_depth, count_words, system_signal
from anvil.router.turn import BadRequest, Signals, Turn

if TYPE_CHECKING:
    from anvil.router.door import Head
    from anvil.router.runtime import Runtime

_decode = msgspec.json.Decoder(dict[str, Raw]).decode
_plain = msgspec.json.Decoder().decode


async def handle(runtime: Runtime, outlet: Outlet, head: Head, data: bytes) -> Plain | None:
    """The advice applies the same filters as serving; residency is read but not changed."""

    async def steps(exchange: Exchange) -> Plain:
        body = _read(data)
        hints = read_hints(_value(body.pop("signals", None)))
        turn = exchange.turn = _turn(body)
        exchange.urgency = hints.urgency
        intent = exchange.intent = runtime.intents.advise(turn, hints)
        decision = exchange.policy = runtime.policy.decide(intent, turn.signals)
        return _advice(runtime, exchange, intent, decision)

    return await recorded(runtime, Exchange.begin("route", outlet, head), steps)


def _advice(runtime: Runtime, exchange: Exchange, intent: Intent, decision: Decision) -> Plain:
    if decision.kind == "over_context":
        return exhaustion.over_context(runtime, exchange)
    grants = [(tier, runtime.breakers.peek(tier.id, intent.work_class)) for tier, _ in decision.tiers]
    usable = [tier for tier, grant in grants if grant.usable]
    if not usable or runtime.loaded.echo:
        soonest = min([grant.retry_after_s for _, grant in grants], default=None)
        plain = exhaustion.exhausted(runtime, exchange, soonest, kind=decision.kind or "exhausted")
        plain.status = exchange.status = 503
        return plain
    first = usable[0]
    exchange.outcome, exchange.status = "advised", 200
    body = {
        "tier": first.privacy,
        "model": runtime.backends[first.id].tier.model or first.id,
        "provider": first.id,
        "work_class": decision.work_class or intent.work_class or "",
        "reason": _reason(intent, decision),
        "confidence": intent.confidence,
        "session_id": f"rte_{random.getrandbits(96):024x}",  # an identifier, not a secret
    }
    return Plain(200, msgspec.json.encode(body))


def _reason(intent: Intent, decision: Decision) -> str:
    text = f"{intent.label}; quality gate: {decision.gate_note}"
    if decision.dropped.denied:
        text += f"; denied: [{', '.join(decision.dropped.denied)}]"
    return text


def _read(data: bytes) -> dict[str, Raw]:
    if not data:
        return {}
    if not check_depth(data):
        raise BadRequest("the body nests deeper than 128 levels")
    try:
        return _decode(data)
    except msgspec.ValidationError:
        raise BadRequest("the body must be a JSON object") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadRequest(f"invalid JSON: {error}") from None


def _value(raw: Raw | None) -> Any:
    if raw is None:
        return None
    try:
        return _plain(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadRequest(f"invalid JSON: {error}") from None


def _turn(body: dict[str, Raw]) -> Turn:
    """A Chat Completions turn; ``messages`` may be missing, a top-level Anthropic ``system`` counts too."""
    system = _system_text(_value(body.pop("system", None)))
    messages = _value(body.get("messages"))
    if messages:
        if system and isinstance(messages, list):
            body["messages"] = Raw(msgspec.json.encode([{"role": "system", "content": system}, *messages]))
        return openai_chat.parse(msgspec.json.encode(body))
    if messages is not None and messages != []:
        raise BadRequest("messages: expected a list")
    for raw in body.values():  # what the decoder kept raw is held to the same JSON (5.1)
        _value(raw)
    model = _value(body.get("model"))
    if model is not None and not isinstance(model, str):
        raise BadRequest("model: expected a string or null")
    tools = bool(_value(body.get("tools")))
    signals = Signals(
        words=count_words(system), system_text=system_signal(system), has_tools=tools, tool_artifacts=tools
    )
    return Turn(dialect="openai", body=body, signals=signals, model=model)


def _system_text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        texts = [part if isinstance(part, str) else part.get("text") for part in value if isinstance(part, str | dict)]
        return "\n".join(text for text in texts if isinstance(text, str))
    return ""
