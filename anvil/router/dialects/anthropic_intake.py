"""Anthropic messages -> neutral messages; the same pass gathers what intent, policy and translators need to know."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec import Raw, Struct

from anvil.router.dialects import anthropic_wire as wire
from anvil.router.reading import MAX_DEPTH, check_depth, own_text
from anvil.router.turn import (
    BadRequest,
    Block,
    Document,
    Image,
    Message,
    Opaque,
    Reasoning,
    Text,
    ToolCall,
    ToolResult,
)

# levels that are left for a value inside a block of a message, the block of a tool result included
_SHALLOW = MAX_DEPTH - 7
_ROLES = frozenset({"user", "assistant", "system"})
_SERVER_TOOLS = ("server_tool_use", "mcp_tool_", "_tool_result", "container_upload")


class View(Struct):
    """What parsing keeps for translation and local repairs.

    messages: one per wire message, role system included. system: the texts of the top-level system, in order.
    names: Appendix A names of what only a translation loses. unsigned: some thinking block carries no signature.
    """

    messages: list[Message]
    system: list[str]
    names: set[str]
    unsigned: bool = False


class Intake:
    """Converts one request's messages; counts what it sees on the way."""

    def __init__(self, *, strict: bool = False) -> None:
        """strict: read nothing but known shapes, and tell in ``shallow`` whether that bounded all nesting."""
        self.strict = strict
        self.shallow = True
        self.names: set[str] = set()
        self.texts: list[str] = []
        self.images = 0
        self.documents = self.linked_documents = 0
        self.tool_blocks = False
        self.unsigned = False

    def messages(self, raw: Raw) -> list[Message]:
        """Raises BadRequest."""
        items = wire.usual_messages(raw) if self.strict else wire.messages(raw, self.names)
        if not items:
            raise BadRequest("messages: at least one message is required")
        return [self._message(item, at) for at, item in enumerate(items)]

    def system(self, raw: Raw) -> list[str]:
        """Texts of the top-level system, each block by itself. Raises BadRequest."""
        content = wire.usual_content(raw) if self.strict else wire.read_content(raw, "system", self.names)
        if content is None or isinstance(content, str):
            texts = [content] if content else []
        else:
            texts = [self._system_text(part, at) for at, part in enumerate(content)]
        self.texts += texts
        return texts

    def _system_text(self, part: object, at: int) -> str:
        if isinstance(part, str):
            return part
        if not isinstance(part, wire.TextPart):
            raise BadRequest(f"system[{at}]: only text blocks are possible here")
        if part.cache_control:
            self._set_aside(part.cache_control, "cache_control")
        self.shallow = self.shallow and not part.citations
        return part.text

    def _message(self, item: wire.WireMessage | wire.ReadMessage, at: int) -> Message:
        role, content = item.role, item.content
        if role not in _ROLES:
            raise BadRequest(f"messages[{at}].role: must be user, assistant or system")
        if item.output_config:
            self._set_aside(item.output_config, "reasoning.effort")
        if type(content) is str:
            self.texts.append(content)
            return Message(role, (Text(content),) if content else ())  # type: ignore[arg-type]  # checked above
        return Message(role, self.blocks(content or []))  # type: ignore[arg-type]  # checked above

    def blocks(self, parts: Any) -> tuple[Block, ...]:
        """Strings and parts -> neutral blocks; a part that says nothing to any model is left out."""
        out: list[Block] = []
        for part in parts:
            kind = type(part)
            if kind is wire.TextPart:
                text = part.text
                self.texts.append(text)
                if part.cache_control or part.citations:
                    self._marks(part)
                out.append(Text(text))
            elif kind is str:
                self.texts.append(part)
                out.append(Text(part))
            elif (block := _READERS[kind](self, part)) is not None:
                out.append(block)
        return tuple(out)

    # ------------------------------------------------------------------------------------------- blocks

    def _marks(self, part: wire.TextPart | wire.DocumentPart | wire.SearchPart) -> None:
        if part.cache_control:
            self._set_aside(part.cache_control, "cache_control")
        if part.citations:
            self._set_aside(part.citations, "citations")

    def _image(self, part: wire.ImagePart) -> Image | Document:
        if part.cache_control:
            self._set_aside(part.cache_control, "cache_control")
        source = self._source(part.source)
        if source.file_id is not None:  # only the tier that stores the file can read it
            self.documents += 1
            return Document(file_id=source.file_id)
        self.images += 1
        return Image(source.media_type, source.data, source.url)

    def _document(self, part: wire.DocumentPart) -> Document:
        self._marks(part)
        if part.context is not None:
            self.names.add("unknown.context")
        source = self._source(part.source)
        text = self._document_text(source)
        if text is None:
            self.documents += 1
            self.linked_documents += source.data is None and source.file_id is None
            return Document(source.media_type, source.data, source.url, source.file_id, None, part.title)
        self.names.add("documents.text")
        self.texts.append(text)
        return Document(source.media_type, text=text, title=part.title)

    def _document_text(self, source: wire.Source) -> str | None:
        """Text of a plain-text or text-only custom-content document, None for every other kind."""
        if source.type == "text":
            return source.data or ""
        if source.type != "content":
            return None
        content = wire.read_content(source.content, "document.source.content", self.names)
        if content is None or isinstance(content, str):
            return content or ""
        inner = Intake()
        inner.blocks(content)
        self.names |= inner.names
        if not inner.images:
            return "\n".join(inner.texts)
        self.images += inner.images
        self.texts += inner.texts
        return None

    def _search(self, part: wire.SearchPart) -> Document:
        self._marks(part)
        self.names.add("search_result")
        text = "\n".join(inner.text for inner in part.content)
        self.texts.append(text)
        return Document("text/plain", url=part.source, text=text, title=part.title or None)

    def _thinking(self, part: wire.ThinkingPart) -> Reasoning:
        if part.signature:
            self.names.add("reasoning.signature")
        else:
            self.unsigned = True
        return Reasoning(part.thinking, part.signature or None)

    def _redacted(self, part: wire.RedactedPart) -> Reasoning:
        self.names.add("reasoning.signature")
        return Reasoning("", redacted=part.data)

    def _tool_use(self, part: wire.ToolUsePart) -> ToolCall:
        self.tool_blocks = True
        if part.cache_control:
            self._set_aside(part.cache_control, "cache_control")
        if part.caller:
            self._set_aside(part.caller, "unknown.caller")
        data = bytes(part.input)
        if self.strict and data:
            wire.check_numbers(part.input)
            self.shallow = self.shallow and (len(data) <= _SHALLOW or check_depth(data, _SHALLOW))
        text = data.decode()
        return ToolCall(part.id, part.name, "" if text == "null" else text)

    def _result(self, part: wire.ToolResultPart) -> ToolResult:
        self.tool_blocks = True
        if part.cache_control:
            self._set_aside(part.cache_control, "cache_control")
        content = part.content
        if isinstance(content, str):
            self.texts.append(content)
            return ToolResult(part.tool_use_id, (Text(content),) if content else (), part.is_error is True)
        return ToolResult(part.tool_use_id, self._inner(content or []), part.is_error is True)

    def _read_result(self, part: wire.ReadResult) -> ToolResult:
        self.tool_blocks = True
        if part.cache_control:
            self._set_aside(part.cache_control, "cache_control")
        return ToolResult(part.tool_use_id, self._inner(part.content), part.is_error)

    def _inner(self, parts: Any) -> tuple[Text | Image | Document, ...]:
        """Content of a tool result; a block of unknown kind reaches the model as its own JSON."""
        out: list[Text | Image | Document] = []
        for block in self.blocks(parts):
            if isinstance(block, Opaque):
                self.names.add(f"unknown.{block.kind}")
                self.texts.append(block.raw.decode())
                out.append(Text(block.raw.decode()))
            elif isinstance(block, Text | Image | Document):
                out.append(block)
        return tuple(out)

    def _opaque(self, part: wire.OpaquePart) -> Opaque:
        hosted = any(word in part.kind for word in _SERVER_TOOLS)
        self.names.add("tools.hosted" if hosted else f"unknown.{part.kind}")
        return Opaque(part.kind, part.raw)

    def _source(self, source: wire.Source) -> wire.Source:
        self.shallow = False  # its unknown fields were passed over
        return source

    def _set_aside(self, raw: Raw, name: str) -> None:
        """A detail only same-dialect tiers receive. A short one cannot nest deep, a long one is not looked at."""
        self.names.add(name)
        if len(raw) > _SHALLOW:
            self.shallow = False
        elif self.strict:
            wire.check_numbers(raw)


_READERS: dict[type, Callable[[Intake, Any], Block | None]] = {
    wire.ImagePart: Intake._image,
    wire.DocumentPart: Intake._document,
    wire.SearchPart: Intake._search,
    wire.ThinkingPart: Intake._thinking,
    wire.RedactedPart: Intake._redacted,
    wire.ToolUsePart: Intake._tool_use,
    wire.ToolResultPart: Intake._result,
    wire.ReadResult: Intake._read_result,
    wire.OpaquePart: Intake._opaque,
}


def user_text(messages: list[Message]) -> str:
    """U of 9.5: the newest user message with text of its own, a harness's additions passed over."""
    for message in reversed(messages):
        if message.role == "user":
            own = [text for block in message.blocks if type(block) is Text and (text := own_text(block.text))]
            if own:
                return "\n".join(own)
    return ""
