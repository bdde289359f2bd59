"""Reading Messages API requests: bytes -> Turn, Turn -> Conversation (contract 5)."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw

from anvil.router.dialects import anthropic_wire as wire
from anvil.router.dialects.anthropic_intake import Intake, View, user_text
from anvil.router.dialects.anthropic_tools import (
    NOTHING,
    Declared,
    cut_tools,
    output_config,
    read_choice,
    read_tools,
    response_format,
    shows_reasoning,
    tool_choice,
)
from anvil.router.dialects.encode import MAX_UNKNOWN_NAMES, NEVER_FORWARDED, absent, check_named, splice, unknown_names
from anvil.router.reading import MAX_DEPTH, SYSTEM_KEYWORD_WORDS, check_depth, is_billing
from anvil.router.recent import PLACEHOLDER, recent_words, total_words
from anvil.router.turn import BadRequest, Conversation, Message, Signals, Text, Turn

_THREAD_DETAILS = {"error_code": "thread_unsupported_request", "unsupported": ["thread"]}
_BLANKS = b" \t\r\n"

_TEXT: msgspec.json.Decoder[Any] = msgspec.json.Decoder(str | None)
_FLAG: msgspec.json.Decoder[Any] = msgspec.json.Decoder(bool | None)
_NUMBER: msgspec.json.Decoder[Any] = msgspec.json.Decoder(float | None)
_INTEGER: msgspec.json.Decoder[Any] = msgspec.json.Decoder(int | None)
_ANY: msgspec.json.Decoder[Any] = msgspec.json.Decoder()

_CAPS = ("max_tokens", "max_completion_tokens", "max_output_tokens")
_CHECKS: dict[str, msgspec.json.Decoder[Any]] = {
    "model": _TEXT,
    "stream": _FLAG,
    **dict.fromkeys((*_CAPS, "top_k", "n"), _INTEGER),
    **dict.fromkeys(("temperature", "top_p", "presence_penalty", "frequency_penalty"), _NUMBER),
}
# read by their own decoders
_BULKY = frozenset({"messages", "system", "tools"})
_TAKEN_IN = frozenset({"messages", "system"})
# fields that translate, or that are named by whoever reads them
_TRANSLATED = frozenset(
    {"model", "messages", "system", "max_tokens", "stream", "temperature", "top_p", "stop_sequences", "tools"}
    | {"tool_choice", "thinking", "output_config", "n", *NEVER_FORWARDED}
)
_NAMED = {
    **{name: name for name in ("top_k", "context_management", "container", "mcp_servers", "service_tier")},
    "cache_control": "cache_control",
    "presence_penalty": "penalties",
    "frequency_penalty": "penalties",
}


def parse(data: bytes) -> Turn:
    """A validated request. Raises BadRequest."""
    return _parse(data, needs_cap=True)


def parse_count(data: bytes) -> Turn:
    """The same for /v1/messages/count_tokens, where max_tokens may be missing (contract 2.12)."""
    return _parse(data, needs_cap=False)


def _parse(data: bytes, *, needs_cap: bool) -> Turn:
    turn = _usual_turn(data, needs_cap)
    return turn if turn is not None else _turn(wire.body(data), Intake(), needs_cap, len(data))


def _usual_turn(data: bytes, needs_cap: bool) -> Turn | None:
    """The turn of a body in which every value's nesting is bounded by its type or length; None for every other.

    Tools an earlier request brought are not read again. Whatever is wrong is left to the long way to say.
    """
    known = cut_tools(data)
    try:
        body = wire.fields(data if known is None else known[0])
        long = [raw for name, raw in body.items() if len(raw) >= MAX_DEPTH and name not in _TAKEN_IN]
        if not all([check_depth(bytes(raw), MAX_DEPTH - 1) for raw in long]):
            return None
        if known is not None:
            if body.get("tools") != PLACEHOLDER:
                return None
            body["tools"] = known[1]
        intake = Intake(strict=True)
        turn = _turn(body, intake, needs_cap, len(data))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, BadRequest):
        return None
    return turn if intake.shallow else None


def _turn(body: dict[str, Raw], intake: Intake, needs_cap: bool, size: int) -> Turn:
    _refuse_thread(body)
    values = _values(body)
    if needs_cap and values.get("max_tokens") is None:
        raise BadRequest("max_tokens: field required", type="invalid_request_error")
    lossy: list[str] = []
    system = intake.system(body["system"]) if "system" in body else []
    messages = _messages(body, intake)
    declared = _tools(body, lossy)
    choice = tool_choice(read_choice(body.get("tool_choice")))
    if declared.count == len(declared.tools):  # a typed server tool may be the one that is named
        check_named(choice, declared.tools)
    intake.names |= declared.names
    return Turn(
        dialect="anthropic",
        body=body,
        signals=_signals(values, intake, system, messages, declared),
        model=values["model"],
        stream=values.get("stream") is True,
        cap=values.get("max_tokens"),
        stop=_stop(values.get("stop_sequences"), body, lossy),
        tools=declared.tools,
        tool_choice=choice,
        response_format=response_format(output_config(body.get("output_config"))),
        show_reasoning=shows_reasoning(body.get("thinking")),
        lossy=lossy,
        repairs=_repairs(system, messages),
        size=size,
        view=View(messages, system, intake.names, intake.unsigned),
    )


def _refuse_thread(body: dict[str, Raw]) -> None:
    """Server-side threads need a memory the router has not; this exact refusal makes the SDKs resend everything."""
    if not absent(body.pop("thread", None)):
        message = "thread: this endpoint is stateless, send the whole conversation"
        raise BadRequest(message, type="invalid_request_error", details=_THREAD_DETAILS)


def _values(body: dict[str, Raw]) -> dict[str, Any]:
    """Every field but the bulky ones, decoded; those of 5.2 validated. Raises BadRequest."""
    values = {name: wire.decode(_CHECKS.get(name, _ANY), raw, name) for name, raw in body.items() if name not in _BULKY}
    for name in _CAPS:
        if (values.get(name) or 0) < 0:
            raise BadRequest(f"{name}: must not be negative")
    if values.get("n") not in (None, 1):
        raise BadRequest("n: only 1 is supported")
    model = values.get("model")
    values["model"] = model if model is not None and model.strip() else None
    return values


def _messages(body: dict[str, Raw], intake: Intake) -> list[Message]:
    raw = body.get("messages")
    if raw is None:
        raise BadRequest("messages: field required")
    messages = intake.messages(raw)
    if memoryview(raw)[-2] in _BLANKS:
        # a blank before the closing bracket would keep one turn's bytes from extending the last one's (6.5)
        body["messages"] = Raw(bytes(raw)[:-1].rstrip(_BLANKS) + b"]")
    return messages


def _stop(given: Any, body: dict[str, Raw], lossy: list[str]) -> list[str] | None:
    """The usable stop strings; ``body`` then says the same, as a list."""
    if given is None:
        return None
    items = [given] if type(given) is str else given if type(given) is list else []
    stop = [item for item in items if type(item) is str and item]
    if len(stop) != len(items) or not stop:
        lossy.append("stop")
    if not stop:
        del body["stop_sequences"]
        return None
    if stop != given:
        body["stop_sequences"] = Raw(splice(stop))
    return stop


def _tools(body: dict[str, Raw], lossy: list[str]) -> Declared:
    """The declared tools; malformed entries leave ``body``."""
    raw = body.get("tools")
    if raw is None or absent(raw):
        return NOTHING
    declared = read_tools(raw)
    if declared.kept is not None:
        lossy.append("tools.malformed")
        body["tools"] = declared.kept
        if not declared.count:
            del body["tools"]
    return declared


def _repairs(system: list[str], messages: list[Message]) -> tuple[str, ...]:
    found: tuple[str, ...] = ()
    if any([is_billing(text) for text in system]):
        found = ("system.nonce",)
    if any([message.role == "system" for message in messages]):
        found += ("role.late_system",)
    return found


def _signals(
    values: dict[str, Any], intake: Intake, system: list[str], messages: list[Message], declared: Declared
) -> Signals:
    leading = _leading(messages)
    texts = system + [_text(message) for message in messages[:leading]] if leading else system
    texts = [text for text in texts if not is_billing(text)]
    long = sum([recent_words(text) for text in texts]) > SYSTEM_KEYWORD_WORDS
    return Signals(
        words=total_words(intake.texts),
        system_text="" if long else "\n".join(texts),
        user_text=user_text(messages),
        thinking=_thinks(values.get("thinking")),
        has_tools=declared.count > 0,
        tool_artifacts=declared.count > 0 or intake.tool_blocks or values.get("tool_choice") is not None,
        images=intake.images,
        documents=intake.documents,
        linked_documents=intake.linked_documents,
        messages=len(messages),
    )


def _thinks(thinking: Any) -> bool:
    """Thinking explicitly on, as the classifier reads it (9.5)."""
    return bool(thinking) and not (isinstance(thinking, dict) and thinking.get("type") in ("disabled", "adaptive"))


# ---------------------------------------------------------------------------------------- neutral form


def conversation(turn: Turn) -> Conversation:
    """The request in neutral form, for tiers of another dialect (contract 5.3, 6.4)."""
    view = turn.view
    assert isinstance(view, View)  # only parse() makes turns of this dialect
    messages, body = view.messages, turn.body
    leading = _leading(messages)
    choice = read_choice(body.get("tool_choice"))
    return Conversation(
        system=view.system + [_text(message) for message in messages[:leading]] if leading else view.system,
        messages=messages[leading:] if leading else messages,
        temperature=_given(body, "temperature"),
        top_p=_given(body, "top_p"),
        stop=turn.stop,
        parallel_tools=False if choice is not None and choice.disable_parallel_tool_use else None,
        unmapped=_unmapped(turn, view),
    )


def _unmapped(turn: Turn, view: View) -> list[str]:
    names = set(view.names)
    fields = [field for field, raw in turn.body.items() if field not in _TRANSLATED and not absent(raw)]
    names.update([_NAMED[field] for field in fields if field in _NAMED])
    names.update(unknown_names([field for field in fields if field not in _NAMED]))
    output = output_config(turn.body.get("output_config"))
    names.update([f"unknown.{field}" for field in output if field not in ("effort", "format")])
    if "effort" in output or not absent(turn.body.get("thinking")):
        names.add("reasoning.effort")
    if "format" in output and turn.response_format is None:
        names.add("response_format")
    if turn.tool_choice is not None and turn.tool_choice.mode == "unknown":
        names.add("tool_choice")
    if view.messages[-1].role == "assistant":
        names.add("prefill")
    unknown = sorted([name for name in names if name.startswith("unknown.")])
    return sorted(names.difference(unknown[MAX_UNKNOWN_NAMES:]))


def _given(body: dict[str, Raw], name: str) -> Raw | None:
    raw = body.get(name)
    return None if absent(raw) else raw


def _leading(messages: list[Message]) -> int:
    """How many role-system messages open the conversation; they belong to the system text."""
    if messages[0].role != "system":
        return 0
    return next((at for at, message in enumerate(messages) if message.role != "system"), len(messages))


def _text(message: Message) -> str:
    return "\n".join([block.text for block in message.blocks if type(block) is Text])
