"""Clients whose requests fit a small real model: the SDKs and pi, in front of llama.cpp instead of a script."""

from __future__ import annotations

from dataclasses import replace

from tests.clients import scenarios as s
from tests.clients.client import Place
from tests.clients.programs import pi, sdk
from tests.clients.scenarios import Scenario


class OpenAiPyEngine(sdk.OpenAiPy):
    name, tiers, limit_s = "openai-py, llama.cpp", "engine", 120
    scenarios = (s.ENGINE_PLAIN, s.ENGINE_TOOL)


class AnthropicPyEngine(sdk.AnthropicPy):
    name, tiers, limit_s = "anthropic-py, llama.cpp", "engine", 120
    scenarios = (s.ENGINE_PLAIN, s.ENGINE_TOOL)


class PiEngine(pi.Pi):
    """On the larger model and without tools: the tiny one never ends on so long a prompt, and neither fills in a
    tool call of an agent's size properly."""

    name, tiers, limit_s = "pi, llama.cpp", "engine", 180
    scenarios = (replace(s.ENGINE_PLAIN, model="heavy-local"),)

    def command(self, place: Place, scenario: Scenario) -> list[str]:
        return [*super().command(place, scenario), "--no-tools"]
