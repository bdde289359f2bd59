"""Reads an OpenAI Chat Completions request (contract 5): one strict decode, validation, and what policy needs to know.

The top level stays raw JSON, so that same-dialect tiers receive every field as it came; messages are decoded once,
looked at and dropped again. Bodies of the usual shape take a short way to the same turn.
"""

from __future__ import annotations

from typing import Any, NoReturn

import msgspec
from msgspec import Raw

from anvil.router.dialects.encode import absent, check_named, splice
from anvil.router.dialects.openai_chat_scan import Scan
from anvil.router.dialects.openai_chat_tools import (
    Declared,
    cut_tools,
    read_choice,
    read_format,
    read_functions,
    read_tools,
)
from anvil.router.dialects.openai_chat_usual import Scalars, Usual, read_usual
from anvil.router.reading import MAX_DEPTH, check_depth
from anvil.router.recent import PLACEHOLDER
from anvil.router.turn import BadRequest, Tool, Turn

# read by their own decoders
_BULKY = frozenset(("messages", "tools", "functions"))
_NUMBERS = ("temperature", "top_p", "presence_penalty", "frequency_penalty")
_CAPS = ("max_tokens", "max_completion_tokens")
_LARGEST = 1.7976931348623157e308
_BLANKS = b" \t\r\n"

_NONE = Declared([], 0, False, None)

_plain = msgspec.json.Decoder().decode
_fields = msgspec.json.Decoder(dict[str, Raw]).decode


def parse(data: bytes) -> Turn:
    """The validated turn. Raises BadRequest (400) for anything contract 5.1 and 5.2 refuse, and nothing else."""
    turn = _usual_turn(data)
    if turn is not None:
        return turn
    body = read_object(data)
    try:
        return _any_turn(body, len(data))
    except msgspec.ValidationError as error:
        raise BadRequest(f"invalid JSON: {_sentence(error)}") from None
    except UnicodeDecodeError:
        raise BadRequest("invalid JSON: a text is not valid UTF-8") from None
    except RecursionError:
        raise BadRequest(f"the body nests deeper than {MAX_DEPTH} levels") from None


def _usual_turn(data: bytes) -> Turn | None:
    """The turn of a body of the usual shape, in two passes over it; None for every other body."""
    known = cut_tools(data)
    try:
        given = read_usual(data if known is None else known[0])
        body = _fields(data if known is None else known[0])
        if known is not None:
            if body.get("tools") != PLACEHOLDER:
                return None
            body["tools"] = known[1]
        if not given.messages:
            return None
        scan = Scan()
        scan.usual(given.messages)
        return _turn(body, given, scan, len(data))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, BadRequest):
        return None


def read_object(data: bytes) -> dict[str, Raw]:
    """The top level of a request body, values raw. An empty body counts as ``{}``; raises BadRequest.

    The decoder stops by itself long before the stack ends, so the exact nesting limit is checked value by value by
    whoever reads the values: a scan of a whole agent body would cost more than reading it.
    """
    if not data:
        return {}
    try:
        return _fields(data)
    except msgspec.ValidationError:
        raise BadRequest("the body must be a JSON object") from None
    except msgspec.DecodeError as error:
        raise BadRequest(f"invalid JSON: {error}") from None
    except UnicodeDecodeError:
        raise BadRequest("invalid JSON: a name is not valid UTF-8") from None
    except RecursionError:
        raise BadRequest(f"the body nests deeper than {MAX_DEPTH} levels") from None


def _sentence(error: Exception) -> str:
    return str(error).partition(" - at ")[0].lower()


def _any_turn(body: dict[str, Raw], size: int) -> Turn:
    values = {name: _value(raw) for name, raw in body.items() if name not in _BULKY}
    _check_scalars(values)
    given = Scalars(**{name: values[name] for name in Scalars.__struct_fields__ if name in values})
    return _turn(body, given, None, size)


