"""Writing Messages answers: bodies, streams, errors (contract 13.5, 14.1, 14.4)."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Raw

from anvil.router.dialects import anthropic_messages as dialect
from anvil.router.dialects import openai_chat
from anvil.router.sse import Parser
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
    Reply,
    Text,
    TextDelta,
    ToolCall,
    ToolDone,
    ToolOpen,
    Turn,
    Usage,
    UsageReport,
)
from tests.unit.router.dialects.anthropic_samples import FULL_STREAM, TEXT_START, begin, block, body, end, sse

ID = "0123456789abcdef01234567"
SHOW = {"thinking": {"type": "enabled", "budget_tokens": 1024}}
CALL = ToolCall("toolu_1", "f", '{"a": 1}')


def turn(**fields: Any) -> Turn:
    return dialect.parse(body(**fields))


def reply(*, same: bool = False) -> Reply:
    return Reply(ID, "planning", 1_700_000_000, prompt_estimate=11, same_dialect=same)


def frames(data: bytes) -> list[dict[str, Any]]:
    out = []
    for name, payload in Parser().feed(data):
        event = json.loads(payload)
        assert event["type"] == name
        out.append(event)
    return out


def stream(*events: Event, same: bool = False, **fields: Any) -> tuple[list[dict[str, Any]], set[str]]:
    writer = dialect.writer(turn(**fields), reply(same=same))
    data = writer.start() + b"".join([writer.write(event) for event in events]) + writer.finish()
    return frames(data), writer.lossy


def content(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What a client makes of the blocks; asserts their order, dense indexes and closing frames."""
    blocks: list[dict[str, Any]] = []
    is_open = False
    for event in events:
        kind = event["type"]
        if kind == "content_block_start":
            assert (event["index"], is_open) == (len(blocks), False)
            blocks.append(dict(event["content_block"]))
            is_open = True
        elif kind == "content_block_delta":
            assert (event["index"], is_open) == (len(blocks) - 1, True)
            apply(blocks[-1], event["delta"])
        elif kind == "content_block_stop":
            assert (event["index"], is_open) == (len(blocks) - 1, True)
            is_open = False
    assert not is_open
    return blocks


def apply(target: dict[str, Any], delta: dict[str, Any]) -> None:
    match delta:
        case {"type": "text_delta", "text": text}:
            target["text"] += text
        case {"type": "thinking_delta", "thinking": text}:
            target["thinking"] += text
        case {"type": "signature_delta", "signature": text}:
            target["signature"] += text
        case {"type": "input_json_delta", "partial_json": text}:
            target["input"] = json.loads(text)
        case {"type": "citations_delta", "citation": citation}:
            target.setdefault("citations", []).append(citation)
        case _:
            raise AssertionError(delta)


# --------------------------------------------------------------------------------------------- streams


def test_a_text_answer_frame_by_frame() -> None:
    events, lossy = stream(TextDelta("Hel"), TextDelta("lo"), UsageReport(Usage(33, 7, cached=24)), Finish("stop"))
    assert events == [
        {
            "type": "message_start",
            "message": {
                "id": f"msg_{ID}",
                "type": "message",
                "role": "assistant",
                "model": "planning",
                "content": [],
                "stop_reason": None,
                "stop_sequence": None,
                "usage": {
                    "input_tokens": 11,
                    "cache_creation_input_tokens": 0,
                    "cache_read_input_tokens": 0,
                    "output_tokens": 0,
                },
            },
        },
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "ping"},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hel"}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "lo"}},
        {"type": "content_block_stop", "index": 0},
        {
            "type": "message_delta",
            "delta": {"stop_reason": "end_turn", "stop_sequence": None},
            "usage": {
                "input_tokens": 9,
                "cache_creation_input_tokens": 0,
                "cache_read_input_tokens": 24,
                "output_tokens": 7,
            },
        },
        {"type": "message_stop"},
    ]
    assert lossy == set()


