"""The Chat Completions request nearly every client sends, typed for one fast decode.

Closed shapes: whatever they refuse is read field by field (``openai_chat_request``), and what they take passes every
check made there. Nothing open-ended is in them, so nesting is bounded and every text is decoded.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Raw, Struct

from anvil.router.dialects.encode import NULL

_Count = Annotated[int, Meta(ge=0)] | None


class Scalars(Struct):
    """The small fields a turn is made from; the last three are read from unusual requests only."""

    model: str | None = None
    stream: bool | None = None
    stream_options: Any = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    stop: Any = None
    tool_choice: Any = None
    function_call: Any = None
    thinking: Any = None
    response_format: Any = None


class _TextPart(Struct, forbid_unknown_fields=True, gc=False):
    type: Literal["text"]
    text: str


class _Function(Struct, forbid_unknown_fields=True, gc=False):
    name: str
    arguments: str


class _Call(Struct, forbid_unknown_fields=True, gc=False):
    function: _Function
    id: str | None = None
    type: str | None = None


class UsualMessage(Struct, forbid_unknown_fields=True, gc=False):
    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[_TextPart] | None = None
    tool_calls: list[_Call] | None = None
    tool_call_id: str | None = None
    name: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    refusal: str | None = None


class Usual(Struct, forbid_unknown_fields=True):
    """A body whose fields all have their ordinary types. The second half is only validated."""

    messages: list[UsualMessage]
    model: str | None = None
    stream: bool | None = None
    stream_options: dict[Literal["include_usage", "include_obfuscation"], bool | None] | None = None
    max_tokens: _Count = None
    max_completion_tokens: _Count = None
    stop: str | list[str] | None = None
    tool_choice: str | None = None
    function_call: None = None
    thinking: None = None
    response_format: None = None
    tools: Raw = NULL
    temperature: float | None = None
    top_p: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    top_k: int | None = None
    n: Literal[1] | None = None
    seed: int | None = None
    store: bool | None = None
    parallel_tool_calls: bool | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    user: str | None = None
    metadata: dict[str, str] | None = None
    reasoning_effort: str | None = None
    verbosity: str | None = None
    service_tier: str | None = None
    prompt_cache_key: str | None = None
    safety_identifier: str | None = None


read_usual = msgspec.json.Decoder(Usual).decode
