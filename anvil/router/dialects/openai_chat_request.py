"""Reads an OpenAI Chat Completions request (contract 5): one strict decode, validation, and what policy needs to know.

The top level stays raw JSON, so that same-dialect tiers receive every field as it came; messages are decoded once,
looked at and dropped again.
"""

from __future__ import annotations

from typing import Any, NoReturn

import msgspec
from msgspec import Raw

from anvil.router.dialects.encode import absent, splice
from anvil.router.dialects.openai_chat_scan import Scan
from anvil.router.dialects.openai_chat_tools import Declared, read_choice, read_format, read_functions, read_tools
from anvil.router.reading import MAX_DEPTH, check_depth
from anvil.router.turn import BadRequest, Tool, Turn

# read by their own decoders
_BULKY = frozenset(("messages", "tools", "functions"))
_NUMBERS = ("temperature", "top_p", "presence_penalty", "frequency_penalty")
_CAPS = ("max_tokens", "max_completion_tokens")
_LARGEST = 1.7976931348623157e308
_BLANKS = b" \t\r\n"

_plain = msgspec.json.Decoder().decode
_fields = msgspec.json.Decoder(dict[str, Raw]).decode


def parse(data: bytes) -> Turn:
    """The validated turn. Raises BadRequest (400) for anything contract 5.1 and 5.2 refuse, and nothing else."""
    body = read_object(data)
    try:
        return _turn(body)
    except msgspec.ValidationError as error:
        raise BadRequest(f"invalid JSON: {_sentence(error)}") from None
    except UnicodeDecodeError:
        raise BadRequest("invalid JSON: a text is not valid UTF-8") from None
    except RecursionError:
        raise BadRequest(f"the body nests deeper than {MAX_DEPTH} levels") from None


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


def _turn(body: dict[str, Raw]) -> Turn:
    values = {name: _value(raw) for name, raw in body.items() if name not in _BULKY}
    get = values.get
    _check_scalars(values)
    lossy: list[str] = []
    declared = _declared(body, lossy)
    choice = read_choice(get("tool_choice"))
    if choice is None:
        choice = read_choice(get("function_call"))
    scan = _messages(body)
    signals = scan.signals(get("thinking"), bool(declared.count), choice is not None)
    return Turn(
        dialect="openai",
        body=body,
        signals=signals,
        model=_model(get("model")),
        stream=get("stream") is True,
        include_usage=_include_usage(get("stream_options")),
        cap=_cap(values),
        stop=_stop(get("stop"), body, lossy),
        tools=declared.tools,
        tool_choice=choice,
        response_format=read_format(get("response_format"), body.get("response_format")),
        lossy=lossy,
        repairs=scan.repairs(),
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


def _cap(values: dict[str, Any]) -> int | None:
    cap: int | None = values.get("max_tokens")
    return cap if cap is not None else values.get("max_completion_tokens")


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
        tools += found.tools  # copied: what is remembered is shared between requests
        count += found.count
        hosted = hosted or found.hosted
    return Declared(tools, count, hosted, None)


def _messages(body: dict[str, Raw]) -> Scan:
    raw = body.get("messages")
    messages = None if raw is None else _plain(raw)
    if raw is None or type(messages) is not list or not messages:
        _refuse("messages", "a non-empty list of objects")
    if memoryview(raw)[-2] in _BLANKS:
        # a blank before the closing bracket would keep one turn's bytes from extending the last one's (6.5)
        body["messages"] = Raw(bytes(raw)[:-1].rstrip(_BLANKS) + b"]")
    scan = Scan()
    for index, message in enumerate(messages):
        scan.message(index, message)
    return scan
