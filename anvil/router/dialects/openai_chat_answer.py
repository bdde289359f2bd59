"""Reads a complete Chat Completions answer of a tier (contract 7.1, 7.3, 7.4), and what streams share with it."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta, Raw, Struct

from anvil.router.dialects.encode import NULL, splice
from anvil.router.failures import classify_stream_error
from anvil.router.turn import (
    Answer,
    BadAnswer,
    Fault,
    Finish,
    FinishReason,
    Reasoning,
    Text,
    ToolCall,
    Usage,
)

MAX_BLOCKS = 1024
# how one call can be wrong in a way its JSON text cannot show
NOT_AN_OBJECT, NO_NAME, BAD_ARGUMENTS = "call is not an object", "call without a name", "arguments are not JSON text"

_REASONS: dict[str, FinishReason] = {
    "stop": "stop",
    "end_turn": "stop",
    "stop_sequence": "stop_sequence",
    "tool_calls": "tool_calls",
    "tool_use": "tool_calls",
    "function_call": "tool_calls",
    "length": "length",
    "max_tokens": "length",
    "model_length": "length",
    "model_context_window_exceeded": "context_window",
    "content_filter": "content_filter",
    "refusal": "content_filter",
    "pause_turn": "pause_turn",
}
_Count = Annotated[int, Meta(ge=0)]
_CALL_FIELDS = frozenset(("id", "type", "index", "function", "custom"))


class _Cached(Struct, forbid_unknown_fields=True, gc=False):
    cached_tokens: _Count | None = None
    audio_tokens: int | None = None


class _Thought(Struct, forbid_unknown_fields=True, gc=False):
    reasoning_tokens: _Count | None = None
    audio_tokens: int | None = None
    accepted_prediction_tokens: int | None = None
    rejected_prediction_tokens: int | None = None


class _Counts(Struct, forbid_unknown_fields=True, gc=False):
    """Closed, so that nothing in it goes undecoded."""

    prompt_tokens: _Count
    completion_tokens: _Count
    total_tokens: int | None = None
    prompt_tokens_details: _Cached | None = None
    completion_tokens_details: _Thought | None = None

    def usage(self, raw: bytes) -> Usage:
        cached, thought = self.prompt_tokens_details, self.completion_tokens_details
        return Usage(
            self.prompt_tokens,
            self.completion_tokens,
            None if cached is None else cached.cached_tokens,
            None if thought is None else thought.reasoning_tokens,
            raw=raw,
        )


class _UsualMessage(Struct, gc=False):
    content: str
    reasoning_content: str | None = None
    reasoning: str | None = None
    tool_calls: tuple[()] | None = None
    function_call: None = None


class _UsualChoice(Struct, gc=False):
    message: _UsualMessage
    finish_reason: str
    stop_reason: str | int | None = None


class _Usual(Struct, gc=False):
    """What nearly every answer is: one text. Fields that are read either way are closed, the others never decoded."""

    choices: tuple[_UsualChoice]
    usage: _Counts | None = None
    error: None = None


_usual = msgspec.json.Decoder(_Usual).decode
_objects = msgspec.json.Decoder(list[dict[str, Raw]]).decode
_plain = msgspec.json.Decoder().decode
_fields = msgspec.json.Decoder(dict[str, Raw]).decode
_items = msgspec.json.Decoder(list[Raw]).decode


def read_answer(data: bytes) -> Answer:
    """One answer with its unknown fields kept. Raises BadAnswer for what 7.1 calls malformed and for error objects."""
    try:
        if not data.isascii():
            data.decode()  # fields nobody reads are passed on as they are, so they must be text too
        return _usual_answer(data) or _answer(_fields(data))
    except msgspec.ValidationError:
        raise malformed("answer of the wrong shape") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise malformed("answer is not JSON") from None


def _usual_answer(data: bytes) -> Answer | None:
    """The answer of a body of the usual shape, text with nothing wrong about it; None for every other."""
    try:
        given = _usual(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    said = given.choices[0]
    thought = said.message.reasoning_content or said.message.reasoning
    text, counts = said.message.content, given.usage
    finish = read_finish(said.finish_reason, said.stop_reason)
    if not text or finish.reason == "unknown":
        return None
    envelope = _fields(data)
    choice = _objects(envelope["choices"])[0]
    return Answer(
        blocks=[Reasoning(thought), Text(text)] if thought else [Text(text)],
        finish=finish,
        usage=None if counts is None else counts.usage(bytes(envelope["usage"])),
        envelope=envelope,
        message=_fields(choice["message"]),
        choice=choice,
    )


def malformed(label: str) -> BadAnswer:
    return BadAnswer(Fault("unavailable", label))


def _answer(envelope: dict[str, Raw]) -> Answer:
    error = _plain(envelope.get("error", NULL))
    if error:
        raise BadAnswer(classify_stream_error("openai", error))
    usage = read_usage(envelope.get("usage"))
    choices = _items(envelope.get("choices", NULL))
    if not choices:
        return Answer(blocks=[], usage=usage, envelope=envelope)
    choice = _fields(choices[0])
    message = _fields(choice.get("message", NULL))
    answer = Answer(blocks=_blocks(message), usage=usage, envelope=envelope, message=message, choice=choice)
    raw = _plain(choice.get("finish_reason", NULL))
    answer.finish = read_finish(raw, _plain(choice.get("stop_reason", NULL)))
    if answer.finish.reason == "unknown" and raw is not None:
        answer.lossy.append("finish.unknown")
    return answer


def _blocks(message: dict[str, Raw]) -> list[Any]:
    blocks: list[Any] = []
    for name in ("reasoning_content", "reasoning"):
        thought = _plain(message.get(name, NULL))
        if isinstance(thought, str) and thought:
            blocks.append(Reasoning(thought))
            break
    text = _text(_plain(message.get("content", NULL)))
    if text:
        blocks.append(Text(text))
    blocks += _calls(message)
    if len(blocks) > MAX_BLOCKS:
        raise malformed("more than 1024 blocks")
    return blocks


def _text(content: Any) -> str:
    """Content may be null, a string, or a list of strings and parts; anything else is no answer."""
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise malformed("content is not text")
    parts = [part.get("text") if isinstance(part, dict) else part for part in content]
    return "".join([part for part in parts if isinstance(part, str)])


def _calls(message: dict[str, Raw]) -> list[ToolCall]:
    raw = message.get("tool_calls", NULL)
    calls = _plain(raw)
    if isinstance(calls, list):
        found = [read_call(item) for item in _items(raw)]
    else:
        found = [ToolCall("", "", "", malformed=NOT_AN_OBJECT)] if calls else []
    legacy = message.get("function_call", NULL)
    if not found and _plain(legacy):
        found = [_with_function("", legacy, None)]
    if len(found) > 1:
        taken: set[str] = set()
        found = [distinct(call, taken) for call in found]
    return found


def distinct(call: ToolCall, taken: set[str]) -> ToolCall:
    """The call without an id that an earlier one of the answer has: results are matched by it, so writers make one."""
    if call.id in taken:
        return msgspec.structs.replace(call, id="")
    if call.id:
        taken.add(call.id)
    return call


def read_call(item: Raw) -> ToolCall:
    """One entry of ``tool_calls``; a shape that is wrong is told in ``malformed``."""
    try:
        fields = _fields(item)
    except msgspec.ValidationError:
        return ToolCall("", "", "", malformed=NOT_AN_OBJECT)
    identity = _plain(fields.get("id", NULL))
    identity = identity if isinstance(identity, str) else ""
    extra = {name: raw for name, raw in fields.items() if name not in _CALL_FIELDS and raw != NULL} or None
    if "custom" in fields and "function" not in fields:
        return _custom(identity, _plain(fields["custom"]), extra)
    return _with_function(identity, fields.get("function", NULL), extra)


def _with_function(identity: str, function: Raw, extra: dict[str, Raw] | None) -> ToolCall:
    try:
        fields = _fields(function)
    except msgspec.ValidationError:
        return ToolCall(identity, "", "", malformed=NOT_AN_OBJECT, extra=extra)
    name = _plain(fields.get("name", NULL))
    raw = fields.get("arguments", NULL)
    arguments = arguments_text(_plain(raw), raw)
    if not isinstance(name, str) or not name:
        return ToolCall(identity, "", arguments or "", malformed=NO_NAME, extra=extra)
    if arguments is None:
        return ToolCall(identity, name, "", malformed=BAD_ARGUMENTS, extra=extra)
    return ToolCall(identity, name, arguments, extra=extra)


def _custom(identity: str, inner: Any, extra: dict[str, Raw] | None) -> ToolCall:
    """A freeform call: its text travels as the one argument ``input``."""
    name = inner.get("name") if isinstance(inner, dict) else None
    if not isinstance(name, str) or not name:
        return ToolCall(identity, "", "", custom=True, malformed=NO_NAME, extra=extra)
    text = inner.get("input")
    if not isinstance(text, str):
        return ToolCall(identity, name, "", custom=True, malformed=BAD_ARGUMENTS, extra=extra)
    return ToolCall(identity, name, custom_arguments(text), custom=True, extra=extra)


def custom_arguments(text: str) -> str:
    return splice({"input": text}).decode()


def arguments_text(value: Any, raw: Raw | None = None) -> str | None:
    """Arguments as JSON text: a string is it already, objects and lists are written as sent; None: a wrong type."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, dict | list):
        return bytes(raw).decode() if raw is not None else splice(value).decode()
    return None


