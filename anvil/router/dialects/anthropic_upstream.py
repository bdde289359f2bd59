"""Requests to tiers that speak Messages: same-dialect pass-through with its named repairs (contract 6.2)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from anvil.router import tokens
from anvil.router.dialects.anthropic_intake import View
from anvil.router.dialects.anthropic_repair import repaired_messages, system_without_nonce
from anvil.router.dialects.anthropic_translate import translate
from anvil.router.dialects.encode import (
    NEVER_FORWARDED,
    Body,
    absent,
    cap_in_force,
    fit_cap,
    never_forwarded,
    overlay,
    splice,
)
from anvil.router.turn import Conversation, Turn, UpstreamRequest

if TYPE_CHECKING:
    from anvil.router.config import TierConfig

CAPS = ("max_tokens",)
# the dialect demands a cap; this one is ours, so it never counts as a cap in force (6.4, 12.2)
DEFAULT_MAX_TOKENS = 1024
DEFAULT_VERSION = "2023-06-01"
# what POST /v1/messages/count_tokens accepts; anything else is refused there
_COUNTED = frozenset(
    {"model", "messages", "system", "tools", "tool_choice", "thinking", "output_config", "cache_control", "speed"}
    | {"context_management", "compaction", "mcp_servers"}
)

_VERSION = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_BETA = re.compile(r"[A-Za-z0-9-]+")


def request(turn: Turn, tier: TierConfig, conversation: Conversation | None) -> UpstreamRequest:
    """The body for ``tier``; ``conversation`` is None for an Anthropic caller. Raises encode.WindowTooSmall."""
    cap, fitted = fit_cap(turn, tier, lambda: _bound(turn, tier, conversation))
    lossy = never_forwarded(turn.body)
    if conversation is None:
        body = _passed_through(turn, tier, lossy)
    else:
        body, cap = translate(turn, tier, conversation, lossy), cap or None
    body["model"] = tier.model
    if cap is not None:
        body["max_tokens"] = cap
    if fitted:
        lossy.append("max_tokens.fitted")
    if turn.stream or "stream" in body:
        body["stream"] = turn.stream
    overlay(body, tier, CAPS)
    if absent(body.get("max_tokens")):
        body["max_tokens"] = DEFAULT_MAX_TOKENS
    return UpstreamRequest(
        body=splice(body),
        stream=body.get("stream") is True,
        cap=cap_in_force(cap, tier, CAPS),
        fitted=fitted,
        lossy=lossy,
    )


def _bound(turn: Turn, tier: TierConfig, conversation: Conversation | None) -> int:
    room = tier.context_limit - (turn.cap or 0)
    return tokens.upper_bound(turn, conversation, image_tokens=tier.image_tokens, room=room)


def count_request(turn: Turn, tier: TierConfig, conversation: Conversation | None) -> bytes:
    """The body that asks ``tier`` to count the same prompt (contract 2.12)."""
    lossy: list[str] = []
    body = _passed_through(turn, tier, lossy) if conversation is None else translate(turn, tier, conversation, lossy)
    body["model"] = tier.model
    overlay(body, tier, CAPS)
    return splice({name: value for name, value in body.items() if name in _COUNTED})


def forward_headers(inbound: Mapping[str, str]) -> list[tuple[str, str]]:
    """``anthropic-version`` always, ``anthropic-beta`` if it has usable tokens (6.2). ``inbound``: lower-case names."""
    version = inbound.get("anthropic-version", "").strip()
    headers = [("anthropic-version", version if _VERSION.fullmatch(version) else DEFAULT_VERSION)]
    given = [token.strip() for token in inbound.get("anthropic-beta", "").split(",")]
    betas = [token for token in given if _BETA.fullmatch(token)]
    if betas:
        headers.append(("anthropic-beta", ",".join(betas)))
    return headers


# ----------------------------------------------------------------------------------------- pass-through


def _passed_through(turn: Turn, tier: TierConfig, lossy: list[str]) -> Body:
    body: Body = {name: raw for name, raw in turn.body.items() if name not in NEVER_FORWARDED}
    view = turn.view
    assert isinstance(view, View)  # only anthropic_request.parse makes turns of this dialect
    if tier.stable_prefix and "system.nonce" in turn.repairs:
        lossy.append("system.nonce")
        body["system"] = system_without_nonce(turn.body["system"], view)
        if body["system"] is None:
            del body["system"]
    wrap = tier.local and tier.late_system == "user" and "role.late_system" in turn.repairs
    unsigned = view.unsigned and not tier.local
    if wrap:
        lossy.append("role.late_system")
    if unsigned:
        lossy.append("reasoning.unsigned")
    if wrap or unsigned:
        body["messages"] = repaired_messages(turn.body["messages"], view, wrap=wrap, unsigned=unsigned)
    return body
