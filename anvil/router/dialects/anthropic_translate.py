"""Conversation -> Messages body (contract 6.4, right column). Deterministic: equal turns give equal bytes (6.5)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Raw

from anvil.router.dialects.encode import CUSTOM_SCHEMA, DEFAULT_SCHEMA, Body, splice, unknown_names, without_nonce
from anvil.router.recent import Shared
from anvil.router.turn import (
    Block,
    Conversation,
    Document,
    Image,
    Message,
    Reasoning,
    Text,
    Tool,
    ToolCall,
    ToolResult,
    Turn,
)

if TYPE_CHECKING:
    from anvil.router.config import TierConfig

_FOREIGN_ID = re.compile(r"[^A-Za-z0-9_-]")
_OBJECT = msgspec.json.Decoder(dict[str, Raw])
_EMPTY = Raw(b"{}")
_CHOICES = {"auto": "auto", "required": "any", "none": "none", "named": "tool"}
_FIELD_NAMES = {
    **dict.fromkeys(("logprobs", "top_logprobs"), "logprobs"),
    **dict.fromkeys(("modalities", "audio"), "modalities"),
    **dict.fromkeys(("presence_penalty", "frequency_penalty"), "penalties"),
    "web_search_options": "tools.hosted",
    **{name: name for name in ("top_k", "prediction", "verbosity", "service_tier", "prompt_cache_key")},
}


def translate(turn: Turn, tier: TierConfig, conversation: Conversation, lossy: list[str]) -> Body:
    """The body without model, cap and stream; ``lossy`` gains the name of every step that loses something."""
    names = set(conversation.unmapped)
    body: Body = {}
    if system := _system(conversation.system, tier, names):
        body["system"] = system
    body["messages"] = _Messages(tier, names).all(conversation.messages)
    if turn.tools:
        body["tools"] = _tools(turn.tools)
    if choice := _choice(turn, conversation, names):
        body["tool_choice"] = choice
    for name in ("temperature", "top_p"):
        if (value := getattr(conversation, name)) is not None:
            body[name] = value
    if conversation.stop:
        body["stop_sequences"] = conversation.stop
    if output := _output_config(turn, names):
        body["output_config"] = output
    names.update(_unsendable(conversation))
    lossy += sorted(names)
    return body


def late_system(text: str) -> dict[str, Any]:
    """System text that comes after the first turn, as the user message it becomes (6.4)."""
    return {"role": "user", "content": [{"type": "text", "text": f"<system>\n{text}\n</system>"}]}


def _system(texts: list[str], tier: TierConfig, names: set[str]) -> list[dict[str, str]]:
    blocks = []
    for text in texts:
        kept = without_nonce(text) if tier.stable_prefix else text
        if kept != text:
            names.add("system.nonce")
        if kept and not kept.isspace():
            blocks.append({"type": "text", "text": kept})
    return blocks


def _unsendable(conversation: Conversation) -> set[str]:
    fields = conversation.openai_fields
    names = {_FIELD_NAMES[field] for field in fields if field in _FIELD_NAMES}
    names.update(unknown_names([field for field in fields if field not in _FIELD_NAMES]))
    if conversation.reasoning_effort is not None:
        names.add("reasoning.effort")
    return names


# ------------------------------------------------------------------------------- tools and output format


def _tool(tool: Tool) -> dict[str, Any]:
    entry: dict[str, Any] = {"name": tool.name}
    if tool.description is not None:
        entry["description"] = tool.description
    entry["input_schema"] = _schema(tool)
    if tool.strict is not None:
        entry["strict"] = tool.strict
    return entry


_tools = Shared[Tool, Raw](lambda tools: Raw(splice([_tool(tool) for tool in tools])), len)


def _schema(tool: Tool) -> Raw | dict[str, Raw]:
    """The schema exactly as sent where possible; the dialect demands a top-level type."""
    schema = tool.schema
    if schema is None:
        return CUSTOM_SCHEMA if tool.custom else DEFAULT_SCHEMA
    if schema.startswith(b'{"type"'):
        return Raw(schema)
    try:
        fields = _OBJECT.decode(schema)
    except msgspec.DecodeError:
        return DEFAULT_SCHEMA
    return Raw(schema) if "type" in fields else {"type": Raw(b'"object"'), **fields}


def _choice(turn: Turn, conversation: Conversation, names: set[str]) -> dict[str, Any] | None:
    choice = turn.tool_choice
    serial = conversation.parallel_tools is False
    if choice is None and not serial:
        return None
    mode = "auto" if choice is None else choice.mode
    if not turn.tools or mode not in _CHOICES:
        names.add("tool_choice")  # the dialect takes a choice only beside tools
        if not (turn.tools and serial):
            return None
        mode = "auto"
    out: dict[str, Any] = {"type": _CHOICES[mode]}
    if mode == "named" and choice is not None:
        out["name"] = choice.name
    if serial and mode != "none":
        out["disable_parallel_tool_use"] = True
    return out


def _output_config(turn: Turn, names: set[str]) -> dict[str, Any] | None:
    wanted = turn.response_format
    if wanted is None:
        return None
    if wanted.kind != "json_schema" or wanted.schema is None:
        names.add("response_format")
        return None
    return {"format": {"type": "json_schema", "schema": Raw(wanted.schema)}}


# ---------------------------------------------------------------------------------------------- messages


class _Messages:
    def __init__(self, tier: TierConfig, names: set[str]) -> None:
        self._documents = tier.documents
        self._names = names

    def all(self, messages: list[Message]) -> list[dict[str, Any]]:
        """Consecutive tool results merge into one user message; a message that says nothing is left out."""
        out: list[dict[str, Any]] = []
        after_results = False
        for message in messages:
            if message.role == "system":
                out += self._late_system(message)
                after_results = False
                continue
            if message.name is not None:
                self._names.add("name")
            content = self._blocks(message.blocks)
            if not content:
                continue
            results = all([type(block) is ToolResult for block in message.blocks])
            if results and after_results:
                out[-1]["content"] += content
            else:
                out.append({"role": message.role, "content": content})
            after_results = results
        return out

    def _late_system(self, message: Message) -> list[dict[str, Any]]:
        self._names.add("role.late_system")
        text = "\n".join([block.text for block in message.blocks if type(block) is Text])
        return [late_system(text)] if text else []

    def _blocks(self, blocks: tuple[Block, ...]) -> list[dict[str, Any]]:
        return [out for block in blocks if (out := self._block(block)) is not None]

    def _block(self, block: Block) -> dict[str, Any] | None:
        match block:
            case Text(text=text):
                return {"type": "text", "text": text} if text and not text.isspace() else None
            case ToolCall():
                return self._call(block)
            case ToolResult():
                return self._result(block)
            case Image():
                return self._image(block)
            case Document():
                return self._document(block)
            case Reasoning():
                self._names.add("reasoning.history")
            case _:
                self._names.add("modalities")
        return None

    def _call(self, call: ToolCall) -> dict[str, Any]:
        return {"type": "tool_use", "id": _tool_id(call.id), "name": call.name, "input": self._input(call)}

    def _input(self, call: ToolCall) -> Raw:
        text = call.arguments
        if not text.strip():
            return _EMPTY
        data = text.encode()
        try:
            _OBJECT.decode(data)
        except msgspec.DecodeError:
            if call.custom:  # a freeform call: its text is the one declared parameter
                return Raw(splice({"input": text}))
            self._names.add("history.tool_arguments")
            return _EMPTY
        return Raw(data)

    def _result(self, result: ToolResult) -> dict[str, Any]:
        out: dict[str, Any] = {"type": "tool_result", "tool_use_id": _tool_id(result.call_id)}
        content = result.content
        if len(content) == 1 and isinstance(content[0], Text):
            out["content"] = content[0].text
        elif blocks := self._blocks(content):
            out["content"] = blocks
        if result.is_error:
            out["is_error"] = True
        return out

    def _image(self, image: Image) -> dict[str, Any]:
        if image.detail is not None:
            self._names.add("unknown.detail")
        if image.data is None:
            return {"type": "image", "source": {"type": "url", "url": image.url or ""}}
        media_type = image.media_type or "image/png"
        return {"type": "image", "source": {"type": "base64", "media_type": media_type, "data": image.data}}

    def _document(self, document: Document) -> dict[str, Any]:
        if document.text is not None and not self._documents:
            self._names.add("documents.text")
            title = f"{document.title}\n" if document.title else ""
            return {"type": "text", "text": title + document.text}
        out = {"type": "document", "source": _source(document)}
        return {**out, "title": document.title} if document.title else out


def _source(document: Document) -> dict[str, Any]:
    if document.text is not None:
        return {"type": "text", "media_type": "text/plain", "data": document.text}
    if document.data is not None:
        return {
            "type": "base64",
            "media_type": document.media_type or "application/pdf",
            "data": document.data,
        }
    if document.file_id is not None:
        return {"type": "file", "file_id": document.file_id}
    return {"type": "url", "url": document.url or ""}


def _tool_id(given: str) -> str:
    """The id in the dialect's alphabet; calls and their results change alike."""
    return _FOREIGN_ID.sub("_", given) or "_"
