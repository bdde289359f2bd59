"""Writes Messages answers: whole bodies and errors (contract 14.1, 2.7), and what streams share with them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Raw

from anvil.router.dialects.anthropic_reader import BLOCK_START, RAW_DELTA
from anvil.router.dialects.encode import splice
from anvil.router.dialects.losses import name_answer, name_text, name_usage
from anvil.router.reading import count_words
from anvil.router.turn import Answer, BadAnswer, Fault, Finish, Opaque, Reasoning, Reply, Text, ToolCall, Turn, Usage

_WORDS = {
    "stop": "end_turn",
    "stop_sequence": "stop_sequence",
    "tool_calls": "tool_use",
    "length": "max_tokens",
    "context_window": "model_context_window_exceeded",
    "content_filter": "refusal",
    "pause_turn": "pause_turn",
    "unknown": "end_turn",
}
_plain = msgspec.json.Decoder().decode


def error(status: int, type: str, message: str, *, code: str | None = None, details: object = None) -> bytes:
    """The Anthropic error envelope. ``code`` has no place in it; ``status`` travels in the head."""
    inner: dict[str, object] = {"type": type, "message": message}
    if details is not None:
        inner["details"] = details
    return splice({"type": "error", "error": inner})


def render(answer: Answer, turn: Turn, reply: Reply, lossy: set[str]) -> bytes:
    """The body of 14.1. A same-dialect answer keeps the unknown fields of body, blocks and usage."""
    if not reply.same_dialect:
        name_answer(answer, lossy)
        name_usage(answer.usage, lossy, reasoning=False)
    body: dict[str, Any] = dict(answer.envelope or {}) if reply.same_dialect else {}
    body["id"] = f"msg_{reply.id}"
    body["type"] = "message"
    body["role"] = "assistant"
    body["model"] = reply.model
    body["content"] = _content(answer, turn, reply, lossy) or [{"type": "text", "text": answer.text}]
    body["stop_reason"] = stop_reason(answer.finish, bool(answer.calls), lossy)
    body["stop_sequence"] = answer.finish.stop_sequence if answer.finish is not None else None
    usage = answer.usage or Usage(reply.prompt_estimate, count_words(answer.text), estimated=True)
    body["usage"] = usage_body(usage, reply)
    return splice(body)


def _content(answer: Answer, turn: Turn, reply: Reply, lossy: set[str]) -> list[Any]:
    content: list[Any] = []
    calls = 0
    for block in answer.blocks:
        match block:
            case Text():
                extra = _text_extra(block, reply, lossy)
                # blank text before a call would be refused when the caller sends it back as history
                if block.text and not block.text.isspace():
                    content.append({"type": "text", "text": block.text, **extra})
            case ToolCall():
                content.append(
                    {**call_head(block, calls, turn, reply), "input": _input(block), **call_extra(block, reply)}
                )
                calls += 1
            case Reasoning():
                if (thought := _thought(block, turn, reply, lossy)) is not None:
                    content.append(thought)
            case Opaque() if reply.same_dialect:
                content.append(Raw(block.raw))
            case _:
                lossy.add("answer.opaque")
    return content


def _text_extra(block: Text, reply: Reply, lossy: set[str]) -> Mapping[str, Raw]:
    """The fields beside the text; those of a stream nobody asked for stand in its events and are named."""
    if not reply.same_dialect or not block.extra:
        return {}
    if BLOCK_START in block.extra or RAW_DELTA in block.extra:
        name_text(block.extra, lossy)
        return {}
    return block.extra


def _thought(block: Reasoning, turn: Turn, reply: Reply, lossy: set[str]) -> dict[str, str] | None:
    """Signed and redacted blocks stay whole or at least in place: the tier wants them back with the next turn."""
    if block.redacted is not None:
        return {"type": "redacted_thinking", "data": block.redacted} if reply.same_dialect else None
    signature = block.signature or "" if reply.same_dialect else ""
    text = block.text
    if text and not turn.show_reasoning:
        lossy.add("reasoning.hidden")
        text = ""
    return {"type": "thinking", "thinking": text, "signature": signature} if text or signature else None


def _input(call: ToolCall) -> Raw:
    """The arguments as JSON. Broken ones never become an empty object: such an answer is not delivered (14.1)."""
    if not call.arguments.strip():
        return Raw(b"{}")
    data = call.arguments.encode()
    try:
        _plain(data)
    except msgspec.DecodeError:
        raise BadAnswer(Fault("bad_answer", "tool_call_json_valid")) from None
    return Raw(data)


def call_head(call: ToolCall, at: int, turn: Turn, reply: Reply) -> dict[str, str]:
    """``at``: how many calls the answer had before; it makes ids for tiers that give none, or one of an earlier turn:
    Claude Code drops a call whose id it has seen, and asks again without end."""
    usable = call.id and not (turn.signals.tool_artifacts and _used_before(call.id, turn))
    return {"type": "tool_use", "id": call.id if usable else f"toolu_{reply.id}{at:02d}", "name": call.name}


def _used_before(identity: str, turn: Turn) -> bool:
    history = turn.body.get("messages")
    return history is not None and splice(identity) in bytes(history)


def call_extra(call: ToolCall, reply: Reply) -> Mapping[str, Raw]:
    return call.extra or {} if reply.same_dialect else {}


def stop_reason(finish: Finish | None, called: bool, lossy: set[str]) -> str:
    """7.3. Some engines end a tool call with a plain stop; the dialect's tool loops go by ``tool_use``."""
    if finish is None or finish.reason in ("stop", "unknown"):
        if finish is not None and finish.reason == "unknown" and finish.raw is not None:
            lossy.add("finish.unknown")
        return "tool_use" if called else "end_turn"
    return _WORDS[finish.reason]


def usage_body(usage: Usage, reply: Reply) -> dict[str, Any]:
    """The four counts; a same-dialect tier's further fields beside them."""
    cached = usage.cached or 0
    body: dict[str, Any] = {
        "input_tokens": max(0, usage.prompt - cached),
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": cached,
        "output_tokens": usage.completion,
    }
    if reply.same_dialect and usage.raw is not None:
        body.update({name: value for name, value in _plain(usage.raw).items() if value is not None})
    return body
