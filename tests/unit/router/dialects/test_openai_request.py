"""Reading Chat Completions requests (contract 5)."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anvil.router.dialects import openai_chat
from anvil.router.turn import BadRequest, Tool, ToolChoice, Turn

HI = [{"role": "user", "content": "hi"}]


def parse(**fields: Any) -> Turn:
    return openai_chat.parse(json.dumps({"messages": HI, **fields}).encode())


def refusal(data: bytes) -> str:
    with pytest.raises(BadRequest) as caught:
        openai_chat.parse(data)
    assert caught.value.status == 400
    assert caught.value.type == "invalid_request"
    return caught.value.message


def refused(**fields: Any) -> str:
    return refusal(json.dumps({"messages": HI, **fields}).encode())


# ---------------------------------------------------------------------------------------------------- JSON


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b"  ",
        b"[]",
        b"3",
        b"\xef\xbb\xbf{}",
        b'{"messages":[{"role":"user","content":"hi"}]} x',
        b'{"messages":[{"role":"user","content":"hi"}],"a":NaN}',
        b'{"messages":[{"role":"user","content":"hi"}],"a":-Infinity}',
        b'{"messages":[{"role":"user","content":"hi"}],"a":1e999}',
        b'{"messages":[{"role":"user","content":"hi"}],"a":[{"b":1e999}]}',
        b'{"messages":[{"role":"user","content":"hi","x":1e999}]}',
        b'{"messages":[{"role":"user","content":"hi"}],"a":' + b"9" * 5000 + b"}",
        b'{"messages":[{"role":"user","content":"hi"}],"tools":[{"function":{"name":"f","parameters":{"m":1e999}}}]}',
        b'{"messages":[{"role":"user","content":"\xff"}]}',
        b'{"messages":[{"role":"user","content":"\xed\xa0\x80"}]}',
        b'{"messages":[{"role":"user","content":"hi"}],"a":{"b":"\xff"}}',
        b'{"messages":[{"role":"user","content":"hi"}],"\xff":1}',
        b'{"messages":[{"role":"user","content":"\\ud800"}]}',
        b'{"messages":[{"role":"user","content":"hi"}],"a":"\\udc00\\ud800"}',
        b'{"messages":[{"role":"user","content":"hi"}],"tools":[{"function":{"name":"f","parameters":{"m":"\xff"}}}]}',
    ],
)
def test_bad_json_is_a_400(data: bytes) -> None:
    assert refusal(data)


def nested(levels: int) -> bytes:
    return b"[" * levels + b"1" + b"]" * levels


@pytest.mark.parametrize(
    ("template", "outer"),
    [
        (b'{"messages":[{"role":"user","content":"hi"}],"a":%s}', 1),
        (b'{"messages":[{"role":"user","content":"hi","a":%s}]}', 3),
        (b'{"messages":[{"role":"user","content":[{"type":"x","a":%s}]}]}', 5),
        (b'{"messages":[{"role":"user","content":"hi"}],"tools":[{"function":{"name":"f","parameters":%s}}]}', 4),
    ],
)
def test_nesting_of_128_is_accepted_and_129_refused(template: bytes, outer: int) -> None:
    openai_chat.parse(template % nested(128 - outer))
    assert "128" in refusal(template % nested(129 - outer))
    assert "128" in refusal(template % nested(50_000))


def test_duplicate_keys_last_wins() -> None:
    turn = openai_chat.parse(b'{"model":"a","messages":3,"messages":[{"role":"user","content":"x"}],"model":"b"}')
    assert turn.model == "b"
    assert list(turn.body) == ["model", "messages"]


# ---------------------------------------------------------------------------------------------- validation


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"messages": None}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": "x"}, "messages"),
        ({"messages": [3]}, "messages[0]"),
        ({"messages": [*HI, None]}, "messages[1]"),
        ({"messages": [{"content": "x"}]}, "messages[0].role"),
        ({"messages": [*HI, {"role": "robot", "content": "x"}]}, "messages[1].role"),
        ({"messages": [{"role": ["user"], "content": "x"}]}, "messages[0].role"),
        ({"messages": [*HI, *HI, *HI, {"role": "user", "content": 3}]}, "messages[3].content"),
        ({"messages": [{"role": "user", "content": {"type": "text"}}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": ["a", 1]}]}, "messages[0].content[1]"),
        ({"messages": [{"role": "user", "content": [None]}]}, "messages[0].content[0]"),
        ({"model": 3}, "model"),
        ({"stream": "yes"}, "stream"),
        ({"stream": 1}, "stream"),
        ({"max_tokens": -1}, "max_tokens"),
        ({"max_tokens": 1.5}, "max_tokens"),
        ({"max_tokens": True}, "max_tokens"),
        ({"max_completion_tokens": "5"}, "max_completion_tokens"),
        ({"temperature": "hot"}, "temperature"),
        ({"temperature": True}, "temperature"),
        ({"temperature": 10**400}, "temperature"),
        ({"top_p": []}, "top_p"),
        ({"presence_penalty": {}}, "presence_penalty"),
        ({"frequency_penalty": "0"}, "frequency_penalty"),
        ({"top_k": 1.5}, "top_k"),
        ({"tools": {}}, "tools"),
        ({"tools": "x"}, "tools"),
        ({"functions": 3}, "functions"),
    ],
)
def test_refusals_name_the_path(fields: dict[str, Any], path: str) -> None:
    assert refused(**fields).startswith(f"{path}: ")


@pytest.mark.parametrize("n", [0, 2, True, "1", 1.0])
def test_only_one_choice(n: object) -> None:
    assert refused(n=n) == "n: only 1 is supported"


def test_nulls_count_as_absent() -> None:
    names = "model stream stop n tools max_tokens max_completion_tokens temperature top_p top_k tool_choice functions"
    turn = parse(**dict.fromkeys([*names.split(), "response_format", "stream_options"]))
    assert (turn.model, turn.stream, turn.cap, turn.stop, turn.tools) == (None, False, None, None, [])
    assert turn.tool_choice is None
    assert turn.lossy == []
    assert not turn.signals.tool_artifacts


@pytest.mark.parametrize("model", ["", "  ", None])
def test_blank_model_is_no_model(model: str | None) -> None:
    assert parse(model=model).model is None


def test_scalars() -> None:
    turn = parse(model="anvil/Chat", stream=True, stream_options={"include_usage": True}, max_completion_tokens=0)
    assert (turn.model, turn.stream, turn.include_usage, turn.cap) == ("anvil/Chat", True, True, 0)
    assert parse(max_tokens=5, max_completion_tokens=9).cap == 5
    assert parse(max_tokens=None, max_completion_tokens=9).cap == 9
    assert not parse(stream_options="x").include_usage


@pytest.mark.parametrize(
    ("stop", "kept", "named"),
    [
        ("END", ["END"], False),
        (["a", "b"], ["a", "b"], False),
        (["a", "", 3, None], ["a"], True),
        ([], None, True),
        ("", None, True),
        ({"a": 1}, None, True),
        ([3], None, True),
    ],
)
def test_stop(stop: object, kept: list[str] | None, named: bool) -> None:
    turn = parse(stop=stop)
    assert turn.stop == kept
    assert turn.lossy == (["stop"] if named else [])
    assert (json.loads(bytes(turn.body["stop"])) if "stop" in turn.body else None) == kept


# --------------------------------------------------------------------------------------------------- tools


def test_tools_keep_the_exact_schema_text() -> None:
    body = b'{"messages":[{"role":"user","content":"x"}],"tools":[{"type":"function","function":{"name":"f",'
    body += b'"description":"d","strict":true,"parameters": {"b": 1.0, "a":[1e2,0.10]}}},{"function":{"name":"g"}}]}'
    tools = openai_chat.parse(body).tools
    assert tools == [Tool("f", "d", b'{"b": 1.0, "a":[1e2,0.10]}', strict=True), Tool("g")]


def test_malformed_tools_are_skipped_named_and_not_forwarded() -> None:
    good = {"type": "function", "function": {"name": "f", "parameters": {}}}
    bad: list[Any] = [
        3,
        None,
        {},
        {"function": {"name": ""}},
        {"function": {"name": 3}},
        {"function": "f"},
        {"function": {"name": "n" * 257}},
        {"function": {"name": "é" * 129}},
        {"type": 7, "function": {"name": "f"}},
        {"type": "custom", "custom": {}},
    ]
    turn = parse(tools=[*bad, good, *bad])
    assert [tool.name for tool in turn.tools] == ["f"]
    assert turn.lossy == ["tools.malformed"]
    assert json.loads(bytes(turn.body["tools"])) == [good]
    gone = parse(tools=bad)
    assert gone.tools == []
    assert "tools" not in gone.body
    assert not gone.signals.has_tools
    assert parse(tools=[{"function": {"name": "n" * 256}}]).lossy == []


def test_custom_and_hosted_tools_stay() -> None:
    tools = [{"type": "web_search"}, {"type": "custom", "custom": {"name": "c", "description": "d"}}]
    turn = parse(tools=tools)
    assert turn.tools == [Tool("c", "d", custom=True)]
    assert json.loads(bytes(turn.body["tools"])) == tools
    assert turn.lossy == []
    assert turn.signals.has_tools
    assert "tools.hosted" in openai_chat.conversation(turn).unmapped
    assert parse(tools=[{"type": "web_search", "function": {"name": "f"}}]).tools == []


def test_legacy_functions() -> None:
    turn = parse(functions=[{"name": "f", "parameters": {"type": "object"}}, {}], function_call={"name": "f"})
    assert [tool.name for tool in turn.tools] == ["f"]
    assert turn.tool_choice == ToolChoice("named", "f")
    assert turn.lossy == ["tools.malformed"]


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ("auto", ToolChoice("auto")),
        ("none", ToolChoice("none")),
        ("required", ToolChoice("required")),
        ({"type": "function", "function": {"name": "f"}}, ToolChoice("named", "f")),
        ({"type": "custom", "custom": {"name": "c"}}, ToolChoice("named", "c")),
        ({"type": "allowed_tools", "allowed_tools": {}}, ToolChoice("unknown")),
        ({"type": ["function"]}, ToolChoice("unknown")),
        ("sometimes", ToolChoice("unknown")),
        (3, ToolChoice("unknown")),
        ([], ToolChoice("unknown")),
    ],
)
def test_tool_choice(choice: object, expected: ToolChoice) -> None:
    turn = parse(tool_choice=choice)
    assert turn.tool_choice == expected
    assert turn.signals.tool_artifacts


@pytest.mark.parametrize(
    "message",
    [
        {"role": "tool", "tool_call_id": "a", "content": "x"},
        {"role": "function", "name": "f", "content": "x"},
        {"role": "assistant", "content": None, "tool_calls": [{}]},
        {"role": "assistant", "function_call": {"name": "f", "arguments": "{}"}},
        {"role": "user", "content": [{"type": "tool_result", "content": "x"}]},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "x"}]},
    ],
)
def test_tool_artifacts_in_messages(message: dict[str, Any]) -> None:
    assert parse(messages=[*HI, message]).signals.tool_artifacts


def test_no_tool_artifacts() -> None:
    message = {"role": "assistant", "content": "x", "tool_calls": [], "function_call": None}
    assert not parse(messages=[*HI, message], tools=[]).signals.tool_artifacts


def test_response_format() -> None:
    data = b'{"messages":[{"role":"user","content":"x"}],"response_format":{"type":"json_schema",'
    data += b'"json_schema":{"name":"n","strict":true,"schema":{"a": 1.0}}}}'
    wanted = openai_chat.parse(data).response_format
    assert wanted is not None
    assert (wanted.kind, wanted.schema, wanted.name, wanted.strict) == ("json_schema", b'{"a": 1.0}', "n", True)
    plain = parse(response_format={"type": "json_object"}).response_format
    assert plain is not None
    assert plain.kind == "json_object"
    for odd in ({"type": "text"}, "json", {"type": "json_schema", "json_schema": 3}, {"type": []}):
        found = parse(response_format=odd).response_format
        assert found is None or found.schema is None


# ------------------------------------------------------------------------------------------------- signals


def test_words_are_counted_once_and_results_count() -> None:
    turn = parse(
        messages=[
            {"role": "system", "content": "one two"},
            {"role": "developer", "content": [{"type": "text", "text": "three"}, "four"]},
            {
                "role": "user",
                "content": [{"type": "text", "text": "five  six"}, {"type": "image_url", "image_url": {}}],
            },
            {"role": "assistant", "content": None, "tool_calls": [{"function": {"arguments": '{"not": "counted"}'}}]},
            {"role": "tool", "tool_call_id": "x", "content": "seven eight nine"},
        ]
    )
    signals = turn.signals
    assert signals.words == 9
    assert signals.system_text == "one two\nthree\nfour"
    assert (signals.images, signals.documents, signals.audio, signals.messages) == (1, 0, False, 5)


def test_long_system_text_gives_no_keywords_and_long_texts_count_right_twice() -> None:
    long = "word " * 151
    for _ in range(2):
        signals = parse(messages=[{"role": "system", "content": long}, *HI]).signals
        assert (signals.system_text, signals.words) == ("", 152)


def test_content_kinds() -> None:
    parts = [
        {"type": "file", "file": {"file_id": "x"}},
        {"type": "input_audio", "input_audio": {"data": "", "format": "wav"}},
        {"type": "image_url", "image_url": {"url": "http://x"}},
        {"type": "image_url", "image_url": {"url": "http://y"}},
        {"type": {}},
    ]
    signals = parse(messages=[{"role": "user", "content": parts}]).signals
    assert (signals.images, signals.documents, signals.audio) == (2, 1, True)


def test_newest_user_text_passes_over_noise_and_late_system() -> None:
    context = "<<<BEGIN_OPENCLAW_INTERNAL_CONTEXT>>> refactor everything"
    messages = [
        {"role": "user", "content": "old words"},
        {"role": "user", "content": ["<system-reminder>plan</system-reminder>", {"type": "text", "text": "fix it"}]},
        {"role": "assistant", "content": "review"},
        {"role": "tool", "tool_call_id": "x", "content": "result"},
        {"role": "user", "content": context},
        {"role": "user", "content": [{"type": "text", "text": "<system-reminder>design</system-reminder>"}]},
        {"role": "user", "content": ""},
        {"role": "system", "content": "late"},
    ]
    signals = parse(messages=messages).signals
    assert signals.user_text == "fix it"
    assert signals.system_text == ""


@pytest.mark.parametrize(
    ("thinking", "expected"),
    [
        ({"type": "enabled"}, True),
        (True, True),
        ({"type": "disabled"}, False),
        ({"type": "adaptive"}, False),
        (False, False),
        (None, False),
        ({}, False),
    ],
)
def test_thinking(thinking: object, expected: bool) -> None:
    assert parse(thinking=thinking, reasoning_effort="high").signals.thinking is expected


def test_repairs_are_noticed() -> None:
    assert parse().repairs == ()
    call = {"id": "a", "type": "function", "function": {"name": "f", "arguments": '{"a":'}}
    messages = [
        {"role": "developer", "content": [{"type": "text", "text": "x-anthropic-billing-header: v=1"}]},
        *HI,
        {"role": "assistant", "tool_calls": [call]},
    ]
    assert parse(messages=messages).repairs == ("role.developer", "system.nonce", "history.tool_arguments")


# -------------------------------------------------------------------------------------------- fuzz of types

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-5, 5)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
FIELD = st.sampled_from(
    [
        "model",
        "messages",
        "stream",
        "stream_options",
        "stop",
        "n",
        "tools",
        "functions",
        "function_call",
        "tool_choice",
        "max_tokens",
        "top_k",
        "temperature",
        "response_format",
        "thinking",
        "user",
        "seed",
        "parallel_tool_calls",
        "reasoning_effort",
        "strange",
    ]
)
PART = st.dictionaries(
    st.sampled_from(["type", "text", "image_url", "file", "input_audio", "refusal", "cache_control"]),
    JSON | st.sampled_from(["text", "image_url", "file", "input_audio", "refusal"]),
)
MESSAGE = st.fixed_dictionaries(
    {"role": st.sampled_from(["system", "developer", "user", "assistant", "tool", "function"])},
    optional={
        "content": JSON | st.lists(PART | st.text(max_size=3), max_size=3),
        "tool_calls": JSON | st.lists(st.dictionaries(st.sampled_from(["id", "type", "function", "custom"]), JSON)),
        "function_call": JSON,
        "tool_call_id": JSON,
        "reasoning_content": JSON,
        "name": JSON,
    },
)


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(FIELD, JSON), st.lists(MESSAGE | JSON, max_size=4) | JSON)
def test_type_confusion_never_raises_anything_but_bad_request(fields: dict[str, Any], messages: Any) -> None:
    try:
        turn = openai_chat.parse(json.dumps({**fields, "messages": messages}).encode())
    except BadRequest:
        return
    conversation = openai_chat.conversation(turn)
    assert all(message.role in ("user", "assistant", "system") for message in conversation.messages)


@given(st.binary(max_size=60))
def test_any_bytes_never_raise_anything_but_bad_request(data: bytes) -> None:
    with pytest.raises(BadRequest):
        openai_chat.parse(data)
