"""Reads complete Messages answers of a tier (contract 7.1, 7.3, 7.4), and what its streams share with them."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw

from anvil.router.dialects.encode import NULL
from anvil.router.dialects.openai_chat_answer import (
    BAD_ARGUMENTS,
    MAX_BLOCKS,
    NO_NAME,
    arguments_text,
    distinct,
    malformed,
    read_finish,
)
from anvil.router.failures import classify_stream_error
from anvil.router.turn import Answer, BadAnswer, Opaque, Reasoning, Text, ToolCall, Usage

_TEXT_FIELDS = frozenset({"type", "text"})
_CALL_FIELDS = frozenset({"type", "id", "name", "input"})

_plain = msgspec.json.Decoder().decode
_fields = msgspec.json.Decoder(dict[str, Raw]).decode
_items = msgspec.json.Decoder(list[Raw]).decode


def read_answer(data: bytes) -> Answer:
    """One answer with its unknown fields kept. Raises BadAnswer for what 7.1 calls malformed and for error objects."""
    try:
        data.decode()  # fields nobody reads are passed on as they are, so they must be text too
        return _answer(_fields(data))
    except msgspec.ValidationError:
        raise malformed("answer of the wrong shape") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise malformed("answer is not JSON") from None


def _answer(envelope: dict[str, Raw]) -> Answer:
    error = _plain(envelope.get("error", NULL))
    if error:
        raise BadAnswer(classify_stream_error("anthropic", error))
    if "content" not in envelope:
        raise malformed("answer without content")
    content = envelope["content"]
    items = [] if content in (NULL, Raw(b'""')) else _items(content)
    if len(items) > MAX_BLOCKS:
        raise malformed("more than 1024 blocks")
    blocks = [read_block(item) for item in items]
    taken: set[str] = set()
    answer = Answer(
        blocks=[distinct(block, taken) if type(block) is ToolCall else block for block in blocks], envelope=envelope
    )
    raw = _plain(envelope.get("stop_reason", NULL))
    answer.finish = read_finish(raw, _plain(envelope.get("stop_sequence", NULL)))
    if answer.finish.reason == "unknown" and raw is not None:
        answer.lossy.append("finish.unknown")
    usage = _plain(envelope.get("usage", NULL))
    if isinstance(usage, dict):
        answer.usage = usage_of(usage, bytes(envelope["usage"]))
    return answer


def read_block(item: Raw) -> Text | Reasoning | ToolCall | Opaque:
    """One content block; a tool call's defects are told in ``malformed``, every unknown kind stays opaque."""
    fields = _fields(item)
    kind = text_of(fields, "type")
    if kind == "text":
        return Text(text_of(fields, "text"), others(fields, _TEXT_FIELDS))
    if kind == "tool_use":
        return tool_call(fields)
    if kind == "thinking":
        return Reasoning(text_of(fields, "thinking"), text_of(fields, "signature") or None)
    if kind == "redacted_thinking":
        return Reasoning("", redacted=text_of(fields, "data"))
    if not kind:
        raise malformed("content block without a type")
    return Opaque(kind, bytes(item))


def tool_call(fields: dict[str, Raw], streamed: str = "") -> ToolCall:
    """A tool_use block. ``streamed``: its arguments as they came in deltas; they win over the block's own input."""
    identity, name = text_of(fields, "id"), text_of(fields, "name")
    raw = fields.get("input", NULL)
    arguments = streamed or arguments_text(_plain(raw), raw)
    flaw = "" if name else NO_NAME
    if arguments is None:
        flaw = BAD_ARGUMENTS
    return ToolCall(identity, name, arguments or "", malformed=flaw, extra=others(fields, _CALL_FIELDS))


def text_of(fields: dict[str, Raw], name: str) -> str:
    """A string field, "" when it is missing or no string."""
    value = _plain(fields.get(name, NULL))
    return value if isinstance(value, str) else ""


def others(fields: dict[str, Raw], known: frozenset[str]) -> dict[str, Raw] | None:
    return {name: raw for name, raw in fields.items() if name not in known and raw != NULL} or None


def usage_of(usage: dict[str, Any], raw: bytes) -> Usage | None:
    """The tier's counts, None unless both are whole numbers of at least 0. prompt includes what caches gave or took."""
    new, completion = _count(usage, "input_tokens"), _count(usage, "output_tokens")
    if new is None or completion is None:
        return None
    cached = _count(usage, "cache_read_input_tokens")
    written = _count(usage, "cache_creation_input_tokens")
    return Usage(new + (cached or 0) + (written or 0), completion, cached=cached, raw=raw)


def _count(fields: dict[str, Any], name: str) -> int | None:
    value = fields.get(name)
    return value if type(value) is int and value >= 0 else None
