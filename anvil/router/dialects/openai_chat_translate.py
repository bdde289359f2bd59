"""Writes a neutral conversation as a Chat Completions body (contract 6.4), for Anthropic and Responses callers.

Every message is written from its own content alone and in order, so one turn's messages extend the last one's (6.5).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import Raw

from anvil.router.dialects.encode import CUSTOM_SCHEMA, DEFAULT_SCHEMA, Body, splice, without_nonce
from anvil.router.dialects.openai_chat_scan import is_json_text
from anvil.router.recent import Shared
from anvil.router.turn import (
    Audio,
    Block,
    Conversation,
    Document,
    Image,
    Message,
    Opaque,
    Reasoning,
    ResponseFormat,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
    Turn,
)

if TYPE_CHECKING:
    from anvil.router.config import TierConfig

_OPAQUE_NAMES = {
    "search_result": "search_result",
    "container_upload": "container",
    "redacted_thinking": "reasoning.signature",
}
_HOSTED_SUFFIXES = ("_tool_use", "_tool_result")


def translate(turn: Turn, tier: TierConfig, conversation: Conversation, lossy: list[str]) -> Body:
    """The body without cap, stream fields and the tier's own additions; names of lossy steps go to ``lossy``."""
    names = dict.fromkeys(conversation.unmapped)
    body: Body = {} if tier.model is None else {"model": tier.model}
    body["messages"] = _Messages(tier, names).write(conversation)
    for name in ("temperature", "top_p", "stop"):
        value = getattr(conversation, name)
        if value is not None:
            body[name] = value
    _write_tools(turn, conversation, body, names)
    if turn.response_format is not None:
        body["response_format"] = _format(turn.response_format)
    if conversation.reasoning_effort is not None:
        body["reasoning_effort"] = conversation.reasoning_effort
    body.update(conversation.openai_fields)
    lossy += [name for name in names if name not in lossy]
    return body


def _write_tools(turn: Turn, conversation: Conversation, body: Body, names: dict[str, None]) -> None:
    if turn.tools:
        body["tools"] = _tools(turn.tools)
    choice = turn.tool_choice
    if choice is not None:
        written = _choice(choice) if turn.tools else None
        if written is not None:
            body["tool_choice"] = written
        elif choice.mode not in ("auto", "none"):
            names["tool_choice"] = None
    if turn.tools and conversation.parallel_tools is not None:
        body["parallel_tool_calls"] = conversation.parallel_tools


def _tool(tool: Tool) -> dict[str, Any]:
    function: dict[str, Any] = {"name": tool.name}
    if tool.description is not None:
        function["description"] = tool.description
    if tool.schema is not None:
        function["parameters"] = Raw(tool.schema)
    else:
        function["parameters"] = CUSTOM_SCHEMA if tool.custom else DEFAULT_SCHEMA
    if tool.strict is not None:
        function["strict"] = tool.strict
    return {"type": "function", "function": function}


_tools = Shared[Tool, Raw](lambda tools: Raw(splice([_tool(tool) for tool in tools])), len)


def _choice(choice: ToolChoice) -> Any:
    if choice.mode == "named":
        return {"type": "function", "function": {"name": choice.name}}
    return None if choice.mode == "unknown" else choice.mode


def _format(wanted: ResponseFormat) -> dict[str, Any]:
    if wanted.kind == "json_object":
        return {"type": "json_object"}
    inner: dict[str, Any] = {"name": wanted.name}
    if wanted.schema is not None:
        inner["schema"] = Raw(wanted.schema)
    if wanted.strict is not None:
        inner["strict"] = wanted.strict
    return {"type": "json_schema", "json_schema": inner}


