"""Mapped repairs of a Messages body (contract 6.2, 6.5), made in the JSON text itself.

Only what needs it is written anew and every other byte stays, separators included, so that one turn's bytes still
extend the last one's whether or not a repair was needed then.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw

from anvil.router.dialects.anthropic_intake import View
from anvil.router.dialects.anthropic_translate import late_system
from anvil.router.dialects.encode import splice, without_nonce
from anvil.router.turn import Block, Message, Reasoning, Text

_RAWS = msgspec.json.Decoder(list[Raw])
_OBJECT = msgspec.json.Decoder(dict[str, Raw])


def system_without_nonce(raw: Raw, view: View) -> Any:
    """The ``system`` field without the rotating billing block; None when nothing else is in it."""
    if bytes(raw)[:1] != b"[":
        return without_nonce(view.system[0])
    pairs = zip(_RAWS.decode(raw), view.system, strict=True)
    return [block for item, text in pairs if (block := _without_nonce(item, text)) is not None] or None


def _without_nonce(item: Raw, text: str) -> Any:
    rest = without_nonce(text)
    if rest is None or rest == text:
        return None if rest is None else item
    return {**_OBJECT.decode(item), "text": rest} if bytes(item)[:1] == b"{" else rest


def repaired_messages(raw: Raw, view: View, *, wrap: bool, unsigned: bool) -> Raw:
    """The messages array for one tier.

    wrap: role-system messages become user text at their place. unsigned: thinking without a signature is left out,
    no cloud tier would accept it.
    """
    whole = bytes(raw)
    pieces: list[bytes] = []
    at = 0
    for item, message in zip(_RAWS.decode(raw), view.messages, strict=True):
        text = bytes(item)
        start = whole.index(text, at)
        new = _repaired(item, text, message, wrap=wrap, unsigned=unsigned)
        if new is not None:
            pieces += (whole[at:start] if pieces or not at else b"[", new)
        at = start + len(text)
    return Raw(b"".join([*pieces, b"]"])) if pieces else Raw(b"[]")


def _repaired(item: Raw, text: bytes, message: Message, *, wrap: bool, unsigned: bool) -> bytes | None:
    """One message's JSON; None when nothing of it is left."""
    if wrap and message.role == "system":
        said = "\n".join([block.text for block in message.blocks if type(block) is Text])
        return splice(late_system(said)) if said else None
    if unsigned and any([_is_unsigned(block) for block in message.blocks]):
        fields: dict[str, Any] = dict(_OBJECT.decode(item))
        parts = zip(_RAWS.decode(fields["content"]), message.blocks, strict=True)
        fields["content"] = [part for part, block in parts if not _is_unsigned(block)]
        return splice(fields) if fields["content"] else None
    return text


def _is_unsigned(block: Block) -> bool:
    return type(block) is Reasoning and block.signature is None and block.redacted is None
