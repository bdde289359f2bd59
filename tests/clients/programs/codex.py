"""Codex, which speaks the Responses API only."""

from __future__ import annotations

import json

from tests.clients.client import MCP_SERVER, Client, Place, npm_bin, write
from tests.clients.scenarios import HARNESS, MCP, RESUMED, STOPPED, Scenario
from tests.clients.stage import CONTEXT_LIMIT, TOKEN_NAME


class Codex(Client):
    name, wire, pins = "codex", "responses", ("node", "codex")
    harness = "codex"
    scenarios = (*HARNESS, STOPPED, MCP, RESUMED)

    def own_files(self, place: Place) -> dict[str, str]:
        return {
            ".codex/config.toml": """# mine
approval_policy = "never"
sandbox_mode = "danger-full-access"
check_for_update_on_startup = false

[analytics]
enabled = false

[model_providers.mine]
name = "mine"
base_url = "http://127.0.0.1:9/v1"
"""
        }

    def prepare(self, place: Place) -> None:
        write(
            place.home / ".codex/config.toml",
            f"""model = "chat"
model_provider = "anvil"
model_context_window = {CONTEXT_LIMIT}
approval_policy = "never"
sandbox_mode = "danger-full-access"
check_for_update_on_startup = false
[analytics]
enabled = false
[model_providers.anvil]
name = "anvil"
base_url = "{place.v1}"
env_key = "{TOKEN_NAME}"
wire_api = "responses"
request_max_retries = 1
stream_max_retries = 1
http_headers = {{ x-anvil-namespaces = "joined" }}
""",
        )

    def command(self, place: Place, scenario: Scenario) -> list[str]:
        model = ["-m", scenario.model] if scenario.model else []
        server = _mcp_server() if scenario.task == "mcp" else []
        session = ["resume", "--last"] if scenario.again else []
        codex = npm_bin("codex", "codex")
        return [codex, "exec", "--skip-git-repo-check", *model, *server, *session, scenario.prompt]


def _mcp_server() -> list[str]:
    command, *words = MCP_SERVER
    settings = (f"command={json.dumps(command)}", f"args={json.dumps(words)}")
    return [word for setting in settings for word in ("-c", f"mcp_servers.calc.{setting}")]


class CodexCrossed(Codex):
    name, tiers = "codex, messages tier", "anthropic"
