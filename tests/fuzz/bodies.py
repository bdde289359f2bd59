"""Request bodies near those of real clients: samples with parts exchanged, taken out or doubled, and broken bytes."""

from __future__ import annotations

import copy
import json
from typing import Any

from hypothesis import strategies as st

from tests.bench import bodies as bench
from tests.unit.router.dialects import anthropic_samples, responses_samples

_SCHEMA = {"type": "object", "properties": {"path": {"type": "string", "enum": ["a", "b"]}}, "required": ["path"]}
_IMAGE = "data:image/png;base64,aGk="
CHAT: dict[str, Any] = {
    "model": "planning", "stream": True, "stream_options": {"include_usage": True}, "temperature": 0.2, "n": 1,
    "stop": ["END"], "max_completion_tokens": 900, "response_format": {"type": "json_schema", "json_schema": {
        "name": "r", "schema": _SCHEMA, "strict": True}}, "tool_choice": {"type": "function", "function": {"name": "read"}},
    "tools": [{"type": "function", "function": {"name": "read", "description": "reads", "parameters": _SCHEMA}}],
    "messages": [
        {"role": "system", "content": "You help."}, {"role": "developer", "content": [{"type": "text", "text": "Be brief."}]},
        {"role": "user", "content": [{"type": "text", "text": "look é日"}, {"type": "image_url", "image_url": {"url": _IMAGE}}]},
        {"role": "assistant", "content": None, "reasoning_content": "hm", "tool_calls": [
            {"id": "c1", "type": "function", "function": {"name": "read", "arguments": "{\"path\":\"a\"}"}}]},
        {"role": "tool", "tool_call_id": "c1", "content": "text of a"}, {"role": "user", "content": "and now?"},
    ],
}  # fmt: skip
MESSAGES: dict[str, Any] = {
    "model": "chat", "max_tokens": 100, "stream": True, "stop_sequences": ["END"], "top_k": 4,
    "thinking": {"type": "enabled", "budget_tokens": 1024}, "tool_choice": {"type": "any", "disable_parallel_tool_use": True},
    "system": [{"type": "text", "text": anthropic_samples.NONCE}, {"type": "text", "text": "You help."}],
    "tools": [{"name": "read", "description": "reads", "input_schema": _SCHEMA, "cache_control": {"type": "ephemeral"}},
              {"type": "web_search_20250305", "name": "web_search"}],
    "messages": [
        {"role": "user", "content": [
            {"type": "text", "text": "look", "cache_control": {"type": "ephemeral"}},
            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}},
            {"type": "document", "title": "T", "source": {"type": "text", "media_type": "text/plain", "data": "doc"}}]},
        {"role": "assistant", "content": [{"type": "thinking", "thinking": "hm", "signature": "c2ln"},
                                          {"type": "tool_use", "id": "t1", "name": "read", "input": {"path": "a", "n": 1.5}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "is_error": False, "content": [
            {"type": "text", "text": "text of a"}]}, {"type": "search_result", "source": "s", "title": "t", "content": [
                {"type": "text", "text": "found"}]}, {"type": "strange", "x": [1]}]},
        {"role": "system", "content": "late"},
    ],
}  # fmt: skip
RESPONSES: dict[str, Any] = {
    "model": "planning", "instructions": "You help.", "stream": True, "store": False, "max_output_tokens": 500,
    "include": ["reasoning.encrypted_content"], "reasoning": {"effort": "high", "summary": "auto"}, "tool_choice": "auto",
    "text": {"format": {"type": "json_schema", "name": "r", "schema": _SCHEMA, "strict": True}}, "parallel_tool_calls": False,
    "tools": responses_samples.CODEX_TOOLS,
    "input": [
        responses_samples.said("user", "look", "twice"), {"type": "reasoning", "id": "rs", "summary": [], "encrypted_content": "x"},
        {"role": "user", "content": [{"type": "input_image", "image_url": _IMAGE}]}, responses_samples.called("c1", "read", path="a"),
        responses_samples.output("c1", "text of a"), responses_samples.said("assistant", "done"), {"type": "strange", "x": 1},
    ],
}  # fmt: skip
SAMPLES: dict[str, list[Any]] = {
    "openai": [CHAT, {"messages": [{"role": "user", "content": "hi"}]}, json.loads(bench.chat())],
    "anthropic": [MESSAGES, json.loads(anthropic_samples.claude_code()), json.loads(anthropic_samples.body())],
    "responses": [RESPONSES, json.loads(responses_samples.body())],
}

