"""Messages API shapes as they arrive, typed for one fast decode (contract 5.2, 5.3).

Strict structs refuse unknown fields: bodies of known shape take the fast path, everything else is read block by block
by ``parts``, which names what it meets. Fields only other dialects must know about stay raw.
"""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec
from msgspec import Raw, Struct

from anvil.router.reading import check_depth
from anvil.router.turn import BadRequest

T = TypeVar("T")
NONE = Raw(b"")


class Source(Struct):
    """Where an image or document lies. ``content`` is the custom-content form of a document."""

    type: str = ""
    media_type: str | None = None
    data: str | None = None
    url: str | None = None
    file_id: str | None = None
    content: Raw = NONE


class TextPart(Struct, tag="text", forbid_unknown_fields=True):
    text: str = ""
    cache_control: Raw = NONE
    citations: Raw = NONE


class ImagePart(Struct, tag="image", forbid_unknown_fields=True):
    source: Source
    cache_control: Raw = NONE


class DocumentPart(Struct, tag="document", forbid_unknown_fields=True):
    source: Source
    title: str | None = None
    context: str | None = None
    citations: Raw = NONE
    cache_control: Raw = NONE


class SearchPart(Struct, tag="search_result", forbid_unknown_fields=True):
    source: str = ""
    title: str = ""
    content: list[TextPart] = []
    citations: Raw = NONE
    cache_control: Raw = NONE


class ThinkingPart(Struct, tag="thinking", forbid_unknown_fields=True):
    thinking: str = ""
    signature: str | None = None


class RedactedPart(Struct, tag="redacted_thinking", forbid_unknown_fields=True):
    data: str = ""


class ToolUsePart(Struct, tag="tool_use", forbid_unknown_fields=True):
    id: str = ""
    name: str = ""
    input: Raw = NONE
    cache_control: Raw = NONE
    caller: Raw = NONE


InnerPart = TextPart | ImagePart | DocumentPart | SearchPart


class ToolResultPart(Struct, tag="tool_result", forbid_unknown_fields=True):
    tool_use_id: str = ""
    content: str | list[str | InnerPart] | None = None
    is_error: bool | None = None
    cache_control: Raw = NONE


class OpaquePart(Struct):
    """A block this module does not know; never decoded, only made by ``parts``."""

    kind: str
    raw: bytes


Part = InnerPart | ThinkingPart | RedactedPart | ToolUsePart | ToolResultPart
Content = str | list[str | Part] | None


class WireMessage(Struct, forbid_unknown_fields=True):
    role: str
    content: Content = None
    output_config: Raw = NONE


class ReadResult(Struct):
    """A tool result whose content needed reading block by block."""

    tool_use_id: str
    content: list[Any]
    is_error: bool
    cache_control: Raw


class ReadMessage(Struct):
    """A message whose content needed reading block by block: strings, parts, ReadResult and OpaquePart."""

    role: str
    content: str | list[Any] | None
    output_config: Raw = NONE


_MESSAGES = msgspec.json.Decoder(list[WireMessage])
_MESSAGE = msgspec.json.Decoder(WireMessage)
_CONTENT: msgspec.json.Decoder[str | list[Any] | None] = msgspec.json.Decoder(Content)
_PART = msgspec.json.Decoder(Part)
_RAWS: msgspec.json.Decoder[list[Raw]] = msgspec.json.Decoder(list[Raw])
_OBJECT = msgspec.json.Decoder(dict[str, Raw])
_STRING = msgspec.json.Decoder(str)
_ANY: msgspec.json.Decoder[Any] = msgspec.json.Decoder()
# a value this short is cheaper to decode than to look into
_SHORT = 256
_QUOTE = 0x22
_KINDS: dict[str, type[Struct]] = {
    str(kind.__struct_config__.tag): kind
    for kind in (
        *(TextPart, ImagePart, DocumentPart, SearchPart),
        *(ThinkingPart, RedactedPart, ToolUsePart, ToolResultPart),
    )
}
# A detail of a message, not of the request: the effort parameter some clients repeat there.
_MESSAGE_FIELDS = frozenset({"role", "content", "output_config"})


def body(data: bytes) -> dict[str, Raw]:
    """The top level of a request, strictly read (contract 5.1). Raises BadRequest."""
    try:
        if not check_depth(data):
            raise BadRequest("the body nests deeper than 128 levels")
        top = fields(data or b"{}")
        _ANY.decode(data or b"{}")  # raw values are skipped: a number that overflows in one shows here only
        return top
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BadRequest(f"the body is not a valid JSON object: {error}") from None


