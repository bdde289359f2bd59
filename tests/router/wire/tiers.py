"""One answer as the bytes of a tier: whole or as a stream, in the many forms engines and proxies give it."""

from __future__ import annotations

import itertools
import json
import re
from typing import Any

from hypothesis import strategies as st

from tests.router.wire.meaning import Block, Said, Usage

_ODD = st.booleans()
_TYPE = re.compile(rb'"type": ?"([a-z_]+)"')


def _one(draw: st.DrawFn, *values: Any) -> Any:
    """One of the values; mypy need not find what they have in common."""
    return draw(st.sampled_from(values))


def _dumps(draw: st.DrawFn, value: Any) -> str:
    return json.dumps(value, ensure_ascii=draw(_ODD), separators=_one(draw, (",", ":"), (", ", ": ")))


def _pieces(draw: st.DrawFn, text: str, *, blanks: bool = True) -> list[str]:
    """The text cut at random; sometimes with empty pieces."""
    cuts = sorted(draw(st.lists(st.integers(0, len(text)), max_size=3)))
    edges = [0, *cuts, len(text)]
    found = [text[a:b] for a, b in itertools.pairwise(edges)]
    return found if blanks else [piece for piece in found if piece] or [text]


# ------------------------------------------------------------------------------------------------ OpenAI


def _openai_usage(usage: Usage) -> dict[str, Any]:
    body: dict[str, Any] = {"prompt_tokens": usage.prompt, "completion_tokens": usage.completion}
    body["total_tokens"] = usage.prompt + usage.completion
    if usage.cached is not None:
        body["prompt_tokens_details"] = {"cached_tokens": usage.cached}
    if usage.thought is not None:
        body["completion_tokens_details"] = {"reasoning_tokens": usage.thought}
    return body


def _openai_call(draw: st.DrawFn, block: Block, *, objects: bool) -> dict[str, Any]:
    arguments: Any = _dumps(draw, block.arguments)
    if not block.arguments:
        arguments = _one(draw, "{}", "", None)
    elif objects and draw(_ODD):
        arguments = block.arguments
    call: dict[str, Any] = {"type": "function", "function": {"name": block.name, "arguments": arguments}}
    if draw(_ODD):
        del call["type"]
    return {"id": block.id, **call} if block.id or draw(_ODD) else call


def _finish_word(draw: st.DrawFn, word: str) -> str:
    found: str = _one(draw, word, word, word.upper(), f" {word} ")
    return found


@st.composite
def openai_whole(draw: st.DrawFn, said: Said) -> bytes:
    content: Any = said.text
    if not content:
        content = _one(draw, None, "", [])
    elif draw(st.integers(0, 4)) == 0:
        content = [{"type": "text", "text": said.text}]
    message: dict[str, Any] = {"role": "assistant", "content": content}
    if said.reasoning:
        message[_one(draw, "reasoning_content", "reasoning")] = said.reasoning
    calls = [_openai_call(draw, b, objects=True) for b in said.blocks if b.kind == "call"]
    listed = draw(_ODD)
    if calls or listed:
        message["tool_calls"] = calls
    message |= draw(
        st.sampled_from([{}, {"refusal": None}, {"annotations": []}, {"audio": None, "function_call": None}])
    )
    choice = {"index": 0, "message": message, "finish_reason": _finish_word(draw, said.finish)}
    choice |= draw(
        st.sampled_from([{}, {"logprobs": None}, {"stop_reason": None}, {"stop_reason": 7, "token_ids": None}])
    )
    others = [{"index": 1, "message": {"role": "assistant", "content": "OTHER"}, "finish_reason": "stop"}]
    body: dict[str, Any] = {"id": "up", "object": "chat.completion", "created": 1, "model": "upstream-model"}
    body["choices"] = [choice, *(others if draw(st.integers(0, 5)) == 0 else [])]
    if said.usage is not None or draw(_ODD):
        body["usage"] = _openai_usage(said.usage) if said.usage else _one(draw, None, {}, {"prompt_tokens": 3})
    body |= _one(draw, {}, {"error": None}, {"system_fingerprint": "f", "kv_transfer_params": None})
    return _dumps(draw, body).encode("utf-8")


