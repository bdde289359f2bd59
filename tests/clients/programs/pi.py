"""pi: the smallest real agent, over Chat Completions and over Messages."""

from __future__ import annotations

import json
from typing import ClassVar

from tests.clients.client import Client, Place, npm_bin, write
from tests.clients.scenarios import HARNESS, RESUMED, STANDARD, STOPPED, Scenario
from tests.clients.stage import CONTEXT_LIMIT, TOKEN_NAME

_FREE = {"input": 0, "output": 0, "cacheRead": 0, "cacheWrite": 0}


class Pi(Client):
    name, wire, pins = "pi", "chat", ("node", "pi")
    harness = "pi"
    scenarios: tuple[Scenario, ...] = (*HARNESS, STOPPED, RESUMED)
    quiet: ClassVar = {"PI_OFFLINE": "1"}
    api = "openai-completions"
    path = "/v1"

    def own_files(self, place: Place) -> dict[str, str]:
        model = {"id": "m", "name": "Mine", "reasoning": False, "input": ["text"], "cost": _FREE}
        model |= {"contextWindow": 8192, "maxTokens": 1024}
        provider = {"baseUrl": "http://127.0.0.1:9/v1", "api": self.api, "apiKey": "MINE", "models": [model]}
        return {
            ".pi/agent/models.json": json.dumps({"providers": {"mine": provider}}),
            ".pi/agent/settings.json": json.dumps({"retry": {"enabled": False}, "theme": "mine"}),
        }

    def prepare(self, place: Place) -> None:
        models = [
            {"id": id, "name": id, "reasoning": False, "input": ["text"], "contextWindow": CONTEXT_LIMIT,
             "maxTokens": 8192, "cost": _FREE}
            for id in ("chat", "review", "heavy-local")
        ]  # fmt: skip
        provider = {"baseUrl": place.url + self.path, "api": self.api, "apiKey": TOKEN_NAME, "models": models}
        retry = {"enabled": False, "provider": {"maxRetries": 0}}  # by default twelve tries in twenty seconds
        write(place.home / ".pi/agent/settings.json", json.dumps({"retry": retry}))
        write(place.home / ".pi/agent/models.json", json.dumps({"providers": {"anvil": provider}}))

    def command(self, place: Place, scenario: Scenario) -> list[str]:
        session = ["-c"] if scenario.again else []
        words = [npm_bin("pi", "pi"), "--provider", "anvil", "--model", scenario.model or "chat", *session]
        return [*words, "-p", scenario.prompt]


class PiMessages(Pi):
    name, wire, api, path = "pi, messages", "messages", "anthropic-messages", ""
    scenarios = STANDARD[:-1]  # the router hands pi the Chat Completions form


class PiMessagesNative(PiMessages):
    name, tiers = "pi, messages tier", "anthropic"
