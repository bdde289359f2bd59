"""Requests to OpenAI-dialect tiers from an OpenAI caller's own body (contract 6.1 to 6.3, 6.5)."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anvil.router import tokens
from anvil.router.config import TierConfig
from anvil.router.dialects import openai_chat
from anvil.router.dialects.encode import WindowTooSmall
from anvil.router.turn import Turn, UpstreamRequest

HI = [{"role": "user", "content": "hi"}]
LOCAL = dict(id="t", base_url="http://127.0.0.1:1", dialect="openai", context_limit=100_000, privacy="local")
LOCAL |= dict(tool_support=True, auth_env="KEY", model="served", reasoning_field="reasoning_content")


def tier(**changes: Any) -> TierConfig:
    return TierConfig(**{**LOCAL, **changes})


CLOUD = dict(privacy="cloud", stable_prefix=False, reasoning_field="")


def parse(**fields: Any) -> Turn:
    return openai_chat.parse(json.dumps({"messages": HI, **fields}).encode())


def send(turn: Turn, **changes: Any) -> tuple[dict[str, Any], UpstreamRequest]:
    request = openai_chat.request(turn, tier(**changes), None)
    return json.loads(request.body), request


# ---------------------------------------------------------------------------------------------- pass-through


def test_a_plain_request_gets_no_extra_keys() -> None:
    body, request = send(parse(model="chat"))
    assert body == {"model": "served", "messages": HI}
    assert (request.stream, request.cap, request.fitted, request.headers, request.lossy) == (False, None, False, [], [])


def test_unknown_fields_survive_at_every_level() -> None:
    data = (
        b'{"x_top": {"a": 1.50, "b": [1e2]}, "messages": [{"role":"user","x_message":0.10,"content":[{"type":"text",'
        b'"text":"a\\u00e9","cache_control":{"type":"ephemeral"},"x_part":{"deep":[1.0]}},{"type":"image_url","image_url":'
        b'{"url":"data:image/png;base64,AA==","x_image":true}}]},{"role":"assistant","content":null,"reasoning_content":"t",'
        b'"tool_calls":[{"id":"c","type":"function","x_call":1,"function":{"name":"f","arguments":"{\\"a\\": 1.0}",'
        b'"x_function":2}}]}],"tools":[{"type":"function","x_tool":3,"function":{"name":"f","parameters":{"z":1,"a":2.0}}}],'
        b'"temperature":0.30,"model":"chat"}'
    )
    for changes in ({}, CLOUD):
        request = openai_chat.request(openai_chat.parse(data), tier(**changes), None)
        assert json.loads(request.body) == {**json.loads(data), "model": "served"}
        for exact in (
            b'"x_top":{"a": 1.50, "b": [1e2]}',
            b'{"z":1,"a":2.0}',
            b'"temperature":0.30',
            b'"x_message":0.10',
        ):
            assert exact in request.body
        assert request.lossy == []


def test_key_order_is_the_callers() -> None:
    body, _ = send(parse(model="a", temperature=1, zebra=1, apple=2))
    assert list(body) == ["messages", "model", "temperature", "zebra", "apple"]


def test_never_forwarded_fields_are_left_out_and_named() -> None:
    names = [
        "logit_bias",
        "seed",
        "user",
        "metadata",
        "safety_identifier",
        "client_metadata",
        "store",
        "stream_options",
    ]
    for changes in ({}, CLOUD):
        body, request = send(parse(**{name: {} for name in names}), **changes)
        assert not set(names) & set(body)
        assert request.lossy == [f"never_forwarded.{name}" for name in names]


def test_duplicate_keys_are_forwarded_once() -> None:
    turn = openai_chat.parse(
        b'{"model":"a","temperature":1,"temperature":0,"messages":[{"role":"user","content":"x"}]}'
    )
    assert openai_chat.request(turn, tier(), None).body.count(b"temperature") == 1


def test_stream_asks_for_usage() -> None:
    body, request = send(parse(stream=True, stream_options={"include_usage": False, "x": 1}))
    assert body["stream"] is True
    assert body["stream_options"] == {"include_usage": True}
    assert request.stream
    assert request.lossy == ["never_forwarded.stream_options"]
    body, request = send(parse(stream=None))
    assert body["stream"] is False
    assert not request.stream


def test_stop_is_sent_as_a_list() -> None:
    assert send(parse(stop="END"))[0]["stop"] == ["END"]
    assert "stop" not in send(parse(stop=[""]))[0]


# ------------------------------------------------------------------------------------------------- the cap


@pytest.mark.parametrize("sent", ["max_tokens", "max_completion_tokens"])
@pytest.mark.parametrize("field", ["max_tokens", "max_completion_tokens"])
def test_cap_travels_under_the_tiers_name(sent: str, field: str) -> None:
    body, request = send(parse(**{sent: 7}), max_tokens_field=field)
    assert {name: body[name] for name in body if "max" in name} == {field: 7}
    assert list(send(parse(**{sent: 7}, zebra=1), max_tokens_field=sent)[0])[1] == sent
    assert request.cap == 7


def test_a_null_cap_is_no_cap() -> None:
    body, request = send(parse(max_tokens=None, max_completion_tokens=None))
    assert set(body) == {"messages", "model"}
    assert request.cap is None


def test_extra_body_precedence() -> None:
    extra = {
        "extra_body": {"temperature": 0.5, "model": "forced"},
        "extra_body_defaults": {"top_p": 0.1, "temperature": 9},
    }
    body, _ = send(parse(temperature=1, top_p=0.2), **extra)
    assert (body["temperature"], body["top_p"], body["model"]) == (0.5, 0.2, "forced")
    assert send(parse(top_p=None), **extra)[0]["top_p"] == 0.1
    assert send(parse(), **extra)[0]["top_p"] == 0.1


def test_caps_of_the_configuration() -> None:
    body, request = send(parse(max_tokens=7), extra_body_defaults={"max_completion_tokens": 5})
    assert body.get("max_tokens") == 7
    assert "max_completion_tokens" not in body
    assert request.cap == 7
    body, request = send(parse(), extra_body_defaults={"max_tokens": 5})
    assert (body["max_tokens"], request.cap) == (5, None)
    body, request = send(parse(max_tokens=7), extra_body={"max_completion_tokens": 5})
    assert (body.get("max_tokens"), body["max_completion_tokens"], request.cap) == (None, 5, 5)


def test_extra_body_may_set_the_stream() -> None:
    body, request = send(parse(stream=True), extra_body={"stream": False})
    assert body["stream"] is False
    assert "stream_options" not in body
    assert not request.stream
    body, request = send(parse(), extra_body={"stream": True})
    assert body["stream_options"] == {"include_usage": True}
    assert request.stream
    body, _ = send(parse(stream=True), extra_body={"stream_options": {"include_usage": True, "x": 1}})
    assert body["stream_options"]["x"] == 1


def test_cap_is_fitted_to_a_local_window() -> None:
    turn = parse(max_tokens=32_000)
    bound = tokens.upper_bound(turn)
    body, request = send(turn, context_limit=20_000)
    assert body["max_tokens"] == request.cap == 20_000 - bound
    assert request.fitted
    assert request.lossy == ["max_tokens.fitted"]
    body, request = send(turn, context_limit=20_000, **CLOUD)
    assert (body["max_tokens"], request.fitted) == (32_000, False)
    body, request = send(turn, context_limit=32_000 + bound)
    assert (body["max_tokens"], request.fitted) == (32_000, False)
    assert send(turn, context_limit=1024 + bound)[1].cap == 1024
    with pytest.raises(WindowTooSmall):
        send(turn, context_limit=1023 + bound)


def test_a_small_cap_needs_no_more_than_itself() -> None:
    turn = parse(max_tokens=10)
    bound = tokens.upper_bound(turn)
    assert send(turn, context_limit=10 + bound)[1].cap == 10
    with pytest.raises(WindowTooSmall):
        send(turn, context_limit=9 + bound)


# ----------------------------------------------------------------------------------------------- repairs


def call(arguments: object, **more: Any) -> dict[str, Any]:
    return {"id": "c", "type": "function", "function": {"name": "f", "arguments": arguments}, **more}


def test_developer_becomes_system_on_local_tiers_only() -> None:
    turn = parse(messages=[{"role": "developer", "content": "x", "k": 1}, *HI])
    body, request = send(turn)
    assert body["messages"] == [{"role": "system", "content": "x", "k": 1}, *HI]
    assert request.lossy == ["role.developer"]
    body, request = send(turn, **CLOUD)
    assert body["messages"][0]["role"] == "developer"
    assert request.lossy == []


@pytest.mark.parametrize(
    ("arguments", "repaired"),
    [('{"a":', "{}"), ("", "{}"), (None, "{}"), (3, "{}"), ("NaN", "{}"), ({"a": 1}, '{"a": 1}'), ("[" * 5000, "{}")],
)
def test_broken_arguments_in_the_history(arguments: object, repaired: str) -> None:
    message = {"role": "assistant", "content": None, "tool_calls": [call("{}", x=1), call(arguments, x=2), "odd"]}
    legacy = {"role": "assistant", "function_call": {"name": "f", "arguments": arguments}}
    turn = parse(messages=[*HI, message, legacy])
    body, request = send(turn)
    calls = body["messages"][1]["tool_calls"]
    assert calls == [call("{}", x=1), call(repaired, x=2), "odd"]
    assert body["messages"][2]["function_call"] == {"name": "f", "arguments": repaired}
    assert request.lossy == ["history.tool_arguments"]
    body, request = send(turn, **CLOUD)
    assert body["messages"][1] == message
    assert request.lossy == []


@pytest.mark.parametrize("arguments", ["{}", '{"a":1}', "3", " [1] "])
def test_sound_arguments_stay(arguments: str) -> None:
    body, request = send(parse(messages=[*HI, {"role": "assistant", "tool_calls": [call(arguments)]}]))
    assert body["messages"][1]["tool_calls"] == [call(arguments)]
    assert request.lossy == []


BILLING = "x-anthropic-billing-header: cc_version=1;"


@pytest.mark.parametrize(
    ("content", "left"),
    [
        (BILLING, None),
        (BILLING + "\nYou are", "You are"),
        ([{"type": "text", "text": BILLING}, {"type": "text", "text": "You"}], [{"type": "text", "text": "You"}]),
        ([{"type": "text", "text": BILLING}], None),
    ],
)
def test_billing_block_is_left_out(content: object, left: object) -> None:
    turn = parse(messages=[{"role": "system", "content": content}, {"role": "system", "content": "b"}, *HI])
    body, request = send(turn)
    expected = [] if left is None else [{"role": "system", "content": left}]
    assert body["messages"] == [*expected, {"role": "system", "content": "b"}, *HI]
    assert request.lossy == ["system.nonce"]
    body, request = send(turn, stable_prefix=False)
    assert body["messages"][0]["content"] == content
    assert request.lossy == []


def test_billing_text_after_the_system_text_is_content() -> None:
    quoted = [{"role": "user", "content": BILLING}, {"role": "system", "content": BILLING}]
    body, _ = send(parse(messages=[{"role": "system", "content": BILLING}, *quoted]))
    assert body["messages"] == quoted


def test_a_billing_block_alone_leaves_a_valid_list() -> None:
    body, _ = send(parse(messages=[{"role": "system", "content": BILLING}]))
    assert body["messages"] == [{"role": "system", "content": ""}]


ANY_MESSAGE = st.sampled_from(
    [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "é", "x": 1.5},
        {"role": "assistant", "content": None, "tool_calls": [call('{"a"')]},
        {"role": "assistant", "content": None, "tool_calls": [call("{}")]},
        {"role": "tool", "tool_call_id": "c", "content": "done"},
        {"role": "developer", "content": "d"},
    ]
)


@given(
    st.lists(ANY_MESSAGE, min_size=1, max_size=8),
    st.sampled_from([(",", ":"), (", ", ": "), (",\n ", " : ")]),
    st.booleans(),
)
def test_one_turn_extends_the_last_one(
    messages: list[dict[str, Any]], separators: tuple[str, str], billed: bool
) -> None:
    system = [{"role": "system", "content": [{"type": "text", "text": BILLING}, {"type": "text", "text": "S"}]}]
    history = (system if billed else []) + messages

    def sent(count: int) -> bytes:
        text = json.dumps(
            {"messages": history[:count]}, separators=separators, indent=1 if "\n" in separators[0] else None
        )
        turn = openai_chat.parse(text.encode())
        body = openai_chat.request(turn, tier(), None).body
        return body[body.index(b'"messages":') : body.rindex(b"]")]

    for count in range(1, len(history)):
        assert sent(count + 1).startswith(sent(count))


def test_repairs_change_nothing_else() -> None:
    first, last = b'{"role": "user", "content": "a\\u00e9" } , ', b',\n{"role":"user", "content":"z"}'
    data = b'{"messages": [ ' + first + b'{"role":"developer","content":"d"}' + last + b" ]}"
    body = openai_chat.request(openai_chat.parse(data), tier(), None).body
    assert first + b'{"role":"system","content":"d"}' + last + b"]" in body
