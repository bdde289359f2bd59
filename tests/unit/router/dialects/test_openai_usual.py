"""The short way to a turn gives what the long one gives, for every body: equal turns, equal refusals."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anvil.router.dialects import openai_chat, openai_chat_answer, openai_chat_reader
from anvil.router.dialects import openai_chat_request as reading
from anvil.router.dialects.openai_chat_tools import cut_tools
from anvil.router.turn import Answer, BadAnswer, BadRequest, Turn

NONCE = "x-anthropic-billing-header: cc_version=1; cch=abc;"
texts = st.sampled_from(
    ["", " ", "plan the fix", "w " * 200, "é日 \u2003b", "[Mon 2026-01-05 10:00] hi", NONCE, "<x>"]
) | st.text(max_size=20)
odd: st.SearchStrategy[Any] = st.one_of(
    st.none(), st.booleans(), st.integers(-2, 3), st.just(1.5), texts, st.just([]), st.just({"a": [1]})
)
parts = st.fixed_dictionaries(
    {"type": st.sampled_from(["text", "text", "image_url"]), "text": texts}, optional={"cache_control": odd}
)
functions = st.fixed_dictionaries({"name": st.just("f"), "arguments": st.sampled_from(["{}", '{"a":1}', "{", ""])})
calls = st.fixed_dictionaries({"id": st.just("c"), "type": st.just("function"), "function": functions | odd})
messages = st.fixed_dictionaries(
    {
        "role": st.sampled_from(["system", "developer", "user", "user", "assistant", "tool", "function", "x"]),
        "content": texts | texts | st.lists(parts | texts, max_size=2) | odd,
    },
    optional={
        "tool_calls": st.lists(calls, max_size=2) | odd,
        "tool_call_id": texts,
        "name": odd,
        "reasoning_content": odd,
        "strange": odd,
    },
)
TOOLS = [
    {"type": "function", "function": {"name": f"tool_{at}", "description": "é", "parameters": {"type": "object"}}}
    for at in range(3)
]
fields = st.fixed_dictionaries(
    {"messages": st.lists(messages, max_size=4)},
    optional={
        "model": texts | odd,
        "stream": st.booleans() | odd,
        "stream_options": st.just({"include_usage": True}) | odd,
        "max_tokens": st.integers(0, 9) | odd,
        "max_completion_tokens": st.integers(0, 9) | odd,
        "temperature": st.sampled_from([0, 0.5, 1e308, 10**400]) | odd,
        "n": st.just(1) | odd,
        "top_k": odd,
        "stop": st.lists(texts, max_size=2) | odd,
        "tool_choice": st.sampled_from(["auto", "none", "required"]) | odd,
        "tools": st.just(TOOLS) | st.just([*TOOLS, 5]) | odd,
        "functions": odd,
        "metadata": odd,
        "thinking": odd,
        "unknown": st.just(TOOLS) | odd,
    },
)


def outcome(parse: Any, data: bytes) -> Turn | str:
    try:
        return parse(data)  # type: ignore[no-any-return]  # parse functions of this test only
    except BadRequest as error:
        return error.message


def the_long_way(data: bytes) -> Turn | str:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "_usual_turn", lambda _: None)
        return outcome(openai_chat.parse, data)


@given(fields, st.sampled_from([None, 1]), st.booleans())
@settings(max_examples=400, deadline=None)
def test_both_ways_lead_to_the_same_turn(body: dict[str, Any], indent: int | None, ascii_only: bool) -> None:
    data = json.dumps(body, indent=indent, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    for _ in range(2):  # the second time the tools are remembered
        assert outcome(openai_chat.parse, data) == the_long_way(data)


def remembered() -> bytes:
    """Tools as JSON that ``cut_tools`` knows."""
    tools = json.dumps(TOOLS).encode()
    data = b'{"messages":[{"role":"user","content":"hi"}],"tools":%b}' % tools
    openai_chat.parse(data)
    assert cut_tools(data) is not None
    return tools


@pytest.mark.parametrize(
    "frame",
    [
        b'{"messages":[{"role":"user","content":"hi"}],"tools":%b,"max_tokens":5}',
        b'{"tools":[],"messages":[{"role":"user","content":"hi"}],"tools": %b }',
        b'{"messages":[{"role":"user","content":"hi"}],"tools":%b,"tools":[]}',
        b'{"messages":[{"role":"user","content":"hi"}],"tools":[],"unknown":%b}',
        b'{"messages":[{"role":"user","content":"hi"}],"tools":[%b]}',
        b'{"messages":[{"role":"user","content":"hi"}],"tools":{"a":%b}}',
        b'{"messages":[{"role":"user","content":"hi %b"}]}',
        b'{"messages":[{"role":"user","content":"hi"}],"tools":1%b}',
        b'{"messages":[{"role":"user","content":"hi"}],"tools":%b',
        b'{"messages":[{"role":"user","content":"hi"}],%b:"tools"}',
        b'{"messages":[{"role":"user","content":"hi"}],"tools":%b}}',
        b'{"messages":%b,"max_tokens":1}',
        b"%b",
    ],
)
def test_remembered_tools_count_only_where_they_belong(frame: bytes) -> None:
    data = frame % remembered()
    assert outcome(openai_chat.parse, data) == the_long_way(data)


@pytest.mark.parametrize("text", [b"\xff", b"\\ud800", b"\xed\xa0\x80", b"a\nb", b"\\x"])
def test_texts_are_read_as_strictly(text: bytes) -> None:
    for frame in (b'"content":"%b"', b'"content":"x","name":"%b"', b'"content":[{"type":"text","text":"%b"}]'):
        data = b'{"messages":[{"role":"user",%b}]}' % (frame % text)
        assert outcome(openai_chat.parse, data) == the_long_way(data)


def test_the_short_way_is_taken() -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "tools": TOOLS, "max_tokens": 5}
    assert reading._usual_turn(json.dumps(body).encode()) is not None


counts = st.fixed_dictionaries(
    {"prompt_tokens": st.integers(-1, 3), "completion_tokens": st.integers(0, 3) | odd},
    optional={
        "total_tokens": odd,
        "prompt_tokens_details": st.fixed_dictionaries({"cached_tokens": odd}, optional={"x": odd}) | odd,
        "completion_tokens_details": st.fixed_dictionaries({"reasoning_tokens": odd}) | odd,
        "x": odd,
    },
)
said = st.fixed_dictionaries(
    {"role": st.just("assistant"), "content": texts | odd},
    optional={
        "reasoning_content": texts | odd,
        "reasoning": texts | odd,
        "tool_calls": st.lists(calls, max_size=1) | odd,
        "function_call": odd,
        "x": odd,
    },
)
choices = st.fixed_dictionaries(
    {"message": said, "finish_reason": st.sampled_from(["stop", "length", "x"]) | odd},
    optional={"index": odd, "stop_reason": odd, "logprobs": odd},
)
answers = st.fixed_dictionaries(
    {"id": odd, "choices": st.lists(choices, max_size=2) | odd},
    optional={"usage": counts | odd, "error": odd, "x": odd},
)


def read(data: bytes) -> Answer | str:
    try:
        return openai_chat.read_answer(data)
    except BadAnswer as error:
        return repr(error.fault)


def read_the_long_way(data: bytes) -> Answer | str:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(openai_chat_answer, "_usual_answer", lambda _: None)
        return read(data)


@given(answers)
@settings(max_examples=400, deadline=None)
def test_both_ways_lead_to_the_same_answer(body: dict[str, Any]) -> None:
    data = json.dumps(body).encode()
    assert read(data) == read_the_long_way(data)


@pytest.mark.parametrize(
    "answer",
    [
        b'{"choices":[{"message":{"content":"a","reasoning":"\xff"},"finish_reason":"stop"}]}',
        b'{"choices":[{"message":{"content":"a","x":"\xff"},"finish_reason":"stop"}]}',
        b'{"choices":[{"message":{"content":"\\ud800"},"finish_reason":"stop"}]}',
        b'{"choices":[{"message":{"content":"a","reasoning_content":"b","reasoning":"\\x"},"finish_reason":"stop"}]}',
        b'{"choices":[{"message":{"content":"a"},"finish_reason":"stop"}],"usage":{"x":1e999}}',
        b'{"choices":[{"message":{"content":"a"},"finish_reason":"stop"}]}}',
        b'{"choices":[{"message":{"content":"a"},"finish_reason":"stop"}],"x":"\\x"}',
        b'{"choices":[{"message":{"content":"a","content":null},"finish_reason":"stop"}]}',
    ],
)
def test_odd_bytes_in_answers_are_read_alike(answer: bytes) -> None:
    assert read(answer) == read_the_long_way(answer)


def test_the_short_way_is_taken_for_answers() -> None:
    body = {"choices": [{"message": {"role": "assistant", "content": "a"}, "finish_reason": "stop"}]}
    assert openai_chat_answer._usual_answer(json.dumps(body).encode()) is not None


deltas = st.fixed_dictionaries(
    {},
    optional={
        "content": texts | texts | odd,
        "role": st.just("assistant") | odd,
        "reasoning_content": st.none() | texts | odd,
        "reasoning": odd,
        "tool_calls": st.none() | st.lists(calls, max_size=1) | odd,
        "function_call": odd,
        "refusal": st.none() | odd,
        "x": odd,
    },
)
chunks = st.fixed_dictionaries(
    {
        "choices": st.lists(
            st.fixed_dictionaries(
                {"delta": deltas},
                optional={
                    "index": st.just(0) | odd,
                    "finish_reason": st.none() | st.just("stop") | odd,
                    "stop_reason": odd,
                    "logprobs": st.none() | odd,
                    "token_ids": st.none() | odd,
                },
            ),
            max_size=2,
        )
        | odd
    },
    optional={"usage": st.none() | counts | odd, "error": odd, "x": odd},
)
PLAIN = {"choices": [{"delta": {"content": "more"}}]}
frames = st.one_of(
    st.just(PLAIN).map(json.dumps),
    chunks.map(json.dumps),
    chunks.map(json.dumps),
    st.sampled_from(["[DONE]", "{", '{"choices":[{"delta":{"content":"\\ud800"}}]}']),
)


def told(pieces: list[bytes]) -> object:
    reader = openai_chat.reader()
    events = []
    try:
        for piece in pieces:
            events += reader.feed(piece)
        events += reader.close()
    except BadAnswer as error:
        events.append(error.fault)
    return events, reader.complete, reader.bad_events, reader.lossy


@given(st.lists(st.tuples(frames, st.sampled_from(["", "", "", "event: error\n"])), max_size=12), st.booleans())
@settings(max_examples=400, deadline=None)
def test_flowing_text_is_read_alike(sent: list[tuple[str, str]], together: bool) -> None:
    pieces = [f"{head}data: {data}\n\n".encode("utf-8", "surrogatepass") for data, head in sent]
    pieces = [b"".join(pieces)] if together else pieces
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(openai_chat_reader, "MAX_MISSES", 0)
        expected = told(pieces)
    assert told(pieces) == expected


def test_flowing_text_is_expected_once_it_flows() -> None:
    reader = openai_chat.reader()
    piece = b'data: {"choices":[{"index":0,"delta":{"content":"a"},"token_ids":null}]}\n\n'
    reader.feed(piece)
    assert reader._flowing_text(piece[6:-2]) == "a"
    assert reader._flows
