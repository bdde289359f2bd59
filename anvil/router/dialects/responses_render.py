"""Writes Responses answers: whole bodies (contract 14.1), and the items and envelope that streams share with them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Raw

from anvil.router.dialects.encode import absent, splice
from anvil.router.dialects.losses import name_answer, name_usage
from anvil.router.dialects.openai_chat_finish import finish_word
from anvil.router.dialects.openai_chat_render import call_id
from anvil.router.reading import count_words
from anvil.router.turn import Answer, Finish, Opaque, Reasoning, Reply, Text, ToolCall, Turn, Usage

Item = dict[str, Any]

# finish reasons that leave an answer incomplete -> incomplete_details.reason (7.3)
_INCOMPLETE = {"length": "max_output_tokens", "content_filter": "content_filter"}
_PLAIN_TEXT = {"format": {"type": "text"}}

_plain = msgspec.json.Decoder().decode


def render(answer: Answer, turn: Turn, reply: Reply, lossy: set[str]) -> bytes:
    """The ``response`` object of a finished answer."""
    status, details = outcome(answer.finish, turn, lossy)
    items = Items(turn, reply)
    output = [items.whole(block) for block in _joined(answer.blocks, lossy)]
    if output and output[-1]["type"] == "message":
        output[-1]["status"] = status  # only what was being said when the answer ended can be incomplete
    name_answer(answer, lossy)
    name_usage(answer.usage, lossy)
    usage = answer.usage or Usage(reply.prompt_estimate, count_words(answer.text), estimated=True)
    body = envelope(turn, reply)
    body.update(status=status, incomplete_details=details, output=output, usage=usage_body(usage))
    return splice(body)


def envelope(turn: Turn, reply: Reply) -> dict[str, Any]:
    """A response that has just begun: the request's settings echoed, nothing said yet."""
    body = turn.body
    return {
        "id": f"resp_{reply.id}",
        "object": "response",
        "created_at": reply.created,
        "status": "in_progress",
        "error": None,
        "incomplete_details": None,
        "instructions": _echo(body, "instructions", b'"', None),
        "max_output_tokens": turn.cap,
        "metadata": {},
        "model": reply.model,
        "output": [],
        "parallel_tool_calls": _echo(body, "parallel_tool_calls", b"tf", True),
        "previous_response_id": None,
        "reasoning": _echo(body, "reasoning", b"{", {"effort": None, "summary": None}),
        "store": False,
        "temperature": _echo(body, "temperature", b"-0123456789", None),
        "text": _echo(body, "text", b"{", _PLAIN_TEXT),
        "tool_choice": _echo(body, "tool_choice", b'"{', "auto"),
        "tools": _echo(body, "tools", b"[", []),
        "top_p": _echo(body, "top_p", b"-0123456789", None),
        "usage": None,
    }


def _echo(body: Mapping[str, Raw], name: str, openings: bytes, default: object) -> object:
    """The caller's own value where it is of the kind clients expect back, told by its first byte."""
    raw = body.get(name)
    if raw is None or absent(raw) or memoryview(raw)[0] not in openings:
        return default
    return raw


def outcome(finish: Finish | None, turn: Turn, lossy: set[str]) -> tuple[str, dict[str, str] | None]:
    """``status`` and ``incomplete_details``; what they cannot say is named in ``lossy``."""
    if finish is not None and finish.stop_sequence is not None:
        lossy.add("answer.stop_string")
    reason = _INCOMPLETE.get(finish_word(finish, turn, lossy))
    return ("completed", None) if reason is None else ("incomplete", {"reason": reason})


def usage_body(usage: Usage) -> dict[str, Any]:
    return {
        "input_tokens": usage.prompt,
        "input_tokens_details": {"cached_tokens": usage.cached or 0},
        "output_tokens": usage.completion,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning or 0},
        "total_tokens": usage.prompt + usage.completion,
    }


class Items:
    """Makes the output items of one response, in order; ids are the reply's own with the item's number at the end."""

    def __init__(self, turn: Turn, reply: Reply) -> None:
        self._reply = reply
        self._custom = frozenset([tool.name for tool in turn.tools if tool.custom])
        self._grouped = {tool.name: tool.grouped for tool in turn.tools if tool.grouped is not None}
        self._calls = 0
        self.count = 0

    def whole(self, block: Text | Reasoning | ToolCall) -> Item:
        if isinstance(block, ToolCall):
            return self.call(block)
        if isinstance(block, Reasoning):
            return reasoning_item(self.id("rs"), block.text, "completed")
        return message_item(self.id("msg"), block.text, "completed")

    def id(self, prefix: str) -> str:
        """The id of the next item: unique in the response, 24 hex."""
        self.count += 1
        return f"{prefix}_{self._reply.id[:-3]}{self.count - 1:03x}"

    def call(self, call: ToolCall) -> Item:
        """A complete call. One to a freeform tool comes back as the text the tool wants."""
        identity = call_id(call, self._calls, self._reply)
        self._calls += 1
        if call.custom or call.name in self._custom:
            item: Item = {"id": self.id("ctc"), "type": "custom_tool_call", "status": "completed"}
            return item | {"call_id": identity, **self._named(call.name), "input": _freeform(call.arguments)}
        arguments = call.arguments if call.arguments.strip() else "{}"
        item = {"id": self.id("fc"), "type": "function_call", "status": "completed"}
        return item | {"call_id": identity, **self._named(call.name), "arguments": arguments}

    def _named(self, name: str) -> Item:
        """The tool as the caller declared it: one of a namespace is called by both names."""
        namespace, own = self._grouped.get(name, ("", name))
        return {"name": own, "namespace": namespace} if namespace else {"name": own}


def message_item(identity: str, text: str, status: str) -> Item:
    part = {"type": "output_text", "text": text, "annotations": []}
    return {"id": identity, "type": "message", "status": status, "role": "assistant", "content": [part]}


def reasoning_item(identity: str, text: str, status: str) -> Item:
    part = {"type": "reasoning_text", "text": text}
    return {"id": identity, "type": "reasoning", "status": status, "summary": [], "content": [part]}


def _freeform(arguments: str) -> str:
    """The one declared parameter; a model that answered with bare text instead meant that text."""
    try:
        value = _plain(arguments)
    except (msgspec.DecodeError, RecursionError):
        return arguments
    text = value.get("input") if isinstance(value, dict) else None
    return text if isinstance(text, str) else arguments


def _joined(blocks: list[Any], lossy: set[str]) -> list[Text | Reasoning | ToolCall]:
    """Neighbouring texts as one, blank ones only where there is nothing else; what has no place is named."""
    out: list[Text | Reasoning | ToolCall] = []
    blank = ""
    for block in blocks:
        match block:
            case Text():
                last = out[-1] if out else None
                if isinstance(last, Text):
                    out[-1] = Text(last.text + block.text)
                    continue
                blank += block.text
                if not blank or blank.isspace():
                    continue
                out.append(Text(blank))
            case Reasoning():
                if block.signature is not None or block.redacted is not None:
                    lossy.add("reasoning.signature")
                if not block.text:
                    continue
                out.append(Reasoning(block.text))
            case ToolCall():
                out.append(block)
            case Opaque():
                lossy.add("answer.opaque")
                continue
        blank = ""
    return out if out or not blank else [Text(blank)]
