"""Responses bodies in the shapes real clients send (facts/clients.md 5, 9)."""

from __future__ import annotations

import json
from typing import Any

from anvil.router.config import TierConfig
from anvil.router.turn import Reply

REPLY = Reply("0123456789abcdef01234567", "planning", 1_700_000_000, prompt_estimate=11)
PATCH_GRAMMAR = {"type": "grammar", "syntax": "lark", "definition": "start: /.+/"}


def tier(dialect: str = "openai", **keys: Any) -> TierConfig:
    """A local tier with a roomy window unless told otherwise."""
    defaults: dict[str, Any] = {
        "id": "t",
        "base_url": "http://127.0.0.1:9",
        "dialect": dialect,
        "context_limit": 200_000,
        "privacy": "local",
        "tool_support": True,
        "auth_env": "KEY",
        "model": "served",
    }
    return TierConfig(**{**defaults, **keys})


def body(**fields: Any) -> bytes:
    """A minimal request with ``fields`` on top; a field set to ... is left out."""
    base = {"model": "chat", "input": "hi"}
    return json.dumps({k: v for k, v in {**base, **fields}.items() if v is not ...}).encode()


def said(role: str, *texts: str) -> dict[str, Any]:
    kind = "output_text" if role == "assistant" else "input_text"
    return {"type": "message", "role": role, "content": [{"type": kind, "text": text} for text in texts]}


def called(call_id: str, name: str, **arguments: Any) -> dict[str, Any]:
    return {"type": "function_call", "call_id": call_id, "name": name, "arguments": json.dumps(arguments)}


def output(call_id: str, value: Any) -> dict[str, Any]:
    return {"type": "function_call_output", "call_id": call_id, "output": value}


CODEX_TOOLS: list[dict[str, Any]] = [
    {
        "type": "function",
        "name": "exec_command",
        "description": "Runs a command in a PTY.",
        "strict": False,
        "parameters": {
            "type": "object",
            "properties": {"cmd": {"type": "string"}, "yield_time_ms": {"type": "number"}},
            "required": ["cmd"],
            "additionalProperties": False,
        },
    },
    {"type": "custom", "name": "apply_patch", "description": "Edit files.", "format": PATCH_GRAMMAR},
    {
        "type": "namespace",
        "name": "collab",
        "description": "Agents",
        "tools": [{"type": "function", "name": "spawn_agent", "parameters": {"type": "object"}}],
    },
    {"type": "web_search", "external_web_access": False},
]
CODEX_INPUT: list[dict[str, Any]] = [
    said("developer", "<permissions instructions>\nfull access\n</permissions instructions>", "Be brief."),
    said("user", "<environment_context>\n  <cwd>/work</cwd>\n</environment_context>"),
    said("user", "fix the tests"),
    {
        "type": "reasoning",
        "id": "rs_1",
        "summary": [{"type": "summary_text", "text": "run them"}],
        "encrypted_content": "gAAAA",
    },
    said("assistant", "I run them."),
    called("call_a", "exec_command", cmd="pytest"),
    {"type": "custom_tool_call", "call_id": "call_b", "name": "apply_patch", "input": "*** Begin Patch\n"},
    output("call_a", "1 failed"),
    {"type": "custom_tool_call_output", "call_id": "call_b", "output": [{"type": "input_text", "text": "Done"}]},
]


def codex(items: list[dict[str, Any]] | None = None, **fields: Any) -> bytes:
    """The second request of a ``codex exec`` run: one function call and one patch answered."""
    request = {
        "model": "planning",
        "instructions": "You are a coding agent.",
        "input": CODEX_INPUT if items is None else items,
        "tools": CODEX_TOOLS,
        "tool_choice": "auto",
        "parallel_tool_calls": False,
        "reasoning": {"summary": "auto"},
        "store": False,
        "stream": True,
        "include": ["reasoning.encrypted_content"],
        "prompt_cache_key": "0199-thread",
        "client_metadata": {"x-codex-installation-id": "i"},
    }
    return json.dumps({**request, **fields}).encode()
