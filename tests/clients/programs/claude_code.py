"""Claude Code in its print mode."""

from __future__ import annotations

import json
from typing import ClassVar

from tests.clients import scenarios as s
from tests.clients.client import MCP_SERVER, Client, Place, npm_bin
from tests.clients.conversation import MCP_TOOL
from tests.clients.scenarios import Scenario
from tests.clients.stage import CONTEXT_LIMIT, TOKEN


class ClaudeCode(Client):
    name, wire, pins = "claude-code", "messages", ("node", "claude-code")
    scenarios = (*s.HARNESS, s.STOPPED, s.CONTEXT, s.MCP, s.RESUMED)

    harness = "claude-code"
    quiet: ClassVar = {
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "DISABLE_TELEMETRY": "1",
        "DISABLE_AUTOUPDATER": "1",
        "CLAUDE_CODE_MAX_RETRIES": "1",  # else one exhaustion costs three minutes of retries
    }

    def own_files(self, place: Place) -> dict[str, str]:
        return {".claude/settings.json": '{"cleanupPeriodDays": 21, "permissions": {"deny": ["Read(./mine)"]}}'}

    def pointers(self, place: Place) -> dict[str, str]:
        return {
            "ANTHROPIC_BASE_URL": place.url,
            "ANTHROPIC_AUTH_TOKEN": TOKEN,
            "CLAUDE_CODE_MAX_CONTEXT_TOKENS": str(CONTEXT_LIMIT),
        }

    def command(self, place: Place, scenario: Scenario) -> list[str]:
        model = ["--model", scenario.model] if scenario.model else []
        command, *words = MCP_SERVER
        servers = {"mcpServers": {"calc": {"command": command, "args": words}}}
        mcp = [MCP_TOOL, "--mcp-config", json.dumps(servers)] if scenario.task == "mcp" else []
        session = ["--continue"] if scenario.again else []
        claude = npm_bin("claude-code", "claude")
        return [claude, "-p", scenario.prompt, *session, *model, "--allowedTools", "Bash", *mcp]


class ClaudeCodeNative(ClaudeCode):
    name, tiers = "claude-code, messages tier", "anthropic"
