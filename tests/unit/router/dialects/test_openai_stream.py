"""Chat Completions streams: reading a tier's, writing the caller's (contract 7.2, 13.5, 14.3)."""

from __future__ import annotations

import json
from typing import Any

import httpx
import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from anvil.router.dialects import openai_chat
from anvil.router.dialects.openai_chat_reader import StreamReader
from anvil.router.turn import (
    BadAnswer,
    Event,
    Fault,
    Finish,
    Opaque,
    OpaqueDone,
    ReasoningDelta,
    ReasoningDone,
    Reply,
    Signals,
    TextDelta,
    ToolCall,
    ToolDone,
    ToolGrow,
    ToolOpen,
    Turn,
    Usage,
    UsageReport,
)


def chunk(delta: Any = None, finish: Any = None, **choice: Any) -> bytes:
    inner = {"index": 0, "delta": delta if delta is not None else {}, "finish_reason": finish, **choice}
    return sse({"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [inner]})


def sse(value: Any) -> bytes:
    return b"data: " + json.dumps(value, ensure_ascii=False).encode() + b"\n\n"


def usage_chunk(prompt: int = 9, completion: int = 3, **more: Any) -> bytes:
    usage = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
    return sse({"choices": [], "usage": usage, **more})


def calls(*fragments: Any) -> dict[str, Any]:
    return {"tool_calls": list(fragments)}


DONE = b"data: [DONE]\n\n"
VLLM = b"".join(
    [
        chunk({"role": "assistant", "content": ""}, logprobs=None),
        chunk({"reasoning": "hm "}, logprobs=None),
        chunk({"content": "héllo"}, logprobs=None),
        chunk({"content": " 😀"}, "stop", logprobs=None, stop_reason=None),
        usage_chunk(),
        DONE,
    ]
)
LLAMA = b"".join(
    [
        chunk({"role": "assistant", "content": None}),
        chunk(calls({"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": "{"}})),
        chunk(calls({"index": 0, "function": {"arguments": '"é":'}})),
        chunk(calls({"index": 0, "function": {"arguments": "1}"}})),
        chunk({}, "tool_calls"),
        usage_chunk(timings={"prompt_n": 1}),
        DONE,
    ]
)


def read(data: bytes, cuts: tuple[int, ...] = ()) -> tuple[list[Event], StreamReader]:
    reader = openai_chat.reader()
    events: list[Event] = []
    for start, end in zip((0, *cuts), (*cuts, len(data)), strict=True):
        events += reader.feed(data[start:end])
    return events + reader.close(), reader


def text(events: list[Event]) -> str:
    return "".join([event.text for event in events if isinstance(event, TextDelta)])


def test_vllm_stream() -> None:
    events, reader = read(VLLM)
    usage = b'{"prompt_tokens":9,"completion_tokens":3,"total_tokens":12}'
    assert events == [
        ReasoningDelta("hm "),
        ReasoningDone(),
        TextDelta("héllo"),
        TextDelta(" 😀"),
        Finish("stop", "stop"),
        UsageReport(Usage(9, 3, raw=usage)),
    ]
    assert reader.complete
    assert (reader.bad_events, reader.lossy) == (0, set())


def test_llama_stream_with_a_tool_call() -> None:
    events, _ = read(LLAMA)
    assert events[:6] == [
        ToolOpen(0),
        ToolGrow(0, 1),
        ToolGrow(0, 5),
        ToolGrow(0, 2),
        ToolDone(0, ToolCall("a", "f", '{"é":1}')),
        Finish("tool_calls", "tool_calls"),
    ]


@pytest.mark.parametrize("stream", [VLLM, LLAMA, VLLM.replace(b"\n", b"\r\n"), LLAMA.replace(b"\n", b"\r")])
def test_every_cut_gives_the_same_events(stream: bytes) -> None:
    whole, _ = read(stream)
    for at in range(len(stream) + 1):
        assert read(stream, (at,))[0] == whole, at


@given(st.sampled_from([VLLM, LLAMA]), st.data())
def test_cuts_never_matter(stream: bytes, data: st.DataObject) -> None:
    cuts = tuple(sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8))))
    assert read(stream, cuts)[0] == read(stream)[0]


@pytest.mark.parametrize("stream", [VLLM, LLAMA])
def test_a_stream_is_complete_only_with_its_finish_reason(stream: bytes) -> None:
    finish_at = stream.index(b'"finish_reason": "')
    for at in range(0, len(stream), 7):
        _, reader = read(stream[:at])
        if reader.complete:
            assert at > finish_at
        if at < finish_at:
            assert not reader.complete


