"""JSON without mercy: what every consumer of an answer can read (contract 12.3)."""

from __future__ import annotations

import msgspec

from anvil.router.reading import check_depth

MAX_NESTING = 128


class NotJson(ValueError):
    """The text is not one strict JSON document, or nests deeper than MAX_NESTING."""


def decode(text: str | bytes) -> object:
    """One document. NaN, Infinity, overflowing numbers, lone surrogates and trailing bytes raise NotJson."""
    try:
        return msgspec.json.decode(_shallow(text))
    except (ValueError, RecursionError) as error:
        raise NotJson from error


def decode_sequence(text: str) -> list[object]:
    """Documents one after the other, JSON lines among them; raises NotJson when there are none."""
    try:
        values = _SEQUENCE.decode_lines(_shallow(text))
    except (ValueError, RecursionError) as error:
        raise NotJson from error
    if not values:
        raise NotJson
    return values


_SEQUENCE: msgspec.json.Decoder[object] = msgspec.json.Decoder()


def _shallow(text: str | bytes) -> bytes:
    data = text.encode() if isinstance(text, str) else text
    if not check_depth(data, MAX_NESTING):
        raise NotJson
    return data
