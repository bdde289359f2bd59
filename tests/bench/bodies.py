"""The requests of every scenario: the same bytes for every lane, built without chance or a clock."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import count, cycle, islice
from typing import Any

# Sizes of the published method: 1.9 kB with 4 messages; 108 kB with 34 messages and 50 tools.
TOOLS = 50
TOOL_ROUNDS = 11

_PROSE = (
    "the parser reads each line of a module before it decides which import belongs to which package and a test then "
    "checks that every function keeps its name its arguments and the type of what it returns while a log entry tells "
    "the reader when a file was opened how many bytes came back and why the second attempt took longer than the first"
)


class _Text:
    """Prose without repetition a check could object to: words in order, numbered now and then."""

    def __init__(self) -> None:
        self._words: Iterator[str] = cycle(_PROSE.split())
        self._number = count(1)

    def take(self, words: int) -> str:
        return f"Step {next(self._number)}: " + " ".join(islice(self._words, words)) + "."


def chat(*, stream: bool = False, preset: str = "chat") -> bytes:
    """1.9 kB, 4 messages, OpenAI Chat Completions."""
    text = _Text()
    messages = [
        {"role": "system", "content": text.take(60)},
        {"role": "user", "content": text.take(115)},
        {"role": "assistant", "content": text.take(80)},
        {"role": "user", "content": text.take(60)},
    ]
    return _encode({"model": preset, "messages": messages, "max_tokens": 512}, stream)


def agent(*, stream: bool = False) -> bytes:
    """108 kB, 34 messages, 50 tools, OpenAI Chat Completions."""
    system, rounds, tools = _conversation()
    messages: list[dict[str, Any]] = [{"role": "system", "content": system}]
    for ask, say, call, arguments, result in rounds:
        function = {"name": "tool_1", "arguments": json.dumps(arguments)}
        calls = [{"id": call, "type": "function", "function": function}]
        messages += [
            {"role": "user", "content": ask},
            {"role": "assistant", "content": say, "tool_calls": calls},
            {"role": "tool", "tool_call_id": call, "content": result},
        ]
    listed = [{"type": "function", "function": tool} for tool in tools]
    return _encode({"model": "chat", "messages": messages, "tools": listed, "max_tokens": 1024}, stream)


def agent_anthropic(*, stream: bool = False) -> bytes:
    """The same conversation as ``agent`` in Anthropic Messages: results ride in user turns."""
    system, rounds, tools = _conversation()
    messages: list[dict[str, Any]] = []
    results: list[dict[str, Any]] = []
    for ask, say, call, arguments, result in rounds:
        messages.append({"role": "user", "content": [*results, {"type": "text", "text": ask}]})
        use = {"type": "tool_use", "id": call, "name": "tool_1", "input": arguments}
        messages.append({"role": "assistant", "content": [{"type": "text", "text": say}, use]})
        results = [{"type": "tool_result", "tool_use_id": call, "content": result}]
    messages.append({"role": "user", "content": results})
    listed = [{"name": t["name"], "description": t["description"], "input_schema": t["parameters"]} for t in tools]
    body = {"model": "chat", "system": system, "messages": messages, "tools": listed, "max_tokens": 1024}
    return _encode(body, stream)


def wire(path: str, body: bytes, token: str) -> bytes:
    """The request as it goes over the wire, head and body; a GET without a body."""
    head = (
        f"{'POST' if body else 'GET'} {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nuser-agent: bench\r\naccept: */*\r\n"
        f"authorization: Bearer {token}\r\nanthropic-version: 2023-06-01\r\n"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


_Round = tuple[str, str, str, dict[str, str], str]


def _conversation() -> tuple[str, list[_Round], list[dict[str, Any]]]:
    text = _Text()
    system = text.take(1400)
    rounds: list[_Round] = [
        (text.take(140), text.take(30), f"call_{i}", {"path": f"src/module_{i}.py"}, text.take(290))
        for i in range(TOOL_ROUNDS)
    ]
    return system, rounds, [_tool(i, text) for i in range(TOOLS)]


def _tool(i: int, text: _Text) -> dict[str, Any]:
    properties = {name: {"type": "string", "description": text.take(14)} for name in ("path", "query", "mode", "range")}
    schema = {"type": "object", "properties": properties, "required": ["path"], "additionalProperties": False}
    return {"name": f"tool_{i}", "description": text.take(133), "parameters": schema}


def _encode(body: dict[str, Any], stream: bool) -> bytes:
    if stream:
        body["stream"] = True
    return json.dumps(body).encode()