def test_interleaved_calls_join_by_index_and_close_in_order_of_appearance() -> None:
    events, _ = read(
        chunk(calls({"index": 1, "id": "b", "function": {"name": "g", "arguments": '{"x'}}))
        + chunk(
            calls({"index": 0, "id": "a", "function": {"name": "f"}}, {"index": 1, "function": {"arguments": '":1}'}})
        )
        + chunk(calls({"function": {"arguments": "{}"}}))
        + chunk({}, "tool_calls")
    )
    assert [event for event in events if isinstance(event, ToolDone)] == [
        ToolDone(1, ToolCall("b", "g", '{"x":1}')),
        ToolDone(0, ToolCall("a", "f", "{}")),
    ]
    assert [event.index for event in events if isinstance(event, ToolOpen)] == [1, 0]


@pytest.mark.parametrize(
    ("fragment", "flawed"),
    [
        ("odd", True),
        ({"function": "odd"}, True),
        ({"function": {"arguments": "{}"}}, True),
        ({"function": {"name": "f", "arguments": 3}}, True),
        ({"function": {"name": "f", "arguments": {"a": 1}}}, False),
        ({"function": {"name": "f", "arguments": None}}, False),
        ({"index": "x", "function": {"name": "f"}}, False),
    ],
)
def test_call_fragment_shapes(fragment: Any, flawed: bool) -> None:
    events, _ = read(chunk(calls(fragment)) + chunk({}, "tool_calls"))
    (done,) = [event for event in events if isinstance(event, ToolDone)]
    assert bool(done.call.malformed) is flawed


@pytest.mark.parametrize("index", [{}, {"index": 0}])
def test_whole_calls_that_share_an_index_are_told_apart_by_id(index: dict[str, int]) -> None:
    def whole(identity: str, city: str) -> dict[str, Any]:
        return {**index, "id": identity, "function": {"name": "w", "arguments": f'{{"city": "{city}"}}'}}

    data = chunk(calls(whole("a", "Rome"), whole("b", "Oslo"))) + chunk(calls(whole("c", "Bern")))
    events, _ = read(data + chunk({}, "tool_calls") + DONE)
    done = [event.call for event in events if isinstance(event, ToolDone)]
    assert [(call.id, json.loads(call.arguments)["city"]) for call in done] == [
        ("a", "Rome"), ("b", "Oslo"), ("c", "Bern"),
    ]  # fmt: skip
    assert len({event.index for event in events if isinstance(event, ToolDone)}) == 3


def test_custom_and_legacy_calls() -> None:
    events, _ = read(
        chunk(calls({"index": 0, "id": "a", "type": "custom", "custom": {"name": "c", "input": "x"}}))
        + chunk(calls({"index": 0, "custom": {"input": '"y'}}))
        + chunk({}, "tool_calls")
    )
    assert ToolDone(0, ToolCall("a", "c", '{"input":"x\\"y"}', custom=True)) in events
    legacy, _ = read(
        chunk({"function_call": {"name": "f", "arguments": "{"}})
        + chunk({"function_call": {"arguments": "}"}}, "function_call")
    )
    assert ToolDone(0, ToolCall("", "f", "{}")) in legacy


def test_done_after_content_counts_as_an_assumed_end() -> None:
    events, reader = read(chunk({"content": "x"}) + DONE)
    assert events[-1] == Finish("stop", assumed=True)
    assert reader.complete
    assert reader.lossy == {"finish.assumed"}
    events, reader = read(chunk({"role": "assistant", "content": ""}) + DONE)
    assert events == []
    assert not reader.complete


def test_an_empty_finish_reason_is_none() -> None:
    _, reader = read(chunk({"content": "x"}, ""))
    assert not reader.complete


def test_unknown_finish_reason_is_named() -> None:
    events, reader = read(chunk({"content": "x"}, "abort"))
    assert events[-1] == Finish("unknown", "abort")
    assert reader.lossy == {"finish.unknown"}


def test_matched_stop_string() -> None:
    assert read(chunk({"content": "x"}, "stop", stop_reason="END"))[0][-1] == Finish("stop_sequence", "stop", "END")


def test_only_choice_zero_counts() -> None:
    other = {"index": 1, "delta": {"content": "no"}, "finish_reason": "stop"}
    zero = {"index": 0, "delta": {"content": "yes"}, "finish_reason": None}
    events, reader = read(sse({"choices": [other]}) + sse({"choices": [other, zero]}))
    assert text(events) == "yes"
    assert not reader.complete


