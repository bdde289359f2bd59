"""The fuzzer's laws see a parser that breaks them, and hold for a first handful of bodies."""

from __future__ import annotations

from collections import Counter
from typing import Any
from unittest import mock

import pytest

from anvil.router.dialects import anthropic_wire, openai_chat
from tests.fuzz import __main__ as fuzz
from tests.fuzz import bodies, laws

RAW = b'{"max_tokens":1,"messages":[{"role":"user","content":"x"}],"tools":[{"name":"a","input_schema":{"x":1e400}}]}'
PLAIN = b'{"messages":[{"role":"user","content":"x"}]}'


@pytest.mark.parametrize("dialect", list(bodies.SAMPLES))
def test_the_laws_hold_for_what_is_drawn_first(dialect: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fuzz, "ROUND", 40)
    counts: Counter[tuple[str, bool]] = Counter()
    assert fuzz._round(dialect, 1, counts)
    assert counts[dialect, True] > 3
    assert counts[dialect, False] > 3


def test_a_number_that_overflows_is_seen_when_a_parser_lets_it_pass() -> None:
    assert not laws.check("anthropic", RAW)
    with mock.patch.object(anthropic_wire, "check_numbers"), pytest.raises(AssertionError, match="no JSON object"):
        laws.check("anthropic", RAW.replace(b'"a"', b'"b"'))


def test_a_parser_that_raises_something_else_is_seen() -> None:
    with mock.patch.object(openai_chat, "parse", side_effect=KeyError("x")), pytest.raises(KeyError):
        laws.check("openai", PLAIN)


def test_a_reading_that_differs_is_seen() -> None:
    real, others = openai_chat.parse, iter([PLAIN, PLAIN.replace(b'"x"', b'"y"')])

    def parse(_: bytes) -> Any:
        return real(next(others))

    with mock.patch.object(openai_chat, "parse", parse), pytest.raises(AssertionError, match="second reading"):
        laws.check("openai", PLAIN)


@pytest.mark.parametrize("text", [b'{"a":1e400}', b'{"a":NaN}', b'{"a":"\\ud800"}', b'{"a":"\xff"}', b'{"a":1,}', b""])
def test_the_reference_is_strict(text: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        laws.strict(text)
