"""What holds for every body, whatever is in it."""

from __future__ import annotations

import json
import math
import time
from typing import Any
from unittest import mock

from anvil.router import dialects
from anvil.router.dialects import anthropic_request, openai_chat_request
from anvil.router.turn import BadRequest, Turn
from tests.unit.router.fidelity.play import tier

SLOWEST_S = 1.0
# the modules whose parsers know a short way for usual bodies
SHORT_WAYS = {"openai": openai_chat_request, "anthropic": anthropic_request}
TIERS = tuple(
    tier(letter, privacy=privacy, stable_prefix=privacy == "local", model="upstream-model")
    for letter in "OA"
    for privacy in ("local", "cloud")
)


class _Doubled(Exception):
    """An object names a member twice: RFC 8259 leaves open what that means."""


def strict(data: bytes) -> Any:
    """A JSON text as strictly as 5.1 asks. Raises ValueError, RecursionError, _Doubled."""
    value = json.loads(
        data.decode(), parse_constant=_refuse, parse_float=_finite, object_pairs_hook=_members
    )  # fmt: skip
    json.dumps(value, ensure_ascii=False).encode()  # a lone surrogate has no encoding
    return value


def _refuse(word: str) -> Any:
    raise ValueError(word)


def _finite(digits: str) -> float:
    value = float(digits)
    if math.isinf(value):
        raise ValueError(digits)
    return value


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _Doubled
    return found


def check(dialect: str, data: bytes) -> bool:
    """Whether the body was accepted. Raises AssertionError, or whatever a parser should not have raised."""
    began = time.perf_counter()
    turn = _parsed(dialect, data)
    assert time.perf_counter() - began < SLOWEST_S, "slow"
    if turn is None:
        return False
    try:
        assert isinstance(strict(data), dict)
    except (ValueError, RecursionError) as error:
        raise AssertionError(f"accepted what is no JSON object: {error}") from None
    except _Doubled:
        pass
    sent = _sent(dialect, turn)
    again = _parsed(dialect, data)
    assert again is not None
    assert _sent(dialect, again) == sent, "the second reading differs"
    module = SHORT_WAYS.get(dialect)
    if module is not None:
        with mock.patch.object(module, "_usual_turn", return_value=None):
            long = _parsed(dialect, data)
        assert long is not None, "the long way refuses what the short way takes"
        assert _sent(dialect, long) == sent, "the long way differs"
    return True


def _parsed(dialect: str, data: bytes) -> Turn | None:
    try:
        return dialects.caller(dialect).parse(data)
    except BadRequest:
        return None


def _sent(dialect: str, turn: Turn) -> list[bytes]:
    """What each kind of tier would get, every one of them valid and with the router's own values where they count."""
    bodies = []
    for target in TIERS:
        conversation = None if target.dialect == dialect else dialects.caller(turn.dialect).conversation(turn)
        body = dialects.tier(target.dialect).request(turn, target, conversation).body
        try:
            value = strict(body)
        except _Doubled:
            value = json.loads(body)
        assert value["model"] == "upstream-model"
        assert value.get("stream", False) is turn.stream
        assert isinstance(value["messages"], list)
        bodies.append(body)
    return bodies
