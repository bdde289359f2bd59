"""Captures judged: what is a model name of ours, and how often a hook fired."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anvil.harness.capture import PRESETS, cadence, read, wire


@pytest.mark.parametrize(
    ("text", "judged", "violations"),
    [
        ('{"model": "anvil/chat"}', 1, 0),
        ('{"model": "chat", "modelOverride": "planning"}', 2, 0),
        ('[{"model": "review"}, "anvil/quick-edit", "long-context"]', 3, 0),
        ('"chat"', 1, 0),
        ('{"model": "chat"}\n\n{"modelOverride": null, "model": "review"}\n', 2, 0),
        ('{"model": "gpt-5.5"}', 1, 1),
        ('["anvil/anvil/chat", "anvil:chat", "CHAT", "chat ", "chat\\n", "", "anvil/"]', 7, 7),
        ('{"model": 7}', 1, 1),
        ('{"model": "chat"}\nnot json\n"chat"', 2, 1),
        ('{"other": 1}', 0, 1),
        ("", 0, 1),
        ("[]", 0, 1),
        ("not json", 0, 1),
    ],
)
def test_the_wire_form(text: str, judged: int, violations: int) -> None:
    verdict = wire(read(text))
    assert (verdict.judged, len(verdict.violations)) == (judged, violations), verdict


def test_a_violation_names_its_line_and_field() -> None:
    (violation,) = wire(read('"chat"\n{"modelOverride": "gpt"}')).violations
    assert violation.startswith('line 2: modelOverride: "gpt"')


@given(st.sampled_from(PRESETS), st.text(max_size=4), st.text(max_size=4), st.sampled_from(["", "anvil/"]))
def test_only_the_presets_bare_or_prefixed(preset: str, before: str, after: str, prefix: str) -> None:
    assert not wire(read(json.dumps(prefix + preset))).violations
    other = before + prefix + preset + after
    fine = other.removeprefix("anvil/") in PRESETS
    assert bool(wire(read(json.dumps(other))).violations) is not fine


def fires(*rows: tuple[str, object]) -> str:
    return "\n".join(json.dumps({"sessionKey": session, "userMessageIndex": index}) for session, index in rows)


@pytest.mark.parametrize(
    ("text", "judged", "violations", "findings"),
    [
        (fires(("a", 0), ("a", 1), ("b", 0)), 2, 0, 0),
        (fires(("a", 0), ("a", 0), ("b", 0)), 2, 0, 1),
        ('{"runId": "r", "userMessageId": "m1"}\n{"runId": "r", "userMessageId": "m2"}', 1, 0, 0),
        ('{"sessionKey": null, "runId": "r", "userMessageIndex": 0}', 1, 0, 0),
        ('{"sessionKey": "a"}', 0, 1, 0),
        ('{"userMessageIndex": 0}', 0, 1, 0),
        ('"text"\n7', 0, 2, 0),
        (fires(("a", 0)) + "\n{cut", 1, 1, 0),
        ("", 0, 1, 0),
        ("[]", 0, 1, 0),
    ],
)
def test_the_cadence(text: str, judged: int, violations: int, findings: int) -> None:
    verdict = cadence(read(text))
    assert (verdict.judged, len(verdict.violations), len(verdict.findings)) == (judged, violations, findings), verdict


@given(st.text())
def test_no_text_raises(text: str) -> None:
    capture = read(text)
    wire(capture)
    cadence(capture)
    wire(read(f"[{text}"))


def test_nesting_without_end_is_a_problem() -> None:
    assert wire(read("[" * 200_000)).violations
