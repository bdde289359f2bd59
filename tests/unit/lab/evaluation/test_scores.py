"""Scores: the rubric is kept to the letter; thresholds are those of the contract."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anvil.lab.evaluation.scores import DIMENSIONS, BadScores, average, checked, quality, verdict

FULL = dict.fromkeys(DIMENSIONS, 5)


@given(st.lists(st.integers(0, 5), min_size=5, max_size=5))
def test_a_total_that_is_the_sum_is_read(points: list[int]) -> None:
    assert checked(dict(zip(DIMENSIONS, points, strict=True)), sum(points)).total == sum(points)


@pytest.mark.parametrize(
    ("scores", "total"),
    [
        (FULL, 24),
        (FULL, 25.0),
        (FULL, "25"),
        (FULL | {"faithfulness": 6}, 26),
        (FULL | {"faithfulness": -1}, 19),
        (FULL | {"faithfulness": True}, 21),
        (FULL | {"faithfulness": 4.0}, 24),
        (FULL | {"style": 5}, 30),
        ({name: 5 for name in DIMENSIONS[1:]}, 20),
        ([5, 5, 5, 5, 5], 25),
        (None, None),
    ],
)
def test_anything_else_is_an_error(scores: object, total: object) -> None:
    with pytest.raises(BadScores):
        checked(scores, total)


@pytest.mark.parametrize(
    ("score", "decision"),
    [(1.0, "allow"), (0.85, "allow"), (0.8499, "allow-with-verify"), (0.7, "allow-with-verify"), (0.6999, "deny")],
)
def test_thresholds(score: float, decision: str) -> None:
    assert verdict(score) == decision


def test_rounding() -> None:
    assert average([25, 25, 24]) == 24.667
    assert quality(24.667) == 0.9867
