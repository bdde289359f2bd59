"""Parameters of GET /v1/decisions: strict parsing and the filters (contract 2.13)."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anvil.router.decisions import BadQuery, parse_query
from anvil.router.decisions.query import Query
from anvil.router.decisions.record import ENDPOINTS, FAILURE_CLASSES, OUTCOMES, WORK_CLASSES, timestamp
from tests.unit.router.decision_samples import attempt, decision, fell_back, id_at


def test_nothing_asked() -> None:
    query = parse_query("")
    assert (query.page, query.oldest_first, query.format, query.follow) == (100, False, "json", False)
    assert query.predicate()(decision())


BAD = [
    "colour=red",
    "Limit=5",
    "limit=0",
    "limit=1001",
    "limit=-1",
    "limit=1.5",
    "limit=",
    "limit=٣",
    "limit=5&limit=6",
    "before=dec_xyz",
    "before=DEC_" + "0" * 24,
    "after=" + "0" * 24,
    "since=yesterday",
    "since=2026-01-05",
    "since=2026-01-05T10:00:00",
    "since=2026-13-05T10:00:00Z",
    "since=nan",
    "since=-1",
    "since=1e9",
    "until=999999999999",
    "outcome=fine",
    "work_class=coding",
    "endpoint=embeddings",
    "failure_class=timeout",
    "status=ok",
    "status=99",
    "status=20",
    "fell_back=yes",
    "committed=1",
    "caller_model=",
    "tier=",
    "tier=" + "x" * 257,
    "format=xml",
    "follow=yes",
    "follow=1&before=" + id_at(1),
    "follow=1&until=5",
    "follow=1&format=jsonl",
    "tier",
    "tier=%ff",
    "&".join(["tier=a"] * 201),
]


@pytest.mark.parametrize("text", BAD)
def test_what_is_refused(text: str) -> None:
    with pytest.raises(BadQuery):
        parse_query(text)


def test_a_refusal_names_the_parameter_and_the_choices() -> None:
    with pytest.raises(BadQuery, match=r"outcome must be one of: aborted_after_commit, advised, .*unbound"):
        parse_query("outcome=fine")
    with pytest.raises(BadQuery, match="unknown parameter 'colour', known are: after, before, caller_model"):
        parse_query("colour=red")


@given(st.text(max_size=60))
def test_any_text_is_a_query_or_refused(text: str) -> None:
    for candidate in (text, urlencode({"since": text}), urlencode({"limit": text}), urlencode({"status": text})):
        try:
            assert isinstance(parse_query(candidate), Query)
        except BadQuery:
            continue


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1767603600", "2026-01-05T09:00:00.000Z"),
        ("1767603600.25", "2026-01-05T09:00:00.250Z"),
        ("2026-01-05T09:00:00Z", "2026-01-05T09:00:00.000Z"),
        ("2026-01-05t09:00:00.5z", "2026-01-05T09:00:00.500Z"),
        ("2026-01-05T11:00:00%2B02:00", "2026-01-05T09:00:00.000Z"),
        ("2026-01-05T11:00:00+02:00", "2026-01-05T09:00:00.000Z"),
    ],
)
def test_moments(text: str, expected: str) -> None:
    assert parse_query(f"since={text}").since == expected


def test_every_word_of_the_vocabularies_is_accepted() -> None:
    for name, words in (
        ("endpoint", ENDPOINTS),
        ("outcome", OUTCOMES),
        ("failure_class", FAILURE_CLASSES),
        ("work_class", WORK_CLASSES | {"-"}),
    ):
        assert getattr(parse_query("&".join(f"{name}={word}" for word in words)), name) == words


@pytest.mark.parametrize(
    ("text", "changes", "other"),
    [
        ("tier=small", {}, {"served_tier": "paid"}),
        ("tier=small&tier=paid", {"served_tier": "paid"}, {"served_tier": None}),
        ("work_class=chat", {}, {"work_class": "review"}),
        ("work_class=-", {"work_class": None}, {}),
        ("preset=chat", {}, {"intent": None}),
        ("endpoint=messages", {"endpoint": "messages"}, {}),
        ("outcome=exhausted", {"outcome": "exhausted"}, {}),
        ("status=503&status=413", {"status": 413}, {}),
        ("fell_back=true", {"fell_back": True}, {}),
        ("fell_back=false", {}, {"fell_back": True}),
        ("committed=false", {"committed": False}, {}),
        ("caller_model=chat", {}, {"caller_model": "Chat"}),
        ("since=1767603600", {}, {"ts": timestamp(1767603599.999)}),
        ("until=1767603601", {}, {"ts": timestamp(1767603601)}),
        (
            "failure_class=unavailable",
            {"attempts": (attempt("x", "error", failure_class="unavailable"), attempt())},
            {},
        ),
    ],
)
def test_filters(text: str, changes: dict[str, Any], other: dict[str, Any]) -> None:
    accepts = parse_query(text).predicate()
    assert accepts(decision(**changes))
    assert not accepts(decision(**other))


def test_filters_are_joined_by_and() -> None:
    accepts = parse_query("tier=paid&fell_back=true&failure_class=bad_answer").predicate()
    assert accepts(fell_back())
    assert not accepts(fell_back(served_tier="small"))


def test_the_accept_header_asks_to_follow() -> None:
    assert parse_query("", accept="text/event-stream").follow
    assert not parse_query("", accept="application/json").follow
    assert parse_query("follow=1&limit=5&tier=small").follow
