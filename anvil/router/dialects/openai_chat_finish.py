"""Finish reasons and usage in the words of Chat Completions (contract 7.3, 7.4), for bodies and streams alike."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw

from anvil.router.dialects.encode import splice
from anvil.router.turn import Finish, Reply, Turn, Usage

_fields = msgspec.json.Decoder(dict[str, Raw]).decode

_WORDS = {
    "stop": "stop",
    "stop_sequence": "stop",
    "tool_calls": "tool_calls",
    "length": "length",
    "context_window": "length",
    "content_filter": "content_filter",
    "pause_turn": "stop",
    "unknown": "stop",
}


def wants_legacy(turn: Turn) -> bool:
    """Whether the caller declared ``functions`` only, and so expects ``function_call`` instead of tool calls."""
    return "functions" in turn.body and "tools" not in turn.body


def finish_word(finish: Finish | None, turn: Turn, lossy: set[str]) -> str:
    """``finish_reason`` for the caller; what the words cannot say is named in ``lossy``."""
    if finish is None:
        return "stop"
    if finish.reason == "pause_turn":
        lossy.add("finish.pause_turn")
    elif finish.reason == "unknown" and finish.raw is not None:
        lossy.add("finish.unknown")
    if finish.reason == "tool_calls" and wants_legacy(turn):
        return "function_call"
    return _WORDS[finish.reason]


def usage_body(usage: Usage, reply: Reply) -> Any:
    """The ``usage`` object; a same-dialect tier's own one as it came, with the total that some engines leave out."""
    total = usage.prompt + usage.completion
    if reply.same_dialect and usage.raw is not None:
        return Raw(
            usage.raw if b'"total_tokens"' in usage.raw else splice({**_fields(usage.raw), "total_tokens": total})
        )
    body: dict[str, Any] = {
        "prompt_tokens": usage.prompt,
        "completion_tokens": usage.completion,
        "total_tokens": total,
    }
    if usage.cached is not None:
        body["prompt_tokens_details"] = {"cached_tokens": usage.cached}
    if usage.reasoning is not None:
        body["completion_tokens_details"] = {"reasoning_tokens": usage.reasoning}
    return body
