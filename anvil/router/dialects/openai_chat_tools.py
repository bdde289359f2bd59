"""Reads what an OpenAI Chat request says about tools and answer format: tools, functions, tool_choice, response_format.

Tool declarations are remembered by their bytes (``recent``): an agent sends the same ones on every turn.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw, Struct

from anvil.router.dialects.encode import NULL, splice
from anvil.router.reading import MAX_DEPTH, check_depth
from anvil.router.recent import Recent
from anvil.router.turn import ResponseFormat, Tool, ToolChoice

MAX_NAME_BYTES = 256
_MODES = ("auto", "none", "required")

_plain = msgspec.json.Decoder().decode
_items = msgspec.json.Decoder(list[Raw]).decode
_fields = msgspec.json.Decoder(dict[str, Raw]).decode


class Declared(Struct, frozen=True):
    """Tools as validated. ``kept`` is the JSON without malformed entries, None when all entries are as sent.

    hosted: entries of other kinds than function and custom are among them (typed server tools).
    """

    tools: list[Tool]
    count: int
    hosted: bool
    kept: Raw | None


class _Function(Struct):
    name: str
    description: str | None = None
    parameters: Raw = NULL
    strict: bool | None = None


class _Entry(Struct):
    function: _Function
    type: str = "function"


_typed = msgspec.json.Decoder(list[_Entry]).decode


def read_tools(raw: Raw) -> Declared | None:
    """Declared tools; None when the JSON is not a list. Raises what msgspec raises for bad JSON."""
    return _recent_tools(raw)


def read_functions(raw: Raw) -> Declared | None:
    """The legacy ``functions`` field, read like tools."""
    return _recent_functions(raw)


def _compute_tools(raw: Raw) -> Declared | None:
    if type(_checked(raw)) is not list:
        return None
    return _read_plain_list(raw) or _read_each(raw, _read_entry)


def _compute_functions(raw: Raw) -> Declared | None:
    if type(_checked(raw)) is not list:
        return None
    return _read_each(raw, _read_function)


def _checked(raw: Raw) -> object:
    """Refuses deep nesting, invalid UTF-8 and overflowing numbers: the skimming decoders below do not see them."""
    if not check_depth(bytes(raw), MAX_DEPTH - 1):
        raise RecursionError
    return _plain(raw)


_recent_tools = Recent(_compute_tools)
cut_tools = _recent_tools.cut
_recent_functions = Recent(_compute_functions)


def _read_plain_list(raw: Raw) -> Declared | None:
    """The usual list, function tools without a defect, in one pass; None when it is anything else."""
    try:
        entries = _typed(raw)
    except msgspec.ValidationError:
        return None
    tools = []
    for entry in entries:
        function = entry.function
        if entry.type != "function" or not valid_name(function.name):
            return None
        schema = None if function.parameters == NULL else bytes(function.parameters)
        tools.append(Tool(function.name, function.description, schema, function.strict))
    return Declared(tools, len(tools), False, None)


def _read_each(raw: Raw, read: Any) -> Declared:
    tools: list[Tool] = []
    kept: list[Raw] = []
    hosted = False
    items = _items(raw)
    for item in items:
        found = read(item)
        if found is None:
            continue
        kept.append(item)
        if isinstance(found, Tool):
            tools.append(found)
        else:
            hosted = True
    return Declared(tools, len(kept), hosted, None if len(kept) == len(items) else Raw(splice(kept)))


def _read_entry(item: Raw) -> Tool | str | None:
    """A function or custom tool, the kind of a typed server tool, or None for a malformed entry."""
    fields = _object(item)
    kind = _plain(fields.get("type", b'"function"'))
    if kind == "function":
        return _read_function(fields.get("function", NULL))
    if kind == "custom":
        inner = _object(fields.get("custom", NULL))
        name = _plain(inner.get("name", NULL))
        return Tool(name, _text(inner.get("description")), custom=True) if valid_name(name) else None
    return kind if isinstance(kind, str) and kind else None


def _read_function(item: Raw) -> Tool | None:
    fields = _object(item)
    name = _plain(fields.get("name", NULL))
    if not valid_name(name):
        return None
    schema = fields.get("parameters", NULL)
    strict = _plain(fields.get("strict", NULL))
    return Tool(
        name,
        _text(fields.get("description")),
        None if schema == NULL else bytes(schema),
        strict if type(strict) is bool else None,
    )


def _object(raw: Raw) -> dict[str, Raw]:
    try:
        return _fields(raw)
    except msgspec.ValidationError:
        return {}


def _text(raw: Raw | None) -> str | None:
    value = None if raw is None else _plain(raw)
    return value if isinstance(value, str) else None


def valid_name(name: object) -> bool:
    """5.2: a non-empty string of at most 256 bytes."""
    return isinstance(name, str) and 0 < len(name) <= MAX_NAME_BYTES and len(name.encode()) <= MAX_NAME_BYTES


def read_choice(value: object) -> ToolChoice | None:
    """``tool_choice``, or the legacy ``function_call``; None when absent or null."""
    if value is None:
        return None
    if isinstance(value, str):
        for mode in _MODES:
            if value == mode:
                return ToolChoice(mode)  # type: ignore[arg-type]  # mode is one of the literals
        return ToolChoice("unknown")
    if isinstance(value, dict):
        kind = value.get("type")
        inner = value.get(kind) if kind in ("function", "custom") else value if kind is None else None
        name = inner.get("name") if isinstance(inner, dict) else None
        if isinstance(name, str) and name:
            return ToolChoice("named", name)
    return ToolChoice("unknown")


def read_format(value: object, raw: Raw | None) -> ResponseFormat | None:
    """``response_format`` as decoded and as sent; None for text, for unknown kinds and for malformed ones."""
    kind = value.get("type") if isinstance(value, dict) else None
    if kind == "json_object":
        return ResponseFormat("json_object")
    if kind != "json_schema" or raw is None:
        return None
    inner = _object(_fields(raw).get("json_schema", NULL))
    schema = inner.get("schema", NULL)
    strict = _plain(inner.get("strict", NULL))
    return ResponseFormat(
        "json_schema",
        None if schema == NULL else bytes(schema),
        _text(inner.get("name")) or "answer",
        strict if type(strict) is bool else None,
    )
