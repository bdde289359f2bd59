"""Remembered tool declarations and word counts: never a wrong value, never more than the bounds."""

from __future__ import annotations

import json

import pytest
from msgspec import Raw

from anvil.router import recent
from anvil.router.dialects import openai_chat
from anvil.router.recent import Recent, Shared, recent_words, total_words


def test_equal_bytes_are_computed_once_and_different_bytes_with_equal_ends_are_not_mixed_up() -> None:
    seen: list[bytes] = []
    remembered = Recent(lambda raw: seen.append(bytes(raw)) or bytes(raw))
    tail = b"x" * 100
    texts = [b"1" + tail, b"2" + tail, b"1" + tail, b"1" + tail]
    assert [remembered(Raw(text)) for text in texts] == texts
    assert seen == texts[:3]


def test_bounds_of_what_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recent, "ENTRIES", 2)
    monkeypatch.setattr(recent, "MAX_BYTES", 10)
    seen: list[bytes] = []
    remembered = Recent(lambda raw: seen.append(bytes(raw)))
    for text in (b"a", b"b", b"a", b"c", b"a", b"b"):
        remembered(Raw(text))
    assert seen == [b"a", b"b", b"c", b"b"]
    remembered(Raw(b"x" * 11))
    remembered(Raw(b"x" * 11))
    assert seen[4:] == [b"x" * 11] * 2


def test_a_failure_is_not_remembered() -> None:
    outcomes = iter([LookupError("no"), None])

    def compute(_: Raw) -> str:
        error = next(outcomes)
        if error is not None:
            raise error
        return "read"

    remembered = Recent(compute)
    with pytest.raises(LookupError):
        remembered(Raw(b"1"))
    assert remembered(Raw(b"1")) == "read"


def test_what_is_kept_does_not_hold_the_body() -> None:
    kept: list[Raw] = []
    remembered = Recent(kept.append)
    body = b'{"tools":[1]}'
    remembered(Raw(memoryview(body)[9:12]))
    assert bytes(kept[0]) == b"[1]"
    assert memoryview(kept[0]).obj is not body


def test_word_counts_stay_right_when_the_memory_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recent, "WORD_COUNTS", 2)
    for _ in range(2):
        for words in (500, 501, 502, 503):
            assert recent_words("w " * words) == words
            assert len(recent._counts) <= 2


def test_results_are_shared_only_between_the_same_values(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recent, "ENTRIES", 2)
    monkeypatch.setattr(recent, "MAX_BYTES", 10)
    seen: list[list[str]] = []
    shared = Shared[str, str](lambda values: seen.append(values[:]) or "".join(values), len)
    a, b, c = ["a", "b"], ["a", "c"], ["x" * 11]
    assert [shared(values) for values in (a, a[:], b, b, a, c, c)] == ["ab", "ab", "ac", "ac", "ab", c[0], c[0]]
    assert seen == [a, b, a, c, c]
    assert len(shared._kept) <= 2


def test_total_words_is_the_sum() -> None:
    texts = ["", "a b", " c ", "w " * 300, "é\u2003b " * 200]
    for _ in range(2):
        assert total_words(texts) == sum(len(text.split()) for text in texts)
    assert total_words([]) == 0


def test_one_requests_tools_are_its_own() -> None:
    body = {"messages": [{"role": "user", "content": "x"}], "tools": [{"function": {"name": "f"}}]}
    first = openai_chat.parse(json.dumps(body).encode())
    first.tools.clear()
    assert [tool.name for tool in openai_chat.parse(json.dumps(body).encode()).tools] == ["f"]
