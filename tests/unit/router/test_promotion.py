"""Offline metrics and the promotion gate (contract 18)."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import anvil.router
from anvil.router.decisions.record import decode
from anvil.router.promotion import BadRecord, Summary, evaluate

WINDOW = Path(anvil.router.__file__).parent / "promotion_window.jsonl"


def line(**changes: object) -> str:
    record: dict[str, object] = {
        "work_class": "chat",
        "served_tier": "small",
        "served_tier_privacy": "local",
        "ground_truth": "pass",
        "attempts": [{"outcome": "served", "prompt_tokens": 10, "completion_tokens": 5}],
        "total_prompt_tokens": 100,
        "total_completion_tokens": 50,
        "cost_usd": 0.5,
        "mode": "agentic",
    }
    return json.dumps(record | changes)


def test_what_nobody_judged_is_not_counted_as_judged() -> None:
    lines = [
        line(),
        line(ground_truth=None),
        line(ground_truth=None, silent_failure=False),
        line(served_tier_privacy="cloud"),
    ]
    assert evaluate(lines).overall.graded_local == 2


@pytest.mark.parametrize("text", ["{}", '{"object": "list", "data": []}', '{"decision": {"served_tier": "small"}}'])
def test_an_object_that_is_no_record_is_refused(text: str) -> None:
    with pytest.raises(BadRecord, match="line 2: no decision record"):
        evaluate([line(), text])


def test_the_shipped_window() -> None:
    lines = WINDOW.read_text().splitlines()
    summary = evaluate(lines)
    assert (summary.total_records, summary.overall.accepted_local) == (35, 25)
    assert f"{summary.overall.accept_rate:.2%}" == "71.43%"
    assert (summary.overall.silent_failures, summary.overall.cloud_tokens_saved) == (0, 37890)
    assert summary.gate_passed
    assert summary.breaches == []
    assert all(decode(record).schema == "anvil-serving.router.decision/v1" for record in lines)


def test_counting() -> None:
    summary = evaluate(
        [
            line(),
            line(ground_truth="fail"),
            line(attempts=[], ground_truth=None),
            line(served_tier="paid", served_tier_privacy="cloud", ground_truth="fail"),
            line(served_tier_privacy=None, ground_truth="fail"),
            line(served_tier=None, ground_truth="fail"),
            line(work_class=None, mode="flexibility"),
            line(work_class="", mode=None),
            "",
        ]
    )
    chat = summary.classes["chat"]
    assert (chat.total, chat.accepted_local, chat.silent_failures) == (6, 3, 1)
    assert chat.silent_failure_rate == pytest.approx(1 / 3)
    assert chat.cloud_tokens_saved == 15 + 15 + 150
    assert summary.classes["(unclassified)"].total == 2
    assert summary.overall.cost_usd == 4.0
    assert summary.modes == ["agentic", "flexibility"]
    assert summary.breaches == ["chat", "__overall__"]
    assert not summary.gate_passed


def test_an_explicit_verdict_overrides_for_local_records_only() -> None:
    assert evaluate([line(silent_failure=True)]).overall.silent_failures == 1
    assert evaluate([line(silent_failure=False, ground_truth="fail")]).overall.silent_failures == 0
    cloud = line(silent_failure=True, served_tier_privacy="cloud")
    assert evaluate([cloud]).overall.silent_failures == 0


@pytest.mark.parametrize(("bad", "threshold", "passed"), [(1, 0.01, False), (1, 0.011, True), (0, 0.01, True)])
def test_reaching_the_threshold_is_a_breach(bad: int, threshold: float, passed: bool) -> None:
    lines = [line(ground_truth="fail")] * bad + [line()] * (100 - bad)
    assert evaluate(lines, threshold).gate_passed is passed


def test_one_bad_class_breaches_though_the_whole_does_not() -> None:
    lines = [line(work_class="review", ground_truth="fail")] + [line()] * 999
    assert evaluate(lines).breaches == ["review"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{", "line 2: not JSON"),
        ("[]", "line 2: not a JSON object"),
        ("[" * 100_000, "line 2: not JSON"),
        (line(ground_truth="maybe"), "line 2: ground_truth"),
        (line(silent_failure="no"), "line 2: silent_failure"),
        (line(work_class=3), "line 2: work_class"),
        (line(served_tier=["a"]), "line 2: served_tier"),
        (line(attempts={"a": 1}), "line 2: attempts"),
        (line(attempts=[3]), "line 2: attempts"),
        (line(cost_usd="1"), "line 2: total_prompt_tokens, .* must be numbers"),
        (line(attempts=[{"prompt_tokens": True}]), "line 2: .* must be numbers"),
        (line(total_prompt_tokens=-1), "line 2: .* must be numbers"),
        ('{"cost_usd": NaN}', "line 2: .* must be numbers"),
    ],
)
def test_bad_lines_are_named(text: str, problem: str) -> None:
    with pytest.raises(BadRecord, match=problem):
        evaluate([line(), text])


def test_no_record_is_no_proof() -> None:
    with pytest.raises(BadRecord, match="no record"):
        evaluate(["", "\n"])


@pytest.mark.parametrize("threshold", [-0.1, 1.1, float("nan")])
def test_thresholds_outside_the_range(threshold: float) -> None:
    with pytest.raises(ValueError, match="from 0 to 1"):
        evaluate([line()], threshold)


RECORDS = st.lists(
    st.builds(
        line,
        work_class=st.sampled_from(["chat", "review", None]),
        ground_truth=st.sampled_from(["pass", "fail", None]),
        served_tier_privacy=st.sampled_from(["local", "cloud", None]),
        cost_usd=st.integers(0, 5),
    ),
    min_size=1,
    max_size=30,
)


@given(RECORDS, st.randoms(), st.floats(0.001, 1))
def test_order_does_not_matter_and_classes_add_up(lines: list[str], random: object, threshold: float) -> None:
    summary = evaluate(lines, threshold)
    shuffled = sorted(lines, key=lambda _: random.random())  # type: ignore[attr-defined] # a random.Random
    assert msgspec.json.encode(evaluate(shuffled, threshold)) == msgspec.json.encode(summary)
    _add_up(summary)


def _add_up(summary: Summary) -> None:
    for name in ("total", "accepted_local", "silent_failures", "cloud_tokens_saved"):
        assert sum(getattr(tally, name) for tally in summary.classes.values()) == getattr(summary.overall, name)