def _chunk(choice: dict[str, Any] | None, **extra: Any) -> dict[str, Any]:
    choices = [] if choice is None else [choice]
    return {"id": "up", "object": "chat.completion.chunk", "created": 1, "model": "u", "choices": choices, **extra}


def _call_fragments(draw: st.DrawFn, block: Block, index: int | None) -> list[dict[str, Any]]:
    whole = _openai_call(draw, block, objects=False)
    arguments = whole["function"]["arguments"]
    style = _one(draw, "pieces", "pieces", "once", "object")
    place = {} if index is None else {"index": index}
    if style == "once":
        return [{**place, **whole}]
    if style == "object" and block.arguments:
        return [{**place, **whole, "function": {"name": block.name, "arguments": block.arguments}}]
    head = {
        **place,
        **whole,
        "function": {"name": block.name, **_one(draw, {"arguments": ""}, {}, {"arguments": None})},
    }
    repeated = _one(draw, {}, {}, {"id": block.id}, {"id": None}, {"id": "", "type": "function"})
    named = _one(draw, {}, {}, {"name": None}, {"name": ""})
    return [
        head,
        *[{**place, **repeated, "function": {**named, "arguments": p}} for p in _pieces(draw, arguments or "")],
    ]


@st.composite
def openai_stream(draw: st.DrawFn, said: Said) -> list[bytes]:
    """The events of a Chat Completions stream, without their framing."""
    deltas: list[dict[str, Any]] = []
    role = _one(draw, {}, {"role": "assistant"})
    start = draw(
        st.sampled_from(
            [None, {"role": "assistant"}, {"role": "assistant", "content": ""}, {"role": "assistant", "content": None}]
        )
    )
    if start is not None:
        deltas.append(start)
    field = _one(draw, "reasoning_content", "reasoning")
    for block in said.blocks:
        if block.kind == "reasoning":
            deltas += [
                {**role, field: p, **_one(draw, {}, {"content": None}, {"content": ""})}
                for p in _pieces(draw, block.text)
            ]
        elif block.kind == "text":
            quiet: tuple[Any, ...] = (
                {},
                {},
                {"reasoning_content": None},
                {"tool_calls": []},
                {"tool_calls": None, "refusal": None},
            )
            deltas += [{**role, "content": p, **_one(draw, *quiet)} for p in _pieces(draw, block.text)]
    deltas += _call_deltas(draw, [b for b in said.blocks if b.kind == "call"])
    return _openai_events(draw, deltas, said)


def _call_deltas(draw: st.DrawFn, calls: list[Block]) -> list[dict[str, Any]]:
    """Fragments of all calls: numbered densely, with holes, all the same or not at all; apart, together or interleaved."""
    numbers = _one(draw, [0, 1, 2], [0, 1, 2], [1, 2, 3], [0, 3, 9], [0, 0, 0])
    ids = [block.id for block in calls]
    if numbers[1] == 0 and len(calls) > 1 and ("" in ids or len(set(ids)) < len(ids)):
        numbers = [0, 1, 2]  # nothing would tell them apart
    runs = [
        _call_fragments(draw, b, None if len(calls) == 1 and draw(_ODD) else numbers[at]) for at, b in enumerate(calls)
    ]
    flat = [fragment for run in runs for fragment in run]
    if numbers[1] and draw(_ODD):  # all heads first, then the rest round robin
        flat = [run[0] for run in runs]
        rests = [run[1:] for run in runs]
        while any(rests):
            flat += [rest.pop(0) for rest in rests if rest]
    if flat and draw(st.integers(0, 3)) == 0:
        return [{"tool_calls": flat}]
    return [{"tool_calls": [fragment], **_one(draw, {}, {"content": None}, {"content": ""})} for fragment in flat]


