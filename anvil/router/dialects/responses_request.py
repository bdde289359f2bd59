"""Reads an OpenAI Responses request (contract 5): one strict decode, validation, and its neutral form.

No tier speaks this dialect, so the conversation every tier needs is made at once and kept in ``Turn.view``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import Raw

from anvil.router.dialects.anthropic_intake import user_text
from anvil.router.dialects.anthropic_wire import decode
from anvil.router.dialects.encode import NEVER_FORWARDED, absent, check_named, unknown_names
from anvil.router.dialects.openai_chat_conversation import OPENAI_FIELDS
from anvil.router.dialects.openai_chat_request import read_object
from anvil.router.dialects.responses_input import Intake
from anvil.router.dialects.responses_tools import NOTHING, Declared, choose, read_format, read_tools, read_tools_joined
from anvil.router.reading import MAX_DEPTH, SYSTEM_KEYWORD_WORDS, check_depth
from anvil.router.recent import recent_words
from anvil.router.turn import BadRequest, Conversation, Signals, Turn

_TEXT: msgspec.json.Decoder[Any] = msgspec.json.Decoder(str | None)
_FLAG: msgspec.json.Decoder[Any] = msgspec.json.Decoder(bool | None)
_NUMBER: msgspec.json.Decoder[Any] = msgspec.json.Decoder(float | None)
_INTEGER: msgspec.json.Decoder[Any] = msgspec.json.Decoder(int | None)
_ANY: msgspec.json.Decoder[Any] = msgspec.json.Decoder()
_FIELDS = msgspec.json.Decoder(dict[str, Raw])

_CAPS = ("max_output_tokens", "max_tokens", "max_completion_tokens")
_CHECKS: dict[str, msgspec.json.Decoder[Any]] = {
    **dict.fromkeys(("model", "instructions"), _TEXT),
    **dict.fromkeys(("stream", "background"), _FLAG),
    **dict.fromkeys((*_CAPS, "top_k", "n"), _INTEGER),
    **dict.fromkeys(("temperature", "top_p", "presence_penalty", "frequency_penalty"), _NUMBER),
}
_STORED = {
    "previous_response_id": "responses are not stored here, send the whole conversation in input",
    "conversation": "conversations are not stored here, send the whole conversation in input",
    "prompt": "prompt templates are not stored here, send the text in instructions and input",
}
# fields that translate, or that are named by whoever reads them
_READ = frozenset({"model", "input", "instructions", "stream", "background", "max_output_tokens", "n", "text"}) | {
    *("temperature", "top_p", "tools", "tool_choice", "parallel_tool_calls", "reasoning", "top_logprobs"),
    *_STORED,
}
_NAMED = frozenset({"truncation", "include", "stop"})
_QUIET = ("disabled", "adaptive")


def parse(data: bytes, *, join_namespaces: bool = False) -> Turn:
    """The validated turn. Raises BadRequest (400) for anything contract 5.1, 5.2 and 5.5 refuse, and nothing else.

    join_namespaces: tools of a namespace reach tiers as ``namespace__tool`` instead of being left out (5.5).
    """
    body = read_object(data)
    try:
        return _turn(body, read_tools_joined if join_namespaces else read_tools)
    except msgspec.DecodeError as error:
        raise BadRequest(f"invalid JSON: {error}") from None
    except UnicodeDecodeError:
        raise BadRequest("invalid JSON: a text is not valid UTF-8") from None
    except RecursionError:
        raise BadRequest(f"the body nests deeper than {MAX_DEPTH} levels") from None


def conversation(turn: Turn) -> Conversation:
    """The request in neutral form, as ``parse`` made it."""
    view = turn.view
    assert isinstance(view, Conversation)  # only parse() makes turns of this dialect
    return view


def _turn(body: dict[str, Raw], read: Callable[[Raw], Declared | None]) -> Turn:
    values = {name: _value(name, raw) for name, raw in body.items() if name not in ("input", "tools")}
    _refuse_stored(values)
    _check_numbers(values)
    lossy = ["store"] if values.get("store") is True else []
    declared = _declared(body, lossy, read)
    choice, tools = choose(values.get("tool_choice"), declared.tools)
    check_named(choice, tools)
    intake = Intake()
    if values.get("instructions"):
        intake.system.append(values["instructions"])
        intake.texts.append(values["instructions"])
    intake.read(_input(body))
    answer_format = read_format(values.get("text"), body.get("text"))
    model = values.get("model")
    return Turn(
        dialect="responses",
        body=body,
        signals=_signals(values, intake, declared),
        model=model if model and model.strip() else None,
        stream=values.get("stream") is True,
        cap=values.get("max_output_tokens"),
        tools=tools,
        tool_choice=choice,
        response_format=answer_format,
        lossy=lossy,
        view=_conversation(body, values, intake, declared, strange_format=answer_format is None),
    )


def _value(name: str, raw: Raw) -> Any:
    if len(memoryview(raw)) > MAX_DEPTH and not check_depth(bytes(raw), MAX_DEPTH - 1):
        raise RecursionError
    return decode(_CHECKS.get(name, _ANY), raw, name)


def _input(body: dict[str, Raw]) -> object:
    raw = body.get("input")
    return None if raw is None else _ANY.decode(raw)


def _refuse_stored(values: dict[str, Any]) -> None:
    """What only a router with a memory could do (5.5); leaving it out would lose the caller's history."""
    for name, why in _STORED.items():
        if values.get(name) is not None:
            raise BadRequest(f"{name}: {why}")
    if values.get("background"):
        raise BadRequest("background: answers are not kept here, ask with stream or wait for the answer")