def test_usage_known_before_the_start_is_real_from_the_first_frame() -> None:
    writer = dialect.writer(turn(), reply())
    assert writer.write(UsageReport(Usage(33, 7, cached=24))) == b""
    (start,) = frames(writer.start())
    assert start["message"]["usage"]["input_tokens"] == 9
    assert start["message"]["usage"]["output_tokens"] == 0


def test_usage_nobody_reports_is_estimated() -> None:
    events, _ = stream(TextDelta("word " * 20), TextDelta("and a cut"), TextDelta("-off word"), Finish("stop"))
    assert events[-2]["usage"]["input_tokens"] == 11
    assert events[-2]["usage"]["output_tokens"] == 24


def test_a_call_alone_stands_at_index_0_and_blanks_before_it_open_no_block() -> None:
    events, _ = stream(TextDelta(""), TextDelta("\n\n"), ToolOpen(0), ToolDone(0, CALL), Finish("tool_calls"))
    assert content(events) == [{"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"a": 1}}]
    deltas = [event["delta"] for event in events if event["type"] == "content_block_delta"]
    assert deltas == [{"type": "input_json_delta", "partial_json": '{"a": 1}'}]
    assert events[2] == {"type": "ping"}
    assert events[-2]["delta"]["stop_reason"] == "tool_use"


def test_blanks_stay_in_front_of_text() -> None:
    events, _ = stream(TextDelta(" "), TextDelta("\n"), TextDelta("x"), TextDelta(" "), Finish("stop"))
    assert content(events) == [{"type": "text", "text": " \nx "}]
    between, _ = stream(ToolDone(0, CALL), TextDelta("\n"), ToolDone(1, CALL), TextDelta("end"), Finish("stop"))
    assert [entry["type"] for entry in content(between)] == ["tool_use", "tool_use", "text"]
    assert content(between)[2]["text"] == "end"


@pytest.mark.parametrize(("pieces", "text"), [([], ""), ([""], ""), ([" ", "\n"], " \n")])
def test_an_empty_answer_has_one_text_block(pieces: list[str], text: str) -> None:
    events, _ = stream(*map(TextDelta, pieces), Finish("stop"))
    assert content(events) == [{"type": "text", "text": text}]


def test_an_id_of_an_earlier_turn_is_not_given_again() -> None:
    """Some engines number the calls of each answer from zero; Claude Code takes such a call for one it has made."""
    use = {"type": "tool_use", "id": "call_0", "name": "f", "input": {}}
    result = {"type": "tool_result", "tool_use_id": "call_0", "content": "1"}
    said = [
        {"role": "user", "content": "go"},
        {"role": "assistant", "content": [use]},
        {"role": "user", "content": [result]},
    ]
    later = turn(messages=said, tools=[{"name": "f", "input_schema": {}}])
    calls = [ToolCall("call_0", "f", "{}"), ToolCall("call_1", "f", "{}")]
    answer = json.loads(dialect.render(Answer([*calls], Finish("tool_calls")), later, reply(), set()))
    assert [block["id"] for block in answer["content"]] == [f"toolu_{ID}00", "call_1"]
    writer = dialect.writer(later, reply())
    written = writer.start() + b"".join(writer.write(ToolDone(at, call)) for at, call in enumerate(calls))
    starts = [frame["content_block"] for frame in frames(written) if frame["type"] == "content_block_start"]
    assert [block["id"] for block in starts] == [f"toolu_{ID}00", "call_1"]


def test_ids_and_arguments_a_tier_left_out() -> None:
    events, _ = stream(ToolDone(0, ToolCall("", "f", "")), ToolDone(1, ToolCall("", "g", "  ")), Finish("tool_calls"))
    assert content(events) == [
        {"type": "tool_use", "id": f"toolu_{ID}00", "name": "f", "input": {}},
        {"type": "tool_use", "id": f"toolu_{ID}01", "name": "g", "input": {}},
    ]


def test_reasoning_has_its_own_block_when_asked_for() -> None:
    events, lossy = stream(
        ReasoningDelta("a"), ReasoningDelta("b"), ReasoningDone(), TextDelta("x"), Finish("stop"), **SHOW
    )
    assert content(events) == [{"type": "thinking", "thinking": "ab", "signature": ""}, {"type": "text", "text": "x"}]
    assert lossy == set()
    assert not any(event.get("delta", {}).get("type") == "signature_delta" for event in events)


def test_reasoning_nobody_asked_for_is_hidden_and_named() -> None:
    events, lossy = stream(ReasoningDelta("a"), ReasoningDone(), TextDelta("x"), Finish("stop"))
    assert content(events) == [{"type": "text", "text": "x"}]
    assert lossy == {"reasoning.hidden"}


def test_signatures_of_the_same_dialect_stay_even_when_the_text_is_hidden() -> None:
    given_ = [
        ReasoningDelta("a"),
        ReasoningDone("c2ln"),
        ReasoningDone(redacted="ZA=="),
        TextDelta("x"),
        Finish("stop"),
    ]
    thought = {"type": "thinking", "thinking": "", "signature": "c2ln"}
    rest = [{"type": "redacted_thinking", "data": "ZA=="}, {"type": "text", "text": "x"}]
    assert content(stream(*given_, same=True)[0]) == [thought, *rest]
    assert content(stream(*given_, same=True, **SHOW)[0]) == [{**thought, "thinking": "a"}, *rest]
    assert content(stream(*given_)[0]) == rest[1:]


def test_opaque_blocks_reach_their_own_dialect_only() -> None:
    raw = b'{"type":"server_tool_use","id":"s","name":"web_search","input":{}}'
    given_ = [TextDelta("a"), OpaqueDone(Opaque("server_tool_use", raw)), TextDelta("b"), Finish("stop")]
    events, lossy = stream(*given_)
    assert (content(events), lossy) == ([{"type": "text", "text": "ab"}], {"answer.opaque"})
    events, lossy = stream(*given_, same=True)
    assert [entry["type"] for entry in content(events)] == ["text", "server_tool_use", "text"]
    assert lossy == set()


def test_a_stream_of_the_same_dialect_comes_out_as_it_went_in() -> None:
    cited = {"type": "citations_delta", "citation": {"cited_text": "x"}}
    given_ = [
        *FULL_STREAM[:-2],
        *block(5, {"type": "text", "text": "", "citations": []}, cited, {"type": "text_delta", "text": "c"}),
        *block(6, TEXT_START, {"type": "text_delta", "text": "d"}),
        *end("tool_use", cache_creation_input_tokens=0),
    ]
    events, lossy = stream(*dialect.reader().feed(sse(*given_)), same=True, **SHOW)
    assert content(events) == [
        {"type": "thinking", "thinking": "first think", "signature": "c2lnbmF0dXJl"},
        {"type": "redacted_thinking", "data": "ZGF0YQ=="},
        {"type": "text", "text": "Grüße, I look."},
        {"type": "tool_use", "id": "toolu_1", "name": "get_weather", "input": {"city": "Köln"}},
        {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "x"}},
        {"type": "text", "text": "c", "citations": [{"cited_text": "x"}]},
        {"type": "text", "text": "d"},
    ]
    assert lossy == set()
    assert events[-2]["usage"] == {
        "input_tokens": 9,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 24,
        "output_tokens": 7,
    }


def test_unknown_fields_of_the_last_event_and_of_usage_reach_the_same_dialect() -> None:
    last = {**end()[0], "context_management": {"applied_edits": []}}
    last["delta"] = {**last["delta"], "container": {"id": "c"}}
    last["usage"] = {**last["usage"], "server_tool_use": {"web_search_requests": 1}}
    events, _ = stream(*dialect.reader().feed(sse(begin(), last)), same=True)
    assert events[-2]["context_management"] == {"applied_edits": []}
    assert events[-2]["delta"] == {"stop_reason": "end_turn", "stop_sequence": None, "container": {"id": "c"}}
    assert events[-2]["usage"]["server_tool_use"] == {"web_search_requests": 1}


def test_extras_of_another_dialect_are_named() -> None:
    extra = {"refusal": Raw(b'"no"'), "annotations": Raw(b"[1]"), "odd": Raw(b"1"), "nothing": Raw(b"null")}
    events, lossy = stream(TextDelta("x", extra, {"logprobs": Raw(b'{"a":1}')}), Finish("stop"))
    assert content(events) == [{"type": "text", "text": "x"}]
    assert lossy == {"answer.refusal_text", "answer.annotations", "unknown.odd", "logprobs"}


@pytest.mark.parametrize(
    ("finish", "calls", "reason"),
    [
        (Finish("stop"), 0, "end_turn"),
        (Finish("stop"), 1, "tool_use"),
        (Finish("tool_calls"), 1, "tool_use"),
        (Finish("stop_sequence", stop_sequence="##"), 0, "stop_sequence"),
        (Finish("length"), 1, "max_tokens"),
        (Finish("context_window"), 0, "model_context_window_exceeded"),
        (Finish("content_filter"), 0, "refusal"),
        (Finish("pause_turn"), 0, "pause_turn"),
        (Finish("unknown", "odd"), 0, "end_turn"),
    ],
)
def test_stop_reasons_in_streams_and_bodies(finish: Finish, calls: int, reason: str) -> None:
    events, lossy = stream(TextDelta("x"), *[ToolDone(1, CALL)] * calls, finish)
    assert events[-2]["delta"] == {"stop_reason": reason, "stop_sequence": finish.stop_sequence}
    assert lossy == ({"finish.unknown"} if finish.reason == "unknown" else set())
    sent = json.loads(dialect.render(Answer([Text("x"), *[CALL] * calls], finish), turn(), reply(), set()))
    assert (sent["stop_reason"], sent["stop_sequence"]) == (reason, finish.stop_sequence)


@pytest.mark.parametrize(
    ("failure_class", "kind"),
    [("unavailable", "api_error"), ("bad_answer", "api_error"), ("rate_limited", "overloaded_error")],
)
def test_the_error_event(failure_class: str, kind: str) -> None:
    writer = dialect.writer(turn(), reply())
    writer.write(TextDelta("x"))
    (event,) = frames(writer.abort(Fault(failure_class, "tier secret", "host secret"), 503))
    assert (event["type"], event["error"]["type"]) == ("error", kind)
    assert "secret" not in json.dumps(event)


EVENTS = st.one_of(
    st.text(max_size=4).map(TextDelta),
    st.sampled_from([" ", "\n", ""]).map(TextDelta),
    st.text(max_size=4).map(ReasoningDelta),
    st.sampled_from([ReasoningDone(), ReasoningDone("c2ln"), ReasoningDone(redacted="ZA==")]),
    st.just(ToolDone(0, CALL)),
    st.just(OpaqueDone(Opaque("x", b'{"type":"x"}'))),
    st.just(UsageReport(Usage(1, 2))),
)


@given(events=st.lists(EVENTS, max_size=8), same=st.booleans(), show=st.booleans())
@settings(max_examples=150, deadline=None)
def test_any_order_of_events_gives_a_well_formed_stream(events: list[Event], same: bool, show: bool) -> None:
    sent, _ = stream(*events, Finish("stop"), same=same, **(SHOW if show else {}))
    blocks = content(sent)
    said = "".join([event.text for event in events if isinstance(event, TextDelta)])
    shown = [entry["text"] for entry in blocks if entry["type"] == "text"]
    assert "".join("".join(shown).split()) == "".join(said.split())
    at = 0
    for text in shown:  # only blanks between two blocks may be gone: within one, every character is where it was
        at = said.index(text, at) + len(text)
    assert sum(entry["type"] == "tool_use" for entry in blocks) == sum(isinstance(event, ToolDone) for event in events)
    kinds = [event["type"] for event in sent]
    assert (kinds[0], kinds[-2:]) == ("message_start", ["message_delta", "message_stop"])
    assert [at for at, kind in enumerate(kinds) if kind == "ping"] == [2]


# ---------------------------------------------------------------------------------------------- bodies


def rendered(answer: Answer, *, same: bool = False, **fields: Any) -> tuple[dict[str, Any], set[str]]:
    lossy: set[str] = set()
    return json.loads(dialect.render(answer, turn(**fields), reply(same=same), lossy)), lossy


def test_a_body() -> None:
    answer = Answer([Text("\n"), Reasoning("hm"), Text("hi"), CALL], Finish("tool_calls"), Usage(33, 7, cached=24))
    sent, lossy = rendered(answer, **SHOW)
    assert sent == {
        "id": f"msg_{ID}",
        "type": "message",
        "role": "assistant",
        "model": "planning",
        "content": [
            {"type": "thinking", "thinking": "hm", "signature": ""},
            {"type": "text", "text": "hi"},
            {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"a": 1}},
        ],
        "stop_reason": "tool_use",
        "stop_sequence": None,
        "usage": {
            "input_tokens": 9,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 24,
            "output_tokens": 7,
        },
    }
    assert lossy == set()
    assert rendered(answer)[0]["content"] == sent["content"][1:]
    assert rendered(answer)[1] == {"reasoning.hidden"}


