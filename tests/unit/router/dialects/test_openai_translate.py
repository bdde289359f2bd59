"""Neutral conversations: from an OpenAI body, and written for an OpenAI tier (contract 6.4)."""

from __future__ import annotations

import json
from typing import Any

import pytest
from msgspec import Raw

from anvil.router.config import TierConfig
from anvil.router.dialects import openai_chat
from anvil.router.turn import (
    Audio,
    Conversation,
    Document,
    Image,
    Message,
    Opaque,
    Reasoning,
    ResponseFormat,
    Signals,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
    Turn,
    UpstreamRequest,
)

HI = [{"role": "user", "content": "hi"}]


def tier(**changes: Any) -> TierConfig:
    base: dict[str, Any] = dict(
        id="t", base_url="http://127.0.0.1:1", dialect="openai", context_limit=100_000, privacy="local"
    )
    base |= dict(tool_support=True, auth_env="K", model="served", reasoning_field="reasoning_content")
    return TierConfig(**{**base, **changes})


def caller(**fields: Any) -> Turn:
    return Turn(dialect="anthropic", body=fields.pop("body", {}), signals=Signals(), **fields)


def send(
    conversation: Conversation, turn: Turn | None = None, **changes: Any
) -> tuple[dict[str, Any], UpstreamRequest]:
    request = openai_chat.request(turn or caller(), tier(**changes), conversation)
    return json.loads(request.body), request


def user(*blocks: Any) -> Conversation:
    return Conversation(system=[], messages=[Message("user", blocks)])


# ------------------------------------------------------------------------------------- from an OpenAI body


def neutral(*messages: dict[str, Any], **fields: Any) -> Conversation:
    return openai_chat.conversation(openai_chat.parse(json.dumps({"messages": list(messages), **fields}).encode()))


