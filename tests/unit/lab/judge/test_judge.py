"""Judges: the protocol to the letter, what a client is given, and who may not grade whom (router 21.5)."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anvil.lab.evaluation.scores import DIMENSIONS
from anvil.lab.judge import JudgeFailed, ProtocolError, Sample, family, prompt
from anvil.lab.judge import reply as replies
from anvil.lab.judge.claude import BinaryMissing, ClaudeJudge
from anvil.lab.judge.endpoint import EndpointJudge
from tests.router.tier import Tier, chat
from tests.unit.lab.judge.scripted import Client, Told, reply
from tests.unit.router.routing import cloud, local

SAMPLE = Sample("planning", "plan it", "### T001")
GOOD = reply(5, 4, 3, 2, 1)

# -------------------------------------------------------------------------------------------------- reply


@pytest.mark.parametrize(
    "text",
    [GOOD, f"```json\n{GOOD}\n```", f"Here is my {{careful}} grade:\n\n{GOOD}\nHope that helps.", GOOD + "\n{"],
)
def test_prose_and_fences_around_one_object_are_tolerated(text: str) -> None:
    found = replies.read(text)
    assert (found.scores.total, found.notes) == (15, "fine")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "no JSON objects"),
        ("5 5 5 5 5", "no JSON objects"),
        (GOOD + GOOD, "holds 2"),
        (reply(5, 4, 3, 2, 1, total=16), "not the sum"),
        (reply(5, 4, 3, 2, 1, total=15.0), "not the sum"),
        (reply(5, 5, 5, 5, 6), "not a whole number"),
        (reply(5, 4, 3, 2, 1, extra=1), "unknown key extra"),
        (reply(5, 4, 3, 2, 1, notes=None), "notes is not a text"),
        (reply(5, 4, 3, 2, 1, scores={}), "missing or unknown dimension"),
        (reply(5, 4, 3, 2, 1, scores=[5, 4, 3, 2, 1]), "not a table"),
        (GOOD.replace('"total": 15', '"total": 14, "total": 15'), "a key twice"),
        (GOOD.replace(": 5", ': "5"'), "not a whole number"),
        (GOOD.replace(": 1}", ": true}"), "not a whole number"),
        (json.dumps({"answer": json.loads(GOOD)}), "missing or unknown key"),
        ("x" * 17_000, "longer than"),
        ("{" * 16_000, "no JSON objects"),
        ('{"a":' * 3_200, "deeply"),
        (GOOD.replace(": 15", f": {'1' * 5_000}"), "missing or unknown key"),
    ],
)
def test_anything_else_is_a_protocol_error(text: str, problem: str) -> None:
    with pytest.raises(ProtocolError, match=problem):
        replies.read(text)


@given(st.text(max_size=200), st.lists(st.integers(0, 5), min_size=5, max_size=5))
def test_no_prose_without_braces_changes_a_grade(prose: str, points: list[int]) -> None:
    clean = prose.replace("{", "").replace("}", "")
    assert replies.read(clean + reply(*points) + clean).scores.total == sum(points)


# ------------------------------------------------------------------------------------------------- prompt


def test_each_side_is_clipped_and_the_rubric_is_whole() -> None:
    text = prompt.build(Sample("review", "r" * 12_001, "a" * 30_000))
    assert "r" * 12_000 in text
    assert "r" * 12_001 not in text
    assert "[18000 more characters left out]" in text
    assert all(text.count(name) == 2 for name in DIMENSIONS)
    assert prompt.clipped("x" * 12_000) == "x" * 12_000


# ------------------------------------------------------------------------------------------------- claude


def test_the_client_gets_the_prompt_on_stdin_and_no_key(tmp_path: Path) -> None:
    client = Client(tmp_path / "bin", GOOD)
    environ = {**os.environ, "ANVIL_CLAUDE_BIN": str(client.path), "ANTHROPIC_API_KEY": "sk-canary"}
    assert ClaudeJudge(environ, "opus").opinion(SAMPLE).scores.total == 15
    (call,) = client.calls
    assert call["argv"] == ["-p", "--output-format", "json", "--model", "opus"]
    assert call["prompt"] == prompt.build(SAMPLE)
    assert call["cwd"] == []
    assert "sk-canary" not in json.dumps(call)


@pytest.mark.parametrize(
    ("answer", "error", "problem"),
    [
        (7, JudgeFailed, "code 7: it said nothing"),
        (1, JudgeFailed, "code 1: boom"),
        ({"type": "result", "is_error": True, "result": "rate limit"}, JudgeFailed, "rate limit"),
        ({"type": "result"}, ProtocolError, "without a result"),
        (["x"], ProtocolError, "without a result"),
        ("no json here", ProtocolError, "no JSON objects"),
    ],
)
def test_a_failing_client_is_named(tmp_path: Path, answer: object, error: type[Exception], problem: str) -> None:
    client = Client(tmp_path / "bin", answer)
    with pytest.raises(error, match=problem):
        ClaudeJudge({**os.environ, "ANVIL_CLAUDE_BIN": str(client.path)}).opinion(SAMPLE)


def test_a_list_of_events_ends_in_the_result(tmp_path: Path) -> None:
    client = Client(tmp_path / "bin", [{"type": "system"}, {"type": "result", "is_error": False, "result": GOOD}])
    assert ClaudeJudge({**os.environ, "ANVIL_CLAUDE_BIN": str(client.path)}).opinion(SAMPLE).scores.total == 15


def test_a_client_that_hangs_is_ended(tmp_path: Path) -> None:
    slow = tmp_path / "claude"
    slow.write_text("#!/bin/sh\nexec sleep 30\n")
    slow.chmod(0o755)
    with pytest.raises(JudgeFailed, match=r"longer than 0\.2"):
        ClaudeJudge({**os.environ, "ANVIL_CLAUDE_BIN": str(slow)}, timeout_s=0.2).opinion(SAMPLE)


def test_a_missing_client_is_found_out_at_once(tmp_path: Path) -> None:
    with pytest.raises(BinaryMissing, match="ANVIL_CLAUDE_BIN"):
        ClaudeJudge({"PATH": str(tmp_path)})


# ----------------------------------------------------------------------------------------------- endpoint


def test_an_endpoint_is_asked_with_model_and_key() -> None:
    tier = Tier(lambda request: chat(GOOD)).start()
    try:
        judge = EndpointJudge(tier.url, "gpt-9", "secret-key")
        assert judge.opinion(SAMPLE).scores.total == 15
        assert judge.families == {"openai"}
        (request,) = tier.seen
        assert (request.path, request.headers["authorization"]) == ("/v1/chat/completions", "Bearer secret-key")
        assert (request.json["model"], request.json["temperature"]) == ("gpt-9", 0)
        assert request.json["messages"][0]["content"] == prompt.build(SAMPLE)
    finally:
        tier.stop()
    with pytest.raises(JudgeFailed, match="no answer"):
        judge.opinion(SAMPLE)


# ------------------------------------------------------------------------------------------------- family


@pytest.mark.parametrize(
    ("names", "dialect", "is_local", "found"),
    [
        (("claude-opus-5",), "openai", True, {"claude"}),
        (("house-model",), "anthropic", True, {"claude"}),
        (("qwen3-coder", "anthropic-like"), "openai", True, {"qwen", "claude"}),
        (("DeepSeek-R1-Distill-Llama-70B",), "openai", True, {"deepseek", "meta"}),
        (("openai/gpt-oss-120b",), "openai", True, {"openai"}),
        (("o3",), "openai", False, {"openai"}),
        (("Mixtral-8x22B",), "openai", True, {"mistral"}),
        (("gemma-3-27b",), "openai", True, {"google"}),
        (("house-model", "llama.cpp-fast", "llama-server"), "openai", True, {"local"}),
        ((None, "fast"), "openai", True, {"local"}),
        (("house-model",), "openai", False, set()),
    ],
)
def test_families(names: tuple[str | None, ...], dialect: str, is_local: bool, found: set[str]) -> None:
    assert family.families(names, dialect=dialect, local=is_local) == found


def test_no_family_grades_itself_and_none_is_guessed() -> None:
    judge = Told([20])
    family.check(judge, family.of_tier(local("fast")), "fast")
    family.check(judge, family.of_tier(local("fast", model=None), "qwen3"), "fast")
    for tier in (local("fast", model="claude-mini"), local("claude-twin"), local("x", dialect="anthropic")):
        with pytest.raises(family.SelfJudgement, match="same family"):
            family.check(judge, family.of_tier(tier), tier.id)
    with pytest.raises(family.SelfJudgement, match="same family"):
        family.check(judge, family.of_tier(local("fast", model=None), "claude-x"), "fast")
    with pytest.raises(family.SelfJudgement, match="cannot be told"):
        family.check(judge, family.of_tier(cloud("paid", dialect="openai", model="mystery")), "paid")
    with pytest.raises(family.SelfJudgement, match="the judge told cannot be told"):
        family.check(Told([20], frozenset()), frozenset({"qwen"}), "fast")
    assert judge.asked == []