_WORDS = ("", "text", "user", "system", "tool", "function", "assistant", "read", "c1", "null", "é日𝄞\u2028", "a" * 300)
ODD: st.SearchStrategy[Any] = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(-2, 3), st.sampled_from([0.5, -0.0, 1e308, 2**70, 10**400]),
        st.sampled_from(_WORDS), st.text(max_size=8),
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["type", "text", "content", "name", "role", "input", "x", "function", "id"]), inner, max_size=3
    ),
    max_leaves=5,
)  # fmt: skip
_TOKENS = (
    b"1e400", b"-1e999", b"NaN", b"Infinity", b'"\\ud800"', b'"\\u0000"', b"\xff", b"\xed\xa0\x80", b"\x00", b"{", b"}",
    b"[", b"]", b",", b":", b'"', b"\\", b"\xef\xbb\xbf", b" ", b"\n", b"null", b"0", b"[" * 130, b"9" * 400, b"x" * 4096,
)  # fmt: skip
Path = tuple[Any, ...]


def _paths(value: Any, at: Path = ()) -> list[Path]:
    """Of every value within, the value itself left out."""
    found: list[Path] = []
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in pairs:
        found.append((*at, key))
        found += _paths(inner, (*at, key))
    return found


def _change(draw: st.DrawFn, body: Any) -> None:
    paths = _paths(body)
    if not paths:
        return
    *above, key = draw(st.sampled_from(paths))
    holder = body
    for step in above:
        holder = holder[step]
    how = draw(st.sampled_from(("replace", "replace", "delete", "double", "graft", "wrap")))
    if how == "replace":
        holder[key] = draw(ODD)
    elif how == "delete":
        del holder[key]
    elif how == "double" and isinstance(holder, list):
        holder.insert(key, copy.deepcopy(holder[key]))
    elif how == "graft":
        source = body
        for step in draw(st.sampled_from(paths)):
            source = source[step] if _has(source, step) else source
        holder[key] = copy.deepcopy(source)
    else:
        holder[key] = [holder[key]]


def _has(holder: Any, step: Any) -> bool:
    return step in holder if isinstance(holder, dict) else isinstance(holder, list) and step in range(len(holder))


@st.composite
def changed(draw: st.DrawFn, value: Any) -> Any:
    """A JSON value with one of its parts exchanged, taken out, doubled or wrapped."""
    made = copy.deepcopy(value)
    _change(draw, made)
    return made


@st.composite
def body(draw: st.DrawFn, dialect: str) -> bytes:
    """One request body for the dialect: usually JSON, often valid, sometimes neither."""
    made = copy.deepcopy(draw(st.sampled_from(SAMPLES[dialect])))
    for _ in range(draw(st.integers(0, 4))):
        _change(draw, made)
    style: dict[str, Any] = draw(
        st.sampled_from([{}, {"separators": (",", ":")}, {"indent": 1}, {"ensure_ascii": False}])
    )
    data = json.dumps(made, **style).encode("utf-8", "surrogatepass")
    for _ in range(draw(st.sampled_from((0, 0, 0, 1, 2)))):
        at = draw(st.integers(0, len(data)))
        cut = draw(st.integers(0, 3))
        data = data[:at] + draw(st.sampled_from(_TOKENS)) + data[at + cut :]
    return data
