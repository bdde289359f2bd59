"""Reads a judge's reply: one JSON object, prose or a fence around it; anything else is a protocol error."""

from __future__ import annotations

import json
from typing import Any

from anvil.lab.evaluation.scores import BadScores, checked
from anvil.lab.judge import Opinion, ProtocolError

# a reply is some 300 characters; what is far longer is no reply
REPLY_CAP = 16_384
_KEYS = {"scores", "total", "notes"}


def read(text: str) -> Opinion:
    """The opinion in ``text``. Raises ProtocolError, saying what is wrong."""
    if len(text) > REPLY_CAP:
        raise ProtocolError(f"the judge's reply is longer than {REPLY_CAP} characters")
    found = _objects(text)
    if len(found) != 1:
        raise ProtocolError(f"the judge's reply holds {len(found) or 'no'} JSON objects; wanted one")
    document = found[0]
    if wrong := sorted(set(document) ^ _KEYS):
        raise ProtocolError(f"the judge's reply: missing or unknown key {', '.join(wrong)[:200]}")
    if not isinstance(document["notes"], str):
        raise ProtocolError("the judge's reply: notes is not a text")
    try:
        return Opinion(checked(document["scores"], document["total"]), document["notes"])
    except BadScores as error:
        raise ProtocolError(f"the judge's reply: {error}") from None


def _objects(text: str) -> list[dict[str, Any]]:
    """The outermost JSON objects of a text, in order. Braces that open no JSON are prose."""
    decoder = json.JSONDecoder(object_pairs_hook=_distinct)
    found: list[dict[str, Any]] = []
    at = text.find("{")
    while at >= 0:
        try:
            value, end = decoder.raw_decode(text, at)
            found.append(value)
        except ValueError:  # also a number of more digits than Python converts
            end = at + 1
        except RecursionError:
            raise ProtocolError("the judge's reply nests too deeply") from None
        at = text.find("{", end)
    return found


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ProtocolError("the judge's reply names a key twice")
    return found
