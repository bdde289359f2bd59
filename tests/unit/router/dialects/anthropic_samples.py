"""Messages bodies and streams in the shapes real clients and engines send (facts/clients.md 3, facts/engine.md 10)."""

from __future__ import annotations

import json
from typing import Any

from anvil.router.config import TierConfig

NONCE = "x-anthropic-billing-header: cc_version=2.1.330; cc_entrypoint=cli; cch=8f3a1;"
CACHE = {"cache_control": {"type": "ephemeral"}}


def tier(**keys: Any) -> TierConfig:
    """A local Anthropic tier with a roomy window unless told otherwise."""
    privacy = keys.pop("privacy", "local")
    defaults: dict[str, Any] = {
        "id": "t",
        "base_url": "http://127.0.0.1:9",
        "dialect": "anthropic",
        "context_limit": 200_000,
        "privacy": privacy,
        "tool_support": True,
        "auth_env": "KEY",
        "model": "upstream-model",
        "stable_prefix": privacy == "local",
    }
    return TierConfig(**{**defaults, **keys})


def body(**fields: Any) -> bytes:
    """A minimal request with ``fields`` on top; a field set to ... is left out."""
    base = {"model": "chat", "max_tokens": 100, "messages": [{"role": "user", "content": "hi"}]}
    return json.dumps({k: v for k, v in {**base, **fields}.items() if v is not ...}).encode()


def claude_code(**fields: Any) -> bytes:
    """The second request of a Claude Code run: billing block, late system message, one tool result."""
    request = {
        "model": "planning",
        "max_tokens": 32000,
        "metadata": {"user_id": '{"device_id":"d","session_id":"s"}'},
        "system": [
            {"type": "text", "text": NONCE},
            {"type": "text", "text": "You are Claude Code, Anthropic's official CLI.", **CACHE},
            {"type": "text", "text": "Work in the current folder.", **CACHE},
        ],
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "<system-reminder>\nToday is Monday.\n</system-reminder>"},
                    {"type": "text", "text": "please fix the tests", **CACHE},
                ],
            },
            {"role": "system", "content": [{"type": "text", "text": "Skills: none", **CACHE}], "output_config": {}},
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "run them", "signature": "c2ln"},
                    {"type": "tool_use", "id": "toolu_01", "name": "Bash", "input": {"command": "pytest -q"}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {
                        "tool_use_id": "toolu_01",
                        "type": "tool_result",
                        "content": "3 failed",
                        "is_error": False,
                        **CACHE,
                    }
                ],
            },
        ],
        "tools": [
            {
                "name": "Bash",
                "description": "Run a command",
                "input_schema": {"type": "object", "properties": {"command": {"type": "string"}}},
                "defer_loading": True,
            },
            {"type": "web_search_20250305", "name": "web_search", "max_uses": 5},
        ],
        "thinking": {"type": "adaptive", "display": "omitted"},
        "context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
        "output_config": {"effort": "high"},
        "stream": True,
    }
    return json.dumps({k: v for k, v in {**request, **fields}.items() if v is not ...}).encode()


def sse(*events: dict[str, Any]) -> bytes:
    return b"".join([f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode() for event in events])


def block(index: int, start: dict[str, Any], *deltas: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {"type": "content_block_start", "index": index, "content_block": start},
        *[{"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas],
        {"type": "content_block_stop", "index": index},
    ]


def begin(**usage: int) -> dict[str, Any]:
    message = {
        "id": "msg_up",
        "type": "message",
        "role": "assistant",
        "model": "upstream-model",
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {"input_tokens": 9, "cache_read_input_tokens": 24, "output_tokens": 1, **usage},
    }
    return {"type": "message_start", "message": message}


def end(reason: str | None = "end_turn", *, stop_sequence: str | None = None, **usage: int) -> list[dict[str, Any]]:
    delta = {"stop_reason": reason, "stop_sequence": stop_sequence}
    return [
        {"type": "message_delta", "delta": delta, "usage": {"output_tokens": 7, **usage}},
        {"type": "message_stop"},
    ]


TEXT_START = {"type": "text", "text": ""}
FULL_STREAM = [
    begin(),
    {"type": "ping"},
    *block(
        0,
        {"type": "thinking", "thinking": "", "signature": ""},
        {"type": "thinking_delta", "thinking": "first "},
        {"type": "thinking_delta", "thinking": "think"},
        {"type": "signature_delta", "signature": "c2lnbmF0dXJl"},
    ),
    *block(1, {"type": "redacted_thinking", "data": "ZGF0YQ=="}),
    *block(2, TEXT_START, {"type": "text_delta", "text": "Grüße, "}, {"type": "text_delta", "text": "I look."}),
    # llama-server leaves ``input`` out of the start
    *block(
        3,
        {"type": "tool_use", "id": "toolu_1", "name": "get_weather"},
        {"type": "input_json_delta", "partial_json": ""},
        {"type": "input_json_delta", "partial_json": '{"city": "Kö'},
        {"type": "input_json_delta", "partial_json": 'ln"}'},
    ),
    *block(
        4,
        {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {}},
        {"type": "input_json_delta", "partial_json": '{"query":"x"}'},
    ),
    *end("tool_use"),
]
