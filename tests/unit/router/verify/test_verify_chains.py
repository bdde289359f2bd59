"""Contract 12.1, 12.4: which checks run, in which order, and that nothing they do reaches the caller."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anvil.router.turn import ResponseFormat, Signals, Tool, ToolCall, ToolChoice, Turn
from anvil.router.verify import chains
from anvil.router.verify.chains import Chain, Outcome
from anvil.router.verify.evidence import Evidence

TOOL_CHECKS = ("tool_call_json_valid", "tool_choice_honoured")
MINIMAL = ("non_empty_content", "not_truncated", *TOOL_CHECKS)
FULL = (*MINIMAL, "code_parses", "diff_well_formed", "format_well_formed")


@pytest.mark.parametrize(
    ("verdict", "local", "minimum", "checks"),
    [
        ("allow", True, True, MINIMAL),
        ("allow", True, False, TOOL_CHECKS),
        ("allow", False, True, ("non_empty_content", *TOOL_CHECKS)),
        ("allow", False, False, ("non_empty_content", *TOOL_CHECKS)),
        *[("allow-with-verify", local, minimum, FULL) for local in (True, False) for minimum in (True, False)],
        ("deny", True, True, FULL),
    ],
)
def test_chain_of_a_tier(verdict: str, local: bool, minimum: bool, checks: tuple[str, ...]) -> None:
    assert chains.chain(verdict, local, minimum).checks == checks


def test_names_differ_so_that_metrics_can_tell_the_chains_apart() -> None:
    assert len({chain.name for chain in (chains.FULL, chains.MINIMAL, chains.TOOLS, chains.CLOUD)}) == 4


def test_an_empty_chain_is_the_full_one() -> None:
    empty = Chain("empty")
    assert empty.checks == FULL
    assert empty.run(Evidence(text="```python\ndef f(:\n```")).failed == "code_parses"
    assert empty.run(Evidence(text="I'm unable to do that.")).advisories == ("refusal",)


def test_the_first_failure_decides() -> None:
    evidence = Evidence(text=" ", finish="length", tool_choice=ToolChoice("required"))
    assert chains.FULL.run(evidence) == Outcome(False, "non_empty_content")


def test_a_check_that_raises_is_a_failed_check() -> None:
    def broken(evidence: Evidence) -> bool:
        raise RecursionError

    assert Chain("x", [broken]).run(Evidence(text="a")) == Outcome(False, "broken_error")


@pytest.mark.parametrize("answer", [None, 1, "yes", ("a",)])
def test_a_check_that_answers_nonsense_is_a_failed_check(answer: object) -> None:
    def odd(evidence: Evidence) -> bool:
        return answer  # type: ignore[return-value]  # the point of the test

    assert Chain("x", [odd]).run(Evidence(text="a")) == Outcome(False, "odd_error")


def test_an_advisory_never_fails_an_answer() -> None:
    def raises(evidence: Evidence) -> bool:
        raise ValueError

    def fine(evidence: Evidence) -> bool:
        return True

    assert Chain("x", [fine], [("a", raises), ("b", fine)]).run(Evidence(text="a")) == Outcome(True, None, ("b",))


@pytest.mark.parametrize("text", [None, 5, b"bytes", ["a"], {"a": 1}])
@pytest.mark.parametrize("chain", [chains.FULL, chains.MINIMAL, chains.CLOUD])
def test_text_that_is_no_string_fails(text: object, chain: Chain) -> None:
    assert chain.run(Evidence(text=text)).failed == "non_empty_content"  # type: ignore[arg-type]  # the point of the test


@pytest.mark.parametrize(
    "text", ["I can't help with that", "  \nAS AN AI LANGUAGE MODEL, I", "I’m sorry, but I can’t", "i am not able to x"]
)
def test_refusals_are_noted_and_pass(text: str) -> None:
    assert chains.FULL.run(Evidence(text=text)) == Outcome(True, None, ("refusal",))
    assert chains.MINIMAL.run(Evidence(text=text)) == Outcome(True)


def test_only_the_start_of_the_text_is_a_refusal() -> None:
    assert chains.FULL.run(Evidence(text="He said: I can't help with that")).advisories == ()


def test_live_streams_note_truncation() -> None:
    assert chains.truncated(Evidence(text="a", finish="length"))
    assert not chains.truncated(Evidence(text="a", finish="length", cap=9, completion_tokens=9))
    assert not chains.truncated(Evidence(text="a", finish="stop"))


@pytest.mark.parametrize(
    ("call", "failed"),
    [
        (ToolCall("1", "f", '{"a": 1}'), None),
        (ToolCall("1", "f", '{"a": "1"}'), "tool_call_json_valid"),
        (ToolCall("1", "g", "{}"), "tool_call_json_valid"),
        (ToolCall("1", "f", "{"), "tool_call_json_valid"),
        (ToolCall("1", 5, "{}"), "tool_call_json_valid_error"),  # type: ignore[arg-type]  # a reader's mistake
    ],
)
def test_one_call_of_a_live_stream(call: ToolCall, failed: str | None) -> None:
    turn = Turn("openai", {}, Signals(), tools=[Tool("f", schema=b'{"properties":{"a":{"type":"integer"}}}')])
    assert chains.MINIMAL.verify_call(call, turn) == failed


_SNIPPETS = st.sampled_from(
    [
        "```",
        "````",
        "~~~",
        "python\n",
        "json\n",
        "diff\n",
        "\n",
        "    ",
        "- ",
        "@@ -1 +1 @@\n",
        "+a\n",
        "-a\n",
        "{",
        '"',
        "[1,",
        "}",
        "...",
        "# ",
        "/*",
        "//",
        "def f(:\n",
        ">>> ",
        "!ls\n",
        "\\",
        "\0",
        "\ud800",
        "f'{'",
        "é",
        "\r\n",
        "*** Begin Patch\n",
    ]
)
_TEXTS = st.lists(_SNIPPETS | st.text(max_size=8), max_size=30).map("".join)


@settings(max_examples=400, deadline=None)
@given(text=_TEXTS, finish=st.sampled_from(["stop", "length", None]), arguments=_TEXTS)
def test_no_check_ever_raises(text: str, finish: str | None, arguments: str) -> None:
    evidence = Evidence(
        text=text,
        finish=finish,
        cap=5,
        calls=[ToolCall("1", "f", arguments)],
        response_format=ResponseFormat("json_schema", arguments.encode("utf-8", "replace")),
        tools={"f": text.encode("utf-8", "replace")},
    )
    for chain in (chains.FULL, chains.MINIMAL, chains.TOOLS, chains.CLOUD):
        assert not (chain.run(evidence).failed or "").endswith("_error")
    evidence.calls = []
    assert not (chains.FULL.run(evidence).failed or "").endswith("_error")


@settings(max_examples=400, deadline=None)
@given(
    text=_TEXTS,
    finish=st.sampled_from(["stop", "stop", "stop_sequence", "length", "unknown", None]),
    raw=st.sampled_from(["stop", "stop", "end_turn", "length", "model_context_window_exceeded", None]),
    choice=st.sampled_from([None, ToolChoice("auto"), ToolChoice("required"), ToolChoice("named", "f")]),
    wanted=st.sampled_from([None, None, ResponseFormat("json_object")]),
    calls=st.sampled_from([[], [], [ToolCall("1", "f", "{")]]),
)
def test_the_short_way_through_a_chain_is_no_other_verdict(
    text: str,
    finish: str | None,
    raw: str | None,
    choice: ToolChoice | None,
    wanted: ResponseFormat | None,
    calls: list[ToolCall],
) -> None:
    seen = Evidence(text=text, finish=finish, raw_finish=raw, calls=calls, tool_choice=choice, response_format=wanted)
    for chain in (chains.FULL, chains.MINIMAL, chains.TOOLS, chains.CLOUD):
        assert chain.run(seen).failed == chain._first_failure(seen)