def test_an_empty_body_and_estimates() -> None:
    sent, _ = rendered(Answer([], Finish("stop")))
    assert sent["content"] == [{"type": "text", "text": ""}]
    assert rendered(Answer([Text("two words")]))[0]["usage"]["output_tokens"] == 2
    assert sent["usage"]["input_tokens"] == 11


def test_broken_arguments_never_become_an_empty_object() -> None:
    with pytest.raises(BadAnswer) as caught:
        rendered(Answer([ToolCall("t", "f", '{"a":')]))
    assert caught.value.fault.failure_class == "bad_answer"


def test_the_same_dialect_keeps_unknown_fields() -> None:
    tier = {
        "id": "msg_up",
        "type": "message",
        "role": "assistant",
        "model": "upstream",
        "content": [
            {"type": "thinking", "thinking": "hm", "signature": "c2ln"},
            {"type": "redacted_thinking", "data": "ZA=="},
            {"type": "text", "text": "see", "citations": [{"n": 1}]},
            {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}},
            {"type": "tool_use", "id": "t1", "name": "f", "input": {"a": 1}, "caller": {"type": "direct"}},
        ],
        "stop_reason": "tool_use",
        "stop_sequence": None,
        "usage": {"input_tokens": 9, "output_tokens": 2, "service_tier": "standard"},
        "container": {"id": "c"},
    }
    sent, lossy = rendered(dialect.read_answer(json.dumps(tier).encode()), same=True, **SHOW)
    cache = {"cache_creation_input_tokens": 0, "cache_read_input_tokens": 0}
    assert sent == {**tier, "id": f"msg_{ID}", "model": "planning", "usage": {**tier["usage"], **cache}}  # type: ignore[dict-item]  # a test literal
    assert lossy == set()


