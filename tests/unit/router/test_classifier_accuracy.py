"""The classifier's published accuracy: it may only change together with the page that states it."""

from __future__ import annotations

import json
from collections import Counter

import msgspec
import pytest

from anvil.router import dialects
from anvil.router.classify import Classifier
from tests.unit.router.classifier_corpus import CLASSES, PAGE, STYLES, Seen, classify_all, page, rate, rows

# what the rules reach today; raise them together with docs/classifier.md
ALL, SURE = 0.73, 0.76


@pytest.fixture(scope="module")
def seen() -> list[Seen]:
    return classify_all()


def test_the_corpus_is_broad_and_has_no_double() -> None:
    all_rows = list(rows())
    assert len(all_rows) >= 300
    assert {harness for harness, _ in all_rows} == set(STYLES)
    assert {row.label for _, row in all_rows} == set(CLASSES)
    texts = Counter((harness, row.text) for harness, row in all_rows)
    assert [text for text, count in texts.items() if count > 1] == []
    assert min(Counter(row.label for _, row in all_rows).values()) >= 12


def test_the_page_tells_the_figures_of_this_classifier() -> None:
    assert PAGE.read_text() == page(), "run: python -m tests.unit.router.classifier_corpus"


def test_accuracy_does_not_fall(seen: list[Seen]) -> None:
    assert rate(seen) >= ALL
    assert rate([one for one in seen if one.found.confident]) >= SURE


def test_the_system_manual_and_tool_results_decide_nothing(seen: list[Seen]) -> None:
    """A manual full of keywords, reminders, internal context and results in every body: U alone is matched."""
    for one in seen:
        if one.row.attached_words == 0:
            assert all(word in one.row.text.lower() for word in one.found.keywords), one.row.text


def test_a_turn_deep_in_an_agent_loop_keeps_its_class(seen: list[Seen]) -> None:
    for one in seen:
        if one.row.turn == "loop":
            first = msgspec.structs.replace(one.row, turn="first")
            dialect, body = STYLES[one.harness](first)
            turn = dialects.caller(dialect).parse(json.dumps(body).encode())
            assert Classifier().classify(turn.signals) == one.found, one.row.text


def test_long_input_is_always_seen(seen: list[Seen]) -> None:
    assert all(one.right and one.found.confident for one in seen if one.row.label == "long-context")
