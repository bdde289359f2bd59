"""Reads what a caller gets, as strictly as contract 13.5 and 14 put it. Every departure is an AssertionError."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from tests.router.wire.meaning import Block, Said, Usage

_ID = "[0-9a-f]{24}"


def _strict(data: bytes | str) -> Any:
    def refuse(word: str) -> Any:
        raise AssertionError(word)

    return json.loads(data, parse_constant=refuse)


def _call(name: str, arguments: str, identity: str) -> Block:
    value = _strict(arguments)
    assert isinstance(value, dict), arguments
    assert name
    assert identity
    return Block("call", name=name, arguments=value, id=identity)


def _unique(blocks: list[Block]) -> None:
    ids = [block.id for block in blocks if block.kind == "call"]
    assert len(ids) == len(set(ids)), f"call ids repeat: {ids}"


def _count(value: Any) -> int:
    assert type(value) is int, value
    assert value >= 0
    return value


def _events(data: bytes, *, named: bool) -> Iterator[tuple[str, str]]:
    text = data.decode("utf-8")
    assert text.endswith("\n\n")
    for block in text[:-2].split("\n\n"):
        lines = block.split("\n")
        assert len(lines) == 1 + named, block
        assert lines[-1].startswith("data: "), block
        if named:
            assert lines[0].startswith("event: "), block
        yield lines[0][7:] if named else "", lines[-1][6:]


# --------------------------------------------------------------------------------------------------- chat


def _chat_usage(usage: Any) -> Usage:
    found = Usage(_count(usage["prompt_tokens"]), _count(usage["completion_tokens"]))
    assert _count(usage["total_tokens"]) == found.prompt + found.completion
    cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens")
    thought = (usage.get("completion_tokens_details") or {}).get("reasoning_tokens")
    return Usage(found.prompt, found.completion, cached, thought)


def chat_whole(data: bytes) -> Said:
    body = _strict(data)
    assert re.fullmatch(f"chatcmpl-{_ID}", body["id"])
    assert body["object"] == "chat.completion"
    [choice] = body["choices"]
    message = choice["message"]
    assert (choice["index"], message["role"]) == (0, "assistant")
    assert message["content"] is None or (isinstance(message["content"], str) and message["content"])
    said = Said(finish=choice["finish_reason"], usage=_chat_usage(body["usage"]))
    thought = message.get("reasoning_content") or message.get("reasoning")
    if thought:
        said.blocks.append(Block("reasoning", thought))
    if message["content"]:
        said.blocks.append(Block("text", message["content"]))
    for call in message.get("tool_calls") or ():
        assert call["type"] == "function"
        said.blocks.append(_call(call["function"]["name"], call["function"]["arguments"], call["id"]))
    _unique(said.blocks)
    return said


def chat_stream(data: bytes) -> Said:
    said, done = Said(), False
    heads: list[list[str]] = []
    shared: set[str] = set()
    for at, (_, payload) in enumerate(_events(data, named=False)):
        assert not done, "something after the end"
        assert not said.errors, "something after the error"
        if payload == "[DONE]":
            assert said.finish
            done = True
            continue
        chunk = _strict(payload)
        if "error" in chunk:
            assert not said.finish
            assert chunk["error"].keys() == {"type", "message", "code"}
            said.errors += 1
            continue
        assert chunk["object"] == "chat.completion.chunk"
        shared.add(json.dumps([chunk["id"], chunk["created"], chunk["model"]]))
        if not chunk["choices"]:
            assert said.finish, "usage before the finish"
            assert said.usage is None, "usage twice"
            said.usage = _chat_usage(chunk["usage"])
            continue
        assert said.usage is None
        assert chunk.get("usage") is None
        [choice] = chunk["choices"]
        assert choice["index"] == 0
        assert not said.finish, "a chunk after the finish reason"
        _chat_delta(choice["delta"], said, heads, first=at == 0)
        said.finish = choice["finish_reason"] or ""
    assert done is not bool(said.errors), "no end"
    assert len(shared) <= 1
    said.blocks += [_call(name, arguments, identity) for name, arguments, identity in heads]
    _unique(said.blocks)
    return said


def _chat_delta(delta: dict[str, Any], said: Said, heads: list[list[str]], *, first: bool) -> None:
    if first:
        assert delta == {"role": "assistant"}
        return
    assert "role" not in delta
    for kind, field in (("reasoning", "reasoning_content"), ("text", "content")):
        if delta.get(field):
            _grow(said, kind, delta[field])
    for call in delta.get("tool_calls", ()):
        if "id" in call:
            assert call["type"] == "function"
            assert call["index"] == len(heads)
            assert call["function"]["arguments"] == ""
            heads.append([call["function"]["name"], "", call["id"]])
        else:
            assert call["index"] == len(heads) - 1
            heads[-1][1] += call["function"]["arguments"]


def _grow(said: Said, kind: str, text: str) -> None:
    if said.blocks and said.blocks[-1].kind == kind:
        said.blocks[-1] = Block(kind, said.blocks[-1].text + text)
    else:
        said.blocks.append(Block(kind, text))


# ----------------------------------------------------------------------------------------------- messages


def _messages_usage(usage: Any) -> Usage:
    cached, made = _count(usage["cache_read_input_tokens"]), _count(usage["cache_creation_input_tokens"])
    return Usage(_count(usage["input_tokens"]) + cached + made, _count(usage["output_tokens"]), cached)


def _messages_block(block: dict[str, Any]) -> Block:
    if block["type"] == "text":
        return Block("text", block["text"])
    if block["type"] == "thinking":
        assert isinstance(block["signature"], str)
        return Block("reasoning", block["thinking"])
    if block["type"] != "tool_use":
        assert block["type"]  # a kind of its own, passed on as it came
        return Block("other")
    assert isinstance(block["input"], dict)
    assert block["id"]
    return Block("call", name=block["name"], arguments=block["input"], id=block["id"])


def messages_whole(data: bytes) -> Said:
    body = _strict(data)
    assert re.fullmatch(f"msg_{_ID}", body["id"])
    assert (body["type"], body["role"], body["stop_sequence"]) == ("message", "assistant", None)
    assert body["content"]
    said = Said([_messages_block(b) for b in body["content"]], body["stop_reason"], _messages_usage(body["usage"]))
    _unique(said.blocks)
    return said


def messages_stream(data: bytes) -> Said:
    said, state, count = Said(), "new", 0
    pieces: list[str] = []
    block: dict[str, Any] = {}
    for name, payload in _events(data, named=True):
        event = _strict(payload)
        assert event["type"] == name
        assert state not in ("stopped", "failed"), "something after the end"
        if name == "message_start":
            assert state == "new"
            assert event["message"]["content"] == []
            assert event["message"]["stop_reason"] is None
            assert event["message"]["usage"]["output_tokens"] == 0
            _messages_usage(event["message"]["usage"])
            state = "between"
        elif name == "ping":
            assert state != "new"
        elif name == "content_block_start":
            assert state == "between"
            assert event["index"] == count
            block, pieces, state = event["content_block"], [], "inside"
        elif name == "content_block_delta":
            assert state == "inside"
            assert event["index"] == count
            _messages_delta(event["delta"], block, pieces)
        elif name == "content_block_stop":
            assert state == "inside"
            assert event["index"] == count
            count, state = count + 1, "between"
            if block["type"] == "tool_use":
                assert block["input"] == {}
                block["input"] = _strict("".join(pieces) or "{}")
            said.blocks.append(_messages_block(block))
        elif name == "message_delta":
            assert state == "between"
            said.finish, said.usage = event["delta"]["stop_reason"], _messages_usage(event["usage"])
            state = "ending"
        elif name == "message_stop":
            assert state == "ending"
            state = "stopped"
        else:
            assert name == "error"
            if state == "inside":
                said.blocks.append(_messages_block(block))
            said.errors, state = 1, "failed"
    assert state in ("stopped", "failed"), state
    _unique(said.blocks)
    return said


def _messages_delta(delta: dict[str, Any], block: dict[str, Any], pieces: list[str]) -> None:
    kind = delta["type"]
    if kind == "text_delta":
        assert block["type"] == "text"
        block["text"] += delta["text"]
    elif kind == "thinking_delta":
        assert block["type"] == "thinking"
        block["thinking"] += delta["thinking"]
    elif kind == "signature_delta":
        assert block["type"] == "thinking"
        block["signature"] += delta["signature"]
    elif kind == "input_json_delta":
        assert block["type"] not in ("text", "thinking")
        pieces.append(delta["partial_json"])


# ---------------------------------------------------------------------------------------------- responses


def _responses_usage(usage: Any) -> Usage:
    found = Usage(
        _count(usage["input_tokens"]), _count(usage["output_tokens"]),
        _count(usage["input_tokens_details"]["cached_tokens"]), _count(usage["output_tokens_details"]["reasoning_tokens"]),
    )  # fmt: skip
    assert usage["total_tokens"] == found.prompt + found.completion
    return found


def _responses_item(item: dict[str, Any]) -> Block:
    kind = item["type"]
    prefix = {"message": "msg", "reasoning": "rs", "function_call": "fc"}[kind]
    assert re.fullmatch(f"{prefix}_{_ID}", item["id"]), item
    if kind == "function_call":
        assert item["status"] == "completed"
        return _call(item["name"], item["arguments"], item["call_id"])
    [part] = item["content"]
    assert part["type"] == ("output_text" if kind == "message" else "reasoning_text")
    return Block("text" if kind == "message" else "reasoning", part["text"])


def responses_whole(data: bytes) -> Said:
    return _response(_strict(data))


def _response(body: dict[str, Any]) -> Said:
    assert re.fullmatch(f"resp_{_ID}", body["id"])
    assert (body["object"], body["error"], body["store"], body["previous_response_id"]) == (
        "response",
        None,
        False,
        None,
    )
    assert (body["incomplete_details"] is None) is (body["status"] == "completed")
    said = Said([_responses_item(i) for i in body["output"]], body["status"], _responses_usage(body["usage"]))
    ids = [item["id"] for item in body["output"]]
    assert len(ids) == len(set(ids))
    _unique(said.blocks)
    return said


def responses_stream(data: bytes) -> Said:
    items: list[dict[str, Any]] = []
    opened: dict[str, Any] | None = None
    said, text, end = Said(), "", ""
    for at, (name, payload) in enumerate(_events(data, named=True)):
        event = _strict(payload)
        assert event["type"] == name
        assert event["sequence_number"] == at
        assert not end, "something after the end"
        kind = name.removeprefix("response.")
        if at < 2:
            assert kind == ("created", "in_progress")[at]
            assert event["response"]["status"] == "in_progress"
            continue
        if kind in ("completed", "incomplete"):
            assert opened is None
            end, said = kind, _response(event["response"])
            assert event["response"]["status"] == kind
            assert event["response"]["output"] == items
            continue
        if kind == "failed":
            assert event["response"]["status"] == "failed"
            end, said.errors = kind, 1
            said.blocks = [_responses_item(i) for i in items]
            if text:
                assert opened is not None
                said.blocks.append(Block("text" if opened["type"] == "message" else "reasoning", text))
            continue
        assert event["output_index"] == len(items)
        opened, text = _responses_event(kind, event, opened, text)
        if kind == "output_item.done":
            items.append(event["item"])
            opened, text = None, ""
    assert end, "no end"
    return said


def _responses_event(
    kind: str, event: dict[str, Any], opened: dict[str, Any] | None, text: str
) -> tuple[dict[str, Any] | None, str]:
    if kind == "output_item.added":
        assert opened is None
        assert event["item"]["status"] == "in_progress"
        return event["item"], ""
    assert opened is not None, kind
    if kind == "output_item.done":
        assert event["item"]["id"] == opened["id"]
        assert (event["item"].get("arguments") or event["item"]["content"][0]["text"]) == text
        return opened, text
    assert event["item_id"] == opened["id"]
    if "content" in opened:
        assert event["content_index"] == 0
    if kind.endswith(".delta"):
        return opened, text + event["delta"]
    if kind in ("content_part.added", "content_part.done"):
        assert event["part"]["text"] == ("" if kind.endswith("added") else text)
        return opened, text
    assert kind in ("output_text.done", "reasoning_text.done", "function_call_arguments.done")
    assert event["arguments" if kind.startswith("function") else "text"] == text
    return opened, text


READERS = {
    "/v1/chat/completions": (chat_whole, chat_stream),
    "/v1/messages": (messages_whole, messages_stream),
    "/v1/responses": (responses_whole, responses_stream),
}
