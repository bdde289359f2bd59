"""Names of what a tier's answer says and the caller's dialect cannot (contract 8.2, Appendix A).

Little is lost of an answer in the caller's own dialect; whoever calls these has seen that something is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
from msgspec import Raw

from anvil.router.dialects.anthropic_reader import BLOCK_START, RAW_DELTA
from anvil.router.dialects.encode import NULL, unknown_names
from anvil.router.turn import Answer, Finish, Text, ToolCall, Usage

# what an answer carries beside its content, by the name Appendix A has for it
_NAMES = {"refusal": "answer.refusal_text", "annotations": "answer.annotations", "logprobs": "logprobs"}
_KNOWN = frozenset(
    {"id", "object", "created", "model", "choices", "usage", "index", "message", "finish_reason", "stop_reason"}
    | {"role", "content", "tool_calls", "function_call", "reasoning_content", "reasoning", "type", "stop_sequence"}
)
_NOTHING = (NULL, Raw(b"[]"), Raw(b"{}"), Raw(b'""'))
_COUNTS = frozenset({"prompt_tokens", "completion_tokens", "total_tokens", "input_tokens", "output_tokens"}) | {
    *("cache_read_input_tokens", "cache_creation_input_tokens", "cache_creation", "cached_tokens", "reasoning_tokens")
}
_DETAILS = ("prompt_tokens_details", "completion_tokens_details")
_TEXT_FIELDS = frozenset({"type", "text", "citations"})

_plain = msgspec.json.Decoder().decode
_fields = msgspec.json.Decoder(dict[str, Raw]).decode


def name_foreign(fields: Mapping[str, Raw] | None, lossy: set[str]) -> None:
    """Fields of an answer's top, choice, message, delta or block."""
    left = [name for name in fields or () if name not in _KNOWN]
    if not left or fields is None:
        return
    left = [name for name in left if fields[name] not in _NOTHING]
    lossy.update([_NAMES[name] for name in left if name in _NAMES])
    lossy.update(unknown_names([name for name in left if name not in _NAMES]))


def name_answer(answer: Answer, lossy: set[str]) -> None:
    """Unknown fields of a whole answer, of its shell and of its blocks."""
    name_shell(answer, lossy)
    for block in answer.blocks:
        if isinstance(block, Text):
            name_text(block.extra, lossy)
        elif isinstance(block, ToolCall):
            name_call(block, lossy)


def name_shell(answer: Answer, lossy: set[str]) -> None:
    """Unknown fields of the top, the choice and the message: what events cannot carry in any dialect."""
    for fields in (answer.envelope, answer.choice, answer.message):
        name_foreign(fields, lossy)


def name_text(extra: Mapping[str, Raw] | None, lossy: set[str]) -> None:
    """What rides along with a text: fields of its block, delta or choice, and citations."""
    if not extra:
        return
    fields = {name: raw for name, raw in extra.items() if name not in (BLOCK_START, RAW_DELTA)}
    if BLOCK_START in extra:
        fields |= {name: raw for name, raw in _fields(extra[BLOCK_START]).items()}
    if RAW_DELTA in extra or fields.get("citations", NULL) not in _NOTHING:
        lossy.add("citations")
    name_foreign({name: raw for name, raw in fields.items() if name not in _TEXT_FIELDS}, lossy)


def name_call(call: ToolCall, lossy: set[str]) -> None:
    name_foreign(call.extra, lossy)


def name_finish(finish: Finish | None, lossy: set[str]) -> None:
    """Unknown fields of the event that ended a stream."""
    if finish is not None and finish.extra:
        extra = dict(finish.extra)
        inner = _fields(extra.pop("delta", Raw(b"{}")))
        name_foreign(extra | inner, lossy)


def name_usage(usage: Usage | None, lossy: set[str], *, reasoning: bool = True) -> None:
    """Counts nobody maps. ``reasoning``: the caller's dialect has a place for reasoning tokens."""
    if usage is None or usage.raw is None:
        return
    lossy.update(unknown_names([name for name, value in _counts(_plain(usage.raw)) if value and name not in _COUNTS]))
    if usage.reasoning and not reasoning:
        lossy.add("unknown.reasoning_tokens")


def _counts(usage: dict[str, Any]) -> Iterator[tuple[str, object]]:
    for name, value in usage.items():
        if name in _DETAILS and isinstance(value, dict):
            yield from value.items()
        else:
            yield name, value