def test_nothing_is_content_after_the_finish_reason() -> None:
    events, _ = read(chunk({"content": "x"}, "stop") + chunk({"content": "late"}, "length") + usage_chunk() + DONE)
    assert [type(event).__name__ for event in events] == ["TextDelta", "Finish", "UsageReport"]
    assert text(events) == "x"


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (sse({"error": {"message": "busy", "type": "overloaded_error"}}), "rate_limited"),
        (sse({"error": {"message": "too many tokens", "type": "invalid_request_error", "code": 400}}), "over_context"),
        (sse({"error": "boom"}), "unavailable"),
        (b'event: error\ndata: {"message":"boom"}\n\n', "unavailable"),
        (b"event: error\ndata: boom\n\n", "unavailable"),
    ],
)
def test_error_events_end_the_stream(event: bytes, expected: str) -> None:
    events, reader = read(chunk({"content": "x"}) + event + chunk({"content": "y"}, "stop") + DONE)
    assert isinstance(events[-1], Fault)
    assert events[-1].failure_class == expected
    assert text(events) == "x"
    assert not reader.complete


def test_undecodable_events_are_skipped_and_counted_up_to_ten() -> None:
    bad = [
        b"data: {\n\n",
        b"data: 3\n\n",
        b"data: \xff\n\n",
        b'data: {"usage":NaN}\n\n',
        b'data: {"choices":[1e999]}\n\n',
    ]
    stream = b"".join(bad) + chunk({"content": "x"}, "stop")
    events, reader = read(stream)
    assert text(events) == "x"
    assert reader.bad_events == 5
    with pytest.raises(BadAnswer) as caught:
        read(b"data: {\n\n" * 10)
    assert caught.value.fault.failure_class == "unavailable"
    assert read(b"data: {\n\n" * 9)[1].bad_events == 9


def test_undecodable_bytes_are_replaced() -> None:
    events, reader = read(chunk({"content": "aXb"}).replace(b"X", b"\xff"))
    assert text(events) == "a\ufffdb"
    assert reader.bad_events == 0


def test_block_cap() -> None:
    opened = [{"index": index, "function": {"name": "f"}} for index in range(1025)]
    assert len(read(chunk(calls(*opened[:1024])))[0]) == 1024
    with pytest.raises(BadAnswer):
        read(chunk(calls(*opened)))


def test_unknown_fields_ride_along() -> None:
    events, _ = read(
        chunk({"content": "x", "annotations": [1], "empty": None}, logprobs={"content": [{"logprob": -0.5}]})
        + chunk({"refusal": "no"})
        + chunk(calls({"index": 0, "id": "a", "function": {"name": "f"}, "extra_content": {"sig": "s"}}), "tool_calls")
    )
    assert events[0] == TextDelta(
        "x", {"annotations": Raw(b"[1]")}, {"logprobs": Raw(b'{"content":[{"logprob":-0.5}]}')}
    )
    assert events[1] == TextDelta("", {"refusal": Raw(b'"no"')})
    assert ToolDone(0, ToolCall("a", "f", "", extra={"extra_content": Raw(b'{"sig":"s"}')})) in events


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 2) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=5,
)
FRAGMENT = st.dictionaries(
    st.sampled_from(["index", "id", "function", "custom", "x"]),
    JSON | st.dictionaries(st.sampled_from(["name", "arguments", "input"]), JSON),
)
DELTA = st.dictionaries(
    st.sampled_from(["role", "content", "reasoning", "reasoning_content", "tool_calls", "function_call", "x"]),
    JSON | st.lists(FRAGMENT, max_size=3),
)
CHOICE = st.dictionaries(st.sampled_from(["index", "delta", "finish_reason", "logprobs", "stop_reason"]), JSON | DELTA)
CHUNK = st.dictionaries(st.sampled_from(["choices", "usage", "error", "x"]), JSON | st.lists(CHOICE | JSON, max_size=2))


@given(st.lists(CHUNK | JSON, max_size=6))
def test_type_confused_chunks_give_events_or_a_fault(chunks: list[Any]) -> None:
    events, _ = read(b"".join(map(sse, chunks)))
    writer = openai_chat.writer(turn(include_usage=True), SAME)
    for event in events:
        if not isinstance(event, Fault) and not (isinstance(event, ToolDone) and event.call.malformed):
            read(writer.write(event))


