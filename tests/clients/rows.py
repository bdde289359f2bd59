"""The rows of the table, the quick clients first."""

from __future__ import annotations

from tests.clients.client import Client
from tests.clients.programs import aider, claude_code, codex, engine, openclaw, opencode, pi, sdk

ROWS: dict[str, Client] = {
    client.name: client
    for client in (
        sdk.OpenAiPy(),
        sdk.OpenAiJs(),
        sdk.AnthropicPy(),
        sdk.AnthropicJs(),
        sdk.OpenAiPyCrossed(),
        sdk.AnthropicPyNative(),
        pi.Pi(),
        pi.PiMessages(),
        pi.PiMessagesNative(),
        engine.OpenAiPyEngine(),
        engine.AnthropicPyEngine(),
        engine.PiEngine(),
        claude_code.ClaudeCode(),
        claude_code.ClaudeCodeNative(),
        codex.Codex(),
        codex.CodexCrossed(),
        opencode.OpenCode(),
        opencode.OpenCodeMessages(),
        aider.Aider(),
        openclaw.OpenClaw(),
    )
}
