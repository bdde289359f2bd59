"""OpenClaw's agent without a gateway. A command takes up to twenty seconds, an exhausted router two minutes."""

from __future__ import annotations

import json
import uuid
from dataclasses import replace

from tests.clients import scenarios as s
from tests.clients.client import Client, Place, npm_bin, write
from tests.clients.scenarios import Scenario
from tests.clients.stage import CONTEXT_LIMIT, TOKEN_NAME


class OpenClaw(Client):
    name, wire, pins = "openclaw", "chat", ("node", "openclaw")
    harness = "openclaw"
    limit_s = 90
    scenarios = (
        s.PLAIN,
        s.TOOL_LOOSE,
        s.RICH,
        s.STATUS,
        s.BROKEN,
        replace(s.PERSISTENT, limit_s=20),
        s.HANDED,
        s.APPLIED,
    )

    def own_files(self, place: Place) -> dict[str, str]:
        model = {"id": "m", "name": "Mine", "contextWindow": 8192, "maxTokens": 1024, "input": ["text"]}
        provider = {
            "baseUrl": "http://127.0.0.1:9/v1",
            "apiKey": "none",
            "api": "openai-completions",
            "models": [model],
        }
        document = {
            "update": {"checkOnStart": False},
            "models": {"providers": {"mine": provider}},
            "agents": {"defaults": {"workspace": str(place.work), "skipBootstrap": True}},
        }
        return {".openclaw/openclaw.json": json.dumps(document)}

    def prepare(self, place: Place) -> None:
        models = [
            {"id": "chat", "name": "Anvil · Chat", "reasoning": True, "input": ["text"],
             "contextWindow": CONTEXT_LIMIT, "maxTokens": 8192, "compat": {"supportsReasoningEffort": True}}
        ]  # fmt: skip
        provider = {
            "baseUrl": place.v1,
            "apiKey": f"${{{TOKEN_NAME}}}",
            "api": "openai-completions",
            "models": models,
        }
        document = {
            "update": {"checkOnStart": False},
            "models": {"mode": "merge", "providers": {"anvil": provider}},
            "agents": {
                "defaults": {
                    "workspace": str(place.work),
                    "skipBootstrap": True,
                    "model": {"primary": "anvil/chat"},
                    "models": {"anvil/chat": {}},
                }
            },
        }
        write(place.home / ".openclaw/openclaw.json", json.dumps(document, ensure_ascii=False))

    def command(self, place: Place, scenario: Scenario) -> list[str]:
        session = str(uuid.uuid4())
        openclaw = npm_bin("openclaw", "openclaw")
        return [openclaw, "agent", "--local", "--session-id", session, "--message", scenario.prompt, "--json"]
