"""A tier's answer of a probe, whole and as the stream that says the same."""

from __future__ import annotations

import json
from typing import Any

HEADS: dict[str, dict[str, Any]] = {
    "O": {"id": "up_1", "object": "chat.completion", "created": 1, "model": "served"},
    "A": {"id": "msg_up", "type": "message", "role": "assistant", "model": "served"},
}
_OPENAI_USAGE = {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13}
_ANTHROPIC_USAGE = {"input_tokens": 9, "output_tokens": 4}
_PIECES = {"text": "text", "thinking": "thinking"}


def whole(letter: str, send: dict[str, Any]) -> dict[str, Any]:
    """``send``: parts of an answer: message, choice, usage, top (OpenAI); content, usage, top (Anthropic)."""
    top = send.get("top", {})
    if letter == "A":
        content = send.get("content", [{"type": "text", "text": "hello"}])
        body = {**HEADS["A"], "content": content, "stop_reason": "end_turn", "stop_sequence": None}
        return {**body, "usage": {**_ANTHROPIC_USAGE, **send.get("usage", {})}, **top}
    message = {"role": "assistant", "content": "hello", **send.get("message", {})}
    choice = {"index": 0, "message": message, "finish_reason": "stop", **send.get("choice", {})}
    return {**HEADS["O"], "choices": [choice], "usage": {**_OPENAI_USAGE, **send.get("usage", {})}, **top}


def stream(letter: str, answer: dict[str, Any]) -> bytes:
    return _anthropic(answer) if letter == "A" else _openai(answer)


# ---------------------------------------------------------------------------------------------- OpenAI


def _openai(answer: dict[str, Any]) -> bytes:
    """Reasoning, text and calls in chunks of their own; the last chunk of the choice carries the finish reason."""
    head = {name: value for name, value in answer.items() if name not in ("choices", "usage")}
    head["object"] = "chat.completion.chunk"
    choice = dict(answer["choices"][0])
    del choice["index"]
    message = dict(choice.pop("message"))
    last = {name: choice.pop(name) for name in ("finish_reason", "stop_reason") if name in choice}
    deltas = [{name: message.pop(name)} for name in ("reasoning_content",) if name in message]
    calls = message.pop("tool_calls", [])
    deltas.append(message)
    deltas += [{"tool_calls": [{"index": at, **call}]} for at, call in enumerate(calls)]
    choices = [{"index": 0, "delta": delta, "finish_reason": None, **choice} for delta in deltas]
    choices.append({"index": 0, "delta": {}, **last})
    chunks = [{**head, "choices": [entry]} for entry in choices]
    chunks.append({**head, "choices": [], "usage": answer["usage"]})
    return b"".join([b"data: %s\n\n" % json.dumps(chunk).encode() for chunk in chunks]) + b"data: [DONE]\n\n"


# ------------------------------------------------------------------------------------------- Anthropic


def _anthropic(answer: dict[str, Any]) -> bytes:
    ends = {name: answer[name] for name in ("stop_reason", "stop_sequence")}
    # what a service says beside the message proper (container, context_management) it says at the end
    beside = {name: value for name, value in answer.items() if name not in (*HEADS["A"], *ends, "content", "usage")}
    usage = answer["usage"]
    message = {**HEADS["A"], "content": [], **dict.fromkeys(ends), "usage": {**usage, "output_tokens": 1}}
    events: list[dict[str, Any]] = [{"type": "message_start", "message": message}]
    for at, block in enumerate(answer["content"]):
        events += [{"index": at, **event} for event in _block(block)]
    events.append(
        {"type": "message_delta", "delta": ends, "usage": {"output_tokens": usage["output_tokens"]}, **beside}
    )
    events.append({"type": "message_stop"})
    return b"".join([b"event: %s\ndata: %s\n\n" % (e["type"].encode(), json.dumps(e).encode()) for e in events])


def _block(block: dict[str, Any]) -> list[dict[str, Any]]:
    """Start, deltas and stop of one block, as the real service splits them."""
    begun, deltas = dict(block), []
    kind = block["type"]
    for citation in begun.pop("citations", []):
        deltas.append({"type": "citations_delta", "citation": citation})
    if field := _PIECES.get(kind):
        deltas.insert(0, {"type": f"{field}_delta", field: begun[field]})
        begun[field] = ""
    if kind == "thinking":
        deltas.append({"type": "signature_delta", "signature": begun["signature"]})
        begun["signature"] = ""
    if "input" in block:
        deltas.append({"type": "input_json_delta", "partial_json": json.dumps(block["input"])})
        begun["input"] = {}
    start = {"type": "content_block_start", "content_block": begun}
    return [start, *[{"type": "content_block_delta", "delta": d} for d in deltas], {"type": "content_block_stop"}]
