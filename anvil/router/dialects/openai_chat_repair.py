"""Mapped repairs of a Chat Completions history for local tiers (contract 6.2, 6.5), made in the JSON text itself.

Only the messages that need it are written anew; every other byte stays, so that one turn's bytes still extend the
last one's whether or not a repair was needed then.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw

from anvil.router.dialects.encode import NULL, splice, without_nonce
from anvil.router.dialects.openai_chat_scan import SYSTEM_ROLES, has_unsound_arguments, is_json_text, part_text
from anvil.router.reading import is_billing

_plain = msgspec.json.Decoder().decode
_items = msgspec.json.Decoder(list[Raw]).decode
_fields = msgspec.json.Decoder(dict[str, Raw]).decode

_EMPTY_ARGUMENTS = Raw(b'"{}"')
_SYSTEM = Raw(b'"system"')


def repair(messages: Raw, wanted: frozenset[str]) -> bytes:
    """The messages array with the repairs named in ``wanted`` (Appendix A names) made."""
    whole = bytes(messages)
    items = _items(messages)
    pieces: list[bytes] = []
    at = kept_to = 0
    leading = True
    for place, item in enumerate(items):
        text = bytes(item)
        start = whole.index(text, at)
        at = start + len(text)
        message = _plain(item)
        leading = leading and message["role"] in SYSTEM_ROLES
        if kept_to < 0:  # the message before was left out, and with it the comma that followed it
            kept_to = start
        new = _repaired(item, message, wanted, leading)
        if new is item:
            continue
        pieces.append(whole[kept_to:start])
        kept_to = at
        if new is not None:
            pieces.append(bytes(new))
        elif place + 1 < len(items):
            kept_to = -1
        else:
            pieces.append(bytes(_with(item, content=Raw(b'""'))))
    pieces.append(whole[kept_to:])
    return b"".join(pieces)


def _repaired(item: Raw, message: dict[str, Any], wanted: frozenset[str], leading: bool) -> Raw | None:
    """The message as it is, as repaired, or None when nothing of it is left."""
    if leading and "system.nonce" in wanted and has_nonce(message):
        content = _without_nonce_blocks(item, message["content"])
        if content is None:
            return None
        item = _with(item, content=content)
    if "role.developer" in wanted and message["role"] == "developer":
        item = _with(item, role=_SYSTEM)
    if "history.tool_arguments" in wanted and has_unsound_arguments(message):
        item = _with_sound_arguments(item)
    return item


def has_nonce(message: dict[str, Any]) -> bool:
    content = message.get("content")
    blocks = content if type(content) is list else [content]
    return any(is_billing(part_text(block)) for block in blocks)


def _with(item: Raw, **changes: Raw) -> Raw:
    return Raw(splice({**_fields(item), **changes}))


def _without_nonce_blocks(item: Raw, content: Any) -> Raw | None:
    if type(content) is str:
        rest = without_nonce(content)
        return None if rest is None else Raw(splice(rest))
    parts = _items(_fields(item)["content"])
    kept = [part for part, block in zip(parts, content, strict=True) if not is_billing(part_text(block))]
    return Raw(splice(kept)) if kept else None


def _with_sound_arguments(item: Raw) -> Raw:
    fields = _fields(item)
    changes: dict[str, Raw] = {}
    if isinstance(_plain(fields.get("tool_calls", NULL)), list):
        changes["tool_calls"] = Raw(splice([_sound_call(call) for call in _items(fields["tool_calls"])]))
    if "function_call" in fields:
        changes["function_call"] = _sound_function(fields["function_call"])
    return _with(item, **changes)


def _sound_call(call: Raw) -> Raw:
    decoded = _plain(call)
    if not isinstance(decoded, dict) or "function" not in decoded:
        return call
    return _with(call, function=_sound_function(_fields(call)["function"]))


def _sound_function(function: Raw) -> Raw:
    decoded = _plain(function)
    if not isinstance(decoded, dict) or is_json_text(decoded.get("arguments")):
        return function
    return _with(function, arguments=_sound_arguments(_fields(function).get("arguments"), decoded.get("arguments")))


def _sound_arguments(raw: Raw | None, decoded: object) -> Raw:
    """An object keeps its meaning as JSON text; anything else that is not JSON text becomes an empty object."""
    if raw is not None and isinstance(decoded, dict):
        return Raw(splice(bytes(raw).decode()))
    return _EMPTY_ARGUMENTS
