"""The upper bound on prompt tokens (contract 2.12)."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anvil.router import tokens
from anvil.router.dialects import anthropic_messages, openai_chat
from anvil.router.turn import Turn


def spelled_out(text: str) -> int:
    """2.12 word for word, one match at a time."""
    data = text.encode()
    total = at = 0
    run = re.compile(rb"[A-Z]?[a-z]+")
    while at < len(data):
        blank = 1 if data[at : at + 1] == b" " and data[at - 1 : at] != b" " else 0
        found = run.match(data, at + blank)
        if found is None:
            total, at = total + 1, at + 1
            continue
        letters = found[0].lstrip(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ")
        if len(letters) > 16:
            total += blank + len(found[0])
        else:
            total += -(-len(found[0]) // 2)
        at = found.end()
    return total


@pytest.mark.parametrize(
    ("text", "bound"),
    [
        ("", 0),
        ("a", 1),
        ("ab", 1),
        ("abc", 2),
        ("Abc", 2),
        ("ABc", 2),
        ("fooBar", 4),
        ("a" * 16, 8),
        ("a" * 17, 17),
        ("A" + "a" * 16, 9),
        ("A" + "a" * 17, 18),
        ("one two", 4),
        ("one  two", 6),
        (" one", 2),
        ("one ", 3),
        ("x 9", 3),
        ("x " + "a" * 17, 19),
        ("\nfoo", 3),
        ("é", 2),
        ("日本", 6),
        ("😀", 4),
        ("I", 1),
        (" I", 2),
        ("def f(x):", 7),
    ],
)
def test_the_formula(text: str, bound: int) -> None:
    assert tokens.bytes_bound(text.encode()) == bound == spelled_out(text)


@given(
    st.text("aAbZ 9é\n", max_size=60) | st.from_regex(r"([A-Z]?[a-z]{14,18} {0,2}){1,4}", fullmatch=True) | st.text()
)
@settings(max_examples=200, deadline=None)
def test_the_counting_equals_the_formula(text: str) -> None:
    assert tokens.bytes_bound(text.encode()) == spelled_out(text)


@given(st.text("aAb 9", max_size=80) | st.from_regex(r"([A-Z]?[a-z]{1,18} {0,2}){1,4}", fullmatch=True))
@settings(max_examples=200, deadline=None)
def test_few_and_many_capitals_are_counted_alike(text: str) -> None:
    for threshold in (0, 1_000_000):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(tokens, "_BYTES_PER_CAPITAL", threshold)
            assert tokens.bytes_bound(text.encode()) == spelled_out(text)


def anthropic(**fields: Any) -> Turn:
    base = {"max_tokens": 10, "messages": [{"role": "user", "content": "hi there"}]}
    return anthropic_messages.parse(json.dumps({**base, **fields}).encode())


IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}}


@pytest.mark.parametrize(
    ("fields", "more"),
    [
        ({}, 0),
        ({"system": "abcd"}, 2),
        ({"system": ["abcd", "abcd"]}, 4),
        ({"messages": [{"role": "user", "content": ["hi there", IMAGE]}]}, 4096),
        ({"tools": [{"name": "abcd", "description": "abcd", "input_schema": {}}]}, 32 + 2 + 2 + 2),
        ({"messages": [{"role": "user", "content": "hi there"}, {"role": "assistant", "content": "abcd"}]}, 8 + 2),
    ],
)
def test_a_request_is_the_sum_of_its_parts(fields: dict[str, Any], more: int) -> None:
    assert tokens.upper_bound(anthropic(**fields)) == 8 + 4 + more


def test_calls_results_and_documents_count() -> None:
    call = {"type": "tool_use", "id": "x", "name": "abcd", "input": {"k": "abcd"}}
    result = {"type": "tool_result", "tool_use_id": "x", "content": [{"type": "text", "text": "abcd"}]}
    document = {"type": "document", "source": {"type": "text", "data": "abcd"}}
    turn = anthropic(
        messages=[{"role": "assistant", "content": [call]}, {"role": "user", "content": [result, document]}]
    )
    arguments = tokens.bytes_bound(b'{"k": "abcd"}')
    assert tokens.upper_bound(turn) == 16 + 2 + arguments + 2 + 4


def test_image_tokens_are_the_tiers() -> None:
    turn = anthropic(messages=[{"role": "user", "content": [IMAGE]}])
    assert tokens.upper_bound(turn, image_tokens=100) == 108


def test_a_tier_that_went_above_the_bound_counts_bytes() -> None:
    assert tokens.upper_bound(anthropic(system="é"), per_byte=True) == 8 + len("hi there") + 2


def test_the_coarse_bound_is_used_when_there_is_room_for_it() -> None:
    turn = anthropic(system="many words and more words " * 50)
    exact, quick = tokens.upper_bound(turn), tokens.quick_bound(turn)
    coarse = tokens.upper_bound(turn, room=quick)
    assert exact < coarse < quick
    assert tokens.upper_bound(turn, room=coarse) == coarse
    assert tokens.upper_bound(turn, room=coarse - 1) == exact


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=40) | st.from_regex(
    r"([A-Z]?[a-z]{1,18} ){1,6}", fullmatch=True
)


@given(system=TEXTS, said=st.lists(TEXTS, min_size=1, max_size=4), named=TEXTS, escaped=st.booleans())
@settings(max_examples=150, deadline=None)
def test_cheaper_bounds_are_never_lower(system: str, said: list[str], named: str, escaped: bool) -> None:
    fields = {
        "max_tokens": 1,
        "system": system,
        "messages": [{"role": "user", "content": [text]} for text in said],
        "tools": [{"name": "f", "description": named, "input_schema": {"type": "object", "title": named}}],
    }
    turn = anthropic_messages.parse(json.dumps(fields, ensure_ascii=escaped).encode())
    exact = tokens.upper_bound(turn)
    assert exact <= tokens.upper_bound(turn, room=10**9) <= tokens.quick_bound(turn)
    assert exact <= tokens.upper_bound(turn, per_byte=True) <= tokens.quick_bound(turn)


@given(said=st.lists(TEXTS, min_size=1, max_size=4), more=TEXTS)
@settings(max_examples=100, deadline=None)
def test_a_longer_conversation_never_has_a_lower_bound(said: list[str], more: str) -> None:
    def bound(texts: list[str]) -> int:
        return tokens.upper_bound(anthropic(messages=[{"role": "user", "content": text} for text in texts]))

    assert bound([*said, more]) >= bound(said) + tokens.PER_MESSAGE


def test_both_dialects_give_the_same_bound_for_the_same_words() -> None:
    chat = openai_chat.parse(b'{"messages":[{"role":"user","content":"hi there"}]}')
    assert tokens.upper_bound(chat) == tokens.upper_bound(anthropic())


def test_the_module_can_be_the_first_import() -> None:
    subprocess.run([sys.executable, "-c", "import anvil.router.tokens"], check=True)
