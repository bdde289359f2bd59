"""Tolerant readings of a JSON block: what people write where JSON is meant (contract 12.6)."""

from __future__ import annotations

import re
from collections.abc import Iterator

from anvil.router.verify import strict_json
from anvil.router.verify.ellipsis import elides_json

# Possessive throughout, and an unfinished string or comment still matches: no position is ever scanned twice.
_STRING = r'"(?:[^"\\\n]|\\.)*+"?'
_COMMENT = re.compile(rf"({_STRING})|//[^\n]*+|/\*(?:[^*]|\*(?!/))*+(?:\*/)?", re.S)
_TRAILING_COMMA = re.compile(rf"({_STRING})|,(?=\s*+[\]}}])", re.S)


def parses(body: str) -> bool:
    """Whether any reading accepts the block, or an ellipsis line says that it is not meant to be complete."""
    return any(map(_is_sequence, _readings(body))) or elides_json(body)


def _readings(body: str) -> Iterator[str]:
    yield body
    relaxed = relax(body)
    yield relaxed
    members = relaxed.strip().removesuffix(",")
    if members.startswith('"'):  # cut out of a larger object, as in a hint on settings
        yield f"{{{members}}}"


def relax(body: str) -> str:
    """The text without // and /* */ comments and without trailing commas; strings stay as they are."""
    if "/" in body:
        body = _COMMENT.sub(lambda match: match[1] or " ", body)
    return _TRAILING_COMMA.sub(lambda match: match[1] or "", body)


def _is_sequence(body: str) -> bool:
    try:
        strict_json.decode_sequence(body)
    except strict_json.NotJson:
        return False
    return True
