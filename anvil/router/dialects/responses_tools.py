"""Reads what a Responses request says about tools and answer format: tools, tool_choice, text.format (contract 5.5).

Function and freeform tools reach a tier; hosted kinds are left out and named. A namespace (Codex: the tools of MCP
servers and its own sub-agents) counts as hosted, unless its caller asks for its tools under joined names.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import partial
from typing import Any

import msgspec
from msgspec import Raw, Struct
from msgspec.structs import replace

from anvil.router.dialects.encode import CUSTOM_SCHEMA, NULL, splice, unknown_names
from anvil.router.dialects.openai_chat_tools import read_choice as read_flat_choice
from anvil.router.dialects.openai_chat_tools import read_format as read_nested_format
from anvil.router.dialects.openai_chat_tools import valid_name
from anvil.router.reading import MAX_DEPTH, check_depth
from anvil.router.recent import Recent
from anvil.router.turn import ResponseFormat, Tool, ToolChoice

_plain = msgspec.json.Decoder().decode
_items = msgspec.json.Decoder(list[Raw]).decode
_fields = msgspec.json.Decoder(dict[str, Raw]).decode

UNKNOWN_CHOICE = ToolChoice("unknown")
# what OpenAI and Anthropic take for a tool's name
_MAX_JOINED = 64


class Declared(Struct, frozen=True):
    """What a tools array declares.

    names: Appendix A names of what every tier loses. kept: the array without malformed entries, None when all were
    well formed. count: entries that stay, hosted ones included.
    """

    tools: list[Tool]
    names: frozenset[str]
    count: int
    kept: Raw | None = None


NOTHING = Declared([], frozenset(), 0)


class _Entry(Struct):
    type: Any = "function"
    name: Any = None
    description: Any = None
    parameters: Raw = NULL
    strict: Any = None
    format: Any = None
    tools: Raw = NULL


_entry = msgspec.json.Decoder(_Entry).decode


def _read(raw: Raw, join: bool) -> Declared | None:
    if not check_depth(bytes(raw), MAX_DEPTH - 1):
        raise RecursionError
    if type(_plain(raw)) is not list:  # decoded whole: the skimming decoders below do not see invalid text
        return None
    names: set[str] = set()
    kept: list[Raw] = []
    tools: list[Tool] = []
    items = _items(raw)
    for item in items:
        found = _read_entry(item, names, join)
        if found is not None:
            kept.append(item)
            tools += found
    return Declared(tools, frozenset(names), len(kept), None if len(kept) == len(items) else Raw(splice(kept)))


# None when the JSON is not a list; raises what msgspec raises for bad JSON and RecursionError for deep nesting.
read_tools = Recent(partial(_read, join=False))
read_tools_joined = Recent(partial(_read, join=True))


def _read_entry(item: Raw, names: set[str], join: bool) -> list[Tool] | None:
    """The tools an entry declares, none for a hosted kind, or None for a malformed entry."""
    try:
        entry = _entry(item)
    except msgspec.ValidationError:
        return None
    kind = entry.type
    if kind == "namespace" and join:
        return _read_namespace(entry, names)
    if kind not in ("function", "custom"):
        if not isinstance(kind, str) or not kind:
            return None
        names.add("tools.hosted")
        return []
    if not valid_name(entry.name):
        return None
    names.update(unknown_names([name for name in _fields(item) if name not in _Entry.__struct_fields__]))
    return [_tool(entry, names)]


def _tool(entry: _Entry, names: set[str]) -> Tool:
    description = entry.description if isinstance(entry.description, str) else None
    if entry.type == "custom":
        if isinstance(entry.format, dict) and entry.format.get("type") != "text":
            names.add("tools.grammar")
        return Tool(entry.name, description, bytes(CUSTOM_SCHEMA), custom=True)
    schema = None if entry.parameters == NULL else bytes(entry.parameters)
    return Tool(entry.name, description, schema, entry.strict if type(entry.strict) is bool else None)


def _read_namespace(entry: _Entry, names: set[str]) -> list[Tool] | None:
    """Its tools under joined names. No tier knows namespaces, and calls come back under the names joined here."""
    if not valid_name(entry.name) or type(_plain(entry.tools)) is not list:
        return None
    tools = []
    for item in _items(entry.tools):
        inner = _read_entry(item, names, False)
        if inner is None:
            names.add("tools.malformed")
            continue
        tools += [replace(it, name=flat_name(entry.name, it.name), grouped=(entry.name, it.name)) for it in inner]
    return tools


def flat_name(namespace: str, name: str) -> str:
    """``mcp__calc`` and ``add`` as ``mcp__calc__add``; a name too long for tiers ends in a digest."""
    whole = f"{namespace}__{name}"
    if len(whole) <= _MAX_JOINED:
        return whole
    return f"{whole[: _MAX_JOINED - 9]}_{hashlib.sha256(whole.encode()).hexdigest()[:8]}"


def choose(value: object, tools: list[Tool]) -> tuple[ToolChoice | None, list[Tool]]:
    """``tool_choice``, and the tools it leaves: ``allowed_tools`` takes the others away.

    A choice that demands a call no remaining tool can answer (all were hosted) is "unknown", so that it is named
    instead of failing every answer.
    """
    choice = _choice(value)
    if isinstance(value, dict) and value.get("type") == "allowed_tools":
        names = _allowed_names(value.get("tools"))
        tools = [tool for tool in tools if tool.name in names]
    if choice is not None and choice.requires_call and not tools:
        choice = UNKNOWN_CHOICE
    return choice, tools


def _choice(value: object) -> ToolChoice | None:
    if not isinstance(value, dict):
        return read_flat_choice(value)
    kind = value.get("type")
    if kind == "allowed_tools":
        mode = value.get("mode")
        return read_flat_choice(mode) if mode in ("auto", "required") else UNKNOWN_CHOICE
    return read_flat_choice({"name": _flat(value)}) if kind in ("function", "custom") else UNKNOWN_CHOICE


def _allowed_names(entries: object) -> set[str]:
    names = [_flat(entry) for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []
    return {name for name in names if isinstance(name, str)}


def _flat(named: Mapping[str, Any]) -> object:
    """The name that tiers know a tool by, which the caller names with its namespace or without one."""
    namespace, name = named.get("namespace"), named.get("name")
    return flat_name(namespace, name) if isinstance(namespace, str) and isinstance(name, str) and namespace else name


def read_format(text: object, raw: Raw | None) -> ResponseFormat | None:
    """``text.format``, as decoded and as sent; None for plain text, for unknown kinds and for malformed ones."""
    wanted = text.get("format") if isinstance(text, Mapping) else None
    kind = wanted.get("type") if isinstance(wanted, Mapping) else None
    if raw is None or kind not in ("json_object", "json_schema"):
        return None
    # Chat Completions has the same fields one level deeper
    return read_nested_format({"type": kind}, Raw(splice({"json_schema": _fields(raw)["format"]})))
