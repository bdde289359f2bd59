"""Requests to Messages tiers: pass-through, repairs, translation, prefix stability (contract 6)."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anvil.router.config import TierConfig
from anvil.router.dialects import anthropic_messages as dialect
from anvil.router.dialects import openai_chat
from anvil.router.dialects.encode import WindowTooSmall
from anvil.router.turn import UpstreamRequest
from tests.unit.router.dialects.anthropic_samples import NONCE, body, claude_code, tier


def passed(data: bytes, **keys: Any) -> tuple[dict[str, Any], UpstreamRequest]:
    request = dialect.request(dialect.parse(data), tier(**keys), None)
    return json.loads(request.body), request


def translated(conf: TierConfig | None = None, **fields: Any) -> tuple[dict[str, Any], list[str], UpstreamRequest]:
    base = {"model": "chat", "messages": [{"role": "user", "content": "hi"}]}
    turn = openai_chat.parse(json.dumps({**base, **fields}).encode())
    request = dialect.request(turn, conf or tier(), openai_chat.conversation(turn))
    return json.loads(request.body), request.lossy, request


# ----------------------------------------------------------------------------------------- pass-through


def test_cloud_tiers_get_every_field_but_the_named_ones() -> None:
    sent, request = passed(claude_code(unknown={"deep": [1]}), privacy="cloud")
    wanted = json.loads(claude_code(unknown={"deep": [1]}, model="upstream-model", metadata=...))
    assert sent == wanted
    assert list(sent) == list(wanted)
    assert request.lossy == ["never_forwarded.metadata"]
    assert (request.stream, request.cap, request.fitted, request.headers) == (True, 32000, False, [])


def test_local_tiers_get_their_repairs() -> None:
    sent, request = passed(claude_code())
    assert NONCE not in request.body.decode()
    assert [block["text"] for block in sent["system"]] == [
        "You are Claude Code, Anthropic's official CLI.",
        "Work in the current folder.",
    ]
    assert sent["messages"][1] == {
        "role": "user",
        "content": [{"type": "text", "text": "<system>\nSkills: none\n</system>"}],
    }
    original = json.loads(claude_code())["messages"]
    assert [sent["messages"][at] for at in (0, 2, 3)] == [original[at] for at in (0, 2, 3)]
    assert request.lossy == ["never_forwarded.metadata", "system.nonce", "role.late_system"]


def test_repairs_can_be_switched_off() -> None:
    sent, request = passed(claude_code(), late_system="system", stable_prefix=False)
    assert sent["messages"] == json.loads(claude_code())["messages"]
    assert sent["system"][0]["text"] == NONCE
    assert request.lossy == ["never_forwarded.metadata"]


@pytest.mark.parametrize(
    ("system", "left"),
    [
        (NONCE, None),
        (NONCE + "\nrest", "rest"),
        ([NONCE, "kept"], ["kept"]),
        ([{"type": "text", "text": NONCE + "\nrest", "cache_control": {"type": "ephemeral"}}], None),
        ("no nonce", "no nonce"),
    ],
)
def test_the_rotating_block_leaves_the_system_text(system: Any, left: Any) -> None:
    sent, _ = passed(body(system=system))
    if isinstance(system, list) and isinstance(system[0], dict):
        left = [{"type": "text", "text": "rest", "cache_control": {"type": "ephemeral"}}]
    assert sent.get("system") == left


def test_unsigned_thinking_stays_away_from_cloud_tiers_only() -> None:
    thought = {"type": "thinking", "thinking": "hm", "signature": ""}
    signed = {"type": "thinking", "thinking": "hm", "signature": "c2ln"}
    text = {"type": "text", "text": "x"}
    messages = [
        {"role": "user", "content": "q"},
        {"role": "assistant", "content": [thought, text]},
        {"role": "user", "content": "q"},
        {"role": "assistant", "content": [thought]},
        {"role": "assistant", "content": [signed, text]},
        {"role": "user", "content": "q"},
    ]
    sent, request = passed(body(messages=messages), privacy="cloud")
    assert sent["messages"] == [messages[0], {"role": "assistant", "content": [text]}, *messages[2:3], *messages[4:]]
    assert request.lossy == ["reasoning.unsigned"]
    assert passed(body(messages=messages))[0]["messages"] == messages


def test_never_forwarded_fields_are_named() -> None:
    sent, request = passed(body(user="u", metadata={}, seed=1, store=True, stream_options={}))
    assert set(sent) == {"model", "max_tokens", "messages"}
    assert sorted(request.lossy) == [
        f"never_forwarded.{name}" for name in ("metadata", "seed", "store", "stream_options", "user")
    ]


def test_extra_body_wins_and_defaults_fill_gaps() -> None:
    sent, request = passed(
        body(stream=True, temperature=0.1),
        extra_body={"max_tokens": 9, "thinking": {"type": "enabled", "budget_tokens": 1024}, "stream": False},
        extra_body_defaults={"temperature": 0.9, "top_k": 3},
    )
    assert (sent["max_tokens"], sent["temperature"], sent["top_k"], sent["stream"]) == (9, 0.1, 3, False)
    assert (request.cap, request.stream) == (9, False)


@pytest.mark.parametrize(("stream", "sent_stream"), [(True, True), (False, False), (None, False), (..., None)])
def test_stream_is_the_callers(stream: Any, sent_stream: Any) -> None:
    sent, request = passed(body(stream=stream))
    assert sent.get("stream") == sent_stream
    assert request.stream is (sent_stream is True)


def test_a_cap_that_does_not_fit_is_lowered_for_local_tiers_only() -> None:
    sent, request = passed(body(max_tokens=32000), context_limit=8192)
    assert request.fitted
    assert request.lossy == ["max_tokens.fitted"]
    assert sent["max_tokens"] == request.cap == 8192 - 9
    assert passed(body(max_tokens=32000), context_limit=8192, privacy="cloud")[0]["max_tokens"] == 32000
    with pytest.raises(WindowTooSmall):
        passed(body(max_tokens=32000, system="x 9 " * 2600), context_limit=8192)


def test_schemas_and_inputs_keep_their_exact_text() -> None:
    schema = b'{"type" : "object",\n "properties":{"x":{"minimum":1.0e0}}}'
    data = body()[:-1] + b', "tools": [{"name":"f","input_schema":' + schema + b"}]}"
    assert schema in dialect.request(dialect.parse(data), tier(), None).body


@pytest.mark.parametrize(
    ("inbound", "sent"),
    [
        ({}, [("anthropic-version", "2023-06-01")]),
        ({"anthropic-version": "2024-10-22"}, [("anthropic-version", "2024-10-22")]),
        ({"anthropic-version": "latest\r\nx: y"}, [("anthropic-version", "2023-06-01")]),
        (
            {"anthropic-beta": "tools-2024, bad token,x\r\ny,, files-api-2025-04-14"},
            [("anthropic-version", "2023-06-01"), ("anthropic-beta", "tools-2024,files-api-2025-04-14")],
        ),
        ({"anthropic-beta": "b@d"}, [("anthropic-version", "2023-06-01")]),
    ],
)
def test_forwarded_headers(inbound: dict[str, str], sent: list[tuple[str, str]]) -> None:
    assert dialect.forward_headers(inbound) == sent


def test_count_requests_carry_only_what_counting_takes() -> None:
    turn = dialect.parse_count(claude_code(max_tokens=..., temperature=1, stop_sequences=["x"], top_k=4))
    sent = json.loads(dialect.count_request(turn, tier(), None))
    assert set(sent) == {"model", "system", "messages", "tools", "thinking", "context_management", "output_config"}
    assert sent["model"] == "upstream-model"


# ------------------------------------------------------------------------------------------ translation


def test_a_plain_request_gets_no_extra_keys() -> None:
    sent, lossy, request = translated()
    assert sent == {
        "model": "upstream-model",
        "messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}]}],
        "max_tokens": 1024,
    }
    assert (lossy, request.cap) == ([], None)


@pytest.mark.parametrize(("cap", "sent_cap", "in_force"), [(5, 5, 5), (0, 1024, None), (None, 1024, None)])
def test_the_dialect_demands_a_cap(cap: Any, sent_cap: int, in_force: Any) -> None:
    sent, _, request = translated(max_tokens=cap)
    assert (sent["max_tokens"], request.cap) == (sent_cap, in_force)


def test_default_caps_of_the_tier_come_before_ours() -> None:
    sent, _, request = translated(tier(extra_body_defaults={"max_tokens": 4096}))
    assert (sent["max_tokens"], request.cap) == (4096, None)


CALL = {"id": "call.1|x", "type": "function", "function": {"name": "f", "arguments": '{"a": 1.0}'}}


def test_an_agent_conversation() -> None:
    sent, lossy, _ = translated(
        messages=[
            {"role": "system", "content": "be brief"},
            {"role": "developer", "content": "in German"},
            {"role": "user", "name": "bob", "content": [{"type": "text", "text": "look"}]},
            {
                "role": "assistant",
                "content": "",
                "reasoning_content": "hm",
                "tool_calls": [CALL, {"id": "c2", "type": "function", "function": {"name": "g", "arguments": "{"}}],
            },
            {"role": "tool", "tool_call_id": "call.1|x", "content": "one"},
            {"role": "tool", "tool_call_id": "c2", "content": [{"type": "text", "text": "two"}]},
            {"role": "system", "content": "now hurry"},
            {"role": "assistant", "content": "   "},
            {"role": "user", "content": "and?"},
        ]
    )
    assert [block["text"] for block in sent["system"]] == ["be brief", "in German"]
    assert sent["messages"] == [
        {"role": "user", "content": [{"type": "text", "text": "look"}]},
        {
            "role": "assistant",
            "content": [
                {"type": "tool_use", "id": "call_1_x", "name": "f", "input": {"a": 1.0}},
                {"type": "tool_use", "id": "c2", "name": "g", "input": {}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "call_1_x", "content": "one"},
                {"type": "tool_result", "tool_use_id": "c2", "content": "two"},
            ],
        },
        {"role": "user", "content": [{"type": "text", "text": "<system>\nnow hurry\n</system>"}]},
        {"role": "user", "content": [{"type": "text", "text": "and?"}]},
    ]
    assert sorted(lossy) == ["history.tool_arguments", "name", "reasoning.history", "role.late_system"]


def test_images_and_files() -> None:
    parts = [
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk=", "detail": "low"}},
        {"type": "image_url", "image_url": {"url": "https://x/y.png"}},
        {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,aGk="}},
    ]
    sent, lossy, _ = translated(tier(documents=True), messages=[{"role": "user", "content": parts}])
    assert [part["source"] for part in sent["messages"][0]["content"]] == [
        {"type": "base64", "media_type": "image/png", "data": "aGk="},
        {"type": "url", "url": "https://x/y.png"},
        {"type": "base64", "media_type": "application/pdf", "data": "aGk="},
    ]
    assert "unknown.detail" in lossy


TOOLS = [{"type": "function", "function": {"name": "f", "description": "d", "strict": True, "parameters": {"a": 1}}}]


def test_tools_keep_their_schema_and_gain_the_type_the_dialect_demands() -> None:
    typed = {"type": "function", "function": {"name": "g", "parameters": {"type": "object", "x": 1.5}}}
    bare = {"type": "function", "function": {"name": "h"}}
    sent, lossy, _ = translated(tools=[*TOOLS, typed, bare])
    assert sent["tools"] == [
        {"name": "f", "description": "d", "input_schema": {"type": "object", "a": 1}, "strict": True},
        {"name": "g", "input_schema": {"type": "object", "x": 1.5}},
        {"name": "h", "input_schema": {"type": "object"}},
    ]
    assert lossy == []


@pytest.mark.parametrize(
    ("fields", "choice", "lossy"),
    [
        ({"tool_choice": "auto"}, {"type": "auto"}, []),
        ({"tool_choice": "required"}, {"type": "any"}, []),
        ({"tool_choice": "none"}, {"type": "none"}, []),
        ({"tool_choice": {"type": "function", "function": {"name": "f"}}}, {"type": "tool", "name": "f"}, []),
        ({"parallel_tool_calls": False}, {"type": "auto", "disable_parallel_tool_use": True}, []),
        ({"parallel_tool_calls": True}, None, []),
        (
            {"parallel_tool_calls": False, "tool_choice": "required"},
            {"type": "any", "disable_parallel_tool_use": True},
            [],
        ),
        ({"tool_choice": {"type": "odd"}}, None, ["tool_choice"]),
    ],
)
def test_tool_choice(fields: dict[str, Any], choice: Any, lossy: list[str]) -> None:
    sent, names, _ = translated(tools=TOOLS, **fields)
    assert (sent.get("tool_choice"), names) == (choice, lossy)


def test_a_choice_without_tools_is_left_out_and_named() -> None:
    sent, names, _ = translated(tool_choice="required")
    assert ("tool_choice" in sent, names) == (False, ["tool_choice"])


def test_sampling_stop_and_format() -> None:
    schema = {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "object"}}}
    sent, lossy, _ = translated(temperature=0.3, top_p=0.5, stop="x", response_format=schema, reasoning_effort="high")
    assert (sent["temperature"], sent["top_p"], sent["stop_sequences"]) == (0.3, 0.5, ["x"])
    assert sent["output_config"] == {"format": {"type": "json_schema", "schema": {"type": "object"}}}
    assert lossy == ["reasoning.effort"]
    assert translated(response_format={"type": "json_object"})[1] == ["response_format"]


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"presence_penalty": 1}, "penalties"),
        ({"logprobs": True}, "logprobs"),
        ({"top_k": 4}, "top_k"),
        ({"verbosity": "low"}, "verbosity"),
        ({"prompt_cache_key": "x"}, "prompt_cache_key"),
        ({"prediction": {}}, "prediction"),
        ({"modalities": ["text"]}, "modalities"),
        ({"service_tier": "auto"}, "service_tier"),
        ({"web_search_options": {}}, "tools.hosted"),
        ({"odd": 1}, "unknown.odd"),
        ({"seed": 1}, "never_forwarded.seed"),
        ({"tools": [{"type": "web_search"}]}, "tools.hosted"),
    ],
)
def test_what_the_dialect_cannot_say_is_left_out_and_named(fields: dict[str, Any], name: str) -> None:
    sent, lossy, _ = translated(**fields)
    assert set(sent) == {"model", "messages", "max_tokens"}
    assert name in lossy


# ------------------------------------------------------------------------------------- prefix stability

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
IDS = st.text("ab.|_-1", max_size=4)
STEPS = st.one_of(
    st.tuples(st.just("user"), TEXTS),
    st.tuples(st.just("system"), TEXTS),
    st.tuples(st.just("call"), IDS, TEXTS),
)


def openai_messages(steps: list[tuple[str, ...]]) -> list[list[dict[str, Any]]]:
    """The message lists of successive turns: each ends where the caller hands over to the model."""
    turns: list[list[dict[str, Any]]] = []
    messages: list[dict[str, Any]] = [{"role": "system", "content": NONCE + "\nsys"}, {"role": "user", "content": "go"}]
    for step in steps:
        if step[0] == "call":
            calls = [
                {"id": step[1] + n, "type": "function", "function": {"name": "f", "arguments": step[2]}} for n in "12"
            ]
            messages.append({"role": "assistant", "content": step[2], "tool_calls": calls})
            messages += [{"role": "tool", "tool_call_id": call["id"], "content": step[2]} for call in calls]
        else:
            messages += [{"role": "assistant", "content": "ok"}, {"role": step[0], "content": step[1]}]
        turns.append(list(messages))
    return turns


def anthropic_messages(steps: list[tuple[str, ...]]) -> list[list[dict[str, Any]]]:
    turns: list[list[dict[str, Any]]] = []
    messages: list[dict[str, Any]] = [{"role": "user", "content": "go"}]
    for step in steps:
        if step[0] == "call":
            use = {"type": "tool_use", "id": step[1], "name": "f", "input": {"x": step[2]}}
            messages.append({"role": "assistant", "content": [{"type": "thinking", "thinking": "x"}, use]})
            messages.append(
                {"role": "user", "content": [{"type": "tool_result", "tool_use_id": step[1], "content": "r"}]}
            )
        else:
            messages += [{"role": "assistant", "content": "ok"}, {"role": step[0], "content": step[1]}]
        turns.append(list(messages))
    return turns


def assert_prefixes(bodies: list[bytes]) -> None:
    key = b'"messages":'
    cut = []
    for data in bodies:
        fields = json.loads(data)
        at = data.index(key)
        end = data.rindex(b"]", at, data.index(b',"max_tokens"', at))
        cut.append((data[at:end], {name: value for name, value in fields.items() if name != "messages"}))
    for (older, rest), (newer, other) in itertools.pairwise(cut):
        assert newer.startswith(older)
        assert rest == other


@given(steps=st.lists(STEPS, min_size=2, max_size=5))
@settings(max_examples=200, deadline=None)
def test_translated_turns_extend_each_other(steps: list[tuple[str, ...]]) -> None:
    bodies = []
    for messages in openai_messages(steps):
        turn = openai_chat.parse(json.dumps({"messages": messages}).encode())
        bodies.append(dialect.request(turn, tier(), openai_chat.conversation(turn)).body)
    assert_prefixes(bodies)


@given(steps=st.lists(STEPS, min_size=2, max_size=5), privacy=st.sampled_from(["local", "cloud"]), indent=st.booleans())
@settings(max_examples=200, deadline=None)
def test_passed_turns_extend_each_other(steps: list[tuple[str, ...]], privacy: str, indent: bool) -> None:
    bodies = []
    for number, messages in enumerate(anthropic_messages(steps)):
        nonce = NONCE + str(number) if privacy == "local" else NONCE
        given_ = {"system": [{"type": "text", "text": nonce}, {"type": "text", "text": "s"}], "messages": messages}
        data = json.dumps({**given_, "max_tokens": 1}, indent=1 if indent else None).encode()
        bodies.append(dialect.request(dialect.parse(data), tier(privacy=privacy), None).body)
    assert_prefixes(bodies)
