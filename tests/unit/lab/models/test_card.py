"""Model cards: only what stands there unambiguously (lab contract 8)."""

from __future__ import annotations

import time

import httpx
import pytest

from anvil.lab.models.card import Score, card
from anvil.lab.models.hub import fetcher, readme


def test_front_matter_and_hints() -> None:
    text = (
        "---\nlicense: apache-2.0\npipeline_tag: text-generation\nbase_model:\n- Qwen/Qwen3-32B\ntags: [a]\n---\n"
        "The model thinks by default.\n\nUse temperature=0.6.\n\nContext length: 131,072 tokens\n"
    )
    found = card(text)
    assert (found.license, found.pipeline_tag, found.base_model) == ("apache-2.0", "text-generation", "Qwen/Qwen3-32B")
    assert (found.thinking_default, found.sampling_hint) == (True, "Use temperature=0.6.")
    assert found.context_hint == "Context length: 131,072 tokens"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Thinking is disabled by default.", False),
        ("Thinking is on by default.\nReasoning is off by default.", None),
        ("It thinks.", None),
    ],
)
def test_the_thinking_default_is_told_or_left_open(text: str, said: bool | None) -> None:
    assert card(text).thinking_default is said


@pytest.mark.parametrize(
    ("line", "score"),
    [
        ("| SWE-bench Verified | **62.4** |", 62.4),
        ("| SWE-Bench Verified (agentless) | 50.8% |", 50.8),
        ("SWE-bench Verified: 62.4", 62.4),
        ("It reaches 62% on SWE-bench Verified.", 62.0),
        ("| SWE-bench Verified | 62.4 | 50.0 |", None),
        ("SWE-bench Verified 62.4 against 50.1", None),
        ("SWE-bench Verified, as of 2025", None),
        ("SWE-bench Verified since 26", None),
        ("| SWE-bench Verified | 2025 |", None),
        ("SWE-bench Verified with Qwen3.6-27B", None),
        ("SWE-bench Lite: 40.1", None),
    ],
)
def test_a_score_is_the_only_number_beside_its_name(line: str, score: float | None) -> None:
    found = card(line).benchmarks
    assert found == ({} if score is None else {"SWE-bench Verified": Score(value=score, evidence=line)})


def test_versions_and_years_are_no_scores() -> None:
    assert card("LiveCodeBench v6: 71.2").benchmarks["LiveCodeBench"].value == 71.2
    assert card("| LiveCodeBench v5 | n/a |\n| RULER@128K | 93 |").benchmarks.keys() == {"RULER@128K"}
    assert card("LiveCodeBench, from 2024 to 2025, 45.1").benchmarks == {}


def test_the_hub_is_asked_once_with_the_token_and_without_redirects() -> None:
    asked: list[httpx.Request] = []

    def hub(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return httpx.Response(200, text="# card") if "good" in request.url.path else httpx.Response(302)

    with fetcher({"HF_TOKEN": "t"}, httpx.MockTransport(hub)) as client:
        assert readme(client, "a/good") == "# card"
        assert readme(client, "a/moved") is None
    assert [str(request.url) for request in asked] == [
        "https://huggingface.co/a/good/raw/main/README.md",
        "https://huggingface.co/a/moved/raw/main/README.md",
    ]
    assert asked[0].headers["authorization"] == "Bearer t"


def test_a_failing_hub_means_no_card() -> None:
    def down(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("no route", request=request)

    with fetcher({}, httpx.MockTransport(down)) as client:
        assert readme(client, "a/b") is None


@pytest.mark.parametrize(
    "text",
    [
        f"| HumanEval | 5{' ' * 50_000}x |",
        "---" + "\n" * 50_000,
        f"---\na: x{' ' * 50_000}y\n---\n",
        f"---\na:\n- x{' ' * 50_000}y\n---\n",
        "think" * 10_000,
    ],
)
def test_a_card_made_to_be_slow_is_read_at_once(text: str) -> None:
    started = time.process_time()
    assert card(text).benchmarks == {}
    assert time.process_time() - started < 1