def _turn(body: dict[str, Raw], given: Scalars | Usual, scan: Scan | None, size: int) -> Turn:
    lossy: list[str] = []
    declared = _declared(body, lossy) if "tools" in body or "functions" in body else _NONE
    asked = given.tool_choice if given.tool_choice is not None else given.function_call
    choice = None if asked is None else read_choice(asked)
    check_named(choice, declared.tools)
    if scan is None:
        scan = _messages(body)
    _end_at_bracket(body)
    wanted = given.response_format
    return Turn(
        dialect="openai",
        body=body,
        signals=scan.signals(given.thinking, declared.count > 0, choice is not None),
        model=_model(given.model),
        stream=given.stream is True,
        include_usage=given.stream_options is not None and _include_usage(given.stream_options),
        cap=given.max_tokens if given.max_tokens is not None else given.max_completion_tokens,
        stop=None if given.stop is None else _stop(given.stop, body, lossy),
        tools=declared.tools[:],  # what is remembered is shared between requests
        tool_choice=choice,
        response_format=wanted if wanted is None else read_format(wanted, body["response_format"]),
        lossy=lossy,
        repairs=scan.repairs(),
        size=size,
    )


def _value(raw: Raw) -> Any:
    if len(memoryview(raw)) > MAX_DEPTH and not check_depth(bytes(raw), MAX_DEPTH - 1):
        raise RecursionError
    return _plain(raw)


def _refuse(path: str, expected: str) -> NoReturn:
    raise BadRequest(f"{path}: expected {expected}")


def _check_scalars(values: dict[str, Any]) -> None:
    for name in _NUMBERS:
        value = values.get(name)
        if value is not None and not (type(value) in (int, float) and -_LARGEST <= value <= _LARGEST):
            _refuse(name, "a finite number or null")
    for name in _CAPS:
        value = values.get(name)
        if value is not None and not (type(value) is int and value >= 0):
            _refuse(name, "a whole number of at least 0, or null")
    value = values.get("top_k")
    if value is not None and type(value) is not int:
        _refuse("top_k", "a whole number or null")
    value = values.get("n")
    if value is not None and not (type(value) is int and value == 1):
        raise BadRequest("n: only 1 is supported")
    value = values.get("stream")
    if value is not None and type(value) is not bool:
        _refuse("stream", "true, false or null")


def _model(value: Any) -> str | None:
    if value is None:
        return None
    if type(value) is not str:
        _refuse("model", "a string or null")
    return value if value.strip() else None


def _include_usage(value: Any) -> bool:
    return type(value) is dict and value.get("include_usage") is True


def _stop(value: Any, body: dict[str, Raw], lossy: list[str]) -> list[str] | None:
    """Stop strings without empty and non-string entries; ``body`` then says the same, as a list."""
    if value is None:
        return None
    given = [value] if type(value) is str else value if type(value) is list else []
    stop = [entry for entry in given if type(entry) is str and entry]
    if len(stop) != len(given) or not stop:
        lossy.append("stop")
    if not stop:
        del body["stop"]
        return None
    if stop is not value:
        body["stop"] = Raw(splice(stop))
    return stop


def _declared(body: dict[str, Raw], lossy: list[str]) -> Declared:
    """Tools and legacy functions together; malformed entries leave ``body``."""
    tools: list[Tool] = []
    count, hosted = 0, False
    for name, read in (("tools", read_tools), ("functions", read_functions)):
        raw = body.get(name)
        if raw is None or absent(raw):
            continue
        found = read(raw)
        if found is None:
            _refuse(name, "a list of objects")
        if found.kept is not None:
            lossy.append("tools.malformed")
            if found.count:
                body[name] = found.kept
            else:
                del body[name]
        tools += found.tools
        count += found.count
        hosted = hosted or found.hosted
    return Declared(tools, count, hosted, None)


def _messages(body: dict[str, Raw]) -> Scan:
    raw = body.get("messages")
    messages = None if raw is None else _plain(raw)
    if type(messages) is not list or not messages:
        _refuse("messages", "a non-empty list of objects")
    scan = Scan()
    for index, message in enumerate(messages):
        scan.message(index, message)
    return scan


def _end_at_bracket(body: dict[str, Raw]) -> None:
    """A blank before the closing bracket would keep one turn's bytes from extending the last one's (6.5)."""
    raw = body["messages"]
    if memoryview(raw)[-2] in _BLANKS:
        body["messages"] = Raw(bytes(raw)[:-1].rstrip(_BLANKS) + b"]")
