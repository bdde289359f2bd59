"""Vocabulary and classifier (contract 9.4, 9.5)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anvil.router.classify import BUILT_IN, FALLBACK, VOCABULARY_FILE, Classified, Classifier, load_vocabulary
from anvil.router.reading import own_text
from anvil.router.taxonomy import WORK_CLASSES
from anvil.router.turn import Signals

CLASSIFIER = Classifier()


def classify(text: str = "", **signals: object) -> Classified:
    return CLASSIFIER.classify(Signals(user_text=text, **signals))  # type: ignore[arg-type]


def test_the_mirror_equals_the_file() -> None:
    listed = json.loads(VOCABULARY_FILE.read_text())
    assert list(load_vocabulary().items()) == list(BUILT_IN.items())
    assert {name: words for name, words in listed.items() if not name.startswith("_")} == BUILT_IN


@pytest.mark.parametrize(
    "data", [b"", b"[]", b"{}", b'{"review": "x"}', b'{"review": [1]}', b'{"other": ["x"]}', b"\xff"]
)
def test_a_broken_file_leaves_the_mirror(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "v.json").write_bytes(data)
    assert load_vocabulary(tmp_path / "v.json") == BUILT_IN
    assert load_vocabulary(tmp_path / "absent.json") == BUILT_IN


@pytest.mark.parametrize(("work_class", "word"), [(name, word) for name, words in BUILT_IN.items() for word in words])
def test_every_word_alone_decides(work_class: str, word: str) -> None:
    for text in (word, f"Please {word.upper()}, now", f"({word})"):
        found = classify(text)
        assert (found.work_class, found.confident) == (work_class, True)
        assert word in found.keywords
    assert classify(f"x{word}x") == FALLBACK


@pytest.mark.parametrize("text", ["exchange", "planes", "redesigned", "editor", "fix_it", "step  by step", "", "Hallo"])
def test_no_word_within_a_word(text: str) -> None:
    assert classify(text) == FALLBACK


@pytest.mark.parametrize(
    ("text", "work_class", "keywords"),
    [
        ("review this plan", "review", ("review", "plan")),
        ("fix the design", "planning", ("design", "fix")),
        ("refactor and fix", "multi-file-refactor", ("refactor", "fix")),
    ],
)
def test_several_classes_are_ambiguous(text: str, work_class: str, keywords: tuple[str, ...]) -> None:
    assert classify(text, thinking=True, has_tools=True) == Classified(work_class, False, keywords)


def test_two_words_of_one_class_are_not_ambiguous() -> None:
    assert classify("plan and design") == Classified("planning", True, ("plan", "design"))


def test_order_of_the_rules() -> None:
    assert classify("fix it", words=4001) == Classified("long-context", True)
    assert classify("fix it", words=4000).work_class == "bounded-edit"
    assert classify("fix it", thinking=True).work_class == "bounded-edit"
    assert classify("hello", thinking=True, has_tools=True) == Classified("planning", True)
    assert classify("hello", has_tools=True) == Classified("bounded-edit", True)
    assert classify("hello") == Classified("chat", False)


def test_a_short_system_prompt_counts() -> None:
    assert classify("hello", system_text="You review code").work_class == "review"


def test_anything_unexpected_is_chat() -> None:
    assert classify(None, words=1) == FALLBACK  # type: ignore[arg-type]
    assert classify("fix", words="many") == FALLBACK


@given(st.text(), st.text(), st.integers(0, 9000), st.booleans(), st.booleans())
def test_always_a_class_and_only_vocabulary_words(
    user: str, system: str, words: int, thinking: bool, tools: bool
) -> None:
    found = classify(user, system_text=system, words=words, thinking=thinking, has_tools=tools)
    assert found.work_class in WORK_CLASSES
    assert set(found.keywords) <= {word for listed in BUILT_IN.values() for word in listed}
    assert found == classify(user, system_text=system, words=words, thinking=thinking, has_tools=tools)


def newest_own_text(messages: list[tuple[str, str]]) -> str:
    """As the dialects read U: the newest user message that has a text of its own."""
    return next((own for role, text in reversed(messages) if role == "user" and (own := own_text(text))), "")


def test_an_agent_loop_keeps_its_class() -> None:
    messages = [("user", "[Mon 2026-11-23 06:43 UTC] please review the parser")]
    seen = set()
    for step in range(12):
        words = sum(len(text.split()) for _, text in messages)
        seen.add(classify(newest_own_text(messages), has_tools=True, words=words))
        messages += [("assistant", "fix it, then plan"), ("tool", "design " * 40)]
        if step % 2:
            messages.append(("user", "<<<BEGIN_OPENCLAW_INTERNAL_CONTEXT>>>\nimplement the plan"))
            messages.append(("user", "<system-reminder>edit nothing</system-reminder>"))
    assert seen == {Classified("review", True, ("review",))}
