"""Builds the request for an OpenAI-dialect tier: the caller's own body (contract 6.2), or a translation (6.4)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Raw

from anvil.router import tokens
from anvil.router.dialects.encode import (
    NEVER_FORWARDED,
    Body,
    cap_in_force,
    fit_cap,
    never_forwarded,
    overlay,
    splice,
)
from anvil.router.dialects.openai_chat_repair import repair
from anvil.router.dialects.openai_chat_translate import translate
from anvil.router.turn import Conversation, Turn, UpstreamRequest

if TYPE_CHECKING:
    from anvil.router.config import TierConfig

_CAPS = ("max_tokens", "max_completion_tokens")
_USAGE_WANTED = Raw(b'{"include_usage":true}')


def request(turn: Turn, tier: TierConfig, conversation: Conversation | None) -> UpstreamRequest:
    """The bytes for ``tier``. Without ``conversation`` the turn's own body is sent on, every field kept.

    Raises WindowTooSmall when the caller's cap cannot be lowered far enough for the tier's window.
    """
    cap, fitted = fit_cap(turn, tier, lambda: _bound(turn, tier, conversation))
    lossy = never_forwarded(turn.body)
    if conversation is None:
        body = _same_dialect(turn, tier, cap, lossy)
    else:
        body = translate(turn, tier, conversation, lossy)
        if cap is not None:
            body[tier.max_tokens_field] = cap
    if fitted:
        lossy.append("max_tokens.fitted")
    _set_stream(body, turn)
    overlay(body, tier, _CAPS)
    stream = _settle_stream(body)
    return UpstreamRequest(
        body=splice(body),
        stream=stream,
        cap=cap_in_force(cap, tier, _CAPS),
        fitted=fitted,
        lossy=lossy,
    )


def _bound(turn: Turn, tier: TierConfig, conversation: Conversation | None) -> int:
    room = tier.context_limit - (turn.cap or 0)
    return tokens.upper_bound(turn, conversation, image_tokens=tier.image_tokens, room=room)


def _same_dialect(turn: Turn, tier: TierConfig, cap: int | None, lossy: list[str]) -> Body:
    body: Body = dict(turn.body)
    for name in NEVER_FORWARDED if lossy else ():
        body.pop(name, None)
    if tier.model is None:
        body.pop("model", None)
    else:
        body["model"] = tier.model
    for name in _CAPS:
        if name in body and (cap is None or name != tier.max_tokens_field):
            del body[name]
    if cap is not None:
        body[tier.max_tokens_field] = cap
    wanted = [name for name in turn.repairs if _applies(name, tier)] if turn.repairs else None
    if wanted:
        body["messages"] = Raw(repair(turn.body["messages"], frozenset(wanted)))
        lossy += wanted
    return body


def _applies(repair_name: str, tier: TierConfig) -> bool:
    return tier.stable_prefix if repair_name == "system.nonce" else tier.local


def _set_stream(body: Body, turn: Turn) -> None:
    if turn.stream:
        body["stream"] = True
        body["stream_options"] = _USAGE_WANTED
    elif "stream" in turn.body:
        body["stream"] = False


def _settle_stream(body: Body) -> bool:
    """Whether the merged body asks for a stream; ``stream_options`` follows that (6.1)."""
    stream: bool = body.get("stream") is True
    if not stream:
        body.pop("stream_options", None)
    elif "stream_options" not in body:
        body["stream_options"] = _USAGE_WANTED
    return stream
