"""What a Responses request becomes for tiers of both dialects (contract 6.4, 6.5, 8.1)."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from anvil.router.dialects import TierModule, anthropic_messages, openai_chat, openai_responses
from anvil.router.turn import UpstreamRequest
from tests.unit.router.dialects.responses_samples import CODEX_INPUT, body, called, codex, output, said, tier
from tests.unit.router.dialects.test_responses_request import BODY, parsed

PERMISSIONS = "<permissions instructions>\nfull access\n</permissions instructions>"
TIERS: dict[str, TierModule] = {"openai": openai_chat, "anthropic": anthropic_messages}


def send(data: bytes, dialect: str, **keys: Any) -> tuple[dict[str, Any], UpstreamRequest]:
    turn = openai_responses.parse(data)
    request = TIERS[dialect].request(turn, tier(dialect, **keys), openai_responses.conversation(turn))
    return json.loads(request.body), request


def test_codex_on_an_openai_tier() -> None:
    sent, request = send(codex(reasoning={"effort": "low"}), "openai", reasoning_field="reasoning_content")
    assert sent["messages"] == [
        {
            "role": "system",
            "content": "\n".join(["You are a coding agent.", PERMISSIONS, "Be brief."]),
        },
        {"role": "user", "content": "<environment_context>\n  <cwd>/work</cwd>\n</environment_context>"},
        {"role": "user", "content": "fix the tests"},
        {
            "role": "assistant",
            "content": "I run them.",
            "reasoning_content": "run them",
            "tool_calls": [
                {
                    "id": "call_a",
                    "type": "function",
                    "function": {"name": "exec_command", "arguments": '{"cmd": "pytest"}'},
                },
                {
                    "id": "call_b",
                    "type": "function",
                    "function": {"name": "apply_patch", "arguments": '{"input":"*** Begin Patch\\n"}'},
                },
            ],
        },
        {"role": "tool", "tool_call_id": "call_a", "content": "1 failed"},
        {"role": "tool", "tool_call_id": "call_b", "content": "Done"},
    ]  # fmt: skip
    assert [entry["function"]["name"] for entry in sent["tools"]] == ["exec_command", "apply_patch"]
    assert sent["tools"][1]["function"]["parameters"] == {
        "type": "object",
        "properties": {"input": {"type": "string"}},
        "required": ["input"],
    }
    assert sent["tools"][0]["function"]["strict"] is False
    assert (sent["tool_choice"], sent["parallel_tool_calls"]) == ("auto", False)
    assert (sent["reasoning_effort"], sent["prompt_cache_key"]) == ("low", "0199-thread")
    assert (sent["stream"], sent["stream_options"]) == (True, {"include_usage": True})
    assert not {"input", "instructions", "include", "client_metadata", "store", "max_tokens"} & set(sent)
    assert set(request.lossy) == {
        *("tools.hosted", "tools.grammar", "reasoning.encrypted", "include"),
        *("never_forwarded.client_metadata", "never_forwarded.store"),
    }


def test_codex_on_an_anthropic_tier() -> None:
    sent, request = send(codex(reasoning={"effort": "low"}), "anthropic")
    assert [block["text"] for block in sent["system"]] == ["You are a coding agent.", PERMISSIONS, "Be brief."]
    assert [(message["role"], [block["type"] for block in message["content"]]) for message in sent["messages"]] == [
        ("user", ["text"]),
        ("user", ["text"]),
        ("assistant", ["text", "tool_use", "tool_use"]),
        ("user", ["tool_result", "tool_result"]),
    ]
    assert sent["messages"][2]["content"][2] == {
        "type": "tool_use",
        "id": "call_b",
        "name": "apply_patch",
        "input": {"input": "*** Begin Patch\n"},
    }
    assert sent["messages"][3]["content"][1] == {"type": "tool_result", "tool_use_id": "call_b", "content": "Done"}
    assert sent["tool_choice"] == {"type": "auto", "disable_parallel_tool_use": True}
    assert (sent["max_tokens"], sent["stream"]) == (1024, True)
    assert {"reasoning.effort", "reasoning.history", "prompt_cache_key"} <= set(request.lossy)


@pytest.mark.parametrize(
    ("fields", "openai", "anthropic"),
    [
        ({"max_output_tokens": 7}, {"max_tokens": 7}, {"max_tokens": 7}),
        ({"temperature": 0.25, "top_p": 0.5}, {"temperature": 0.25, "top_p": 0.5}, {"temperature": 0.25, "top_p": 0.5}),
        ({"text": {"verbosity": "low"}}, {"verbosity": "low"}, {}),
        ({"top_logprobs": 2}, {"logprobs": True, "top_logprobs": 2}, {}),
        ({"include": ["message.output_text.logprobs"]}, {"logprobs": True}, {}),
        ({"service_tier": "flex"}, {"service_tier": "flex"}, {}),
        (
            {"text": {"format": {"type": "json_schema", "name": "n", "schema": {"type": "object"}, "strict": True}}},
            {"response_format": {"type": "json_schema",
                                 "json_schema": {"name": "n", "schema": {"type": "object"}, "strict": True}}},
            {"output_config": {"format": {"type": "json_schema", "schema": {"type": "object"}}}},
        ),
        ({"text": {"format": {"type": "json_object"}}}, {"response_format": {"type": "json_object"}}, {}),
        (
            {"tools": [{"type": "function", "name": "f", "strict": True}],
             "tool_choice": {"type": "function", "name": "f"}},
            {"tools": [{"type": "function",
                        "function": {"name": "f", "parameters": {"type": "object"}, "strict": True}}],
             "tool_choice": {"type": "function", "function": {"name": "f"}}},
            {"tools": [{"name": "f", "input_schema": {"type": "object"}, "strict": True}],
             "tool_choice": {"type": "tool", "name": "f"}},
        ),
    ],
)  # fmt: skip
def test_fields(fields: dict[str, Any], openai: dict[str, Any], anthropic: dict[str, Any]) -> None:
    for dialect, extra, floor in (("openai", openai, set()), ("anthropic", anthropic, {"max_tokens"})):
        sent, request = send(body(**fields), dialect)
        for name, value in extra.items():
            assert sent[name] == value
        assert set(sent) - {"model", "messages"} - floor == set(extra) - floor
        if not extra:
            assert request.lossy


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"top_logprobs": 2}, "logprobs"),
        ({"text": {"verbosity": "low"}}, "verbosity"),
        ({"service_tier": "flex"}, "service_tier"),
        ({"text": {"format": {"type": "json_object"}}}, "response_format"),
        ({"reasoning": {"effort": "high"}}, "reasoning.effort"),
        ({"prompt_cache_key": "k"}, "prompt_cache_key"),
    ],
)
def test_what_only_openai_tiers_take_is_named_elsewhere(fields: dict[str, Any], name: str) -> None:
    assert name not in send(body(**fields), "openai")[1].lossy
    assert name in send(body(**fields), "anthropic")[1].lossy


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"truncation": "auto"}, "truncation"),
        ({"include": ["reasoning.encrypted_content"]}, "include"),
        ({"reasoning": {"summary": "auto"}}, "reasoning.summary"),
        ({"tools": [{"type": "mcp"}]}, "tools.hosted"),
        ({"stop": "x"}, "stop"),
        ({"strange": 1}, "unknown.strange"),
        ({"metadata": {"a": "b"}}, "never_forwarded.metadata"),
        ({"tool_choice": {"type": "web_search"}, "tools": [{"type": "web_search"}]}, "tool_choice"),
    ],
)
@pytest.mark.parametrize("dialect", ["openai", "anthropic"])
def test_what_no_tier_takes_is_named(dialect: str, fields: dict[str, Any], name: str) -> None:
    assert name in send(body(**fields), dialect)[1].lossy


@pytest.mark.parametrize("dialect", ["openai", "anthropic"])
def test_late_system_items_are_wrapped_at_their_place(dialect: str) -> None:
    sent, request = send(body(input=[said("user", "a"), said("developer", "b"), said("user", "c")]), dialect)
    assert "<system>\\nb\\n</system>" in json.dumps(sent["messages"][1])
    assert [message["role"] for message in sent["messages"]] == ["user"] * 3
    assert "role.late_system" in request.lossy


def test_images_of_results_follow_for_openai_tiers_and_stay_for_anthropic_ones() -> None:
    shot = {"type": "input_image", "image_url": "data:image/png;base64,AA=="}
    data = body(input=[said("user", "look"), called("1", "see"), output("1", [shot])])
    sent, _ = send(data, "openai")
    assert [message["role"] for message in sent["messages"]] == ["user", "assistant", "tool", "user"]
    assert sent["messages"][3]["content"][0]["image_url"]["url"] == "data:image/png;base64,AA=="
    sent, _ = send(data, "anthropic")
    assert sent["messages"][2]["content"][0]["content"][0]["type"] == "image"


TURN = st.sampled_from(
    [
        [said("user", "next")],
        [said("assistant", "fine"), said("user", "more")],
        [said("developer", "rule"), said("user", "go")],
        [called("c1", "exec_command", cmd="ls"), output("c1", "a\nb"), said("user", "and?")],
        [
            {"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": "hm"}]},
            said("assistant", "two"),
            called("c2", "exec_command", cmd="a"),
            {"type": "custom_tool_call", "call_id": "c3", "name": "apply_patch", "input": "p"},
            output("c2", "x"),
            {"type": "custom_tool_call_output", "call_id": "c3", "output": "y"},
        ],
    ]
)


@given(st.lists(TURN, min_size=1, max_size=4), st.sampled_from(["openai", "anthropic"]))
def test_one_turns_bytes_extend_the_last_ones(turns: list[list[dict[str, Any]]], dialect: str) -> None:
    items = list(CODEX_INPUT[:3])
    before: dict[str, Raw] | None = None
    for added in turns:
        items = [*items, said("assistant", "ok"), *added] if before else [*items, *added]
        turn = openai_responses.parse(codex(items))
        request = TIERS[dialect].request(turn, tier(dialect), openai_responses.conversation(turn))
        fields = msgspec.json.decode(request.body, type=dict[str, Raw])
        if before is not None:
            assert bytes(fields.pop("messages")).startswith(bytes(before.pop("messages"))[:-1])
            assert fields == before
        before = msgspec.json.decode(request.body, type=dict[str, Raw])


@given(BODY, st.sampled_from(["openai", "anthropic"]))
def test_whatever_is_accepted_can_be_sent(value: Any, dialect: str) -> None:
    turn = parsed(value)
    if turn is None:
        return
    request = TIERS[dialect].request(turn, tier(dialect), openai_responses.conversation(turn))
    sent = json.loads(request.body)
    assert isinstance(sent["messages"], list)
    assert request.body == TIERS[dialect].request(turn, tier(dialect), openai_responses.conversation(turn)).body