# --------------------------------------------------------------------------------------------------- write

SAME = Reply(id="a" * 24, model='chat "x"', created=7, prompt_estimate=11, same_dialect=True)
FOREIGN = Reply(id="a" * 24, model="chat", created=7, prompt_estimate=11)


def turn(**fields: Any) -> Turn:
    return Turn(dialect="openai", body=fields.pop("body", {}), signals=Signals(), stream=True, **fields)


def write(events: list[Event], reply: Reply = SAME, **fields: Any) -> tuple[bytes, set[str]]:
    writer = openai_chat.writer(turn(**fields), reply)
    data = writer.start() + b"".join([writer.write(event) for event in events]) + writer.finish()
    return data, writer.lossy


def frames(data: bytes) -> list[Any]:
    assert data.endswith(b"\n\n")
    payloads = [frame.removeprefix(b"data: ") for frame in data[:-2].split(b"\n\n")]
    return [payload if payload == b"[DONE]" else json.loads(payload) for payload in payloads]


EVENTS: list[Event] = [
    ReasoningDelta("hm"),
    ReasoningDone("signed"),
    TextDelta('a"\né'),
    ToolOpen(5),
    ToolGrow(5, 3),
    ToolDone(5, ToolCall("c1", "f", '{"a":1}')),
    ToolDone(6, ToolCall("", "g", "")),
    UsageReport(Usage(9, 3, cached=4)),
    Finish("tool_calls", "tool_use"),
]


