"""opencode, through both of its built-in adapters. It retries an exhausted router for ever, so it is stopped then."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import ClassVar

from tests.clients import scenarios as s
from tests.clients.client import Client, Place, npm_bin, write
from tests.clients.scenarios import Scenario
from tests.clients.stage import CONTEXT_LIMIT, TOKEN_NAME


class OpenCode(Client):
    name, wire, pins = "opencode", "chat", ("node", "opencode")
    harness = "opencode"
    quiet: ClassVar = {"OPENCODE_DISABLE_AUTOUPDATE": "1", "OPENCODE_DISABLE_MODELS_FETCH": "1"}
    adapter = "@ai-sdk/openai-compatible"
    scenarios: tuple[Scenario, ...] = (
        s.PLAIN,
        s.TOOL,
        s.RICH,
        s.EMPTY,
        s.STATUS,
        s.BROKEN,
        replace(s.PERSISTENT, limit_s=12),
        s.HANDED,
        s.APPLIED,
        s.RESUMED,
    )

    def own_files(self, place: Place) -> dict[str, str]:
        return {
            ".config/opencode/opencode.json": """{
  // mine: keep it quiet
  "autoupdate": false,
  "share": "disabled",
  "permission": {"bash": "allow", "edit": "allow"},
  "provider": {"mine": {"npm": "@ai-sdk/openai-compatible", "options": {"baseURL": "http://127.0.0.1:9/v1"}, "models": {"m": {}}}},
}
"""
        }

    def prepare(self, place: Place) -> None:
        limit = {"context": CONTEXT_LIMIT, "output": 8192}
        models = {id: {"name": id, "limit": limit} for id in ("chat", "quick-edit")}
        options = {"baseURL": place.v1, "apiKey": f"{{env:{TOKEN_NAME}}}"}
        document = {
            "autoupdate": False,
            "share": "disabled",
            "model": "anvil/chat",
            "small_model": "anvil/quick-edit",
            "permission": {"bash": "allow", "edit": "allow"},
            "provider": {"anvil": {"npm": self.adapter, "name": "Anvil", "options": options, "models": models}},
        }
        write(place.work / "opencode.json", json.dumps(document))

    def command(self, place: Place, scenario: Scenario) -> list[str]:
        model = ["-m", f"anvil/{scenario.model}"] if scenario.model else []
        session = ["--continue"] if scenario.again else []
        return [npm_bin("opencode", "opencode"), "run", *session, *model, scenario.prompt]


class OpenCodeMessages(OpenCode):
    name, wire, adapter = "opencode, messages", "messages", "@ai-sdk/anthropic"
    scenarios = (s.PLAIN, s.TOOL, s.RICH, s.BROKEN)
