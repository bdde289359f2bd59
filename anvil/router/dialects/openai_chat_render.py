"""Writes Chat Completions answers: whole bodies, streams, errors (contract 14.1, 14.3, 13.5, 2.7)."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw

from anvil.router.dialects.encode import NULL, splice
from anvil.router.dialects.losses import name_answer, name_finish, name_usage
from anvil.router.dialects.openai_chat_finish import finish_word, usage_body, wants_legacy
from anvil.router.reading import count_words
from anvil.router.turn import Answer, Opaque, Reasoning, Reply, Text, ToolCall, Turn, Usage

_plain = msgspec.json.Decoder().decode
_items = msgspec.json.Decoder(list[Raw]).decode
_fields = msgspec.json.Decoder(dict[str, Raw]).decode


def error(status: int, type: str, message: str, *, code: str | None = None, details: object = None) -> bytes:
    """The OpenAI error envelope. ``details`` have no place in it; ``status`` travels in the head."""
    inner: dict[str, str] = {"type": type, "message": message}
    if code is not None:
        inner["code"] = code
    return splice({"error": inner})


def render(answer: Answer, turn: Turn, reply: Reply, lossy: set[str]) -> bytes:
    """The body of 14.1. A same-dialect answer keeps unknown fields of body, choice, message and usage."""
    kept = answer if reply.same_dialect else Answer(blocks=[])
    if kept.envelope is None:  # another dialect, or events of a stream nobody asked for
        name_answer(answer, lossy)
        name_finish(answer.finish, lossy)
    if not reply.same_dialect:
        name_usage(answer.usage, lossy)
    body: dict[str, Any] = dict(kept.envelope or {})
    body["id"] = f"chatcmpl-{reply.id}"
    body["object"] = "chat.completion"
    body["created"] = reply.created
    body["model"] = reply.model
    choice: dict[str, Any] = dict(kept.choice or {})
    choice["index"] = 0
    choice["message"] = _message(answer, kept.message, turn, reply, lossy)
    choice["finish_reason"] = finish_word(answer.finish, turn, lossy)
    if answer.finish is not None and answer.finish.stop_sequence is not None and not reply.same_dialect:
        lossy.add("answer.stop_string")
    body["choices"] = [choice]
    body["usage"] = usage_body(_usage(answer, reply), reply)
    return splice(body)


def _usage(answer: Answer, reply: Reply) -> Usage:
    if answer.usage is not None:
        return answer.usage
    return Usage(reply.prompt_estimate, count_words(answer.text), estimated=True)


def _message(answer: Answer, kept: dict[str, Raw] | None, turn: Turn, reply: Reply, lossy: set[str]) -> dict[str, Any]:
    if kept is not None:
        return _same_dialect_message(kept, answer, reply)
    thoughts: list[str] = []
    for block in answer.blocks:
        if isinstance(block, Reasoning):
            thoughts.append(block.text)
        name = _lost(block)
        if name:
            lossy.add(name)
    message: dict[str, Any] = {"role": "assistant", "content": answer.text or None}
    if any(thoughts):
        message["reasoning_content"] = "".join(thoughts)
    calls = answer.calls
    if calls and wants_legacy(turn):
        message["function_call"] = whole_call(calls[0], 0, reply).get("function")
    elif calls:
        message["tool_calls"] = [whole_call(call, at, reply) for at, call in enumerate(calls)]
    return message


def _lost(block: Text | Reasoning | ToolCall | Opaque) -> str | None:
    """What a message of this dialect cannot carry of a block."""
    if isinstance(block, Reasoning) and (block.signature is not None or block.redacted is not None):
        return "reasoning.signature"
    if isinstance(block, Opaque):
        return "answer.opaque"
    return None


def call_id(call: ToolCall, at: int, reply: Reply) -> str:
    return call.id or f"call_{reply.id}{at}"


def whole_call(call: ToolCall, at: int, reply: Reply) -> dict[str, Any]:
    """One entry of ``tool_calls``. Blank arguments become an empty object: clients parse them unconditionally."""
    extra = call.extra or {} if reply.same_dialect else {}
    if call.custom:
        text = _plain(call.arguments)["input"]
        entry: dict[str, Any] = {"type": "custom", "custom": {"name": call.name, "input": text}}
    else:
        arguments = call.arguments if call.arguments.strip() else "{}"
        entry = {"type": "function", "function": {"name": call.name, "arguments": arguments}}
    return {"id": call_id(call, at, reply), **entry, **extra}


def _same_dialect_message(kept: dict[str, Raw], answer: Answer, reply: Reply) -> dict[str, Any]:
    message: dict[str, Any] = dict(kept)
    message["role"] = "assistant"
    blocks = answer.blocks
    if len(blocks) == 1 and type(blocks[0]) is Text:
        message["content"] = blocks[0].text or None
        return message
    message["content"] = answer.text or None
    calls = answer.calls
    if calls and _plain(kept.get("tool_calls", NULL)):
        items = _items(kept["tool_calls"])
        pairs = enumerate(zip(items, calls, strict=True))
        message["tool_calls"] = [_mended(item, call, at, reply) for at, (item, call) in pairs]
    return message


def _mended(item: Raw, call: ToolCall, at: int, reply: Reply) -> Any:
    """The tier's call as sent, unless its id, type or arguments are not what clients rely on."""
    if call.malformed or call.custom:
        return item
    fields: dict[str, Any] = dict(_fields(item))
    function = _fields(fields["function"])
    fields["id"] = call_id(call, at, reply)
    fields["type"] = "function"
    arguments = call.arguments if call.arguments.strip() else "{}"
    fields["function"] = {**function, "arguments": arguments}
    return fields