def _check_numbers(values: dict[str, Any]) -> None:
    for name in _CAPS:
        if (values.get(name) or 0) < 0:
            raise BadRequest(f"{name}: must not be negative")
    if values.get("n") not in (None, 1):
        raise BadRequest("n: only 1 is supported")


def _declared(body: dict[str, Raw], lossy: list[str], read: Callable[[Raw], Declared | None]) -> Declared:
    """The declared tools; malformed entries leave ``body``."""
    raw = body.get("tools")
    if raw is None or absent(raw):
        return NOTHING
    declared = read(raw)
    if declared is None:
        raise BadRequest("tools: expected a list of objects")
    if declared.kept is not None:
        lossy.append("tools.malformed")
        body["tools"] = declared.kept
    return declared


def _signals(values: dict[str, Any], intake: Intake, declared: Declared) -> Signals:
    long = sum(map(recent_words, intake.system)) > SYSTEM_KEYWORD_WORDS
    thinking = values.get("thinking")
    return Signals(
        words=sum(map(recent_words, intake.texts)),
        system_text="" if long else "\n".join(intake.system),
        user_text=user_text(intake.messages),
        thinking=bool(thinking) and not (isinstance(thinking, dict) and thinking.get("type") in _QUIET),
        has_tools=declared.count > 0,
        tool_artifacts=declared.count > 0 or intake.tool_items or values.get("tool_choice") is not None,
        images=intake.images,
        documents=intake.documents,
        linked_documents=intake.linked_documents,
        messages=intake.items + bool(values.get("instructions")),
    )


# ---------------------------------------------------------------------------------------- neutral form


def _conversation(
    body: dict[str, Raw], values: dict[str, Any], intake: Intake, declared: Declared, *, strange_format: bool
) -> Conversation:
    names = dict.fromkeys((*sorted(declared.names), *intake.lost))
    fields = {name: raw for name, raw in body.items() if name in OPENAI_FIELDS and not absent(raw)}
    effort = _reasoning(values.get("reasoning"), names)
    _text_settings(body, values, fields, names, strange_format)
    _logprobs(body, values, fields)
    parallel = values.get("parallel_tool_calls")
    names.update(dict.fromkeys(_unmapped(values)))
    return Conversation(
        system=intake.system,
        messages=intake.messages,
        temperature=_given(body, "temperature"),
        top_p=_given(body, "top_p"),
        parallel_tools=parallel if isinstance(parallel, bool) else None,
        reasoning_effort=effort,
        openai_fields=fields,
        unmapped=list(names),
    )


def _given(body: dict[str, Raw], name: str) -> Raw | None:
    raw = body.get(name)
    return None if absent(raw) else raw


def _reasoning(value: object, names: dict[str, None]) -> str | None:
    """The effort; whatever else the field says is named."""
    if value is None:
        return None
    if not isinstance(value, dict):
        names["reasoning.effort"] = None
        return None
    if value.get("summary") is not None or value.get("generate_summary") is not None:
        names["reasoning.summary"] = None
    effort = value.get("effort")
    if effort is not None and not isinstance(effort, str):
        names["reasoning.effort"] = None
    return effort if isinstance(effort, str) else None


def _text_settings(
    body: dict[str, Raw], values: dict[str, Any], fields: dict[str, Raw], names: dict[str, None], strange_format: bool
) -> None:
    """``text``: verbosity goes to OpenAI tiers; a format that is neither text nor readable is named."""
    text = values.get("text")
    if text is None:
        return
    if not isinstance(text, dict):
        names["response_format"] = None
        return
    if text.get("verbosity") is not None:
        fields["verbosity"] = _FIELDS.decode(body["text"])["verbosity"]
    wanted = text.get("format")
    plain = wanted is None or (isinstance(wanted, dict) and wanted.get("type") == "text")
    if strange_format and not plain:
        names["response_format"] = None


def _logprobs(body: dict[str, Raw], values: dict[str, Any], fields: dict[str, Raw]) -> None:
    """Asked for by ``include`` here, by a flag in Chat Completions."""
    include = values.get("include")
    if values.get("top_logprobs") or (isinstance(include, list) and "message.output_text.logprobs" in include):
        fields["logprobs"] = Raw(b"true")
    else:
        fields.pop("top_logprobs", None)


def _unmapped(values: dict[str, Any]) -> list[str]:
    said = [name for name, value in values.items() if value is not None and value != [] and name not in _READ]
    strange = [name for name in said if name not in OPENAI_FIELDS and name not in NEVER_FORWARDED]
    named = [name for name in strange if name in _NAMED]
    return named + unknown_names([name for name in strange if name not in _NAMED])
