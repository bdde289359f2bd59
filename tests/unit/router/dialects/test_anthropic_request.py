"""Reading Messages requests: validation, signals, neutral form (contract 5)."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anvil.router.dialects import anthropic_messages as dialect
from anvil.router.turn import BadRequest, Document, Image, Message, Opaque, Reasoning, Text, ToolCall, ToolResult, Turn
from tests.unit.router.dialects.anthropic_samples import NONCE, body, claude_code


def parsed(**fields: Any) -> Turn:
    return dialect.parse(body(**fields))


def said(content: Any, role: str = "user") -> list[dict[str, Any]]:
    return [{"role": "user", "content": "q"}, {"role": role, "content": content}]


def refusal(data: bytes) -> BadRequest:
    with pytest.raises(BadRequest) as caught:
        dialect.parse(data)
    return caught.value


# ------------------------------------------------------------------------------------------ validation


@pytest.mark.parametrize(
    "data",
    [
        b"[]",
        b"\xef\xbb\xbf{}",
        b"{} x",
        b'{"a":NaN}',
        b'{"a":Infinity}',
        b'{"a":"\xff"}',
        b'{"a":"\\ud800"}',
        b'{"a":1e999}',
        b'{"a":',
        b'{"a":' + b"[" * 200 + b"]" * 200 + b"}",
        b"[" * 1_000_000,
    ],
)
def test_what_is_not_strict_json_is_refused(data: bytes) -> None:
    error = refusal(data)
    assert (error.status, error.type) == (400, "invalid_request")


def test_nesting_of_exactly_128_levels_is_accepted() -> None:
    nested: Any = "x"
    for _ in range(127):
        nested = [nested]
    assert parsed(whatever=nested).model == "chat"
    refusal(body(whatever=[nested]))


@pytest.mark.parametrize("missing", [..., None])
def test_max_tokens_is_required_but_not_for_counting(missing: Any) -> None:
    error = refusal(body(max_tokens=missing))
    assert (error.type, error.message) == ("invalid_request_error", "max_tokens: field required")
    assert dialect.parse_count(body(max_tokens=missing)).cap is None


def test_thread_is_refused_so_that_sdks_resend_the_history() -> None:
    error = refusal(body(thread={"type": "create"}))
    assert error.type == "invalid_request_error"
    assert error.details == {"error_code": "thread_unsupported_request", "unsupported": ["thread"]}
    assert "thread" not in parsed(thread=None).body


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("model", [1, [], True]),
        ("messages", [..., None, [], "x", {}, ["x"], [1], [{"content": "x"}], [{"role": "tool", "content": "x"}]]),
        ("system", [1, {}, [1], [{"type": "image", "source": {}}]]),
        ("stream", [1, "true", []]),
        ("max_tokens", [-1, 1.5, "1", True]),
        ("max_completion_tokens", [-1, "x"]),
        ("temperature", ["x", True, []]),
        ("top_p", ["x", False]),
        ("top_k", ["x", 1.5, True]),
        ("frequency_penalty", ["x"]),
        ("n", [2, 0, "1", True]),
        ("tools", ["x", {}, 1]),
    ],
)
def test_wrong_values_of_known_fields_name_the_field(field: str, values: list[Any]) -> None:
    for value in values:
        assert field in refusal(body(**{field: value})).message, value


@pytest.mark.parametrize(
    "content",
    [
        5,
        {},
        True,
        [1],
        [None],
        [[]],
        [{"type": "text", "text": 5}],
        [{"type": "image", "source": "x"}],
        [{"type": "image"}],
        [{"type": "tool_use", "id": 1, "name": "x"}],
        [{"type": "tool_result", "tool_use_id": "x", "content": 5}],
        [{"type": "tool_result", "tool_use_id": "x", "content": [{"type": "text", "text": []}]}],
        [{"type": "tool_result", "tool_use_id": "x", "is_error": "no"}],
        [{"type": "thinking", "thinking": {}}],
    ],
)
def test_known_blocks_of_the_wrong_shape_are_refused_with_their_path(content: Any) -> None:
    assert "messages[1]" in refusal(body(messages=said(content))).message


@pytest.mark.parametrize("field", ["model", "stream", "temperature", "top_p", "top_k", "stop_sequences", "system"])
def test_null_means_absent(field: str) -> None:
    turn = parsed(**{field: None})
    assert (turn.stop, turn.lossy) == (None, [])
    assert turn.model == (None if field == "model" else "chat")


def test_a_blank_model_is_none_and_zero_is_a_cap() -> None:
    turn = parsed(model="  ", max_tokens=0)
    assert (turn.model, turn.cap) == (None, 0)


@pytest.mark.parametrize(
    ("given_", "stop", "sent", "lossy"),
    [
        (["a", "", 5, "b"], ["a", "b"], b'["a","b"]', ["stop"]),
        ("end", ["end"], b'["end"]', []),
        (["", None], None, None, ["stop"]),
        (7, None, None, ["stop"]),
        (["a"], ["a"], b'["a"]', []),
    ],
)
def test_stop_sequences_are_cleaned_in_the_body_too(
    given_: Any, stop: Any, sent: bytes | None, lossy: list[str]
) -> None:
    turn = parsed(stop_sequences=given_)
    assert (turn.stop, turn.lossy) == (stop, lossy)
    assert (bytes(turn.body["stop_sequences"]) if sent else turn.body.get("stop_sequences")) == sent


def test_malformed_tools_leave_the_body_and_good_ones_keep_their_exact_schema() -> None:
    data = (
        b'{"max_tokens":1,"messages":[{"role":"user","content":"x"}],"tools":[7,{"description":"no name"},'
        b'{"name":"ok","input_schema":{"b" : 1.50, "a":{}}},{"name":"' + b"n" * 257 + b'"},{"name":"odd","x":1}]}'
    )
    turn = dialect.parse(data)
    assert [tool.name for tool in turn.tools] == ["ok", "odd"]
    assert turn.tools[0].schema == b'{"b" : 1.50, "a":{}}'
    assert turn.lossy == ["tools.malformed"]
    assert [tool["name"] for tool in json.loads(bytes(turn.body["tools"]))] == ["ok", "odd"]
    assert "tools" not in parsed(tools=[{}]).body


def test_schemas_must_be_objects() -> None:
    assert "input_schema" in refusal(body(tools=[{"name": "x", "input_schema": []}])).message


@pytest.mark.parametrize(
    ("choice", "mode", "name"),
    [
        ({"type": "auto"}, "auto", ""),
        ({"type": "any"}, "required", ""),
        ({"type": "none"}, "none", ""),
        ({"type": "tool", "name": "Bash"}, "named", "Bash"),
        ({"type": "tool"}, "unknown", ""),
        ({"type": "later"}, "unknown", ""),
        ("auto", "unknown", ""),
    ],
)
def test_tool_choice(choice: Any, mode: str, name: str) -> None:
    found = parsed(tool_choice=choice).tool_choice
    assert found is not None
    assert (found.mode, found.name) == (mode, name)


KEYS = ["model", "messages", "max_tokens", "system", "tools", "tool_choice", "thinking", "output_config", "stream", "x"]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
BLOCKS = st.fixed_dictionaries(
    {},
    optional={
        "type": st.sampled_from(["text", "image", "document", "tool_use", "tool_result", "thinking", "odd"]) | JSON,
        **dict.fromkeys(["text", "source", "id", "name", "input", "content", "tool_use_id", "cache_control"], JSON),
    },
)


@given(
    fields=st.dictionaries(st.sampled_from(KEYS), JSON, max_size=4),
    messages=st.lists(
        st.fixed_dictionaries({"role": st.sampled_from(["user", "assistant", "system"]) | JSON, "content": JSON})
        | st.fixed_dictionaries({"role": st.just("user"), "content": st.lists(BLOCKS | JSON, max_size=3)}),
        max_size=3,
    ),
)
@settings(max_examples=200, deadline=None)
def test_type_confused_bodies_are_read_or_refused(fields: dict[str, Any], messages: list[Any]) -> None:
    try:
        turn = dialect.parse(body(**{"messages": messages, **fields}))
    except BadRequest:
        return
    dialect.conversation(turn)


# --------------------------------------------------------------------------------------------- signals


def test_claude_code_body() -> None:
    turn = dialect.parse(claude_code())
    signals = turn.signals
    assert (turn.model, turn.cap, turn.stream, turn.show_reasoning) == ("planning", 32000, True, False)
    assert signals.user_text == "please fix the tests"
    assert signals.system_text == "You are Claude Code, Anthropic's official CLI.\nWork in the current folder."
    assert signals.has_tools
    assert signals.tool_artifacts
    assert not signals.thinking
    assert signals.messages == 4
    assert turn.repairs == ("system.nonce", "role.late_system")
    assert [tool.name for tool in turn.tools] == ["Bash"]


def test_words_count_every_text_once() -> None:
    turn = parsed(
        system=["one two", {"type": "text", "text": "three"}],
        messages=[
            {"role": "user", "content": ["four", {"type": "text", "text": "five six"}]},
            {
                "role": "assistant",
                "content": [{"type": "tool_use", "id": "a", "name": "f", "input": {"x": "not counted"}}],
            },
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "a", "content": "seven eight"}]},
            {
                "role": "user",
                "content": [
                    {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "nine"}}
                ],
            },
        ],
    )
    assert turn.signals.words == 9


@pytest.mark.parametrize(
    "noise",
    [
        [{"type": "tool_result", "tool_use_id": "a", "content": "plan a roadmap"}],
        "<system-reminder>plan</system-reminder>",
        "<<<BEGIN_OPENCLAW_INTERNAL_CONTEXT>>>\nplan\n<<<END>>>",
        "   ",
        None,
    ],
)
def test_user_text_passes_over_what_no_human_wrote(noise: Any) -> None:
    messages = [{"role": "user", "content": "fix it"}, {"role": "assistant", "content": "ok"}]
    assert parsed(messages=[*messages, {"role": "user", "content": noise}]).signals.user_text == "fix it"


def test_long_system_text_gives_no_keywords() -> None:
    assert parsed(system="plan " * 150).signals.system_text
    assert parsed(system="plan " * 151).signals.system_text == ""


@pytest.mark.parametrize(
    ("thinking", "on", "shown"),
    [
        (..., False, False),
        (None, False, False),
        ({}, False, False),
        ({"type": "disabled"}, False, False),
        ({"type": "adaptive"}, False, True),
        ({"type": "adaptive", "display": "omitted"}, False, False),
        ({"type": "adaptive", "display": "summarized"}, False, True),
        ({"type": "enabled", "budget_tokens": 1024}, True, True),
        (True, True, False),
    ],
)
def test_thinking(thinking: Any, on: bool, shown: bool) -> None:
    turn = parsed(thinking=thinking)
    assert (turn.signals.thinking, turn.show_reasoning) == (on, shown)


def test_images_and_documents_are_counted_inside_tool_results_too() -> None:
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}}
    pdf = {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "aGk="}}
    result = {"type": "tool_result", "tool_use_id": "a", "content": [image, pdf]}
    stored = {"type": "image", "source": {"type": "file", "file_id": "file_1"}}
    signals = parsed(messages=said([image, result, stored])).signals
    assert (signals.images, signals.documents, signals.tool_artifacts) == (2, 2, True)


def test_structured_output() -> None:
    turn = parsed(output_config={"format": {"type": "json_schema", "schema": {"type": "object"}}})
    assert turn.response_format is not None
    assert turn.response_format.schema == b'{"type": "object"}'
    assert parsed(output_config={"format": {"type": "odd"}}).response_format is None


# -------------------------------------------------------------------------------------- neutral form


def blocks(content: Any, role: str = "user") -> tuple[Any, ...]:
    return dialect.conversation(parsed(messages=said(content, role))).messages[1].blocks


def test_conversation_of_claude_code() -> None:
    turn = dialect.parse(claude_code())
    talk = dialect.conversation(turn)
    assert talk.system == [NONCE, "You are Claude Code, Anthropic's official CLI.", "Work in the current folder."]
    assert [message.role for message in talk.messages] == ["user", "system", "assistant", "user"]
    assert talk.messages[2].blocks == (
        Reasoning("run them", "c2ln"),
        ToolCall("toolu_01", "Bash", '{"command": "pytest -q"}'),
    )
    assert talk.messages[3].blocks == (ToolResult("toolu_01", (Text("3 failed"),)),)
    assert talk.unmapped == [
        "cache_control",
        "context_management",
        "reasoning.effort",
        "reasoning.signature",
        "tools.hosted",
        "unknown.defer_loading",
    ]


def test_leading_system_messages_belong_to_the_system_text() -> None:
    messages = [
        {"role": "system", "content": "b"},
        {"role": "user", "content": "q"},
        {"role": "system", "content": "c"},
    ]
    talk = dialect.conversation(parsed(system="a", messages=messages))
    assert talk.system == ["a", "b"]
    assert talk.messages == [Message("user", (Text("q"),)), Message("system", (Text("c"),))]


def test_every_kind_of_block() -> None:
    source = {"type": "base64", "media_type": "image/png", "data": "aGk="}
    given_ = [
        "plain",
        {"text": "untyped"},
        {"type": "image", "source": source},
        {"type": "image", "source": {"type": "url", "url": "https://x/y.png"}},
        {"type": "document", "title": "T", "source": {"type": "text", "media_type": "text/plain", "data": "doc"}},
        {"type": "document", "source": {"type": "content", "content": [{"type": "text", "text": "inner"}]}},
        {"type": "search_result", "source": "s", "title": "t", "content": [{"type": "text", "text": "found"}]},
        {"type": "tool_result", "tool_use_id": "a", "is_error": True, "content": [{"type": "tool_reference", "n": 1}]},
        {"type": "server_tool_use", "id": "x", "name": "web_search", "input": {}},
    ]
    found = blocks(given_)
    assert found[:8] == (
        Text("plain"),
        Text("untyped"),
        Image("image/png", "aGk="),
        Image(url="https://x/y.png"),
        Document("text/plain", text="doc", title="T"),
        Document(text="inner"),
        Document("text/plain", url="s", text="found", title="t"),
        ToolResult("a", (Text('{"type": "tool_reference", "n": 1}'),), is_error=True),
    )
    assert isinstance(found[8], Opaque)
    assert found[8].kind == "server_tool_use"


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"top_k": 5}, "top_k"),
        ({"container": "c"}, "container"),
        ({"cache_control": {"type": "ephemeral"}}, "cache_control"),
        ({"mcp_servers": []}, "mcp_servers"),
        ({"service_tier": "auto"}, "service_tier"),
        ({"something": 1}, "unknown.something"),
        ({"output_config": {"effort": "low"}}, "reasoning.effort"),
        ({"output_config": {"odd": 1}}, "unknown.odd"),
        ({"output_config": {"format": {"type": "xml"}}}, "response_format"),
        ({"thinking": {"type": "disabled"}}, "reasoning.effort"),
        ({"tool_choice": {"type": "odd"}}, "tool_choice"),
        ({"messages": said("{", "assistant")}, "prefill"),
        ({"messages": said([{"type": "text", "text": "x", "odd": 1}])}, "unknown.odd"),
        ({"messages": said([{"type": "text", "text": "x", "citations": []}])}, "citations"),
        ({"messages": [{"role": "user", "content": "x", "odd": 1}]}, "unknown.odd"),
        ({"messages": said([{"type": "redacted_thinking", "data": "x"}], "assistant")}, "reasoning.signature"),
        ({"messages": said([{"type": "web_search_tool_result", "content": {}}], "assistant")}, "tools.hosted"),
        ({"tools": [{"name": "x", "eager_input_streaming": True}]}, "unknown.eager_input_streaming"),
        ({"tools": [{"name": "x", "odd": True}]}, "unknown.odd"),
    ],
)
def test_what_no_other_dialect_can_say_is_named(fields: dict[str, Any], name: str) -> None:
    assert name in dialect.conversation(parsed(**fields)).unmapped


def test_at_most_20_unknown_names_are_kept() -> None:
    odd = [{"type": "text", "text": "x", f"odd{at}": 1} for at in range(50)]
    names = dialect.conversation(parsed(messages=said(odd), **{f"top{at}": 1 for at in range(50)})).unmapped
    assert len(names) == 20


def test_plain_requests_lose_nothing() -> None:
    turn = parsed(temperature=0.5, top_p=0.9, stop_sequences=["x"], system="s", tools=[{"name": "f"}])
    talk = dialect.conversation(turn)
    assert talk.unmapped == []
    assert (talk.temperature, talk.stop) == (msgspec.Raw(b"0.5"), ["x"])


def test_serial_tool_use() -> None:
    talk = dialect.conversation(parsed(tool_choice={"type": "auto", "disable_parallel_tool_use": True}))
    assert talk.parallel_tools is False
