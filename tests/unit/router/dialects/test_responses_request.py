"""Reading Responses requests: validation, signals, neutral form (contract 5)."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from anvil.router.dialects import openai_responses as dialect
from anvil.router.turn import (
    BadRequest,
    Conversation,
    Document,
    Image,
    Message,
    Reasoning,
    ResponseFormat,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
    Turn,
)
from tests.unit.router.dialects.responses_samples import CODEX_INPUT, CODEX_TOOLS, body, called, codex, output, said


def neutral(*items: Any, **fields: Any) -> Conversation:
    return dialect.conversation(dialect.parse(body(input=list(items), **fields)))


def test_a_codex_request() -> None:
    turn = dialect.parse(codex())
    assert (turn.dialect, turn.model, turn.stream, turn.cap) == ("responses", "planning", True, None)
    assert turn.tool_choice == ToolChoice("auto")
    assert [(tool.name, tool.custom, tool.strict) for tool in turn.tools] == [
        ("exec_command", False, False),
        ("apply_patch", True, None),
    ]
    assert turn.lossy == []
    found = dialect.conversation(turn)
    assert found.system == [
        "You are a coding agent.",
        "<permissions instructions>\nfull access\n</permissions instructions>",
        "Be brief.",
    ]
    assert found.messages == [
        Message("user", (Text("<environment_context>\n  <cwd>/work</cwd>\n</environment_context>"),)),
        Message("user", (Text("fix the tests"),)),
        Message(
            "assistant",
            (
                Reasoning("run them"),
                Text("I run them."),
                ToolCall("call_a", "exec_command", '{"cmd": "pytest"}'),
                ToolCall("call_b", "apply_patch", '{"input":"*** Begin Patch\\n"}', custom=True),
            ),
        ),
        Message("user", (ToolResult("call_a", (Text("1 failed"),)), ToolResult("call_b", (Text("Done"),)))),
    ]
    assert found.parallel_tools is False
    assert found.reasoning_effort is None
    assert found.openai_fields == {"prompt_cache_key": Raw(b'"0199-thread"')}
    assert set(found.unmapped) == {
        *("tools.hosted", "tools.grammar", "reasoning.encrypted", "reasoning.summary", "include"),
    }


def test_signals_of_a_codex_request() -> None:
    signals = dialect.parse(codex()).signals
    assert signals.user_text == "fix the tests"
    assert signals.has_tools
    assert signals.tool_artifacts
    assert not signals.thinking
    assert signals.messages == len(CODEX_INPUT) + 1
    texts = ["You are a coding agent.", "I run them.", "1 failed", "Done"]
    texts += [part["text"] for item in CODEX_INPUT[:3] for part in item["content"]]
    assert signals.words == len(" ".join(texts).split())
    assert signals.system_text.endswith("Be brief.")
    assert dialect.parse(codex(instructions="word " * 150)).signals.system_text == ""


def test_a_plain_string_is_the_users_message() -> None:
    turn = dialect.parse(b'{"input":"review this"}')
    assert turn.model is None
    assert dialect.conversation(turn) == Conversation(system=[], messages=[Message("user", (Text("review this"),))])
    assert (turn.signals.words, turn.signals.user_text, turn.signals.messages) == (2, "review this", 1)
    assert not turn.signals.tool_artifacts


def test_late_system_and_developer_items_stay_at_their_place() -> None:
    found = neutral(
        {"role": "system", "content": "a"}, said("developer", "b"), said("user", "hi"), said("developer", "late", "x")
    )
    assert found.system == ["a", "b"]
    assert found.messages == [Message("user", (Text("hi"),)), Message("system", (Text("late"), Text("x")))]


def test_messages_without_content_or_type() -> None:
    found = neutral(
        {"role": "user", "content": ["a", {"text": "b"}, {"type": "input_text", "text": ""}]}, {"role": "user"}
    )
    assert found.messages == [Message("user", (Text("a"), Text("b"))), Message("user", ())]


def test_content_parts() -> None:
    plain = base64.b64encode("grüße".encode()).decode()
    parts = [
        {"type": "input_image", "image_url": "data:image/png;base64,AA==", "detail": "low"},
        {"type": "input_image", "image_url": "https://x/y.png"},
        {"type": "input_image", "file_id": "file-1"},
        {"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,CC=="},
        {"type": "input_file", "filename": "b.pdf", "file_data": "CC=="},
        {"type": "input_file", "file_url": "https://x/z.pdf"},
        {"type": "input_file", "file_id": "file-2"},
        {"type": "input_file", "filename": "n.txt", "file_data": f"data:text/plain;base64,{plain}"},
        {"type": "input_file", "filename": "o.txt", "file_data": "data:text/plain;base64,/w=="},
        {"type": "refusal", "refusal": "no"},
        {"type": "input_video", "video": 1},
        {"type": "input_image"},
    ]
    turn = dialect.parse(body(input=[{"role": "user", "content": parts}]))
    found = dialect.conversation(turn)
    assert found.messages[0].blocks == (
        Image("image/png", "AA==", detail="low"),
        Image(url="https://x/y.png"),
        Document(file_id="file-1"),
        Document("application/pdf", "CC==", title="a.pdf"),
        Document("application/pdf", "CC==", title="b.pdf"),
        Document(url="https://x/z.pdf"),
        Document(file_id="file-2"),
        Document("text/plain", text="grüße", title="n.txt"),
        Document("text/plain", "/w==", title="o.txt"),
        Text("no"),
    )
    assert (turn.signals.images, turn.signals.documents) == (2, 6)
    assert found.unmapped == ["unknown.input_video", "unknown.input_image"]


def test_outputs_as_parts_and_other_json() -> None:
    shot = {"type": "input_image", "image_url": "data:image/png;base64,AA=="}
    found = neutral(
        said("user", "go"),
        called("1", "f"),
        output("1", [{"type": "input_text", "text": "see"}, shot, {"type": "strange", "x": 1}]),
        called("2", "f"),
        output("2", {"ok": True}),
        called("3", "f"),
        output("3", None),
    )
    results = [block for message in found.messages for block in message.blocks if isinstance(block, ToolResult)]
    assert results == [
        ToolResult("1", (Text("see"), Image("image/png", "AA=="), Text('{"type":"strange","x":1}'))),
        ToolResult("2", (Text('{"ok":true}'),)),
        ToolResult("3", ()),
    ]
    assert found.unmapped == ["unknown.strange"]


def test_calls_of_unusual_shape() -> None:
    found = neutral(
        said("user", "go"),
        {"type": "function_call", "id": "fc_1", "name": "f", "arguments": {"a": 1.0}},
        {"type": "function_call_output", "output": "r"},
        {"type": "function_call", "call_id": "2", "arguments": "{}"},
        {"type": "custom_tool_call", "call_id": "3", "name": "c", "input": 3},
        {"type": "function_call", "call_id": "4", "name": "g", "arguments": None},
    )
    assert [message.blocks for message in found.messages[1:]] == [
        (ToolCall("fc_1", "f", '{"a":1.0}'),),
        (ToolResult("fc_1", (Text("r"),)),),
        (ToolCall("4", "g", ""),),
    ]
    assert found.unmapped == ["unknown.function_call", "unknown.custom_tool_call"]


def test_reasoning_items() -> None:
    found = neutral(
        said("user", "go"),
        {"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": "own"}]},
        {"type": "reasoning", "summary": [{"type": "summary_text", "text": "a"}, {"text": "b"}]},
        {"type": "reasoning", "summary": [], "encrypted_content": "x"},
        said("assistant", "x"),
    )
    assert found.messages[1].blocks == (Reasoning("own"), Reasoning("a\nb"), Text("x"))
    assert found.unmapped == ["reasoning.encrypted"]


def test_hosted_and_unknown_items_are_named() -> None:
    hosted = [
        "web_search_call",
        "local_shell_call_output",
        "mcp_list_tools",
        "mcp_approval_request",
        "additional_tools",
    ]
    for kind in hosted:
        assert neutral(said("user", "go"), {"type": kind}).unmapped == ["tools.hosted"], kind
    assert neutral(said("user", "go"), {"type": "compaction"}).unmapped == ["unknown.compaction"]


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (None, None),
        ("required", ToolChoice("required")),
        ("sometimes", ToolChoice("unknown")),
        ({"type": "function", "name": "f"}, ToolChoice("named", "f")),
        ({"type": "custom", "name": "c"}, ToolChoice("named", "c")),
        ({"type": "function"}, ToolChoice("unknown")),
        ({"type": "web_search"}, ToolChoice("unknown")),
        ({"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "f"}]},
         ToolChoice("required")),
        ({"type": "allowed_tools", "mode": "required", "tools": [{"type": "web_search"}]}, ToolChoice("unknown")),
        ({"type": "allowed_tools", "mode": 3, "tools": 3}, ToolChoice("unknown")),
    ],
)  # fmt: skip
def test_tool_choice(choice: Any, expected: ToolChoice | None) -> None:
    tools = [{"type": "function", "name": "f"}, {"type": "custom", "name": "c"}]
    turn = dialect.parse(body(tools=tools, tool_choice=choice))
    assert turn.tool_choice == expected
    if expected == ToolChoice("required") and isinstance(choice, dict):
        assert [tool.name for tool in turn.tools] == ["f"]


def test_a_required_call_that_only_hosted_tools_could_answer_is_no_requirement() -> None:
    turn = dialect.parse(body(tools=[{"type": "web_search"}], tool_choice="required"))
    assert not turn.requires_call
    assert turn.signals.has_tools


CALC = {"type": "namespace", "name": "mcp__calc", "tools": [{"type": "function", "name": "add", "parameters": {}}]}


def joined(data: bytes) -> Turn:
    return dialect.parse(data, join_namespaces=True)


def test_a_namespace_is_hosted_unless_its_caller_asks_for_its_tools() -> None:
    turn = dialect.parse(body(tools=[{"type": "function", "name": "add"}, CALC, {"type": "namespace"}]))
    assert turn.tools == [Tool("add")]
    assert dialect.conversation(turn).unmapped == ["tools.hosted"]


def test_tools_of_a_namespace_reach_tiers_under_joined_names() -> None:
    """Codex sends the tools of MCP servers, and its sub-agents, in no other way."""
    turn = joined(body(tools=[{"type": "function", "name": "add"}, CALC]))
    assert turn.tools == [Tool("add"), Tool("mcp__calc__add", None, b"{}", grouped=("mcp__calc", "add"))]
    assert turn.lossy == dialect.conversation(turn).unmapped == []
    call = called("c1", "add", a=1) | {"namespace": "mcp__calc"}
    found = neutral(said("user", "go"), call, output("c1", "1"))
    assert found.messages[1] == Message("assistant", (ToolCall("c1", "mcp__calc__add", '{"a": 1}'),))
    assert found.unmapped == []


def test_a_long_joined_name_fits_tiers_and_stays_the_same() -> None:
    group = {
        "type": "namespace",
        "name": "mcp__" + "s" * 40,
        "tools": [{"type": "function", "name": "t" * 30 + at} for at in "ab"],
    }
    one, two = (tool.name for tool in joined(body(tools=[group])).tools)
    assert one != two
    assert len(one) == len(two) == 64
    call = called("c1", "t" * 30 + "a") | {"namespace": group["name"]}
    assert neutral(said("user", "go"), call).messages[1].blocks == (ToolCall("c1", one, "{}"),)


@pytest.mark.parametrize("entry", [{"name": "n"}, {"name": "n", "tools": {}}, {"name": "", "tools": []}, {"tools": []}])
def test_a_namespace_without_name_or_tools_is_malformed(entry: dict[str, Any]) -> None:
    turn = joined(body(tools=[{"type": "namespace", **entry}, {"type": "function", "name": "f"}]))
    assert [tool.name for tool in turn.tools] == ["f"]
    assert turn.lossy == ["tools.malformed"]


def test_what_a_namespace_holds_is_read_like_any_tool() -> None:
    inner = [{"type": "custom", "name": "c"}, {"type": "web_search"}, {"type": "function"}]
    turn = joined(body(tools=[{"type": "namespace", "name": "n", "tools": inner}]))
    assert [(tool.name, tool.custom, tool.grouped) for tool in turn.tools] == [("n__c", True, ("n", "c"))]
    assert set(dialect.conversation(turn).unmapped) == {"tools.hosted", "tools.malformed"}


def test_a_choice_may_name_a_tool_by_its_namespace() -> None:
    named = {"type": "function", "name": "add", "namespace": "mcp__calc"}
    tools = [CALC, {"type": "function", "name": "add"}]
    turn = joined(body(tools=tools, tool_choice=named))
    assert turn.tool_choice == ToolChoice("named", "mcp__calc__add")
    allowed = {"type": "allowed_tools", "mode": "auto", "tools": [named]}
    assert [tool.name for tool in joined(body(tools=tools, tool_choice=allowed)).tools] == ["mcp__calc__add"]


def test_tools() -> None:
    schema = '{"type":"object","properties":{"b":{},"a":{"maximum":1.0}}}'
    tools = (
        f'[{{"type":"function","name":"f","description":"d","parameters":{schema},"strict":true}},'
        '{"type":"custom","name":"c","format":{"type":"text"}},3,{"type":"function"},{"type":7,"name":"x"},'
        '{"name":"bare","parameters":null,"description":4}]'
    )
    turn = dialect.parse(b'{"input":"x","tools":' + tools.encode() + b"}")
    assert turn.tools[0] == Tool("f", "d", schema.encode(), True)
    assert turn.tools[1].custom
    assert json.loads(turn.tools[1].schema or b"")["required"] == ["input"]
    assert turn.tools[2] == Tool("bare")
    assert turn.lossy == ["tools.malformed"]
    assert [entry.get("name") for entry in json.loads(bytes(turn.body["tools"]))] == ["f", "c", "bare"]
    assert dialect.conversation(turn).unmapped == []


def test_settings() -> None:
    schema = {"type": "object"}
    turn = dialect.parse(
        body(
            temperature=0.5,
            top_p=1,
            max_output_tokens=0,
            parallel_tool_calls=True,
            reasoning={"effort": "high"},
            text={"verbosity": "low", "format": {"type": "json_schema", "name": "n", "schema": schema, "strict": True}},
            service_tier="flex",
            top_logprobs=2,
            truncation="auto",
            store=True,
            user="u",
            strange=1,
            quiet=None,
            include=[],
        )
    )
    assert turn.cap == 0
    assert turn.response_format == ResponseFormat("json_schema", b'{"type": "object"}', "n", True)
    assert turn.lossy == ["store"]
    found = dialect.conversation(turn)
    assert (found.temperature, found.top_p) == (Raw(b"0.5"), Raw(b"1"))
    assert (found.parallel_tools, found.reasoning_effort) == (True, "high")
    assert found.openai_fields == {
        "service_tier": Raw(b'"flex"'),
        "top_logprobs": Raw(b"2"),
        "logprobs": Raw(b"true"),
        "verbosity": Raw(b'"low"'),
    }
    assert found.unmapped == ["truncation", "unknown.strange"]


@pytest.mark.parametrize(
    ("text", "kind", "named"),
    [
        ({"format": {"type": "text"}}, None, False),
        ({"format": {"type": "json_object"}}, "json_object", False),
        ({"format": {"type": "json_schema"}}, "json_schema", False),
        ({"format": {"type": "grammar"}}, None, True),
        ({"format": 3}, None, True),
        (3, None, True),
        (None, None, False),
    ],
)
def test_answer_formats(text: Any, kind: str | None, named: bool) -> None:
    turn = dialect.parse(body(text=text))
    assert (turn.response_format.kind if turn.response_format else None) == kind
    assert ("response_format" in dialect.conversation(turn).unmapped) is named


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (body(previous_response_id="resp_1"), "previous_response_id: responses are not stored"),
        (body(conversation={"id": "c"}), "conversation: conversations are not stored"),
        (body(prompt={"id": "p"}), "prompt: prompt templates"),
        (body(background=True), "background: answers are not kept"),
        (body(input=[said("user", "a"), {"type": "item_reference", "id": "msg_1"}]), r"input\[1\]: points to a stored"),
        (body(input=[{"id": "msg_1"}]), r"input\[0\]: points to a stored"),
        (body(input=...), "input: expected"),
        (body(input=""), "input: expected"),
        (body(input=[]), "input: expected"),
        (body(input={}), "input: expected"),
        (body(input=["a"]), r"input\[0\]: expected an object"),
        (body(input=[{"type": 3}]), r"input\[0\].type"),
        (body(input=[{"role": "tool", "content": "x"}]), r"input\[0\].role"),
        (body(input=[{"type": "message"}]), r"input\[0\].role"),
        (body(input=[{"role": "user", "content": 3}]), r"input\[0\].content: expected"),
        (body(input=[{"role": "user", "content": [3]}]), r"input\[0\].content\[0\]"),
        (body(input=[output("1", [3])]), r"input\[0\].output\[0\]"),
        (body(model=3), "model"),
        (body(stream="yes"), "stream"),
        (body(instructions=["x"]), "instructions"),
        (body(max_output_tokens=-1), "max_output_tokens"),
        (body(max_output_tokens=True), "max_output_tokens"),
        (body(max_output_tokens=1.5), "max_output_tokens"),
        (body(temperature="hot"), "temperature"),
        (body(temperature=True), "temperature"),
        (b'{"input":"x","temperature":1e999}', "temperature"),
        (b'{"input":"x","top_p":NaN}', "invalid JSON"),
        (body(n=2), "n: only 1"),
        (body(tools={}), "tools: expected a list"),
        (b"[]", "must be a JSON object"),
        (b"", "input: expected"),
        (b"{", "invalid JSON"),
        (b'{"input":"x"} x', "invalid JSON"),
        (b'\xef\xbb\xbf{"input":"x"}', "invalid JSON"),
        (b'{"input":"\xff"}', "UTF-8|invalid JSON"),
        (b'{"input":"x","other":"\xff"}', "UTF-8|invalid JSON"),
        (b'{"input":"\\ud800"}', "invalid JSON"),
        (b'{"input":"x","tools":[{"type":"web_search","x":"\xff"}]}', "UTF-8|invalid JSON"),
        (b'{"input":[{"role":"user","x":' + b"[" * 140 + b"]" * 140 + b"}]}", "deeper than 128"),
        (b'{"input":"x","other":' + b"[" * 140 + b"]" * 140 + b"}", "deeper than 128"),
        (b'{"input":"x","tools":' + b"[" * 140 + b"]" * 140 + b"}", "deeper than 128"),
        (b'{"input":"x","other":' + b"[" * 5000 + b"]" * 5000 + b"}", "deeper than 128"),
    ],
)
def test_refusals(data: bytes, words: str) -> None:
    with pytest.raises(BadRequest, match=words) as caught:
        dialect.parse(data)
    assert (caught.value.status, caught.value.type) == (400, "invalid_request")


def test_stateless_defaults_are_no_refusal() -> None:
    fields = dict.fromkeys(("previous_response_id", "conversation", "prompt", "background", "store", "tools"))
    assert dialect.parse(body(**fields)).lossy == []
    assert dialect.parse(body(background=False, store=False)).lossy == []


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.floats(0, 1) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip
PART = st.fixed_dictionaries(
    {},
    optional={
        "type": st.sampled_from(["input_text", "output_text", "input_image", "input_file", "refusal", "x"]) | JSON,
        **dict.fromkeys(("text", "image_url", "file_data", "file_id"), JSON),
        **dict.fromkeys(("file_url", "filename", "detail", "refusal"), JSON),
    },
)
KINDS = ["message", "function_call", "function_call_output", "custom_tool_call", "custom_tool_call_output", "reasoning"]
ITEM = st.fixed_dictionaries(
    {},
    optional={
        "type": st.sampled_from([*KINDS, "item_reference", "web_search_call"]) | JSON,
        "role": st.sampled_from(["user", "assistant", "system", "developer"]) | JSON,
        **dict.fromkeys(("content", "output", "summary"), st.lists(PART | JSON, max_size=3) | JSON),
        **dict.fromkeys(("name", "call_id", "id", "arguments", "input", "encrypted_content"), JSON),
    },
)
TOOL = st.fixed_dictionaries(
    {},
    optional={
        "type": st.sampled_from(["function", "custom", "namespace"]) | JSON,
        **dict.fromkeys(("name", "description", "parameters", "strict", "format"), JSON),
    },
)
CHOICE = st.fixed_dictionaries(
    {},
    optional={
        "type": st.sampled_from(["function", "allowed_tools"]),
        **dict.fromkeys(("name", "mode", "tools"), JSON),
    },
)
FORMAT = st.dictionaries(st.sampled_from(["type", "schema", "name", "strict"]), st.just("json_schema") | JSON)
BODY = st.fixed_dictionaries(
    {"input": st.lists(ITEM, min_size=1, max_size=4) | JSON},
    optional={
        "tools": st.lists(TOOL | JSON, max_size=3) | JSON,
        "tool_choice": CHOICE | JSON,
        "text": st.fixed_dictionaries({}, optional={"format": FORMAT, "verbosity": JSON}) | JSON,
        **dict.fromkeys(("instructions", "reasoning", "include", "stream", "store", "model"), JSON),
        **dict.fromkeys(("temperature", "max_output_tokens", "background", "parallel_tool_calls"), JSON),
        **dict.fromkeys(("thinking", "top_logprobs", "stop"), JSON),
    },
)


def parsed(value: Any) -> Turn | None:
    try:
        return dialect.parse(json.dumps(value).encode())
    except BadRequest:
        return None


@given(BODY | JSON)
def test_type_confused_bodies_raise_bad_request_and_nothing_else(value: Any) -> None:
    turn = parsed(value)
    if turn is not None:
        dialect.conversation(turn)


@given(st.binary(max_size=40) | st.binary(max_size=20).map(lambda data: codex()[:200] + data + codex()[200:]))
def test_any_bytes_raise_bad_request_and_nothing_else(data: bytes) -> None:
    try:
        dialect.parse(data)
    except BadRequest:
        return


def test_declared_tools_are_remembered_not_shared() -> None:
    one, two = dialect.parse(codex()), dialect.parse(codex(tool_choice={"type": "allowed_tools", "tools": []}))
    assert [tool.name for tool in one.tools] == ["exec_command", "apply_patch"]
    assert two.tools == []
    assert len(CODEX_TOOLS) == 4
