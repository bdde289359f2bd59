"""Writing Responses answers: bodies and streams (contract 13.5, 14.1, 14.5)."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from anvil.router.dialects import openai_responses as dialect
from anvil.router.gate import fold, unfold
from anvil.router.turn import (
    Answer,
    Event,
    Fault,
    Finish,
    Opaque,
    OpaqueDone,
    Reasoning,
    ReasoningDelta,
    ReasoningDone,
    Text,
    TextDelta,
    ToolCall,
    ToolDone,
    ToolGrow,
    ToolOpen,
    Turn,
    Usage,
    UsageReport,
)
from tests.unit.router.dialects.responses_samples import CODEX_TOOLS, REPLY, body, codex

PLAIN = dialect.parse(body(stream=True))
CODEX = dialect.parse(codex())
USAGE = Usage(9, 3, cached=4, reasoning=1)
SHELL = ToolCall("call_1", "exec_command", '{"cmd":"ls"}')
PATCH = ToolCall("call_2", "apply_patch", '{"input":"*** Begin\\n"}')


def write(events: list[Event], turn: Turn = PLAIN) -> tuple[list[dict[str, Any]], set[str]]:
    writer = dialect.writer(turn, REPLY)
    data = writer.start() + b"".join([writer.write(event) for event in events]) + writer.finish()
    return frames(data), writer.lossy


def frames(data: bytes) -> list[dict[str, Any]]:
    """Every event, its ``event:`` line checked against its type and its number against its place."""
    assert data.endswith(b"\n\n")
    found = []
    for at, frame in enumerate(data[:-2].split(b"\n\n")):
        name, payload = frame.split(b"\n")
        event = json.loads(payload.removeprefix(b"data: "))
        assert name == b"event: " + event["type"].encode()
        assert event["sequence_number"] == at
        found.append(event)
    return found


def whole(answer: Answer, turn: Turn = PLAIN) -> tuple[dict[str, Any], set[str]]:
    lossy: set[str] = set()
    found: dict[str, Any] = json.loads(dialect.render(answer, turn, REPLY, lossy))
    return found, lossy


def kinds(events: list[dict[str, Any]]) -> list[str]:
    return [event["type"].removeprefix("response.") for event in events]


EVENTS: list[Event] = [
    ReasoningDelta("h"),
    ReasoningDelta("m"),
    ReasoningDone("signed"),
    TextDelta('a"\n'),
    TextDelta("é"),
    ToolOpen(5),
    ToolGrow(5, 3),
    ToolDone(5, SHELL),
    ToolDone(6, PATCH),
    UsageReport(USAGE),
    Finish("tool_calls", "tool_use"),
]
ITEM_START, ITEM_END = ["output_item.added", "content_part.added"], ["content_part.done", "output_item.done"]


def test_events_in_contract_order() -> None:
    found, lossy = write(EVENTS, CODEX)
    assert kinds(found) == [
        *("created", "in_progress"),
        *(*ITEM_START, "reasoning_text.delta", "reasoning_text.delta", "reasoning_text.done", *ITEM_END),
        *(*ITEM_START, "output_text.delta", "output_text.delta", "output_text.done", *ITEM_END),
        *("output_item.added", "function_call_arguments.delta", "function_call_arguments.done", "output_item.done"),
        *("output_item.added", "custom_tool_call_input.delta", "custom_tool_call_input.done", "output_item.done"),
        "completed",
    ]
    assert lossy == {"reasoning.signature"}
    rs, msg, fc, ctc = [f"{kind}_0123456789abcdef01234{at:03x}" for at, kind in enumerate(("rs", "msg", "fc", "ctc"))]
    done = [event["item"] for event in found if event["type"].endswith("output_item.done")]
    assert done == [
        {
            "id": rs,
            "type": "reasoning",
            "status": "completed",
            "summary": [],
            "content": [{"type": "reasoning_text", "text": "hm"}],
        },
        {
            "id": msg,
            "type": "message",
            "status": "completed",
            "role": "assistant",
            "content": [{"type": "output_text", "text": 'a"\né', "annotations": []}],
        },
        {
            "id": fc,
            "type": "function_call",
            "status": "completed",
            "call_id": "call_1",
            "name": "exec_command",
            "arguments": '{"cmd":"ls"}',
        },
        {
            "id": ctc,
            "type": "custom_tool_call",
            "status": "completed",
            "call_id": "call_2",
            "name": "apply_patch",
            "input": "*** Begin\n",
        },
    ]
    added = [event["item"] for event in found if event["type"].endswith("output_item.added")]
    assert [item["status"] for item in added] == ["in_progress"] * 4
    assert [item.get("content") for item in added] == [[], [], None, None]
    assert (added[2]["arguments"], added[3]["input"]) == ("", "")
    assert found[-1]["response"]["output"] == done


def test_delta_frames_carry_their_place() -> None:
    found, _ = write(EVENTS, CODEX)
    text = [event for event in found if event["type"] == "response.output_text.delta"]
    assert [event["delta"] for event in text] == ['a"\n', "é"]
    for event in text:
        assert event["item_id"].startswith("msg_")
        assert (event["output_index"], event["content_index"], event["logprobs"]) == (1, 0, [])
    call = next(event for event in found if event["type"] == "response.function_call_arguments.delta")
    assert (call["delta"], call["output_index"]) == ('{"cmd":"ls"}', 2)


def test_lifecycle_frames_carry_the_whole_response() -> None:
    found, _ = write(EVENTS, CODEX)
    first, second, last = found[0]["response"], found[1]["response"], found[-1]["response"]
    assert first == second
    assert first == {
        "id": "resp_0123456789abcdef01234567",
        "object": "response",
        "created_at": 1_700_000_000,
        "status": "in_progress",
        "error": None,
        "incomplete_details": None,
        "instructions": "You are a coding agent.",
        "max_output_tokens": None,
        "metadata": {},
        "model": "planning",
        "output": [],
        "parallel_tool_calls": False,
        "previous_response_id": None,
        "reasoning": {"summary": "auto"},
        "store": False,
        "temperature": None,
        "text": {"format": {"type": "text"}},
        "tool_choice": "auto",
        "tools": CODEX_TOOLS,
        "top_p": None,
        "usage": None,
    }
    assert last["status"] == "completed"
    assert last["usage"] == {
        "input_tokens": 9,
        "input_tokens_details": {"cached_tokens": 4},
        "output_tokens": 3,
        "output_tokens_details": {"reasoning_tokens": 1},
        "total_tokens": 12,
    }
    assert {**last, "output": [], "status": "in_progress", "usage": None} == first


def test_usage_known_before_the_start_shows_at_once() -> None:
    writer = dialect.writer(PLAIN, REPLY)
    writer.write(UsageReport(USAGE))
    assert frames(writer.start())[0]["response"]["usage"]["input_tokens"] == 9


def test_usage_is_estimated_where_no_tier_reports_it() -> None:
    found, _ = write([TextDelta("one "), TextDelta("two"), Finish("stop")])
    assert found[-1]["response"]["usage"]["input_tokens"] == 11
    assert found[-1]["response"]["usage"]["output_tokens"] == 2
    body_usage = whole(Answer([Text("one two")], Finish("stop")))[0]["usage"]
    assert body_usage == found[-1]["response"]["usage"]


@pytest.mark.parametrize(
    ("finish", "status", "reason", "names"),
    [
        (Finish("stop", "stop"), "completed", None, set()),
        (Finish("stop_sequence", "stop", "END"), "completed", None, {"answer.stop_string"}),
        (Finish("tool_calls", "tool_calls"), "completed", None, set()),
        (Finish("length", "length"), "incomplete", "max_output_tokens", set()),
        (Finish("context_window", "x"), "incomplete", "max_output_tokens", set()),
        (Finish("content_filter", "refusal"), "incomplete", "content_filter", set()),
        (Finish("pause_turn", "pause_turn"), "completed", None, {"finish.pause_turn"}),
        (Finish("unknown", "odd"), "completed", None, {"finish.unknown"}),
        (Finish("unknown", None), "completed", None, set()),
        (None, "completed", None, set()),
    ],
)
def test_finish_reasons(finish: Finish | None, status: str, reason: str | None, names: set[str]) -> None:
    details = None if reason is None else {"reason": reason}
    found, lossy = whole(Answer([Text("x")], finish))
    assert (found["status"], found["incomplete_details"], lossy) == (status, details, names)
    assert found["output"][0]["status"] == status
    events, lossy = write([TextDelta("x"), *([finish] if finish else [])])
    assert events[-1]["type"] == f"response.{status}"
    last = events[-1]["response"]
    assert (last["status"], last["incomplete_details"], lossy) == (status, details, names)
    assert last["output"][0]["status"] == status


@pytest.mark.parametrize(
    ("failure", "code"), [("unavailable", "server_error"), ("rate_limited", "rate_limit_exceeded")]
)
def test_abort_is_one_failed_event_without_closing_frames(failure: str, code: str) -> None:
    writer = dialect.writer(CODEX, REPLY)
    data = writer.start() + writer.write(ToolDone(0, SHELL)) + writer.write(TextDelta("half"))
    found = frames(data + writer.abort(Fault(failure, "label", "tier says: secret host"), 503))
    assert kinds(found)[-2:] == ["output_text.delta", "failed"]
    last = found[-1]["response"]
    assert last["status"] == "failed"
    assert last["error"]["code"] == code
    assert "secret" not in json.dumps(found)
    assert [item["type"] for item in last["output"]] == ["function_call"]


def test_blank_text_before_a_call_makes_no_message_but_leading_blanks_of_a_text_stay() -> None:
    found, _ = write([TextDelta("\n"), TextDelta("\n"), ToolDone(0, SHELL), TextDelta(" "), TextDelta("x")])
    output = found[-1]["response"]["output"]
    assert [item["type"] for item in output] == ["function_call", "message"]
    assert output[1]["content"][0]["text"] == " x"
    assert write([TextDelta(" "), Finish("stop")])[0][-1]["response"]["output"][0]["content"][0]["text"] == " "
    assert write([Finish("stop")])[0][-1]["response"]["output"] == []


def test_ids_and_arguments_a_tier_leaves_out() -> None:
    calls = [ToolCall("", "f", ""), ToolCall("a", "f", "{}"), ToolCall("", "g", " ")]
    found, _ = whole(Answer(list(calls), Finish("tool_calls")))
    assert [item["call_id"] for item in found["output"]] == [
        "call_0123456789abcdef012345670",
        "a",
        "call_0123456789abcdef012345672",
    ]
    assert [item["arguments"] for item in found["output"]] == ["{}"] * 3


@pytest.mark.parametrize(
    ("arguments", "text"),
    [('{"input":"a"}', "a"), ("bare text", "bare text"), ('{"patch":"a"}', '{"patch":"a"}'), ("", ""), ("[1]", "[1]")],
)
def test_freeform_calls_come_back_as_the_text_the_tool_wants(arguments: str, text: str) -> None:
    found, _ = whole(Answer([ToolCall("1", "apply_patch", arguments)], Finish("tool_calls")), CODEX)
    assert (found["output"][0]["type"], found["output"][0]["input"]) == ("custom_tool_call", text)


@pytest.mark.parametrize("kind", ["function", "custom"])
def test_calls_of_a_namespace_come_back_under_both_names(kind: str) -> None:
    group = {"type": "namespace", "name": "mcp__calc", "tools": [{"type": kind, "name": "add"}]}
    turn = dialect.parse(body(tools=[group, {"type": "function", "name": "add"}]), join_namespaces=True)
    calls = [ToolCall("c1", "mcp__calc__add", '{"input":"1"}'), ToolCall("c2", "add", "{}")]
    response, _ = whole(Answer([*calls], Finish("tool_calls")), turn)
    names = [("add", "mcp__calc"), ("add", None)]
    assert [(item["name"], item.get("namespace")) for item in response["output"]] == names
    streamed, _ = write([*(ToolDone(at, call) for at, call in enumerate(calls)), Finish("tool_calls")], turn)
    done = [frame["item"] for frame in streamed if frame["type"] == "response.output_item.done"]
    assert [(item["name"], item.get("namespace")) for item in done] == names


def test_what_has_no_place_is_named() -> None:
    opaque = Opaque("server_tool_use", b"{}")
    blocks: list[Any] = [Reasoning("", redacted="x"), Text("a", {"citations": Raw(b"[1]")}), opaque, Text("b")]
    message = {"content": Raw(b'"x"'), "refusal": Raw(b'"no"'), "annotations": Raw(b"[1]"), "extra": Raw(b"1")}
    envelope = {"id": Raw(b'"u"'), "type": Raw(b'"message"'), "system_fingerprint": Raw(b'"f"'), "usage": Raw(b"{}")}
    found, lossy = whole(Answer(blocks, Finish("stop"), envelope=envelope, message=message))
    assert [part["text"] for item in found["output"] for part in item["content"]] == ["ab"]
    assert lossy == {
        *("reasoning.signature", "citations", "answer.opaque", "answer.refusal_text", "answer.annotations"),
        *("unknown.extra", "unknown.system_fingerprint"),
    }
    _, lossy = write(
        [
            TextDelta("", {"content_block": Raw(b'{"citations":[1]}')}),
            TextDelta("a", {"refusal": Raw(b'"no"')}, {"logprobs": Raw(b'{"content":[]}')}),
            ReasoningDone(None, "redacted"),
            OpaqueDone(opaque),
        ]
    )
    assert lossy == {"citations", "answer.refusal_text", "logprobs", "reasoning.signature", "answer.opaque"}


def test_settings_of_an_unexpected_kind_are_not_echoed() -> None:
    turn = dialect.parse(body(text=3, reasoning="high", parallel_tool_calls="no", tool_choice=4, tools=None, top_p=0.5))
    found, _ = whole(Answer([Text("x")], Finish("stop")), turn)
    assert found["text"] == {"format": {"type": "text"}}
    assert found["reasoning"] == {"effort": None, "summary": None}
    assert (found["parallel_tool_calls"], found["tool_choice"], found["tools"]) == (True, "auto", [])
    assert (found["top_p"], found["temperature"]) == (0.5, None)


TEXTS = st.text(max_size=6) | st.sampled_from(["", " ", "\n", '"', "\u2028"])
EVENT = st.one_of(
    st.builds(TextDelta, TEXTS),
    st.builds(ReasoningDelta, TEXTS),
    st.builds(ReasoningDone, st.none() | st.just("s")),
    st.builds(ToolDone, st.just(0), st.builds(ToolCall, st.sampled_from(["", "a", "b"]),
              st.sampled_from(["exec_command", "apply_patch"]), st.sampled_from(["", "{}", '{"input":"x"}', "bare"]))),
    st.just(ToolOpen(0)),
    st.just(OpaqueDone(Opaque("x", b"{}"))),
    st.just(UsageReport(USAGE)),
)  # fmt: skip
BETWEEN = {
    "message": [["output_text.delta"], ["output_text.done"]],
    "reasoning": [["reasoning_text.delta"], ["reasoning_text.done"]],
    "function_call": [["function_call_arguments.delta"], ["function_call_arguments.done"]],
    "custom_tool_call": [["custom_tool_call_input.delta"], ["custom_tool_call_input.done"]],
}


@given(st.lists(EVENT, max_size=12), st.sampled_from(["stop", "length", "tool_calls"]))
def test_every_stream_is_a_sequence_of_whole_items(events: list[Event], reason: Any) -> None:
    found, _ = write([*events, Finish(reason)], CODEX)
    response = found[-1]["response"]
    assert kinds(found)[:2] == ["created", "in_progress"]
    assert kinds(found)[-1] == ("incomplete" if reason == "length" else "completed")
    assert [item["id"][-3:] for item in response["output"]] == [f"{at:03x}" for at in range(len(response["output"]))]
    made = [item["call_id"] for item in response["output"] if item.get("call_id", "").startswith("call_")]
    assert len(set(made)) == len(made)
    rest = found[2:-1]
    for at, item in enumerate(response["output"]):
        size = next(n for n, event in enumerate(rest) if event["type"] == "response.output_item.done") + 1
        own, rest = rest[:size], rest[size:]
        assert {event["output_index"] for event in own} == {at}
        assert own[0]["type"] == "response.output_item.added"
        assert own[-1]["item"] == item
        assert {event["item_id"] for event in own[1:-1]} == {item["id"]}
        parts = "content" in item
        inner = kinds(own[2:-2] if parts else own[1:-1])
        delta, done = BETWEEN[item["type"]]
        assert inner == delta * (len(inner) - 1) + done
        text = item["content"][0]["text"] if parts else item.get("arguments", item.get("input"))
        assert "".join([event["delta"] for event in own if event["type"].endswith(".delta")]) == text
    assert rest == []


BLOCK = st.one_of(
    st.builds(Text, TEXTS),
    st.builds(Reasoning, TEXTS, st.none() | st.just("s")),
    st.builds(ToolCall, st.sampled_from(["", "a"]), st.sampled_from(["exec_command", "apply_patch"]), st.just("{}")),
    st.just(Opaque("x", b"{}")),
)


@given(st.lists(BLOCK, max_size=6), st.sampled_from(["stop", "length"]), st.sampled_from([None, USAGE]))
def test_a_stream_ends_with_what_the_whole_answer_says(blocks: list[Any], reason: Any, usage: Usage | None) -> None:
    answer = Answer(blocks, Finish(reason), usage)
    found, lossy = whole(answer, CODEX)
    events, named = write(unfold(answer), CODEX)
    last = events[-1]["response"]
    if usage is None:
        found["usage"] = last["usage"] = None
    assert last == found
    assert named == lossy
    assert whole(fold(unfold(answer)), CODEX)[0]["output"] == found["output"]