def fields(data: bytes) -> dict[str, Raw]:
    """The top level of JSON text. Raises MsgspecError, UnicodeDecodeError and RecursionError."""
    if not data.isascii():
        data.decode()  # raw values are skipped, not decoded: their encoding is checked here
    return _OBJECT.decode(data)


def check_numbers(raw: Raw) -> None:
    """Raises ValidationError when a number within overflows. Long strings are passed over, not decoded."""
    if len(raw) <= _SHORT:
        _ANY.decode(raw)
        return
    try:
        values = _OBJECT.decode(raw).values()
    except msgspec.ValidationError:
        values = {"": raw}.values()  # no object
    for value in values:
        if memoryview(value)[0] != _QUOTE:
            _ANY.decode(value)


def usual_messages(raw: Raw) -> list[WireMessage]:
    """Messages of known shape only. Raises MsgspecError and RecursionError."""
    return _MESSAGES.decode(raw)


def usual_content(raw: Raw) -> str | list[Any] | None:
    """The same for a system text."""
    return _CONTENT.decode(raw)


def messages(raw: Raw, names: set[str]) -> list[WireMessage | ReadMessage]:
    """Decode ``messages``. ``names`` gains ``unknown.<field>`` for what was set aside. Raises BadRequest."""
    try:
        return _MESSAGES.decode(raw)  # type: ignore[return-value]  # a list of the narrower type, never written to
    except msgspec.ValidationError:
        items = decode(_RAWS, raw, "messages")
    return [_message(item, f"messages[{at}]", names) for at, item in enumerate(items)]


def decode(decoder: msgspec.json.Decoder[T], raw: Raw | bytes, path: str) -> T:
    """Decode or raise BadRequest naming ``path``."""
    try:
        return decoder.decode(raw)
    except msgspec.ValidationError as error:
        raise BadRequest(f"{path}: {error}") from None


def _message(raw: Raw, path: str, names: set[str]) -> WireMessage | ReadMessage:
    try:
        return _MESSAGE.decode(raw)
    except msgspec.ValidationError:
        fields = decode(_OBJECT, raw, path)
    if "role" not in fields:
        raise BadRequest(f"{path}.role: field required")
    _name_unknown(fields, _MESSAGE_FIELDS, names)
    role = decode(_STRING, fields["role"], f"{path}.role")
    content = read_content(fields.get("content", NONE), f"{path}.content", names)
    return ReadMessage(role, content, fields.get("output_config", NONE))


def read_content(raw: Raw, path: str, names: set[str]) -> str | list[Any] | None:
    """A string, null, or a list of strings and objects; anything else is a BadRequest."""
    if not raw:
        return None
    try:
        return _CONTENT.decode(raw)
    except msgspec.ValidationError:
        if bytes(raw)[:1] != b"[":
            raise BadRequest(f"{path}: must be a string, a list or null") from None
    items: list[Raw] = decode(_RAWS, raw, path)
    return [_part(item, f"{path}[{at}]", names) for at, item in enumerate(items)]


def _part(raw: Raw, path: str, names: set[str]) -> object:
    try:
        return _PART.decode(raw)
    except msgspec.ValidationError:
        pass
    data = bytes(raw)
    if data[:1] == b'"':
        return _STRING.decode(data)
    fields = decode(_OBJECT, data, path)
    kind = _kind(fields)
    shape = _KINDS.get(kind)
    if shape is None:
        return OpaquePart(kind or "unknown", data)
    _name_unknown(fields, {"type", *shape.__struct_fields__}, names)
    if kind == "tool_result":
        return _result(fields, path, names)
    known = {name: fields[name] for name in ("type", *shape.__struct_fields__) if name in fields}
    return decode(_PART, msgspec.json.encode(known), path)


def _kind(fields: dict[str, Raw]) -> str:
    """The block's type; an untyped object with a text is text."""
    try:
        return _STRING.decode(fields["type"])
    except (KeyError, msgspec.ValidationError):
        pass
    if "text" in fields and "type" not in fields:
        fields["type"] = Raw(b'"text"')
        return "text"
    return ""


def _result(fields: dict[str, Raw], path: str, names: set[str]) -> ReadResult:
    content = read_content(fields.get("content", NONE), f"{path}.content", names)
    head = {name: fields[name] for name in ("type", "tool_use_id", "is_error") if name in fields}
    result = decode(_PART, msgspec.json.encode(head), path)
    assert isinstance(result, ToolResultPart)
    parts: list[Any] = [content] if isinstance(content, str) else content or []
    return ReadResult(result.tool_use_id, parts, result.is_error is True, fields.get("cache_control", NONE))


def _name_unknown(fields: dict[str, Raw], known: set[str] | frozenset[str], names: set[str]) -> None:
    names.update(f"unknown.{field}" for field in fields if field not in known)
