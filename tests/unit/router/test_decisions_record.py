"""Ids, times, sanitising, and the shape of a record (contract 2.9, 16.2)."""

from __future__ import annotations

import gc
import json
import re
import timeit

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anvil.router.decisions import record as module
from anvil.router.decisions.record import (
    ID_PATTERN,
    Decision,
    Dropped,
    IntentRecord,
    Needs,
    decode,
    encode,
    id_time,
    lossy_names,
    new_id,
    sanitise,
    timestamp,
)
from tests.unit.router.decision_samples import attempt, decision, fell_back


@pytest.fixture(autouse=True)
def fresh_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_last_ms", 0)
    monkeypatch.setattr(module, "_tail", 0)


def test_an_id_has_its_time_in_front() -> None:
    made = new_id(lambda: 1767603600.123)
    assert ID_PATTERN.fullmatch(made)
    assert int(made[4:15], 16) == 1767603600123
    assert id_time(made) == 1767603600.123


@given(st.lists(st.floats(1.6e9, 1.9e9), min_size=2, max_size=50))
def test_ids_rise_whatever_the_clock_does(times: list[float]) -> None:
    made = [new_id(lambda now=now: now) for now in times]
    assert made == sorted(made)
    assert len(set(made)) == len(made)
    assert all(ID_PATTERN.fullmatch(one) for one in made)


def test_two_workers_in_one_millisecond_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    first = new_id(lambda: 1767603600.0)
    monkeypatch.setattr(module, "_last_ms", 0)
    assert first[:15] == new_id(lambda: 1767603600.0)[:15]
    assert first != new_id(lambda: 1767603600.0)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (1700000000.123, "2023-11-14T22:13:20.123Z"),
        (1700000000.9996, "2023-11-14T22:13:21.000Z"),
        (1.0004, "1970-01-01T00:00:01.000Z"),
    ],
)
def test_timestamps(seconds: float, text: str) -> None:
    assert timestamp(seconds) == text


@given(st.floats(0, 4e9), st.floats(0, 4e9))
def test_timestamps_sort_like_times(one: float, other: float) -> None:
    if abs(one - other) > 0.001:
        assert (timestamp(one) < timestamp(other)) == (one < other)


@given(st.text(max_size=300))
def test_sanitised_text_is_one_harmless_word(text: str) -> None:
    word = sanitise(text)
    assert len(word) == min(128, len(text))
    assert not re.search(r"[\s>\x00-\x1f\x7f\u202e\u200b\u2028]", word)
    word.encode()
    assert sanitise(word) == word


def test_sanitise_keeps_ordinary_names() -> None:
    assert sanitise("anvil/quick-edit:Qwen3.6_27B") == "anvil/quick-edit:Qwen3.6_27B"
    assert sanitise("a b\tc\nd>e\x00\x1b[31m\ud800") == "a_b_c_d_e__[31m_"


FIELDS = [
    "schema",
    "id",
    "ts",
    "release",
    "config_hash",
    "mapping_version",
    "mode",
    "endpoint",
    "dialect",
    "stream",
    "pinged",
    "caller_model",
    "intent",
    "work_class",
    "needs",
    "requested_tiers",
    "dropped",
    "gate_note",
    "residency",
    "attempts",
    "served_tier",
    "served_model",
    "served_tier_privacy",
    "outcome",
    "status",
    "committed",
    "fell_back",
    "lossy",
    "total_prompt_tokens",
    "total_completion_tokens",
    "cost_usd",
    "wasted_cost_usd",
    "received_ms",
    "ttft_ms",
    "duration_ms",
    "trace_id",
]
ATTEMPT_FIELDS = [
    "tier_id",
    "model",
    "verdict",
    "outcome",
    "failure_class",
    "verifier_passed",
    "verify_reason",
    "advisories",
    "upstream_status",
    "prompt_tokens",
    "completion_tokens",
    "cached_tokens",
    "usage_source",
    "cost_usd",
    "wait_ms",
    "ttft_ms",
    "duration_ms",
]


def test_the_schema_is_exactly_the_contract() -> None:
    document = json.loads(encode(fell_back(needs=Needs(context=3))))
    assert list(document) == FIELDS
    assert document["schema"] == "anvil-serving.router.decision/v1"
    assert sorted(document["attempts"][0]) == sorted(ATTEMPT_FIELDS)
    assert list(document["intent"]) == ["source", "preset", "ambiguous", "confidence", "signals"]
    assert sorted(document["intent"]["signals"]) == sorted(
        ["token_estimate", "thinking_enabled", "has_tools", "matched_keywords", "urgency"]
    )
    assert list(document["needs"]) == ["context", "tools", "images", "documents", "audio"]
    assert list(document["dropped"]) == [
        "missing",
        "duplicate",
        "context",
        "constraint",
        "metered",
        "denied",
        "unbound",
    ]


def test_a_record_survives_json_and_later_fields() -> None:
    record = fell_back(dropped=Dropped(denied=("heavy",)), lossy=("top_k",))
    document = json.loads(encode(record))
    assert decode(encode(record)) == record
    assert decode(json.dumps(document | {"added_later": [1]})) == record
    with pytest.raises(msgspec.DecodeError):
        decode(b'{"object":"list"}')


def test_records_are_frozen_and_cost_the_collector_nothing() -> None:
    record = decision()
    with pytest.raises(AttributeError):
        record.status = 500  # type: ignore[misc] # the point of the test
    assert not gc.is_tracked(record)
    assert not gc.is_tracked(record.attempts[0])


def test_the_served_attempt() -> None:
    assert fell_back().served_attempt == attempt("paid", model="frontier-x", cost_usd=0.25)
    assert decision(served_tier=None).served_attempt is None


def test_ids_are_cheap() -> None:
    best = min(timeit.repeat(new_id, number=2000, repeat=20)) / 2000
    assert best < 3e-6, f"{best * 1e6:.2f} us"  # 0.7 us on a quiet machine


def test_defaults_are_not_shared_mutables() -> None:
    assert Decision(id="x", ts="t", endpoint="chat", dialect="openai", outcome="served", status=200).attempts == ()
    assert IntentRecord().signals.matched_keywords == ()


@given(
    st.lists(st.sampled_from(["top_k", "stop", "unknown.a b"]) | st.integers(0, 60).map(lambda n: f"unknown.f{n:02}"))
)
def test_lossy_names_are_sorted_distinct_and_few(names: list[str]) -> None:
    kept = lossy_names(names)
    assert list(kept) == sorted(set(kept))
    assert sum(name.startswith("unknown.") for name in kept) <= 20
    assert {"top_k", "stop"} & set(names) == {"top_k", "stop"} & set(kept)
    assert not any(" " in name for name in kept)
