"""Tools, tool choice, thinking and output format of a Messages request (contract 5.2, 5.3)."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw, Struct

from anvil.router.dialects import anthropic_wire as wire
from anvil.router.dialects.encode import absent, splice, unknown_names
from anvil.router.recent import Recent
from anvil.router.turn import BadRequest, ResponseFormat, Tool, ToolChoice

MAX_TOOL_NAME_BYTES = 256


class WireTool(Struct, forbid_unknown_fields=True):
    """A declared tool; every ``type`` but null and "custom" is a typed server tool."""

    name: str = ""
    description: str | None = None
    input_schema: Raw = wire.NONE
    type: str | None = None
    strict: bool | None = None
    cache_control: Raw = wire.NONE
    defer_loading: Raw = wire.NONE
    eager_input_streaming: Raw = wire.NONE
    allowed_callers: Raw = wire.NONE
    input_examples: Raw = wire.NONE

    @property
    def hosted(self) -> bool:
        return self.type is not None and self.type != "custom"

    @property
    def nameable(self) -> bool:
        """A name is there and not too long; typed server tools may go without."""
        if self.name:
            return len(self.name) <= MAX_TOOL_NAME_BYTES and len(self.name.encode()) <= MAX_TOOL_NAME_BYTES
        return self.hosted


class Declared(Struct, frozen=True):
    """What a tools array declares.

    names: Appendix A names of what a translation loses. kept: the array without malformed entries, None when all
    were well formed. count: entries that stay, server tools included.
    """

    tools: list[Tool]
    names: frozenset[str]
    count: int
    kept: Raw | None = None


NOTHING = Declared([], frozenset(), 0)

_TOOLS = msgspec.json.Decoder(list[WireTool])
_TOOL = msgspec.json.Decoder(WireTool)
_RAWS = msgspec.json.Decoder(list[Raw])
_OBJECT = msgspec.json.Decoder(dict[str, Raw])


def _read(raw: Raw) -> Declared:
    wire.check_numbers(raw)
    names: set[str] = set()
    try:
        entries = _TOOLS.decode(raw)
    except msgspec.ValidationError:
        return _read_each(raw, names)
    if not all([entry.nameable for entry in entries]):
        return _read_each(raw, names)
    tools = [tool for at, entry in enumerate(entries) if (tool := _tool(entry, at, names)) is not None]
    return Declared(tools, frozenset(names), len(entries))


# An agent repeats the same declarations every turn. Raises BadRequest.
read_tools = Recent(_read)
cut_tools = read_tools.cut


def _read_each(raw: Raw, names: set[str]) -> Declared:
    """Entries of unusual shape, one by one."""
    raws = wire.decode(_RAWS, raw, "tools")
    kept, tools = [], []
    for at, item in enumerate(raws):
        if (entry := _entry(item, names)) is None:
            continue
        kept.append(item)
        if (tool := _tool(entry, at, names)) is not None:
            tools.append(tool)
    clean = Raw(splice(kept)) if len(kept) != len(raws) else None
    return Declared(tools, frozenset(names), len(kept), clean)


def _entry(raw: Raw, names: set[str]) -> WireTool | None:
    """One tool; None when it is malformed."""
    try:
        fields = _OBJECT.decode(raw)
        known = {name: fields.pop(name) for name in WireTool.__struct_fields__ if name in fields}
        entry = _TOOL.decode(splice(known))
    except msgspec.ValidationError:
        return None
    if not entry.nameable:
        return None
    if not entry.hosted:
        names.update(unknown_names(fields))
    return entry


def _tool(entry: WireTool, at: int, names: set[str]) -> Tool | None:
    if entry.hosted:
        names.add("tools.hosted")
        return None
    if entry.cache_control:
        names.add("cache_control")
    for name in ("defer_loading", "eager_input_streaming", "allowed_callers", "input_examples"):
        if getattr(entry, name):
            names.add(f"unknown.{name}")
    schema = bytes(entry.input_schema)
    if schema in (b"", b"null"):
        return Tool(entry.name, entry.description, None, entry.strict)
    if schema[:1] != b"{":
        raise BadRequest(f"tools[{at}].input_schema: must be an object")
    return Tool(entry.name, entry.description, schema, entry.strict)


# ------------------------------------------------------------------------------------------ tool choice

_MODES: dict[str, Any] = {"auto": "auto", "any": "required", "none": "none", "tool": "named"}


class Choice(Struct):
    type: str
    name: str = ""
    disable_parallel_tool_use: bool | None = None


_CHOICE = msgspec.json.Decoder(Choice)


def read_choice(raw: Raw | None) -> Choice | None:
    """``tool_choice`` as sent; a shape the dialect does not define reads as type ""."""
    if raw is None or absent(raw):
        return None
    try:
        return _CHOICE.decode(raw)
    except msgspec.ValidationError:
        return Choice("")


def tool_choice(choice: Choice | None) -> ToolChoice | None:
    if choice is None:
        return None
    mode = _MODES.get(choice.type, "unknown")
    if mode != "named":
        return ToolChoice(mode)
    return ToolChoice("named", choice.name) if choice.name else ToolChoice("unknown")


# ---------------------------------------------------------------------------- output format and thinking


class _Format(Struct):
    type: str
    schema: Raw = wire.NONE


class _Thinking(Struct):
    type: str = ""
    display: str | None = None


_FORMAT = msgspec.json.Decoder(_Format)
_THINKING = msgspec.json.Decoder(_Thinking)


def output_config(raw: Raw | None) -> dict[str, Raw]:
    if raw is None:
        return {}
    try:
        return _OBJECT.decode(raw)
    except msgspec.ValidationError:
        return {}


def response_format(output: dict[str, Raw]) -> ResponseFormat | None:
    try:
        given = _FORMAT.decode(output["format"])
    except (KeyError, msgspec.ValidationError):
        return None
    schema = bytes(given.schema)
    return ResponseFormat("json_schema", schema) if given.type == "json_schema" and schema[:1] == b"{" else None


def shows_reasoning(raw: Raw | None) -> bool:
    """Whether the request enabled thinking and wants to see it (contract 8.2)."""
    if raw is None:
        return False
    try:
        thinking = _THINKING.decode(raw)
    except msgspec.ValidationError:
        return False
    return thinking.type in ("enabled", "adaptive") and thinking.display != "omitted"