def test_conversation_roles_and_blocks() -> None:
    found = neutral(
        {"role": "system", "content": [{"type": "text", "text": "a"}, "b"]},
        {"role": "developer", "content": "c"},
        {"role": "user", "content": "hi", "name": "bob"},
        {"role": "system", "content": "late"},
        {
            "role": "assistant",
            "content": "look",
            "reasoning_content": "hm",
            "tool_calls": [
                {"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}},
                {"id": "2", "type": "custom", "custom": {"name": "c", "input": "x"}},
                "odd",
                {"id": "3", "function": {"arguments": "{}"}},
            ],
        },
        {"role": "tool", "tool_call_id": "1", "content": "one"},
        {"role": "tool", "tool_call_id": "2", "content": [{"type": "text", "text": "two"}]},
        {"role": "user", "content": "go"},
    )
    assert found.system == ["a", "b", "c"]
    assert found.messages == [
        Message("user", (Text("hi"),), "bob"),
        Message("system", (Text("late"),)),
        Message(
            "assistant",
            (
                Reasoning("hm"),
                Text("look"),
                ToolCall("1", "f", '{"a": 1}'),
                ToolCall("2", "c", '{"input":"x"}', custom=True),
            ),
        ),
        Message("user", (ToolResult("1", (Text("one"),)), ToolResult("2", (Text("two"),)))),
        Message("user", (Text("go"),)),
    ]
    assert found.unmapped == ["name", "unknown.tool_calls"]


def test_conversation_content_parts() -> None:
    parts = [
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA==", "detail": "low"}},
        {"type": "image_url", "image_url": "https://x/y.png"},
        {"type": "input_audio", "input_audio": {"data": "BB", "format": "mp3"}},
        {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,CC"}},
        {"type": "file", "file": {"file_id": "f1"}},
        {"type": "text", "text": "t", "cache_control": {}},
        {"type": "video_url", "video_url": {}},
    ]
    found = neutral({"role": "user", "content": parts})
    assert found.messages[0].blocks == (
        Image("image/png", "AA==", detail="low"),
        Image(url="https://x/y.png"),
        Audio("BB", "mp3"),
        Document("application/pdf", "CC", title="a.pdf"),
        Document(file_id="f1"),
        Text("t"),
        Opaque("video_url", b'{"type":"video_url","video_url":{}}'),
    )
    assert found.unmapped == ["cache_control"]


def test_conversation_legacy_functions_get_deterministic_ids() -> None:
    found = neutral(
        *HI,
        {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}},
        {"role": "function", "name": "f", "content": "r"},
        {"role": "assistant", "content": None, "function_call": {"name": "g", "arguments": "{}"}},
        {"role": "function", "name": "g", "content": "s"},
    )
    assert [message.blocks for message in found.messages[1:]] == [
        (ToolCall("call_fn_0", "f", "{}"),),
        (ToolResult("call_fn_0", (Text("r"),)),),
        (ToolCall("call_fn_1", "g", "{}"),),
        (ToolResult("call_fn_1", (Text("s"),)),),
    ]


def test_conversation_fields() -> None:
    found = neutral(
        *HI,
        temperature=0.5,
        top_p=None,
        stop="x",
        parallel_tool_calls=False,
        reasoning_effort="high",
        logprobs=True,
        presence_penalty=1,
        strange=1,
        quiet=None,
        seed=1,
    )
    assert (found.temperature, found.top_p, found.stop) == (Raw(b"0.5"), None, ["x"])
    assert (found.parallel_tools, found.reasoning_effort) == (False, "high")
    assert set(found.openai_fields) == {"logprobs", "presence_penalty"}
    assert found.unmapped == ["unknown.strange"]


# --------------------------------------------------------------------------------------- to an OpenAI tier


def test_system_once_and_late_system() -> None:
    conversation = Conversation(
        system=["a", "b"], messages=[Message("user", (Text("hi"),)), Message("system", (Text("x"), Text("y")))]
    )
    body, request = send(conversation)
    assert body == {
        "model": "served",
        "messages": [
            {"role": "system", "content": "a\nb"},
            {"role": "user", "content": "hi"},
            {"role": "user", "content": "<system>\nx\ny\n</system>"},
        ],
    }
    assert request.lossy == ["role.late_system"]
    body, request = send(conversation, late_system="system")
    assert body["messages"][2] == {"role": "system", "content": "x\ny"}
    assert request.lossy == []


def test_billing_block_is_left_out_of_stable_prefixes() -> None:
    conversation = Conversation(
        system=["x-anthropic-billing-header: 1", "b"], messages=[Message("user", (Text("hi"),))]
    )
    body, request = send(conversation)
    assert body["messages"][0] == {"role": "system", "content": "b"}
    assert request.lossy == ["system.nonce"]
    body, request = send(conversation, stable_prefix=False)
    assert body["messages"][0]["content"].endswith("1\nb")
    assert request.lossy == []


def test_tool_results_come_first_images_after_them() -> None:
    results = (
        ToolResult("1", (Text("a"), Text("b"))),
        ToolResult("2", (Text("bad"),), is_error=True),
        ToolResult("3", (Image("image/png", "AA"),)),
    )
    body, _ = send(user(Text("first"), *results))
    assert body["messages"] == [
        {"role": "tool", "tool_call_id": "1", "content": "a\nb"},
        {"role": "tool", "tool_call_id": "2", "content": "[tool error]\nbad"},
        {"role": "tool", "tool_call_id": "3", "content": ""},
        {
            "role": "user",
            "content": [
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}},
                {"type": "text", "text": "first"},
            ],
        },
    ]
    for nothing_more in ((), (Text(""),), (Opaque("odd", b"{}"),)):
        body, _ = send(user(results[0], *nothing_more))
        assert [message["role"] for message in body["messages"]] == ["tool"]


def test_user_content() -> None:
    assert send(user(Text("a"), Text("b")))[0]["messages"] == [{"role": "user", "content": "a\nb"}]
    assert send(user())[0]["messages"] == [{"role": "user", "content": ""}]
    document = Document("application/pdf", "CC", title="a.pdf")
    image = Image(url="https://x", detail="low")
    body, request = send(
        user(Text("a"), image, Document(text="plain"), document, Audio("D", "wav"), Document(file_id="f"))
    )
    assert body["messages"][0]["content"] == [
        {"type": "text", "text": "a"},
        {"type": "image_url", "image_url": {"url": "https://x", "detail": "low"}},
        {"type": "text", "text": "plain"},
        {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,CC"}},
        {"type": "input_audio", "input_audio": {"data": "D", "format": "wav"}},
        {"type": "file", "file": {"file_id": "f"}},
    ]
    assert request.lossy == ["documents.text"]


def test_assistant_calls_and_reasoning() -> None:
    message = Message(
        "assistant", (Reasoning("hm", signature="s"), ToolCall("1", "f", '{"a": 1.0}'), Reasoning("", redacted="r"))
    )
    conversation = Conversation(system=[], messages=[message, Message("user", (Text("x"),))])
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1.0}'}}
    body, request = send(conversation)
    assert body["messages"][0] == {
        "role": "assistant",
        "content": None,
        "reasoning_content": "hm",
        "tool_calls": [call],
    }
    assert request.lossy == ["reasoning.signature"]
    body, request = send(conversation, reasoning_field="")
    assert body["messages"][0] == {"role": "assistant", "content": None, "tool_calls": [call]}
    assert request.lossy == ["reasoning.signature", "reasoning.history"]