class _Messages:
    """Writes messages for one tier and collects the names of what was lost."""

    def __init__(self, tier: TierConfig, names: dict[str, None]) -> None:
        self._tier = tier
        self._names = names

    def write(self, conversation: Conversation) -> list[dict[str, Any]]:
        out: list[dict[str, Any]] = []
        system = self._system(conversation.system)
        if system:
            out.append({"role": "system", "content": system})
        for message in conversation.messages:
            if message.role == "user":
                out += self._user(message)
            elif message.role == "assistant":
                out.append(self._assistant(message))
            else:
                out.append(self._late_system(message))
        if conversation.messages and conversation.messages[-1].role == "assistant":
            self._names["prefill"] = None
        return out

    def _system(self, texts: list[str]) -> str:
        if not self._tier.stable_prefix:
            return "\n".join(texts)
        kept = [text for text in map(without_nonce, texts) if text is not None]
        if kept != texts:
            self._names["system.nonce"] = None
        return "\n".join(kept)

    def _late_system(self, message: Message) -> dict[str, Any]:
        text = "\n".join([block.text for block in message.blocks if isinstance(block, Text)])
        if self._tier.late_system == "system":
            return {"role": "system", "content": text}
        self._names["role.late_system"] = None
        return {"role": "user", "content": f"<system>\n{text}\n</system>"}

    def _user(self, message: Message) -> list[dict[str, Any]]:
        """Tool results first, each its own message; what else there is follows in one user message."""
        out: list[dict[str, Any]] = []
        rest: list[Block] = []
        media: list[Block] = []
        for block in message.blocks:
            if type(block) is ToolResult:
                out.append(self._result(block, media))
            else:
                rest.append(block)
        if media or rest or not out:
            content = self._content([*media, *rest])
            if content or not out:
                entry = {"role": "user", "content": content}
                out.append({**entry, "name": message.name} if message.name else entry)
        return out

    def _result(self, result: ToolResult, media: list[Block]) -> dict[str, Any]:
        """A tool message is text only: what else a result holds goes to ``media``."""
        texts = ["[tool error]"] if result.is_error else []
        for block in result.content:
            text = block.text if type(block) is Text else self._as_text(block)
            if text is None:
                media.append(block)
            else:
                texts.append(text)
        return {"role": "tool", "tool_call_id": result.call_id, "content": "\n".join(texts)}

    def _as_text(self, block: Block) -> str | None:
        if isinstance(block, Document) and block.text is not None:
            self._names["documents.text"] = None
            return block.text
        return block.text if isinstance(block, Text) else None

    def _content(self, blocks: list[Block]) -> str | list[dict[str, Any]]:
        """One string when all is text, else a list of parts in order."""
        said = [block.text for block in blocks if type(block) is Text]
        if len(said) == len(blocks):
            return "\n".join(said)
        texts = [self._as_text(block) for block in blocks]
        parts: list[dict[str, Any]] = []
        plain = True
        for block, text in zip(blocks, texts, strict=True):
            part = self._part(block) if text is None else {"type": "text", "text": text}
            if part is not None:
                parts.append(part)
                plain = plain and text is not None
        return "\n".join([part["text"] for part in parts]) if plain else parts

    def _part(self, block: Block) -> dict[str, Any] | None:
        if isinstance(block, Image):
            url = block.url if block.data is None else f"data:{block.media_type or 'image/png'};base64,{block.data}"
            detail = {"detail": block.detail} if block.detail else {}
            return {"type": "image_url", "image_url": {"url": url or "", **detail}}
        if isinstance(block, Audio):
            return {"type": "input_audio", "input_audio": {"data": block.data, "format": block.format}}
        if isinstance(block, Document):
            return self._file(block)
        self._leave_out(block)
        return None

    def _file(self, document: Document) -> dict[str, Any] | None:
        if document.file_id is not None:
            return {"type": "file", "file": {"file_id": document.file_id}}
        if document.data is None:
            self._names["unknown.document_url"] = None
            return None
        data = f"data:{document.media_type or 'application/pdf'};base64,{document.data}"
        return {"type": "file", "file": {"filename": document.title or "document", "file_data": data}}

    def _leave_out(self, block: Block) -> None:
        if isinstance(block, Reasoning):
            self._names["reasoning.history"] = None
        elif isinstance(block, Opaque):
            hosted = "tools.hosted" if block.kind.endswith(_HOSTED_SUFFIXES) else f"unknown.{block.kind}"
            self._names[_OPAQUE_NAMES.get(block.kind, hosted)] = None

    def _assistant(self, message: Message) -> dict[str, Any]:
        thoughts: list[str] = []
        calls: list[dict[str, Any]] = []
        rest: list[Block] = []
        for block in message.blocks:
            if type(block) is ToolCall:
                calls.append(self._call(block))
            elif type(block) is Reasoning:
                self._think(block, thoughts)
            else:
                rest.append(block)
        content = self._content(rest)
        entry: dict[str, Any] = {"role": "assistant", "content": content or (None if calls else "")}
        if message.name:
            entry["name"] = message.name
        if thoughts:
            entry[self._tier.reasoning_field] = "\n".join(thoughts)
        if calls:
            entry["tool_calls"] = calls
        return entry

    def _think(self, block: Reasoning, thoughts: list[str]) -> None:
        if block.signature is not None or block.redacted is not None:
            self._names["reasoning.signature"] = None
        if not block.text:
            return
        if self._tier.reasoning_field:
            thoughts.append(block.text)
        else:
            self._names["reasoning.history"] = None

    def _call(self, call: ToolCall) -> dict[str, Any]:
        arguments = call.arguments
        if self._tier.local and not is_json_text(arguments):
            self._names["history.tool_arguments"] = None
            arguments = "{}"
        return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": arguments}}