def test_what_an_openai_answer_says_beyond_the_dialect_is_named() -> None:
    answer = openai_chat.read_answer(
        json.dumps(
            {
                "id": "x",
                "object": "chat.completion",
                "created": 1,
                "model": "m",
                "system_fingerprint": "fp",
                "choices": [
                    {
                        "index": 0,
                        "message": {"role": "assistant", "content": "hi", "refusal": "no", "annotations": []},
                        "logprobs": {"content": []},
                        "finish_reason": "stop",
                    }
                ],
                "usage": {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4},
            }
        ).encode()
    )
    sent, lossy = rendered(answer)
    assert set(sent) == {"id", "type", "role", "model", "content", "stop_reason", "stop_sequence", "usage"}
    assert lossy == {"answer.refusal_text", "logprobs", "unknown.system_fingerprint"}


# ---------------------------------------------------------------------------------------------- errors


def test_errors() -> None:
    assert json.loads(dialect.error(503, "service_unavailable", "no tier", code="ignored")) == {
        "type": "error",
        "error": {"type": "service_unavailable", "message": "no tier"},
    }
    details = {"error_code": "thread_unsupported_request", "unsupported": ["thread"]}
    sent = json.loads(dialect.error(400, "invalid_request_error", "m", details=details))
    assert sent["error"]["details"] == details