def test_broken_history_arguments() -> None:
    conversation = Conversation(
        system=[], messages=[Message("assistant", (ToolCall("1", "f", "{"),)), Message("user", ())]
    )
    body, request = send(conversation)
    assert body["messages"][0]["tool_calls"][0]["function"]["arguments"] == "{}"
    assert request.lossy == ["history.tool_arguments"]
    body, _ = send(conversation, privacy="cloud")
    assert body["messages"][0]["tool_calls"][0]["function"]["arguments"] == "{"


def test_prefill_and_opaque_blocks_are_named() -> None:
    blocks = (Opaque("server_tool_use", b"{}"), Opaque("search_result", b"{}"), Opaque("odd", b"{}"))
    conversation = Conversation(
        system=[], messages=[Message("assistant", (Text("a"), *blocks))], unmapped=["cache_control"]
    )
    body, request = send(conversation)
    assert body["messages"] == [{"role": "assistant", "content": "a"}]
    assert request.lossy == ["cache_control", "tools.hosted", "search_result", "unknown.odd", "prefill"]


def test_tools_choice_format_and_sampling() -> None:
    turn = caller(
        body={"metadata": Raw(b"{}"), "stream": Raw(b"true")},
        stream=True,
        cap=9,
        tools=[Tool("f", "d", b'{"b":1, "a":2.0}', strict=True), Tool("g"), Tool("c", custom=True)],
        tool_choice=ToolChoice("named", "f"),
        response_format=ResponseFormat("json_schema", b'{"type": "object"}', "n", strict=True),
    )
    conversation = Conversation(
        system=[],
        messages=[Message("user", (Text("x"),))],
        temperature=Raw(b"0.30"),
        stop=["s"],
        parallel_tools=False,
        reasoning_effort="low",
        openai_fields={"verbosity": Raw(b'"low"')},
    )
    body, request = send(conversation, turn)
    function = {"name": "g", "parameters": {"type": "object"}}
    assert body["tools"][1] == {"type": "function", "function": function}
    assert body["tools"][2]["function"]["parameters"]["required"] == ["input"]
    assert body["tools"][0]["function"]["strict"] is True
    assert b'"parameters":{"b":1, "a":2.0}' in request.body
    assert b'"temperature":0.30' in request.body
    assert body["tool_choice"] == {"type": "function", "function": {"name": "f"}}
    schema = {"name": "n", "schema": {"type": "object"}, "strict": True}
    assert body["response_format"] == {"type": "json_schema", "json_schema": schema}
    assert (body["max_tokens"], body["stop"], body["parallel_tool_calls"]) == (9, ["s"], False)
    assert (body["reasoning_effort"], body["verbosity"]) == ("low", "low")
    assert (body["stream"], body["stream_options"]) == (True, {"include_usage": True})
    assert request.lossy == ["never_forwarded.metadata"]


@pytest.mark.parametrize(
    ("choice", "tools", "sent", "named"),
    [
        (ToolChoice("auto"), True, "auto", False),
        (ToolChoice("none"), True, "none", False),
        (ToolChoice("required"), True, "required", False),
        (ToolChoice("unknown"), True, None, True),
        (ToolChoice("auto"), False, None, False),
        (ToolChoice("required"), False, None, True),
    ],
)
def test_tool_choice(choice: ToolChoice, tools: bool, sent: str | None, named: bool) -> None:
    body, request = send(user(Text("x")), caller(tools=[Tool("f")] if tools else [], tool_choice=choice))
    assert body.get("tool_choice") == sent
    assert ("tool_choice" in request.lossy) is named


def test_one_turn_extends_the_last_one() -> None:
    messages = [
        Message("user", (Text("a"),)),
        Message("assistant", (Reasoning("r"), ToolCall("1", "f", "{}"))),
        Message("user", (ToolResult("1", (Image(url="u"), Text("t"))), Text("b"))),
        Message("system", (Text("late"),)),
        Message("assistant", (Text("done"),)),
    ]
    last = b""
    for count in range(1, len(messages) + 1):
        sent = openai_chat.request(caller(), tier(), Conversation(system=["s"], messages=messages[:count])).body
        assert sent.startswith(last)
        last = sent.removesuffix(b"]}")
