"""Contract 12.2: what the checks get to see of an answer and its request."""

from __future__ import annotations

import pytest
from msgspec import Raw

from anvil.router.turn import Answer, Finish, Opaque, Reasoning, Signals, Text, Tool, ToolCall, ToolChoice, Turn, Usage
from anvil.router.verify import chains, evidence
from anvil.router.verify.evidence import Evidence


def _turn(**fields: object) -> Turn:
    return Turn("anthropic", fields.pop("body", {}), Signals(), **fields)  # type: ignore[arg-type]  # test data


def test_of_an_answer() -> None:
    call = ToolCall("1", "f", "{}")
    answer = Answer(
        [Reasoning("hm"), Text("a"), call, Opaque("server_tool_use", b"{}"), Text("b")],
        finish=Finish("length", "max_tokens"),
        usage=Usage(10, 20),
    )
    choice = ToolChoice("auto")
    seen = evidence.of(answer, _turn(tools=[Tool("f", schema=b"{}")], tool_choice=choice, stop=["x"]), 50)
    assert (seen.text, seen.calls, seen.opaque) == ("ab", [call], ("server_tool_use",))
    assert (seen.finish, seen.raw_finish, seen.cap, seen.completion_tokens) == ("length", "max_tokens", 50, 20)
    assert (seen.tools, seen.tool_choice, seen.stop_strings) == ({"f": b"{}"}, choice, True)


def test_estimated_usage_is_not_reported_usage() -> None:
    answer = Answer([Text("a")], finish=Finish("length"), usage=Usage(1, 2, estimated=True))
    seen = evidence.of(answer, _turn(), 100)
    assert seen.completion_tokens is None
    assert chains.MINIMAL.run(seen).passed


def test_reasoning_alone_is_no_content() -> None:
    seen = evidence.of(Answer([Reasoning("long thoughts")], finish=Finish("stop")), _turn(), None)
    assert chains.CLOUD.run(seen).failed == "non_empty_content"


TYPED = Raw(
    b'[{"name":"f","input_schema":{}},{"type":"bash_20250124","name":"bash"},{"type":"custom","name":"c"},5,{"name":7},'
    b'{"type":"function","name":"g"}]'
)


@pytest.mark.parametrize(("name", "declared"), [("f", True), ("bash", True), ("c", True), ("g", False), ("sh", False)])
def test_typed_client_tools_are_declared_too(name: str, declared: bool) -> None:
    turn = _turn(body={"tools": TYPED}, tools=[Tool("f")])
    assert (chains.verify_call(ToolCall("1", name, "{}"), turn) is None) is declared


def test_a_hosted_tool_of_a_responses_caller_is_not_declared() -> None:
    body = {"tools": Raw(b'[{"type":"function","name":"f"},{"type":"web_search","name":"web_search"}]')}
    turn = Turn("responses", body, Signals(), tools=[Tool("f")])
    assert chains.verify_call(ToolCall("1", "web_search", "{}"), turn) == "tool_call_json_valid"


@pytest.mark.parametrize("tools", [None, Raw(b'"x"'), Raw(b"{")])
def test_tools_that_cannot_be_read_declare_nothing_more(tools: Raw | None) -> None:
    turn = _turn(body={} if tools is None else {"tools": tools}, tools=[Tool("f")])
    assert chains.verify_call(ToolCall("1", "g", "{}"), turn) == "tool_call_json_valid"


@pytest.mark.parametrize(
    ("cap", "used", "short"),
    [
        (None, 5, True),
        (100, None, False),
        (100, 84, False),
        (100, 83, True),
        (1000, 950, False),
        (1000, 949, True),
        (0, 0, False),
        (1, 1, False),
        (10, 90, False),
    ],
)
def test_short_of_the_cap(cap: int | None, used: int | None, short: bool) -> None:
    assert Evidence(text="a", cap=cap, completion_tokens=used).short_of_cap is short


@pytest.mark.parametrize("word", ["length", "max_tokens", "model_length"])
def test_every_word_for_length_counts(word: str) -> None:
    assert chains.truncated(Evidence(text="a", finish=word))


@pytest.mark.parametrize(
    ("prompt", "continues"),
    [
        (None, False),
        (b"[]", False),
        (b'[{"role":"user","content":"x"}]', False),
        (b'[{"role":"user"},{"role":"assistant","content":"```"}]', True),
        (b'[{"role":"assistant"},{"role":"user"}]', False),
        (b'{"role":"assistant"}', False),
        (b"[", False),
    ],
)
def test_prefill(prompt: bytes | None, continues: bool) -> None:
    assert Evidence(text="a", prompt=None if prompt is None else Raw(prompt)).continues_prefill() is continues


def test_long_texts_are_skipped_and_pass() -> None:
    tail = "\n```python\ndef f(:"
    for check in (chains.code_parses, chains.diff_well_formed):
        assert check(Evidence(text="```diff\n" + "x" * 262_144 + tail))
    assert not chains.code_parses(Evidence(text="x" * (262_144 - len(tail)) + tail))
