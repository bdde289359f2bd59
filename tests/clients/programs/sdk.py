"""The official SDKs, each driven by a small program of ours that runs in the SDK's own environment."""

from __future__ import annotations

from pathlib import Path

from tests.clients import cache
from tests.clients import scenarios as s
from tests.clients.client import Client, Place
from tests.clients.conversation import PRODUCT
from tests.clients.scenarios import Scenario

_SDK = Path(__file__).parents[1] / "sdk"


def _extra(task: str, title: str, words: str = s.FAST) -> Scenario:
    tool = "tool" in task
    judge = s.prints(PRODUCT if tool else words)
    return Scenario(title, "extras", "good", "good", s.TOOL_PROMPT if tool else s.HELLO, judge, task)


class _Sdk(Client):
    program: str

    def command(self, place: Place, scenario: Scenario) -> list[str]:
        url = "-" if scenario.handed else place.url
        return [*self.interpreter(), url, scenario.task, scenario.model or "-", scenario.prompt]

    def interpreter(self) -> list[str]:
        if self.program.endswith(".py"):
            return [str(cache.folder("sdk-py") / "bin/python"), "-I", str(_SDK / self.program)]
        return [str(cache.node_bin() / "node"), str(_SDK / self.program), str(cache.folder("sdk-js"))]


_OPENAI_EXTRAS = (
    _extra("models", "models.list", "long-context"),
    _extra("create", "create without stream"),
    _extra("create-tool", "tool turn without stream"),
    _extra("helper", "stream helper"),
    _extra("helper-tool", "stream helper, tool turn"),
    _extra("parse", "structured answer, parse", f"{s.FAST} 42"),
)
_RESPONSES_EXTRAS = (
    _extra("responses", "responses.create"),
    _extra("responses-stream", "responses stream helper"),
    _extra("responses-tool", "responses tool turn"),
    _extra("responses-parse", "responses.parse", f"{s.FAST} 42"),
)
_ANTHROPIC_EXTRAS = (
    _extra("models", "models.list", "long-context"),
    _extra("count", "count_tokens", " tokens"),
    _extra("create", "create without stream"),
    _extra("create-tool", "tool turn without stream"),
    _extra("helper-tool", "stream helper, tool turn"),
    _extra("parse", "structured answer, parse", f"{s.FAST} 42"),
    _extra("runner-tool", "tool runner"),
    _extra("runner-stream-tool", "tool runner, streamed"),
)


class OpenAiPy(_Sdk):
    harness = "openai"
    name, wire, pins, program = "openai-py", "chat, responses", ("sdk-py",), "openai_py.py"
    scenarios = (*_Sdk.scenarios, *_OPENAI_EXTRAS, *_RESPONSES_EXTRAS)


class OpenAiJs(_Sdk):
    harness = "openai"
    name, wire, pins, program = "openai-js", "chat, responses", ("node", "sdk-js"), "openai_js.mjs"
    scenarios = (*_Sdk.scenarios, *_OPENAI_EXTRAS, _extra("runner-tool", "runTools"), *_RESPONSES_EXTRAS)


class AnthropicPy(_Sdk):
    harness = "anthropic"
    name, wire, pins, program = "anthropic-py", "messages", ("sdk-py",), "anthropic_py.py"
    scenarios = (*_Sdk.scenarios, *_ANTHROPIC_EXTRAS)


class AnthropicJs(_Sdk):
    harness = "anthropic"
    name, wire, pins, program = "anthropic-js", "messages", ("node", "sdk-js"), "anthropic_js.mjs"
    scenarios = (*_Sdk.scenarios, *_ANTHROPIC_EXTRAS)


class AnthropicPyNative(AnthropicPy):
    name, tiers = "anthropic-py, messages tier", "anthropic"


class OpenAiPyCrossed(OpenAiPy):
    name, tiers = "openai-py, messages tier", "anthropic"