def read_finish(raw: Any, matched: Any = None) -> Finish:
    """7.3. ``matched``: what the engine reports as the stop string (vLLM ``stop_reason``; a number is a token id)."""
    word = raw if isinstance(raw, str) else None
    reason = _REASONS.get(word.strip().lower(), "unknown") if word is not None else "unknown"
    if isinstance(matched, str) and matched and reason in ("stop", "stop_sequence"):
        return Finish("stop_sequence", word, matched)
    return Finish(reason, word)


def read_usage(raw: Raw | None) -> Usage | None:
    """The tier's counts, None unless both are whole numbers of at least 0 (7.4)."""
    usage = None if raw is None else _plain(raw)
    return None if raw is None or not isinstance(usage, dict) else usage_of(usage, bytes(raw))


def usage_of(usage: dict[str, Any], raw: bytes) -> Usage | None:
    prompt, completion = _count(usage, "prompt_tokens"), _count(usage, "completion_tokens")
    if prompt is None or completion is None:
        return None
    return Usage(
        prompt,
        completion,
        cached=_count(usage.get("prompt_tokens_details"), "cached_tokens"),
        reasoning=_count(usage.get("completion_tokens_details"), "reasoning_tokens"),
        raw=raw,
    )


def _count(fields: Any, name: str) -> int | None:
    value = fields.get(name) if isinstance(fields, dict) else None
    return value if type(value) is int and value >= 0 else None
