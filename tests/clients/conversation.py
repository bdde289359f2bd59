"""What the scripted tiers say to real clients: plain words, a tool request when a marker asks for one, or a fault.

A client wraps the human's words in thousands of its own and repeats them after a tool result, so the script looks for
markers anywhere in the user messages and for tool results anywhere in the request, never at the last message alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from tests.router import tier as t

Mode = Literal["good", "empty", "http500", "broken-tool", "cut", "cut-live", "rich", "slow"]

TOOL_MARKER = "ANVILTOOL"
EDIT_MARKER = "ANVILEDIT"
MCP_MARKER = "ANVILMCP"
MCP_TOOL = "mcp__calc__add"
# The product stands in no request, so seeing it proves that the client ran the command or the function.
COMMAND = "echo anvil-tool-$((6*7))"
PRODUCT = "anvil-tool-42"
ADDENDS = {"a": 19, "b": 23}
OTHER_PRODUCT = "anvil-tool-56"
THOUGHT = "The human wants to see a product. Two ways lead there."
EDITED = 'print("anvil-edit-42")'

EDIT_BLOCK = f"""hello.py
```python
<<<<<<< SEARCH
print("hello")
=======
{EDITED}
>>>>>>> REPLACE
```
"""

_ARGUMENTS: dict[str, dict[str, Any]] = {
    "Bash": {"command": COMMAND, "description": "Multiply"},
    "bash": {"command": COMMAND, "description": "Multiply"},
    "exec_command": {"cmd": COMMAND},
    "exec": {"command": COMMAND},
    "shell": {"command": ["bash", "-lc", COMMAND]},
    "add": ADDENDS,
}


@dataclass(frozen=True)
class Asked:
    """One request of a client as the tier sees it, whichever dialect it came in."""

    users: str
    results: str | None
    tools: dict[str, dict[str, Any]]
    schema: dict[str, Any] | None
    messages: int = 0

    @property
    def wants_tool(self) -> bool:
        if MCP_MARKER in self.users:
            return self.call is not None and PRODUCT not in (self.results or "")
        return TOOL_MARKER in self.users and self.results is None and self.call is not None

    @property
    def call(self) -> tuple[str, dict[str, Any]] | None:
        """The first tool we know how to call, its arguments cut to what the request declares."""
        if MCP_MARKER in self.users:
            return self._mcp_call
        for name, arguments in _ARGUMENTS.items():
            if name in self.tools:
                declared = self.tools[name].get("properties", arguments)
                return name, {key: value for key, value in arguments.items() if key in declared}
        return None

    @property
    def _mcp_call(self) -> tuple[str, dict[str, Any]] | None:
        """The tool of the MCP server, or the search for it where a client declares such tools only when asked."""
        if MCP_TOOL in self.tools:
            return MCP_TOOL, ADDENDS
        return ("ToolSearch", {"query": f"select:{MCP_TOOL}", "max_results": 1}) if "ToolSearch" in self.tools else None


def read(body: dict[str, Any]) -> Asked:
    """A Chat Completions or Messages request."""
    users: list[str] = []
    results: list[str] = []
    for message in body["messages"]:
        if message["role"] == "tool":
            results.append(_text(message["content"]))
            continue
        results += [_text(part.get("content")) for part in _parts(message) if part.get("type") == "tool_result"]
        if message["role"] == "user":
            users.append(_text(message["content"]))
    said = "\n".join(results) if results else None
    return Asked("\n".join(users), said, dict(_tools(body)), _schema(body), len(body["messages"]))


def _parts(message: dict[str, Any]) -> list[dict[str, Any]]:
    content = message.get("content")
    return content if isinstance(content, list) else []


def _text(content: Any) -> str:
    if isinstance(content, list):
        return "\n".join(str(part.get("text", "")) for part in content)
    return content or ""


def _tools(body: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for tool in body.get("tools") or ():
        if tool.get("type") == "function":
            yield tool["function"]["name"], tool["function"].get("parameters") or {}
        elif "name" in tool:
            yield tool["name"], tool.get("input_schema") or {}


def _schema(body: dict[str, Any]) -> dict[str, Any] | None:
    """The schema of a structured answer, as Chat Completions or Messages ask for one."""
    chat = (body.get("response_format") or {}).get("json_schema") or {}
    messages = (body.get("output_config") or {}).get("format") or {}
    return chat.get("schema") or messages.get("schema")


def behaviour(name: str, mode: Mode) -> t.Behaviour:
    """A tier called ``name`` whose answers begin with its name in capitals, in the given mode."""

    def behave(request: t.Received) -> t.Script:
        if request.path.endswith("/models"):
            return t.response(200, b'{"data":[{"id":"upstream-model"}]}')
        if mode == "http500" or not request.path.endswith(("/completions", "/messages")):
            return t.response(500, b'{"error":{"message":"engine died"}}')
        body = request.json
        speak = _messages if request.path.endswith("/messages") else _chat
        return speak(_reply(name, mode, read(body)), mode, body.get("stream") is True)

    return behave


@dataclass(frozen=True)
class Reply:
    """``calls`` are tool names with their arguments as JSON text, broken when the mode wants it so. ``turn`` keeps
    the ids of calls apart from those of earlier turns, as engines do: Claude Code drops a call whose id it has seen."""

    text: str = ""
    thinking: str = ""
    calls: tuple[tuple[str, str], ...] = ()
    turn: int = 0


def _reply(name: str, mode: Mode, asked: Asked) -> Reply:
    if mode == "empty" or (mode == "broken-tool" and not asked.wants_tool):
        return Reply()
    thinking = THOUGHT if mode == "rich" else ""
    if asked.wants_tool:
        assert asked.call is not None
        tool, arguments = asked.call
        text = json.dumps(arguments)
        if mode == "rich":
            other = text.replace("6*7", "7*8").replace("23", "37")
            return Reply("I shall look it up twice.", thinking, ((tool, text), (tool, other)), asked.messages)
        return Reply(calls=((tool, text[:-2] if mode == "broken-tool" else text),), turn=asked.messages)
    if asked.schema is not None:
        return Reply(json.dumps({"answer": f"{name.upper()}-ANSWER", "number": 42}))
    if EDIT_MARKER in asked.users:
        return Reply(EDIT_BLOCK)
    said = f" the tool said: {asked.results}" if asked.results is not None else " hello there."
    return Reply(f"{name.upper()}-ANSWER{said}", thinking)


def _pieces(text: str) -> list[str]:
    return [text[at : at + 7] for at in range(0, len(text), 7)]


def _dripping(piece: bytes) -> list[bytes | float]:
    """Thirty seconds of an answer: nobody waits for its end."""
    return [piece, 0.1] * 300


_CUT_BODY = b"HTTP/1.1 200 OK\r\ncontent-length: 999\r\n\r\n{"


def _chat(reply: Reply, mode: Mode, streams: bool) -> t.Script:
    if not streams:
        return _chat_whole(reply, mode)
    role = {"role": "assistant", "content": None}
    if mode == "cut":
        return t.sse(t.chunk(role), end=False, reset=True)
    if mode == "cut-live":
        return t.sse(t.chunk(role | {"content": reply.text}), 0.2, end=False, reset=True)
    if mode == "slow":
        return t.sse(t.chunk(role | {"content": reply.text}), *_dripping(t.chunk({"content": " more"})), end=False)
    deltas: list[dict[str, Any]] = [role]
    deltas += [{"reasoning_content": piece} for piece in _pieces(reply.thinking)]
    deltas += [{"content": piece} for piece in _pieces(reply.text)]
    for at, (tool, arguments) in enumerate(reply.calls):
        call = {
            "index": at,
            "id": f"call_up{reply.turn}_{at}",
            "type": "function",
            "function": {"name": tool, "arguments": ""},
        }
        deltas.append({"tool_calls": [call]})
        deltas += [{"tool_calls": [{"index": at, "function": {"arguments": p}}]} for p in _pieces(arguments)]
    finish = t.chunk(finish="tool_calls" if reply.calls else "stop")
    return t.sse(*[t.chunk(delta) for delta in deltas], finish, _USAGE, t.DONE)


_USAGE = b'data: {"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":3,"total_tokens":10}}\n\n'


def _chat_whole(reply: Reply, mode: Mode) -> t.Script:
    if mode in ("cut", "cut-live"):
        return t.Script([_CUT_BODY], reset=True)
    extra: dict[str, Any] = {"reasoning_content": reply.thinking} if reply.thinking else {}
    if not reply.calls:
        return t.chat(reply.text, **extra)
    extra["tool_calls"] = [
        {"id": f"call_up{reply.turn}_{at}", "type": "function", "function": {"name": tool, "arguments": arguments}}
        for at, (tool, arguments) in enumerate(reply.calls)
    ]
    return t.chat(reply.text or None, finish="tool_calls", **extra)


def _messages(reply: Reply, mode: Mode, streams: bool) -> t.Script:
    reason = "tool_use" if reply.calls else "end_turn"
    if not streams:
        if mode in ("cut", "cut-live"):
            return t.Script([_CUT_BODY], reset=True)
        return t.messages(stop_reason=reason, content=[block | final for block, _, final in _blocks(reply)])
    start = t.event(
        "message_start",
        message={"id": "msg_up", "type": "message", "role": "assistant", "model": "upstream-model", "content": [],
                 "stop_reason": None, "stop_sequence": None, "usage": {"input_tokens": 7, "output_tokens": 0}},
    )  # fmt: skip
    if mode == "cut":
        return t.sse(start, end=False, reset=True)
    events: list[bytes] = []
    for index, (block, deltas, _) in enumerate(_blocks(reply)):
        events.append(t.event("content_block_start", index=index, content_block=block))
        events += [t.event("content_block_delta", index=index, delta=delta) for delta in deltas]
        events.append(t.event("content_block_stop", index=index))
    if mode == "cut-live":
        return t.sse(start, *events[:-1], 0.2, end=False, reset=True)
    if mode == "slow":
        return t.sse(start, *events[:-1], *_dripping(events[1]), end=False)
    delta = {"stop_reason": reason, "stop_sequence": None}
    return t.sse(
        start, *events, t.event("message_delta", delta=delta, usage={"output_tokens": 3}), t.event("message_stop")
    )


_Block = tuple[dict[str, Any], list[dict[str, Any]], dict[str, Any]]


def _blocks(reply: Reply) -> Iterator[_Block]:
    """Per block: how it begins, how it grows, and what its final fields are."""
    if reply.thinking:
        grows = [{"type": "thinking_delta", "thinking": piece} for piece in _pieces(reply.thinking)]
        grows.append({"type": "signature_delta", "signature": "c2lnbmVk"})
        final = {"thinking": reply.thinking, "signature": "c2lnbmVk"}
        yield {"type": "thinking", "thinking": "", "signature": ""}, grows, final
    if reply.text:
        grows = [{"type": "text_delta", "text": piece} for piece in _pieces(reply.text)]
        yield {"type": "text", "text": ""}, grows, {"text": reply.text}
    for at, (tool, arguments) in enumerate(reply.calls):
        grows = [{"type": "input_json_delta", "partial_json": piece} for piece in _pieces(arguments)]
        block = {"type": "tool_use", "id": f"toolu_up{reply.turn}_{at}", "name": tool, "input": {}}
        # a whole answer cannot hold broken JSON: the worst it can do is to leave the arguments out
        yield block, grows, {"input": _parsed(arguments)}


def _parsed(arguments: str) -> Any:
    try:
        return json.loads(arguments)
    except json.JSONDecodeError:
        return {}