def _openai_events(draw: st.DrawFn, deltas: list[dict[str, Any]], said: Said) -> list[bytes]:
    quiet = _one(draw, {}, {"logprobs": None}, {"stop_reason": None, "token_ids": None})
    usage = _one(draw, {}, {"usage": None})
    finish = _finish_word(draw, said.finish)
    end = {
        "index": 0,
        "delta": _one(draw, {}, {"content": ""}, {"content": None}, {"role": "assistant"}),
        "finish_reason": finish,
    }
    chunks = [_chunk({"index": 0, "delta": delta, "finish_reason": None, **quiet}, **usage) for delta in deltas]
    if draw(st.integers(0, 5)) == 0:
        chunks.insert(0, {"choices": [], "prompt_filter_results": []})
    if draw(st.integers(0, 5)) == 0:
        other = {"index": 1, "delta": {"content": "OTHER"}, "finish_reason": None}
        chunks.insert(draw(st.integers(0, len(chunks))), _chunk(other))
    if deltas and chunks and chunks[-1]["choices"] and chunks[-1]["choices"][0]["index"] == 0 and draw(_ODD):
        chunks[-1]["choices"][0]["finish_reason"] = finish
    else:
        chunks.append(_chunk({**end, **quiet}, **usage))
    if said.usage is not None:
        told = _openai_usage(said.usage)
        if draw(_ODD):
            chunks[-1]["usage"] = told
        else:
            chunks.append(_chunk(None, usage=told))
    events = [_dumps(draw, chunk).encode() for chunk in chunks]
    return [*events, *_one(draw, [b"[DONE]"], [b"[DONE]"], [], [b"[DONE]", b"garbage {"])]


# --------------------------------------------------------------------------------------------- Anthropic


def _anthropic_usage(usage: Usage) -> dict[str, Any]:
    body: dict[str, Any] = {"input_tokens": usage.prompt - (usage.cached or 0), "output_tokens": usage.completion}
    if usage.cached is not None:
        body["cache_read_input_tokens"] = usage.cached
    return body


def _anthropic_block(draw: st.DrawFn, block: Block, *, signed: bool) -> dict[str, Any]:
    if block.kind == "text":
        return {"type": "text", "text": block.text, **_one(draw, {}, {}, {"citations": None})}
    if block.kind == "reasoning":
        return {"type": "thinking", "thinking": block.text, "signature": "c2ln" if signed else ""}
    return {"type": "tool_use", "id": block.id, "name": block.name, "input": block.arguments}


@st.composite
def anthropic_whole(draw: st.DrawFn, said: Said) -> bytes:
    content = [_anthropic_block(draw, block, signed=draw(_ODD)) for block in said.blocks]
    body: dict[str, Any] = {"id": "msg_up", "type": "message", "role": "assistant", "model": "u", "content": content}
    body |= {"stop_reason": said.finish, "stop_sequence": None}
    if said.usage is not None or draw(_ODD):
        body["usage"] = _anthropic_usage(said.usage) if said.usage else _one(draw, None, {}, {"output_tokens": 1})
    return _dumps(draw, body | _one(draw, {}, {"container": None})).encode()


def _typed(kind: str, **fields: Any) -> dict[str, Any]:
    return {"type": kind, **fields}


def _anthropic_deltas(draw: st.DrawFn, block: Block, *, signed: bool) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    whole = _anthropic_block(draw, block, signed=signed)
    if block.kind == "text":
        early = draw(st.integers(0, 4)) == 0  # some proxies put text into the start
        deltas = [] if early else [_typed("text_delta", text=p) for p in _pieces(draw, block.text)]
        return {**whole, "text": block.text if early else ""}, deltas
    if block.kind == "reasoning":
        deltas = [_typed("thinking_delta", thinking=p) for p in _pieces(draw, block.text)]
        deltas += [_typed("signature_delta", signature=p) for p in (["c2", "ln"] if signed else [])]
        return {**whole, "thinking": "", "signature": ""}, deltas
    if draw(st.integers(0, 4)) == 0:
        return whole, []
    text = _dumps(draw, block.arguments) if block.arguments else _one(draw, "{}", "")
    return {**whole, "input": {}}, [_typed("input_json_delta", partial_json=p) for p in _pieces(draw, text)]


