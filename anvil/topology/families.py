"""Model families: which parsers an engine needs for them, and how thinking is switched off (contract operations.md
6.4)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

_THINKING_OFF: Mapping[str, Any] = {"chat_template_kwargs": {"enable_thinking": False}}


class Parsers(NamedTuple):
    """Parser names of one engine; None = the engine is given none."""

    tool: str | None = None
    reasoning: str | None = None


class Family(NamedTuple):
    """``parsers`` by engine. ``thinking_off`` is merged into a tier's extra_body; None = not possible that way."""

    parsers: Mapping[str, Parsers] = {}
    thinking_off: Mapping[str, Any] | None = None
    effort: str | None = None


_QWEN3 = Parsers("qwen3_coder", "qwen3")
_GLM = Parsers("glm47", "glm45")

FAMILIES: Mapping[str, Family] = {
    "gpt-oss": Family({"vllm": Parsers("openai")}, effort="reasoning_effort"),
    "qwen3": Family({"vllm": _QWEN3, "sglang": _QWEN3}, _THINKING_OFF, "chat_template_kwargs"),
    "glm": Family({"vllm": _GLM, "sglang": _GLM}, _THINKING_OFF),
    "llama": Family({"vllm": Parsers("llama3_json")}),
    "mistral": Family({"vllm": Parsers("mistral")}),
    "hermes": Family({"vllm": Parsers("hermes")}),
    "deepseek": Family({"vllm": Parsers("deepseek_v3")}),
}

_UNKNOWN = Family()


def family(name: str | None) -> Family:
    """The family's facts; an unknown family has none."""
    return FAMILIES.get(name or "", _UNKNOWN)


def parsers(name: str | None, engine: str) -> Parsers:
    return family(name).parsers.get(engine, Parsers())
