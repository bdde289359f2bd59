"""POST /v1/messages/count_tokens: the tier's own count, or a bound that is never too low (contract 2.12)."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Annotated

import msgspec

from anvil.router import dialects
from anvil.router.backends import Backend, path_of
from anvil.router.dialects import anthropic_messages
from anvil.router.exchange import Exchange, Outlet, Plain
from anvil.router.lifecycle import decide, recorded
from anvil.router.tokens import upper_bound
from anvil.router.turn import Turn
from anvil.router.upstream import UpstreamError

if TYPE_CHECKING:
    from anvil.router.config import TierConfig
    from anvil.router.door import Head
    from anvil.router.runtime import Runtime

LIMIT_S = 5.0
# An ``auto`` tokenizer that failed once is not asked again for this long.
OFF_S = 300.0
# vLLM sends every token id beside their count: about 8 bytes each, for windows of a million.
ANSWER_CAP = 16 * 1_048_576

_Count = Annotated[int, msgspec.Meta(ge=0)]


class _Anthropic(msgspec.Struct):
    input_tokens: _Count


class _Vllm(msgspec.Struct):
    count: _Count


async def handle(runtime: Runtime, outlet: Outlet, head: Head, data: bytes) -> Plain | None:
    """Answer one count; the record's outcome is ``counted``."""

    async def steps(exchange: Exchange) -> Plain:
        turn = exchange.turn = anthropic_messages.parse_count(data)
        decide(runtime, exchange)
        count, exact = await _count(runtime, exchange, turn)
        exchange.outcome, exchange.status = "counted", 200
        kind = "exact" if exact else "bound"
        return Plain(200, msgspec.json.encode({"input_tokens": count}), [("x-anvil-token-count", kind)])

    return await recorded(runtime, Exchange.begin("count_tokens", outlet, head), steps)


async def _count(runtime: Runtime, exchange: Exchange, turn: Turn) -> tuple[int, bool]:
    policy = exchange.policy
    candidates = [tier for tier, _ in policy.tiers] if policy is not None else []
    backend = next((runtime.backends[tier.id] for tier in candidates if tier.id in runtime.backends), None)
    if backend is not None:
        count = await _ask(backend, turn, runtime, exchange)
        if count is not None:
            return count, True
    largest = max(runtime.config.tiers, key=lambda t: t.context_limit, default=None)  # none at all: --echo
    return _bound(runtime, turn, backend.tier if backend is not None else largest), False


def _bound(runtime: Runtime, turn: Turn, tier: TierConfig | None) -> int:
    if tier is None:
        return upper_bound(turn)
    return upper_bound(turn, image_tokens=tier.image_tokens, per_byte=tier.id in runtime.bound_broken)


async def _ask(backend: Backend, turn: Turn, runtime: Runtime, exchange: Exchange) -> int | None:
    """A real count, None when the tier has no tokenizer, is switched off or fails."""
    kind = _tokenizer(backend.tier)
    auto = backend.tier.tokenizer == "auto"
    if kind == "none" or (auto and time.monotonic() < backend.tokenizer_off_until):
        return None
    path, body = _anthropic_request(backend, turn) if kind == "anthropic" else _vllm_request(backend, turn)
    try:
        async with asyncio.timeout(LIMIT_S):
            return await _post(backend, path, body, kind)
    except (UpstreamError, TimeoutError, msgspec.MsgspecError, _Refused):
        if auto:
            backend.tokenizer_off_until = time.monotonic() + OFF_S
        return None


class _Refused(Exception):
    """The tier answered, but not with a count."""


async def _post(backend: Backend, path: str, body: bytes, kind: str) -> int:
    headers = [("anthropic-version", "2023-06-01")] if kind == "anthropic" else []
    connection = await backend.upstream.send("POST", path, body, head_timeout=LIMIT_S, headers=headers)
    try:
        if connection.status != 200:
            raise _Refused
        parts: list[bytes] = []
        size = 0
        while part := await connection.next(LIMIT_S):
            parts.append(part)
            size += len(part)
            if size > ANSWER_CAP:
                raise _Refused
    finally:
        connection.finish()
    data = b"".join(parts)
    if kind == "anthropic":
        return msgspec.json.decode(data, type=_Anthropic).input_tokens
    return msgspec.json.decode(data, type=_Vllm).count


def _tokenizer(tier: TierConfig) -> str:
    if tier.tokenizer != "auto":
        return tier.tokenizer
    if tier.dialect == "anthropic":
        return "anthropic"
    return "vllm" if tier.local else "none"


def _anthropic_request(backend: Backend, turn: Turn) -> tuple[str, bytes]:
    path = path_of(backend.base, "/v1/messages/count_tokens")
    return path, anthropic_messages.count_request(turn, backend.tier, None)


def _vllm_request(backend: Backend, turn: Turn) -> tuple[str, bytes]:
    """vLLM counts chat messages with template and tools at <base without /v1>/tokenize."""
    counted = msgspec.structs.replace(turn, cap=None)  # what the answer may have does not matter here
    request = dialects.tier("openai").request(counted, backend.tier, anthropic_messages.conversation(counted))
    fields = msgspec.json.decode(request.body, type=dict[str, msgspec.Raw])
    wanted = {name: fields[name] for name in ("messages", "tools") if name in fields}
    body = msgspec.json.encode({"model": backend.model, "add_generation_prompt": True, **wanted})
    return path_of(backend.base.removesuffix("/v1"), "/tokenize"), body