@st.composite
def anthropic_stream(draw: st.DrawFn, said: Said) -> list[bytes]:
    """The events of a Messages stream, without their framing."""
    usage = _anthropic_usage(said.usage) if said.usage else None
    message: dict[str, Any] = {
        "id": "m",
        "type": "message",
        "role": "assistant",
        "model": "u",
        "content": [],
        "stop_reason": None,
    }
    if usage is not None:
        message["usage"] = usage | {"output_tokens": _one(draw, 0, 1)}
    events = [_typed("message_start", message=message)]
    step = _one(draw, 1, 1, 2)
    for at, block in enumerate(said.blocks):
        start, deltas = _anthropic_deltas(draw, block, signed=draw(_ODD))
        events.append(_typed("content_block_start", index=at * step, content_block=start))
        events += [_typed("content_block_delta", index=at * step, delta=delta) for delta in deltas]
        events.append(_typed("content_block_stop", index=at * step))
    for extra in draw(st.lists(st.sampled_from([_typed("ping"), _typed("something_new", x=[1])]), max_size=2)):
        events.insert(draw(st.integers(1, len(events))), extra)
    last = _typed("message_delta", delta={"stop_reason": said.finish, "stop_sequence": None})
    if usage is not None:
        last["usage"] = usage if draw(_ODD) else {"output_tokens": usage["output_tokens"]}
    events += [last, *_one(draw, [_typed("message_stop")], [_typed("message_stop")], [])]
    return [_dumps(draw, event).encode() for event in events]


# ----------------------------------------------------------------------------------------------- framing


@st.composite
def sse(draw: st.DrawFn, events: list[bytes], *, named: bool) -> bytes:
    """Events as a stream of bytes, with any line ends, comments and fields SSE allows."""
    eol = _one(draw, b"\n", b"\n", b"\r\n", b"\r")
    tight = draw(_ODD)
    out = []
    for event in events:
        lines = [b"data:" + event if tight else b"data: " + event]
        if named and (name := _TYPE.search(event)):
            lines.insert(0, b"event: " + name[1])
        extra = draw(
            st.sampled_from([[], [], [], [b": comment"], [b"id: 7"], [b"retry: 100"], [b":"], [b"x: y"], [b""]])
        )
        out.append(eol.join([*extra, *lines, b"", b""]))
    if draw(st.integers(0, 4)) == 0 and out:
        out[-1] = out[-1].removesuffix(eol)
    head = b"\xef\xbb\xbf" if draw(st.integers(0, 6)) == 0 else b""
    return head + b"".join(out)


@st.composite
def script(draw: st.DrawFn, body: bytes, content_type: str) -> tuple[list[bytes], bool]:
    """The HTTP answer in pieces as they are written, and whether the connection ends afterwards."""
    framing = _one(draw, "chunked", "chunked", "length", "close", "http10")
    kind = _one(draw, content_type, f"{content_type}; charset=utf-8", content_type.upper())
    head = f"HTTP/1.{'0' if framing == 'http10' else '1'} 200 OK\r\ncontent-type: {kind}\r\n"
    interim = draw(
        st.sampled_from(["", "", "", "HTTP/1.1 100 Continue\r\n\r\n", "HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n"])
    )
    cuts = sorted(draw(st.lists(st.integers(1, max(1, len(body) - 1)), max_size=4)))
    edges = [0, *cuts, len(body)]
    parts = [part for a, b in itertools.pairwise(edges) if (part := body[a:b])]
    if framing == "chunked":
        extension = _one(draw, "", "", ";x=y")
        trailer = _one(draw, "", "", "x-trailer: 1\r\n")
        pieces = [f"{len(p):x}{extension}\r\n".encode() + p + b"\r\n" for p in parts] + [f"0\r\n{trailer}\r\n".encode()]
        head += "transfer-encoding: chunked\r\n"
    elif framing == "length":
        pieces = parts
        head += f"content-length: {len(body)}\r\n"
    else:
        pieces = parts
        head += "" if framing == "http10" else "connection: close\r\n"
    if interim and draw(_ODD):
        return [interim.encode(), f"{head}\r\n".encode(), *pieces], framing in ("close", "http10")
    return [(interim + f"{head}\r\n").encode(), *pieces], framing in ("close", "http10")
