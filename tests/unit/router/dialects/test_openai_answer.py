"""Reading whole answers of OpenAI-dialect tiers and writing them for callers (contract 7, 14.1, 2.7)."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from anvil.router.dialects import openai_chat
from anvil.router.turn import (
    Answer,
    BadAnswer,
    Finish,
    Opaque,
    Reasoning,
    Reply,
    Signals,
    Text,
    ToolCall,
    Turn,
    Usage,
)

# shapes as llama-server b10434 and vLLM 0.32 send them
LLAMA = {
    "choices": [
        {
            "finish_reason": "tool_calls",
            "index": 0,
            "message": {
                "role": "assistant",
                "content": "",
                "tool_calls": [
                    {"type": "function", "function": {"name": "f", "arguments": '{"city":"Oslo"}'}, "id": "abc"}
                ],
            },
        }
    ],
    "created": 1764000000,
    "model": "heavy",
    "system_fingerprint": "b10434-7e4c0a9",
    "object": "chat.completion",
    "usage": {
        "completion_tokens": 12,
        "prompt_tokens": 33,
        "total_tokens": 45,
        "prompt_tokens_details": {"cached_tokens": 24},
    },
    "id": "chatcmpl-llama",
    "timings": {"prompt_n": 9, "predicted_ms": 100.5},
}
VLLM = {
    "id": "chatcmpl-vllm",
    "object": "chat.completion",
    "created": 1764000000,
    "model": "tiny",
    "choices": [
        {
            "index": 0,
            "message": {
                "role": "assistant",
                "content": "one",
                "refusal": None,
                "annotations": None,
                "audio": None,
                "function_call": None,
                "tool_calls": [],
                "reasoning": "hm",
            },
            "logprobs": None,
            "finish_reason": "stop",
            "stop_reason": "END",
            "token_ids": None,
        }
    ],
    "service_tier": None,
    "usage": {
        "prompt_tokens": 5,
        "total_tokens": 8,
        "completion_tokens": 3,
        "prompt_tokens_details": None,
        "completion_tokens_details": {"reasoning_tokens": 1},
    },
    "prompt_logprobs": None,
    "kv_transfer_params": None,
}


def read(body: Any) -> Answer:
    return openai_chat.read_answer(json.dumps(body).encode())


def read_message(message: Any, **choice: Any) -> Answer:
    return read({"choices": [{"index": 0, "message": message, "finish_reason": "stop", **choice}]})


def test_llama_tool_call() -> None:
    answer = read(LLAMA)
    assert answer.blocks == [ToolCall("abc", "f", '{"city":"Oslo"}')]
    assert answer.finish == Finish("tool_calls", "tool_calls")
    assert answer.usage is not None
    assert (answer.usage.prompt, answer.usage.completion, answer.usage.cached) == (33, 12, 24)
    assert answer.envelope is not None
    assert "timings" in answer.envelope


def test_vllm_text_with_reasoning_and_matched_stop() -> None:
    answer = read(VLLM)
    assert answer.blocks == [Reasoning("hm"), Text("one")]
    assert answer.finish == Finish("stop_sequence", "stop", "END")
    assert answer.usage is not None
    assert (answer.usage.cached, answer.usage.reasoning) == (None, 1)
    assert answer.lossy == []


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"<html>",
        b"[]",
        b"3",
        b'{"choices":[],"x":"\xff"}',
        b"[" * 100_000,
        b"{}",
        b'{"choices":null}',
        b'{"choices":{}}',
        b'{"choices":[3]}',
        b'{"choices":[{}]}',
        b'{"choices":[{"message":null}]}',
        b'{"choices":[{"message":"hi"}]}',
        b'{"choices":[{"message":{"content":7}}]}',
        b'{"choices":[{"message":{"content":{"text":"x"}}}]}',
    ],
)
def test_malformed_answers_are_unavailable(data: bytes) -> None:
    with pytest.raises(BadAnswer) as caught:
        openai_chat.read_answer(data)
    assert caught.value.fault.failure_class == "unavailable"


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        ({"type": "overloaded_error", "message": "busy"}, "rate_limited"),
        ({"type": "invalid_request_error", "message": "bad"}, "caller_error"),
        ({"type": "invalid_request_error", "message": "maximum context length is 10"}, "over_context"),
        ({"message": "broke"}, "unavailable"),
        ("broke", "unavailable"),
    ],
)
def test_error_under_200(error: Any, expected: str) -> None:
    with pytest.raises(BadAnswer) as caught:
        read({"error": error, "choices": [{"message": {"content": "x"}}]})
    assert caught.value.fault.failure_class == expected


def test_error_null_is_no_error() -> None:
    assert read({"error": None, "choices": [{"message": {"content": "x"}}]}).text == "x"


@pytest.mark.parametrize("message", [{}, {"content": None}, {"content": ""}, {"content": []}])
def test_empty_is_legitimate(message: Any) -> None:
    assert read_message(message).blocks == []
    assert read({"choices": []}).finish is None


def test_only_the_first_choice_counts_and_content_may_be_a_list() -> None:
    answer = read({"choices": [{"message": {"content": [{"type": "text", "text": "a"}, "b", 3]}}, {"message": 3}]})
    assert answer.text == "ab"


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        ({"id": "1", "function": {"name": "f", "arguments": "x"}}, ("1", "f", "x", False)),
        ({"id": 1, "function": {"name": "f", "arguments": None}}, ("", "f", "", False)),
        ({"id": "1", "function": {"name": "f"}}, ("1", "f", "", False)),
        ({"id": "1", "function": {"name": "f", "arguments": {"a": 1}}}, ("1", "f", '{"a": 1}', False)),
        ({"id": "1", "function": {"name": "f", "arguments": [1]}}, ("1", "f", "[1]", False)),
        ({"id": "1", "function": {"name": "f", "arguments": 3}}, ("1", "f", "", True)),
        ({"id": "1", "function": {"name": "f", "arguments": True}}, ("1", "f", "", True)),
        ({"id": "1", "function": {"arguments": "{}"}}, ("1", "", "{}", True)),
        ({"id": "1", "function": {"name": 3, "arguments": "{}"}}, ("1", "", "{}", True)),
        ({"id": "1", "function": "f"}, ("1", "", "", True)),
        ({"id": "1"}, ("1", "", "", True)),
        (3, ("", "", "", True)),
    ],
)
def test_call_shapes(call: Any, expected: tuple[str, str, str, bool]) -> None:
    (found,) = read_message({"tool_calls": [call]}).calls
    assert (found.id, found.name, found.arguments, bool(found.malformed)) == expected


def test_calls_that_are_no_list_and_legacy_calls() -> None:
    assert read_message({"tool_calls": {"a": 1}}).calls[0].malformed
    assert read_message({"tool_calls": []}).calls == []
    legacy = read_message({"function_call": {"name": "f", "arguments": "{}"}})
    assert legacy.calls == [ToolCall("", "f", "{}")]
    custom = read_message({"tool_calls": [{"id": "1", "type": "custom", "custom": {"name": "c", "input": 'a"b'}}]})
    assert custom.calls == [ToolCall("1", "c", '{"input":"a\\"b"}', custom=True)]


def test_block_cap() -> None:
    call = {"id": "1", "function": {"name": "f", "arguments": "{}"}}
    assert len(read_message({"tool_calls": [call] * 1024}).calls) == 1024
    with pytest.raises(BadAnswer):
        read_message({"tool_calls": [call] * 1025})


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("stop", "stop"),
        (" END_turn ", "stop"),
        ("stop_sequence", "stop_sequence"),
        ("tool_calls", "tool_calls"),
        ("tool_use", "tool_calls"),
        ("function_call", "tool_calls"),
        ("Length", "length"),
        ("max_tokens", "length"),
        ("model_length", "length"),
        ("model_context_window_exceeded", "context_window"),
        ("content_filter", "content_filter"),
        ("refusal", "content_filter"),
        ("pause_turn", "pause_turn"),
        (None, "unknown"),
        ("abort", "unknown"),
        (3, "unknown"),
    ],
)
def test_finish_reasons(word: Any, reason: str) -> None:
    answer = read_message({"content": "x"}, finish_reason=word)
    assert answer.finish is not None
    assert answer.finish.reason == reason
    assert answer.lossy == (["finish.unknown"] if reason == "unknown" and word is not None else [])


def test_a_numeric_stop_reason_is_a_token_not_a_string() -> None:
    assert read_message({"content": "x"}, stop_reason=151645).finish == Finish("stop", "stop")
    assert read_message({"content": "x"}, stop_reason="E", finish_reason="length").finish == Finish("length", "length")


@pytest.mark.parametrize("bad", [{}, {"prompt_tokens": 1}, {"prompt_tokens": True, "completion_tokens": 1}, [], "x"])
def test_unusable_usage(bad: Any) -> None:
    assert read({"choices": [], "usage": bad}).usage is None
    assert read({"choices": [], "usage": {"prompt_tokens": -1, "completion_tokens": 1}}).usage is None
    assert read({"choices": [], "usage": {"prompt_tokens": 1.0, "completion_tokens": 1}}).usage is None


# -------------------------------------------------------------------------------------------------- render

REPLY = Reply(id="0" * 24, model="anvil/chat", created=7, prompt_estimate=11, same_dialect=True)
FOREIGN = Reply(id="0" * 24, model="chat", created=7, prompt_estimate=11)


def turn(**fields: Any) -> Turn:
    return Turn(dialect="openai", body=fields.pop("body", {}), signals=Signals(), **fields)


def render(answer: Answer, reply: Reply = FOREIGN, **fields: Any) -> tuple[dict[str, Any], set[str]]:
    lossy: set[str] = set()
    return json.loads(openai_chat.render(answer, turn(**fields), reply, lossy)), lossy


@pytest.mark.parametrize("body", [LLAMA, VLLM])
def test_same_dialect_keeps_everything_but_identity(body: Any) -> None:
    rendered, lossy = render(read(body), REPLY)
    expected = json.loads(json.dumps(body))
    expected |= {"id": "chatcmpl-" + "0" * 24, "model": "anvil/chat", "created": 7}
    if expected["choices"][0]["message"]["content"] == "":
        expected["choices"][0]["message"]["content"] = None
    assert rendered == expected
    assert lossy == set()


def test_same_dialect_keeps_exact_numbers_and_unknown_call_fields() -> None:
    data = (
        b'{"choices":[{"message":{"content":"x","x":1.50,"tool_calls":[{"function":{"name":"f","arguments":{"a": 1.0},'
    )
    data += b'"y":2},"extra_content":{"sig":"s"}}]},"logprobs":{"v":-0.10}},{"index":1}],"usage":{"prompt_tokens":1,'
    data += b'"completion_tokens":2,"z":1.0}}'
    body = openai_chat.render(openai_chat.read_answer(data), turn(), REPLY, set())
    for exact in (b'"x":1.50', b'{"v":-0.10}', b'"z":1.0,'):
        assert exact in body
    choices = json.loads(body)["choices"]
    assert len(choices) == 1
    (call,) = choices[0]["message"]["tool_calls"]
    assert call == {
        "function": {"name": "f", "arguments": '{"a": 1.0}', "y": 2},
        "extra_content": {"sig": "s"},
        "id": "call_" + "0" * 24 + "0",
        "type": "function",
    }


def test_foreign_answer() -> None:
    blocks: list[Any] = [
        Reasoning("hm", signature="s"),
        Text("a", extra={"citations": Raw(b"[1]")}),
        Opaque("server_tool_use", b"{}"),
        Text("b"),
        ToolCall("toolu_1", "f", '{"a":1}'),
        ToolCall("", "g", " "),
    ]
    usage = Usage(10, 4, cached=3, reasoning=2, raw=b'{"input_tokens":7}')
    body, lossy = render(Answer(blocks, Finish("stop_sequence", "stop_sequence", "END"), usage))
    assert body == {
        "id": "chatcmpl-" + "0" * 24,
        "object": "chat.completion",
        "created": 7,
        "model": "chat",
        "choices": [
            {
                "index": 0,
                "message": {
                    "role": "assistant",
                    "content": "ab",
                    "reasoning_content": "hm",
                    "tool_calls": [
                        {"id": "toolu_1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}},
                        {
                            "id": "call_" + "0" * 24 + "1",
                            "type": "function",
                            "function": {"name": "g", "arguments": "{}"},
                        },
                    ],
                },
                "finish_reason": "stop",
            }
        ],
        "usage": {
            "prompt_tokens": 10,
            "completion_tokens": 4,
            "total_tokens": 14,
            "prompt_tokens_details": {"cached_tokens": 3},
            "completion_tokens_details": {"reasoning_tokens": 2},
        },
    }
    assert lossy == {"reasoning.signature", "citations", "answer.opaque", "answer.stop_string"}


def test_empty_answer_and_estimated_usage() -> None:
    body, lossy = render(Answer([], Finish("unknown")))
    assert body["choices"][0]["message"] == {"role": "assistant", "content": None}
    assert body["choices"][0]["finish_reason"] == "stop"
    assert body["usage"] == {"prompt_tokens": 11, "completion_tokens": 0, "total_tokens": 11}
    assert lossy == set()
    assert render(Answer([Text("one two")]))[0]["usage"]["completion_tokens"] == 2


@pytest.mark.parametrize(
    ("finish", "word", "named"),
    [
        (Finish("tool_calls"), "tool_calls", None),
        (Finish("length"), "length", None),
        (Finish("context_window"), "length", None),
        (Finish("content_filter"), "content_filter", None),
        (Finish("pause_turn"), "stop", "finish.pause_turn"),
        (Finish("unknown", "abort"), "stop", "finish.unknown"),
        (Finish("unknown"), "stop", None),
    ],
)
def test_finish_words(finish: Finish, word: str, named: str | None) -> None:
    body, lossy = render(Answer([Text("x")], finish))
    assert body["choices"][0]["finish_reason"] == word
    assert lossy == ({named} if named else set())


def test_legacy_caller() -> None:
    answer = Answer([ToolCall("1", "f", '{"a":1}')], Finish("tool_calls"))
    body, _ = render(answer, body={"functions": Raw(b"[]")})
    assert body["choices"][0]["message"]["function_call"] == {"name": "f", "arguments": '{"a":1}'}
    assert body["choices"][0]["finish_reason"] == "function_call"


def test_error_envelope() -> None:
    assert json.loads(openai_chat.error(400, "invalid_request", "no")) == {
        "error": {"type": "invalid_request", "message": "no"}
    }
    over = json.loads(
        openai_chat.error(413, "payload_too_large", "m", code="context_length_exceeded", details={"a": 1})
    )
    assert over == {"error": {"type": "payload_too_large", "message": "m", "code": "context_length_exceeded"}}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=5,
)
CALL = st.dictionaries(
    st.sampled_from(["id", "type", "function", "custom"]),
    JSON | st.dictionaries(st.sampled_from(["name", "arguments", "input"]), JSON),
)
MESSAGE = st.dictionaries(
    st.sampled_from(["role", "content", "tool_calls", "function_call", "reasoning_content", "reasoning", "refusal"]),
    JSON | st.lists(CALL, max_size=3),
)


@given(MESSAGE, JSON, JSON)
def test_type_confused_answers_give_an_answer_or_a_fault(message: Any, finish: Any, usage: Any) -> None:
    body = {"choices": [{"message": message, "finish_reason": finish, "stop_reason": finish}], "usage": usage}
    try:
        answer = read(body)
    except BadAnswer:
        return
    if not any(call.malformed for call in answer.calls):
        json.loads(openai_chat.render(answer, turn(), REPLY, set()))
        json.loads(openai_chat.render(answer, turn(), FOREIGN, set()))
