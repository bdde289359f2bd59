"""A conversation: drawn at random, in the words of every caller, and read back from what a tier was sent."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from hypothesis import strategies as st

from tests.router.wire.meaning import ARGUMENTS, TOOLS

Item = tuple[Any, ...]
_WORDS = st.text('aé日𝄞 "\\<>&{}\n', min_size=1, max_size=12).filter(lambda text: bool(text.strip()))
_PICTURES = st.sampled_from(["aGk=", "AAAA", "Zm9v"])
_IDS = ("call_1", "toolu_2", "c:3/é", "4")
SCHEMAS: list[Any] = [
    {"type": "object"},
    {"type": "object", "properties": {"b": {"type": "string"}, "a": {"enum": [1.0, None, "x"]}}, "required": ["b"]},
    {"type": "object", "additionalProperties": False, "$defs": {"n": {"type": "number"}}, "properties": {}},
]


@dataclass
class Talk:
    """items: ("user", text), ("image", base64), ("thought", text), ("said", text), ("call", id, name, arguments),
    ("result", id, text, is_error, pictures), ("late", text); in the order of an honest conversation."""

    system: list[str] = field(default_factory=list)
    items: list[Item] = field(default_factory=list)
    tools: list[dict[str, Any]] = field(default_factory=list)
    choice: str | None = None  # auto, required, none or a tool's name
    parallel: bool | None = None
    cap: int | None = None
    stop: list[str] = field(default_factory=list)
    temperature: float | None = None


@st.composite
def talk(draw: st.DrawFn) -> Talk:
    made = Talk(draw(st.lists(_WORDS, max_size=2)))
    count = 0
    for turn in range(draw(st.integers(1, 4))):
        made.items += _user(draw)
        if turn and draw(st.integers(0, 5)) == 0:
            made.items.append(("late", draw(_WORDS)))
        if draw(st.booleans()):
            said, count = _assistant(draw, count)
            made.items += said
    if made.items[-1][0] not in ("user", "image", "result"):
        made.items += _user(draw)
    names = draw(st.lists(st.sampled_from(TOOLS), unique=True, max_size=3))
    made.tools = [
        {"name": name, "schema": draw(st.sampled_from(SCHEMAS)), "description": draw(_WORDS)} for name in names
    ]
    made.choice = draw(st.sampled_from([None, "auto", "required", "none", *names])) if names else None
    made.parallel = draw(st.sampled_from([None, True, False])) if names else None
    made.cap = draw(st.sampled_from([None, 1, 100]))
    made.stop = draw(st.lists(_WORDS, max_size=2))
    made.temperature = draw(st.sampled_from([None, 0, 0.5, 1]))
    return made


def _user(draw: st.DrawFn) -> list[Item]:
    kinds = draw(st.lists(st.sampled_from(["user", "user", "image"]), min_size=1, max_size=3))
    return [("user", draw(_WORDS)) if kind == "user" else ("image", draw(_PICTURES)) for kind in kinds]


def _assistant(draw: st.DrawFn, count: int) -> tuple[list[Item], int]:
    items: list[Item] = [("thought", draw(_WORDS))] if draw(st.integers(0, 2)) == 0 else []
    calls = draw(st.integers(0, 2)) if count < 3 else 0
    if not calls or draw(st.booleans()):
        items.append(("said", draw(_WORDS)))
    ids = _IDS[count : count + calls]
    items += [("call", identity, draw(st.sampled_from(TOOLS)), draw(ARGUMENTS)) for identity in ids]
    pictures: st.SearchStrategy[list[str]] = st.one_of(st.just([]), st.lists(_PICTURES, max_size=2))
    items += [("result", identity, draw(_WORDS), draw(st.booleans()), tuple(draw(pictures))) for identity in ids]
    return items, count + calls


# ----------------------------------------------------------------------------------------------- callers


def chat(made: Talk) -> dict[str, Any]:
    messages: list[dict[str, Any]] = [{"role": "system", "content": text} for text in made.system]
    for kind, *rest in made.items:
        last: dict[str, Any] = messages[-1] if messages else {"role": ""}
        if kind in ("user", "image"):
            part: dict[str, Any] = {"type": "text", "text": rest[0]}
            if kind == "image":
                part = _chat_picture(rest[0])
            if last["role"] == "user":
                last["content"].append(part)
            else:
                messages.append({"role": "user", "content": [part]})
        elif kind == "result":
            pictures = [_chat_picture(picture) for picture in rest[3]]
            content = [{"type": "text", "text": rest[1]}, *pictures] if pictures else rest[1]
            messages.append({"role": "tool", "tool_call_id": rest[0], "content": content})
        elif kind == "late":
            messages.append({"role": "system", "content": rest[0]})
        else:
            _speak(messages, kind, rest)
    out: dict[str, Any] = {"messages": messages, "tools": [_function(tool) for tool in made.tools] or None}
    out |= {"tool_choice": _chat_choice(made), "parallel_tool_calls": made.parallel, "max_tokens": made.cap}
    out |= {"stop": made.stop or None, "temperature": made.temperature}
    return {name: value for name, value in out.items() if value is not None}


def _chat_picture(picture: str) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{picture}"}}


def _speak(messages: list[dict[str, Any]], kind: str, rest: list[Any]) -> None:
    last = messages[-1]
    if last["role"] != "assistant":
        last = {"role": "assistant", "content": None}
        messages.append(last)
    if kind == "thought":
        last["reasoning_content"] = rest[0]
    elif kind == "said":
        last["content"] = rest[0]
    else:
        function = {"name": rest[1], "arguments": json.dumps(rest[2])}
        last.setdefault("tool_calls", []).append({"id": rest[0], "type": "function", "function": function})


def _function(tool: dict[str, Any]) -> dict[str, Any]:
    function = {"name": tool["name"], "description": tool["description"], "parameters": tool["schema"]}
    return {"type": "function", "function": function}


def _chat_choice(made: Talk) -> Any:
    if made.choice in (None, "auto", "required", "none"):
        return made.choice
    return {"type": "function", "function": {"name": made.choice}}


def messages(made: Talk) -> dict[str, Any]:
    entries: list[dict[str, Any]] = []
    for kind, *rest in made.items:
        role = {"thought": "assistant", "said": "assistant", "call": "assistant", "late": "system"}.get(kind, "user")
        if role == "system":
            entries.append({"role": "system", "content": rest[0]})
        elif entries and entries[-1]["role"] == role:
            entries[-1]["content"].append(_block(kind, rest))
        else:
            entries.append({"role": role, "content": [_block(kind, rest)]})
    out: dict[str, Any] = {"messages": entries, "max_tokens": made.cap or 77, "stop_sequences": made.stop or None}
    out["system"] = [{"type": "text", "text": text} for text in made.system] or None
    out["tools"] = [
        {"name": t["name"], "description": t["description"], "input_schema": t["schema"]} for t in made.tools
    ] or None
    out |= {"tool_choice": _messages_choice(made), "temperature": made.temperature}
    return {name: value for name, value in out.items() if value is not None}


def _block(kind: str, rest: list[Any]) -> dict[str, Any]:
    if kind == "thought":
        return {"type": "thinking", "thinking": rest[0], "signature": "c2ln"}
    if kind == "call":
        return {"type": "tool_use", "id": rest[0], "name": rest[1], "input": rest[2]}
    if kind == "result":
        pictures = [_block("image", [picture]) for picture in rest[3]]
        content = [{"type": "text", "text": rest[1]}, *pictures] if pictures else rest[1]
        return {"type": "tool_result", "tool_use_id": rest[0], "content": content, "is_error": rest[2]}
    if kind == "image":
        return {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": rest[0]}}
    return {"type": "text", "text": rest[0]}


def _messages_choice(made: Talk) -> Any:
    words = {"auto": "auto", "required": "any", "none": "none"}
    found: dict[str, Any] | None = {"type": words[made.choice]} if made.choice in words else None
    if made.choice is not None and found is None:
        found = {"type": "tool", "name": made.choice}
    if made.parallel is not None and made.choice != "none":
        found = {**(found or {"type": "auto"}), "disable_parallel_tool_use": not made.parallel}
    return found


def responses(made: Talk) -> dict[str, Any]:
    items: list[dict[str, Any]] = []
    for kind, *rest in made.items:
        if kind in ("user", "image"):
            part = {"type": "input_text", "text": rest[0]}
            if kind == "image":
                part = {"type": "input_image", "image_url": f"data:image/png;base64,{rest[0]}"}
            items.append({"type": "message", "role": "user", "content": [part]})
        elif kind == "late":
            items.append({"role": "system", "content": rest[0]})
        elif kind == "said":
            items.append(
                {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": rest[0]}]}
            )
        elif kind == "call":
            items.append(
                {"type": "function_call", "call_id": rest[0], "name": rest[1], "arguments": json.dumps(rest[2])}
            )
        elif kind == "result":
            pictures = [{"type": "input_image", "image_url": f"data:image/png;base64,{picture}"} for picture in rest[3]]
            output = [{"type": "input_text", "text": rest[1]}, *pictures] if pictures else rest[1]
            items.append({"type": "function_call_output", "call_id": rest[0], "output": output})
        else:
            items.append({"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": rest[0]}]})
    out: dict[str, Any] = {"input": items, "instructions": "\n".join(made.system) or None}
    out["tools"] = [{"type": "function", **_function(tool)["function"]} for tool in made.tools] or None
    out["tool_choice"] = {"type": "function", "name": made.choice} if made.choice in TOOLS else made.choice
    out |= {"parallel_tool_calls": made.parallel, "max_output_tokens": made.cap, "temperature": made.temperature}
    return {name: value for name, value in out.items() if value is not None}


WRITERS = {"/v1/chat/completions": chat, "/v1/messages": messages, "/v1/responses": responses}


# ------------------------------------------------------------------------------------------------- tiers


def sent(body: dict[str, Any], dialect: str) -> Talk:
    """What a tier was sent. Fails on what no engine or service would take."""
    return _sent_chat(body) if dialect == "openai" else _sent_messages(body)


def _sent_chat(body: dict[str, Any]) -> Talk:
    made = Talk(cap=body.get("max_tokens"), stop=body.get("stop", []), temperature=body.get("temperature"))
    made.tools = [
        {
            "name": t["function"]["name"],
            "schema": t["function"]["parameters"],
            "description": t["function"]["description"],
        }
        for t in body.get("tools", [])
    ]
    choice = body.get("tool_choice")
    made.choice = choice["function"]["name"] if isinstance(choice, dict) else choice
    made.parallel = body.get("parallel_tool_calls")
    open_calls: list[str] = []
    for at, message in enumerate(body["messages"]):
        role = message["role"]
        assert role == "tool" or not open_calls, "a call without its result"
        if role == "tool":
            assert message["tool_call_id"] in open_calls
            open_calls.remove(message["tool_call_id"])
            parts = _chat_parts(message["content"])
            text = "\n".join(part[1] for part in parts if part[0] == "user")
            pictures = tuple(part[1] for part in parts if part[0] == "image")
            made.items.append(("result", message["tool_call_id"], text, False, pictures))
        elif role == "assistant":
            if message.get("reasoning_content"):
                made.items.append(("thought", message["reasoning_content"]))
            if message["content"]:
                made.items += [("said", text) for text in _texts(message["content"])]
            for call in message.get("tool_calls", []):
                made.items.append(
                    ("call", call["id"], call["function"]["name"], json.loads(call["function"]["arguments"]))
                )
                open_calls.append(call["id"])
        elif role == "system":
            if at == len(made.system) and not made.items:
                made.system += _texts(message["content"])
            else:
                made.items.append(("late", message["content"]))
        else:
            assert role == "user"
            made.items += _chat_parts(message["content"])
    return made


def _texts(content: Any) -> list[str]:
    return [content] if isinstance(content, str) else [part["text"] for part in content]


def _chat_parts(content: Any) -> list[Item]:
    assert content, "an empty message"
    if isinstance(content, str):
        return [("user", content)]
    return [
        ("user", part["text"]) if part["type"] == "text" else ("image", part["image_url"]["url"].split(",")[1])
        for part in content
    ]


def _sent_messages(body: dict[str, Any]) -> Talk:
    made = Talk(cap=body["max_tokens"], stop=body.get("stop_sequences", []), temperature=body.get("temperature"))
    system = body.get("system", [])
    made.system = [system] if isinstance(system, str) else [block["text"] for block in system]
    made.tools = [
        {"name": t["name"], "schema": t["input_schema"], "description": t["description"]} for t in body.get("tools", [])
    ]
    choice = body.get("tool_choice") or {}
    kind = choice.get("type")
    made.choice = choice["name"] if kind == "tool" else "required" if kind == "any" else kind
    if "disable_parallel_tool_use" in choice:
        made.parallel = not choice["disable_parallel_tool_use"]
    open_calls: list[str] = []
    role = "assistant"
    for message in body["messages"]:
        assert message["role"] in ("user", "assistant")
        role = message["role"]
        content = message["content"]
        assert content, "an empty message"
        blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
        results = [block for block in blocks if block["type"] == "tool_result"]
        assert {block["tool_use_id"] for block in results} == set(open_calls), "calls and results differ"
        assert blocks[: len(results)] == results, "results do not come first"
        open_calls = [block["id"] for block in blocks if block["type"] == "tool_use"]
        made.items += [_sent_block(block, role) for block in blocks]
    assert not open_calls
    return made


def _sent_block(block: dict[str, Any], role: str) -> Item:
    kind = block["type"]
    if kind == "tool_result":
        parts: list[Any] = (
            [{"type": "text", "text": block["content"]}] if isinstance(block["content"], str) else block["content"]
        )
        text = "\n".join(part["text"] for part in parts if part["type"] == "text")
        pictures = tuple(part["source"]["data"] for part in parts if part["type"] == "image")
        return ("result", block["tool_use_id"], text, bool(block.get("is_error")), pictures)
    if kind == "tool_use":
        return ("call", block["id"], block["name"], block["input"])
    if kind == "thinking":
        return ("thought", block["thinking"])
    if kind == "image":
        assert block["source"]["type"] == "base64"
        return ("image", block["source"]["data"])
    assert kind == "text"
    assert block["text"].strip()
    return ("user" if role == "user" else "said", block["text"])
