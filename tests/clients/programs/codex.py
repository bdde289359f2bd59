"""Codex, which speaks the Responses API only."""

from __future__ import annotations

from tests.clients.client import Client, Place, npm_bin, write
from tests.clients.scenarios import HARNESS, Scenario
from tests.clients.stage import CONTEXT_LIMIT, TOKEN_NAME


class Codex(Client):
    name, wire, pins = "codex", "responses", ("node", "codex")
    harness = "codex"
    scenarios = HARNESS

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
""",
        )

    def command(self, place: Place, scenario: Scenario) -> list[str]:
        model = ["-m", scenario.model] if scenario.model else []
        return [npm_bin("codex", "codex"), "exec", "--skip-git-repo-check", *model, scenario.prompt]


class CodexCrossed(Codex):
    name, tiers = "codex, messages tier", "anthropic"