def test_frames_in_contract_order() -> None:
    data, lossy = write(EVENTS, FOREIGN)
    found = frames(data)
    assert found.pop() == b"[DONE]"
    for frame in found:
        assert set(frame) == {"id", "object", "created", "model", "choices"}
        assert (frame["id"], frame["created"], frame["model"]) == ("chatcmpl-" + "a" * 24, 7, "chat")
        assert frame["object"] == "chat.completion.chunk"
        assert [choice["index"] for choice in frame["choices"]] == [0]
    assert [frame["choices"][0]["delta"] for frame in found] == [
        {"role": "assistant"},
        {"reasoning_content": "hm"},
        {"content": 'a"\né'},
        {"tool_calls": [{"index": 0, "id": "c1", "type": "function", "function": {"name": "f", "arguments": ""}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": '{"a":1}'}}]},
        {
            "tool_calls": [
                {
                    "index": 1,
                    "id": "call_" + "a" * 24 + "1",
                    "type": "function",
                    "function": {"name": "g", "arguments": ""},
                }
            ]
        },
        {"tool_calls": [{"index": 1, "function": {"arguments": "{}"}}]},
        {},
    ]
    assert [frame["choices"][0]["finish_reason"] for frame in found] == [None] * 7 + ["tool_calls"]
    assert lossy == {"reasoning.signature"}


def test_usage_only_when_asked_and_then_null_elsewhere() -> None:
    found = frames(write(EVENTS, FOREIGN, include_usage=True)[0])
    assert [frame["usage"] for frame in found[:-2]] == [None] * 8
    assert found[-2]["choices"] == []
    assert found[-2]["usage"] == {
        "prompt_tokens": 9,
        "completion_tokens": 3,
        "total_tokens": 12,
        "prompt_tokens_details": {"cached_tokens": 4},
    }
    estimated = frames(write([TextDelta("one "), TextDelta("two"), Finish("stop")], include_usage=True)[0])[-2]["usage"]
    assert estimated == {"prompt_tokens": 11, "completion_tokens": 2, "total_tokens": 13}
    raw = UsageReport(Usage(1, 2, raw=b'{"prompt_tokens":1,"z":1.0,"total_tokens":3}'))
    assert b'"usage":{"prompt_tokens":1,"z":1.0,"total_tokens":3}}' in write([raw], include_usage=True)[0]


def test_same_dialect_extras_are_written_foreign_ones_are_not() -> None:
    events: list[Event] = [
        TextDelta("x", {"annotations": Raw(b"[1]")}, {"logprobs": Raw(b'{"v":-0.10}')}),
        TextDelta("", {"refusal": Raw(b'"no"')}),
        ToolDone(0, ToolCall("c", "f", "{}", extra={"extra_content": Raw(b"{}")})),
        Finish("stop_sequence", "stop", "END"),
    ]
    data, lossy = write(events)
    found = [frame["choices"][0] for frame in frames(data)[1:-1]]
    assert found[0]["delta"] == {"content": "x", "annotations": [1]}
    assert b'"logprobs":{"v":-0.10}' in data
    assert found[1]["delta"] == {"refusal": "no"}
    assert found[2]["delta"]["tool_calls"][0]["extra_content"] == {}
    assert found[4] == {"index": 0, "delta": {}, "finish_reason": "stop", "stop_reason": "END"}
    assert lossy == set()
    data, lossy = write([*events, OpaqueDone(Opaque("server_tool_use", b"{}"))], FOREIGN)
    assert b"annotations" not in data
    assert b"refusal" not in data
    assert b"extra_content" not in data
    assert lossy == {"answer.stop_string", "answer.opaque", "answer.annotations", "answer.refusal_text"}


def test_legacy_caller_gets_function_call_deltas() -> None:
    call = ToolDone(0, ToolCall("c", "f", '{"a":1}'))
    data, _ = write([call, Finish("tool_calls")], body={"functions": Raw(b"[]")})
    found = [frame["choices"][0] for frame in frames(data)[1:-1]]
    assert [choice["delta"] for choice in found] == [
        {"function_call": {"name": "f", "arguments": ""}},
        {"function_call": {"arguments": '{"a":1}'}},
        {},
    ]
    assert found[-1]["finish_reason"] == "function_call"


def test_abort_is_one_neutral_error_event() -> None:
    writer = openai_chat.writer(turn(), SAME)
    data = writer.abort(Fault("unavailable", "tier gpu-7 broke", "secret host"), 503)
    (event,) = frames(data)
    assert event["error"].pop("message")
    assert event == {"error": {"type": "upstream_error", "code": 503}}
    assert b"gpu-7" not in data
    assert b"secret" not in data


TEXT = st.text(min_size=1, max_size=8)
ARGUMENTS = st.dictionaries(TEXT, TEXT, max_size=2).map(json.dumps)


@given(st.lists(TEXT, max_size=5), st.lists(TEXT, max_size=3), st.lists(st.tuples(TEXT, TEXT, ARGUMENTS), max_size=3))
def test_what_is_written_reads_back(texts: list[str], thoughts: list[str], called: list[tuple[str, str, str]]) -> None:
    found = [ToolCall(f"{at}{identity}", name, arguments) for at, (identity, name, arguments) in enumerate(called)]
    events: list[Event] = [*map(ReasoningDelta, thoughts), *map(TextDelta, texts)]
    events += [ToolDone(at, call) for at, call in enumerate(found)]
    events += [Finish("tool_calls" if found else "stop"), UsageReport(Usage(3, 4))]
    data, _ = write(events, include_usage=True)
    back, reader = read(data)
    assert reader.complete
    assert [event.text for event in back if isinstance(event, ReasoningDelta)] == thoughts
    assert [event.text for event in back if isinstance(event, TextDelta)] == texts
    assert [event.call for event in back if isinstance(event, ToolDone)] == found
    assert [(e.usage.prompt, e.usage.completion) for e in back if isinstance(e, UsageReport)] == [(3, 4)]


def sdk_for(stream: bytes) -> openai.OpenAI:
    transport = httpx.MockTransport(
        lambda _: httpx.Response(200, headers={"content-type": "text/event-stream"}, content=stream)
    )
    return openai.OpenAI(api_key="k", base_url="http://127.0.0.1:1/v1", http_client=httpx.Client(transport=transport))


def test_the_openai_client_reads_our_stream() -> None:
    data, _ = write(EVENTS, FOREIGN, include_usage=True)
    sdk = sdk_for(data)
    with sdk, sdk.chat.completions.stream(model="chat", messages=[{"role": "user", "content": "x"}]) as stream:
        final = stream.until_done().get_final_completion()
    choice = final.choices[0]
    assert choice.message.content == 'a"\né'
    assert choice.finish_reason == "tool_calls"
    assert [(call.function.name, call.function.arguments) for call in choice.message.tool_calls or []] == [
        ("f", '{"a":1}'),
        ("g", "{}"),
    ]
    assert final.usage is not None
    assert final.usage.total_tokens == 12


def test_the_openai_client_raises_on_our_error_event() -> None:
    writer = openai_chat.writer(turn(), SAME)
    data = writer.start() + writer.write(TextDelta("a")) + writer.abort(Fault("unavailable", "x"), 503)
    with sdk_for(data) as sdk:
        stream = sdk.chat.completions.create(model="chat", messages=[{"role": "user", "content": "x"}], stream=True)
        with pytest.raises(openai.APIError, match="cut short"):
            list(stream)
