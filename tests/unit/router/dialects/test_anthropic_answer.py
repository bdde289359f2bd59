"""Reading Messages answers and streams of tiers (contract 7)."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Raw

from anvil.router.dialects import anthropic_messages as dialect
from anvil.router.dialects.anthropic_reader import BLOCK_START, OPAQUE_CAP, RAW_DELTA
from anvil.router.turn import (
    Answer,
    BadAnswer,
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
    UsageReport,
)
from tests.unit.router.dialects.anthropic_samples import FULL_STREAM, TEXT_START, begin, block, end, sse


def answer(**fields: Any) -> Answer:
    base = {
        "id": "msg_up",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": [{"type": "text", "text": "hi"}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 9, "output_tokens": 2},
    }
    return dialect.read_answer(json.dumps({k: v for k, v in {**base, **fields}.items() if v is not ...}).encode())


def fault(data: bytes) -> Fault:
    with pytest.raises(BadAnswer) as caught:
        dialect.read_answer(data)
    return caught.value.fault


# -------------------------------------------------------------------------------------------- answers


def test_every_kind_of_block() -> None:
    search = {"type": "web_search_tool_result", "tool_use_id": "s", "content": []}
    found = answer(
        content=[
            {"type": "thinking", "thinking": "hm", "signature": "c2ln"},
            {"type": "thinking", "thinking": "hm", "signature": ""},
            {"type": "redacted_thinking", "data": "ZA=="},
            {"type": "text", "text": "see", "citations": [{"n": 1}]},
            {"type": "tool_use", "id": "t1", "name": "f", "input": {"a": 1.50}, "caller": {"type": "direct"}},
            search,
        ],
        stop_reason="tool_use",
    )
    assert found.blocks == [
        Reasoning("hm", "c2ln"),
        Reasoning("hm"),
        Reasoning("", redacted="ZA=="),
        Text("see", {"citations": Raw(b'[{"n": 1}]')}),
        ToolCall("t1", "f", '{"a": 1.5}', extra={"caller": Raw(b'{"type": "direct"}')}),
        Opaque("web_search_tool_result", json.dumps(search).encode()),
    ]
    assert found.finish == Finish("tool_calls", "tool_use")


@pytest.mark.parametrize(
    ("given_", "arguments", "flawed"),
    [
        ({"name": "f", "input": {}}, "{}", False),
        ({"name": "f", "input": None}, "", False),
        ({"name": "f"}, "", False),
        ({"name": "f", "input": '{"a":1}'}, '{"a":1}', False),
        ({"name": "f", "input": [1]}, "[1]", False),
        ({"name": "f", "input": 5}, "", True),
        ({"name": "f", "input": True}, "", True),
        ({"name": 7, "input": {}}, "{}", True),
        ({"input": {}}, "{}", True),
    ],
)
def test_tool_calls_tell_their_defects(given_: dict[str, Any], arguments: str, flawed: bool) -> None:
    (call,) = answer(content=[{"type": "tool_use", "id": "x", **given_}]).calls
    assert (call.arguments, bool(call.malformed)) == (arguments, flawed)


@pytest.mark.parametrize(
    ("reason", "sequence", "wanted"),
    [
        ("end_turn", None, "stop"),
        (" End_Turn ", None, "stop"),
        ("stop_sequence", "###", "stop_sequence"),
        ("stop_sequence", None, "stop_sequence"),
        ("max_tokens", None, "length"),
        ("tool_use", None, "tool_calls"),
        ("model_context_window_exceeded", None, "context_window"),
        ("refusal", None, "content_filter"),
        ("pause_turn", None, "pause_turn"),
        ("whatever", None, "unknown"),
        (None, None, "unknown"),
        (5, None, "unknown"),
    ],
)
def test_finish_reasons(reason: Any, sequence: Any, wanted: str) -> None:
    found = answer(stop_reason=reason, stop_sequence=sequence)
    assert found.finish is not None
    assert (found.finish.reason, found.finish.stop_sequence) == (wanted, sequence)
    assert found.lossy == (["finish.unknown"] if wanted == "unknown" and reason is not None else [])


@pytest.mark.parametrize(
    ("usage", "counts"),
    [
        ({"input_tokens": 9, "output_tokens": 2}, (9, 2, None)),
        (
            {"input_tokens": 9, "output_tokens": 2, "cache_read_input_tokens": 24, "cache_creation_input_tokens": 3},
            (36, 2, 24),
        ),
        ({"input_tokens": 9, "output_tokens": -1}, None),
        ({"input_tokens": True, "output_tokens": 2}, None),
        ({"input_tokens": 9}, None),
        ("x", None),
        (None, None),
        (..., None),
    ],
)
def test_usage(usage: Any, counts: Any) -> None:
    found = answer(usage=usage).usage
    assert (None if found is None else (found.prompt, found.completion, found.cached)) == counts


@pytest.mark.parametrize("content", [[], "", None])
def test_empty_answers_are_answers(content: Any) -> None:
    assert answer(content=content).blocks == []


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"<html>",
        b"[]",
        b"{}",
        b'{"content":5}',
        b'{"content":{}}',
        b'{"content":[5]}',
        b'{"content":[{"type":"text","text":"\xff"}]}',
        b'{"content":[' + b'{"type":"text","text":"x"},' * 1024 + b'{"type":"text"}]}',
        b'{"content":' + b"[" * 100_000,
    ],
)
def test_malformed_answers_are_unavailable(data: bytes) -> None:
    assert fault(data).failure_class == "unavailable"


@pytest.mark.parametrize(
    ("error", "failure_class"),
    [
        ({"type": "overloaded_error", "message": "busy"}, "rate_limited"),
        ({"type": "invalid_request_error", "message": "bad"}, "caller_error"),
        ({"type": "invalid_request_error", "message": "prompt is too long: 9 tokens > 8 maximum"}, "over_context"),
        ({"type": "api_error", "message": "oops"}, "unavailable"),
    ],
)
def test_errors_under_a_200_and_in_streams_are_failures(error: dict[str, str], failure_class: str) -> None:
    event = {"type": "error", "error": error}
    assert fault(json.dumps(event).encode()).failure_class == failure_class
    *_, last = dialect.reader().feed(sse(begin(), event))
    assert isinstance(last, Fault)
    assert last.failure_class == failure_class


# -------------------------------------------------------------------------------------------- streams


def read(*pieces: bytes) -> tuple[list[Event], Any]:
    reader = dialect.reader()
    events: list[Event] = []
    for piece in pieces:
        events += reader.feed(piece)
    return events + reader.close(), reader


def joined(events: list[Event]) -> list[Event]:
    """Without the sizes of the pieces a tool block came in."""
    return [event for event in events if not isinstance(event, ToolGrow)]


def test_a_full_stream() -> None:
    events, reader = read(sse(*FULL_STREAM))
    reports = [event.usage for event in events if isinstance(event, UsageReport)]
    assert [(usage.prompt, usage.completion, usage.cached) for usage in reports] == [(33, 1, 24), (33, 7, 24)]
    rest = [event for event in joined(events) if not isinstance(event, UsageReport)]
    assert rest[:10] == [
        ReasoningDelta("first "),
        ReasoningDelta("think"),
        ReasoningDone("c2lnbmF0dXJl"),
        ReasoningDone(redacted="ZGF0YQ=="),
        TextDelta("Grüße, "),
        TextDelta("I look."),
        ToolOpen(3),
        ToolDone(3, ToolCall("toolu_1", "get_weather", '{"city": "Köln"}')),
        rest[8],
        Finish("tool_calls", "tool_use"),
    ]
    opaque = rest[8]
    assert isinstance(opaque, OpaqueDone)
    assert json.loads(opaque.block.raw)["input"] == {"query": "x"}
    assert [json.loads(frame)["type"] for frame in opaque.frames] == [
        "content_block_start",
        "content_block_delta",
        "content_block_stop",
    ]
    assert sum(event.size for event in events if isinstance(event, ToolGrow)) == len('{"city": "Köln"}'.encode())
    assert (reader.complete, reader.bad_events, reader.lossy) == (True, 0, set())


def test_cut_at_every_byte_the_events_are_the_same() -> None:
    data = sse(*FULL_STREAM)
    whole, _ = read(data)
    for cut in range(len(data)):
        assert read(data[:cut], data[cut:])[0] == whole, cut


@given(st.lists(st.integers(1, 40), min_size=1, max_size=30))
@settings(max_examples=50, deadline=None)
def test_any_pieces_and_line_ends_give_the_same_events(sizes: list[int]) -> None:
    for line_end in (b"\n", b"\r\n", b"\r"):
        data = sse(*FULL_STREAM).replace(b"\n", line_end)
        pieces, at = [], 0
        while at < len(data):
            size = sizes[len(pieces) % len(sizes)]
            pieces.append(data[at : at + size])
            at += size
        assert read(*pieces)[0] == read(sse(*FULL_STREAM))[0]


def test_only_a_stop_reason_completes_a_stream() -> None:
    data = sse(*FULL_STREAM)
    last = data.index(b'"stop_reason": "tool_use"')
    for cut in range(0, last, 7):
        assert not read(data[:cut])[1].complete
    assert not read(sse(begin(), *end(None)))[1].complete
    assert read(sse(begin(), end()[0]))[1].complete


def test_what_follows_the_terminator_is_ignored() -> None:
    late = block(0, TEXT_START, {"type": "text_delta", "text": "late"})
    events, _ = read(sse(begin(), *end(), *late, end()[0]))
    assert [event for event in events if not isinstance(event, UsageReport)] == [Finish("stop", "end_turn")]


def test_unknown_events_and_deltas_are_ignored() -> None:
    odd = block(0, TEXT_START, {"type": "novel_delta", "x": 1}, {"type": "text_delta", "text": "a"})
    events, reader = read(sse({"type": "novel_event", "x": 1}, *odd, *end()))
    assert TextDelta("a") in events
    assert (reader.complete, reader.bad_events) == (True, 0)


def test_bad_events_are_counted_and_ten_are_too_many() -> None:
    bad = [b"data: {\n\n", b"data: 5\n\n", b'data: {"type":"content_block_start"}\n\n', b"data: {}\n\n"]
    bad += [b'data: {"type":"content_block_delta","delta":{"type":"text_delta","text":5}}\n\n']
    bad += [b'data: {"type":"message_delta","delta":{"stop_reason":5}}\n\n']
    bad += [b'data: {"type":"content_block_start","content_block":5}\n\n', b'data: {"type":"ping","x":1e999}\n\n']
    bad += [b'data: {"type":"content_block_delta","index":9,"delta":{"type":"signature_delta","signature":"x"}}\n\n']
    _, reader = read(*bad, sse(*end()))
    assert (reader.bad_events, reader.complete) == (len(bad) - 1, True)  # an unknown field of a ping is no defect
    with pytest.raises(BadAnswer) as caught:
        read(*bad * 2)
    assert caught.value.fault.failure_class == "unavailable"


def test_undecodable_bytes_are_replaced() -> None:
    data = sse(*block(0, TEXT_START, {"type": "text_delta", "text": "X"})).replace(b"X", b"a\xffb")
    assert read(data)[0] == [TextDelta("a\ufffdb")]
    start = sse(*block(0, {"type": "text", "text": "X"})).replace(b"X", b"\xff")
    assert read(start)[0] == [TextDelta("\ufffd")]


def test_a_forgotten_block_stop_does_not_lose_the_call() -> None:
    open_ended = block(0, {"type": "tool_use", "id": "t", "name": "f", "input": {"a": 1}})[:1]
    events, _ = read(sse(begin(), *open_ended, *end("tool_use")))
    assert ToolDone(0, ToolCall("t", "f", '{"a": 1}')) in events


def test_text_blocks_in_a_row_and_citations_keep_their_borders() -> None:
    cited = {"type": "citations_delta", "citation": {"cited_text": "x"}}
    events, _ = read(
        sse(
            *block(0, TEXT_START, {"type": "text_delta", "text": "a"}),
            *block(1, TEXT_START, cited, {"type": "text_delta", "text": "b"}),
        )
    )
    assert events == [
        TextDelta("a"),
        TextDelta("", {BLOCK_START: Raw(json.dumps(TEXT_START).encode())}),
        TextDelta("", {RAW_DELTA: Raw(json.dumps(cited).encode())}),
        TextDelta("b"),
    ]


def test_caps() -> None:
    with pytest.raises(BadAnswer) as caught:
        read(*[sse(*block(at, TEXT_START)) for at in range(1025)])
    assert caught.value.fault.failure_class == "unavailable"
    big = {"type": "content_block_delta", "index": 0, "delta": {"type": "novel", "x": "y" * 1_000_000}}
    with pytest.raises(BadAnswer) as caught:
        read(sse(*block(0, {"type": "novel_block"})[:1]), *[sse(big)] * (OPAQUE_CAP // 1_000_000 + 1))
    assert caught.value.fault.failure_class == "bad_answer"


def test_unknown_fields_of_the_last_event_ride_along() -> None:
    last = {**end()[0], "context_management": {"applied_edits": []}}
    last["delta"] = {**last["delta"], "container": {"id": "c"}}
    *_, finish = read(sse(begin(), last))[0]
    assert isinstance(finish, Finish)
    assert finish.extra == {
        "context_management": Raw(b'{"applied_edits": []}'),
        "delta": Raw(b'{"container":{"id": "c"}}'),
    }


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["type", "text", "x"]), inner),
    max_leaves=5,
)
TYPES = ["message_start", "content_block_start", "content_block_delta", "content_block_stop", "message_delta", "error"]
EVENTS = st.fixed_dictionaries(
    {"type": st.sampled_from(TYPES) | JSON},
    optional=dict.fromkeys(["index", "message", "content_block", "delta", "usage", "error"], JSON),
)


@given(st.lists(EVENTS, max_size=8))
@settings(max_examples=150, deadline=None)
def test_type_confused_streams_give_events_or_bad_answers(events: list[dict[str, Any]]) -> None:
    told: list[str] = []
    try:
        read(b"".join([b"data: " + json.dumps(event).encode() + b"\n\n" for event in events]))
    except BadAnswer as error:
        told.append(error.fault.failure_class)
    assert told in ([], ["unavailable"])  # both outcomes are fine, no other class is
