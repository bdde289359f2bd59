"""Reads a Chat Completions stream of a tier into neutral events (contract 7.2): the hot path of every chunk."""

from __future__ import annotations

from typing import Any, Literal

import msgspec
from msgspec import Raw, Struct

from anvil.router.dialects.encode import NULL, splice
from anvil.router.dialects.openai_chat_answer import (
    BAD_ARGUMENTS,
    MAX_BLOCKS,
    NO_NAME,
    NOT_AN_OBJECT,
    arguments_text,
    custom_arguments,
    distinct,
    malformed,
    read_finish,
    usage_of,
)
from anvil.router.failures import classify_stream_error
from anvil.router.sse import Parser
from anvil.router.turn import (
    Event,
    Finish,
    ReasoningDelta,
    ReasoningDone,
    TextDelta,
    ToolCall,
    ToolDone,
    ToolGrow,
    ToolOpen,
    UsageReport,
)

MAX_BAD_EVENTS = 10
# a tier whose chunks keep carrying more than text is read the long way from then on
MAX_MISSES = 4
DONE = b"[DONE]"

_DELTA_FIELDS = frozenset(("role", "content", "reasoning_content", "reasoning", "tool_calls", "function_call"))
_CHOICE_KNOWN = frozenset(("index", "delta", "finish_reason", "stop_reason"))
_CHOICE_FIELDS = _CHOICE_KNOWN | {"logprobs"}  # engines send it with every chunk, nearly always null
_CHUNK_FIELDS = frozenset(("id", "object", "created", "model", "choices", "usage", "error"))
_CALL_FIELDS = frozenset(("index", "id", "type", "function", "custom"))


class _Chunk(Struct, gc=False):
    choices: Any = None
    usage: Any = None
    error: Any = None


class _PlainDelta(Struct, forbid_unknown_fields=True, gc=False):
    content: str
    role: str | None = None
    reasoning_content: None = None
    reasoning: None = None
    refusal: None = None
    tool_calls: None = None
    function_call: None = None


class _PlainChoice(Struct, forbid_unknown_fields=True, gc=False):
    delta: _PlainDelta
    index: Literal[0] = 0
    finish_reason: None = None
    stop_reason: None = None
    logprobs: None = None
    token_ids: None = None


class _PlainChunk(Struct, gc=False):
    """A chunk of text and nothing else, while text flows. Nulls say nothing; whatever else is there is refused."""

    choices: tuple[_PlainChoice]
    usage: None = None
    error: None = None


_chunk = msgspec.json.Decoder(_Chunk).decode
_plain_chunk = msgspec.json.Decoder(_PlainChunk).decode
_fields = msgspec.json.Decoder(dict[str, Raw]).decode


class _Call:
    """One tool call as its fragments arrive."""

    __slots__ = ("custom", "extra", "flaw", "id", "name", "pieces")

    def __init__(self) -> None:
        self.id = self.name = self.flaw = ""
        self.custom = False
        self.pieces: list[str] = []
        self.extra: dict[str, Raw] = {}

    def add(self, fragment: Any) -> int:
        """Take one fragment; returns how many bytes of arguments it brought."""
        if type(fragment) is not dict:
            self.flaw = NOT_AN_OBJECT
            return 0
        identity = fragment.get("id")
        if type(identity) is str and identity:
            self.id = identity
        for name, value in fragment.items():
            if name not in _CALL_FIELDS and value is not None:
                self.extra[name] = Raw(splice(value))
        function = fragment.get("function")
        if function is None and "custom" in fragment:
            self.custom = True
            function = fragment["custom"]
        return self._add_function(function)

    def _add_function(self, function: Any) -> int:
        if type(function) is not dict:
            if function is not None:
                self.flaw = NOT_AN_OBJECT
            return 0
        name = function.get("name")
        if type(name) is str and name:
            self.name = name
        text = arguments_text(function.get("input" if self.custom else "arguments"))
        if text is None:
            self.flaw = BAD_ARGUMENTS
        if not text:
            return 0
        self.pieces.append(text)
        return len(text) if text.isascii() else len(text.encode())

    def ends_before(self, fragment: dict[str, Any]) -> bool:
        """Whether ``fragment`` begins another call although it has this one's index, as some engines number them."""
        identity, function = fragment.get("id"), fragment.get("function")
        if not self.id or type(identity) is not str or identity in ("", self.id):
            return False
        return type(function) is dict and bool(function.get("name"))

    def done(self) -> ToolCall:
        arguments = "".join(self.pieces)
        flaw = self.flaw or ("" if self.name else NO_NAME)
        if self.custom:
            arguments = custom_arguments(arguments)
        return ToolCall(self.id, self.name, arguments, custom=self.custom, malformed=flaw, extra=self.extra or None)


class StreamReader:
    """See ``dialects.StreamReader``. Only choice 0 is read; what follows its finish reason is usage or nothing."""

    def __init__(self) -> None:
        self.complete = False
        self.bad_events = 0
        self.lossy: set[str] = set()
        self._parser = Parser()
        self._calls: dict[int, _Call] = {}
        self._moved: dict[int, int] = {}  # a tier's index -> ours, where it used one for two calls
        self._content = False
        self._thinking = False
        self._ended = False  # after [DONE] or an error nothing counts any more
        self._flows = False  # the last chunk was text, so the next one will be
        self._misses = 0

    def feed(self, data: bytes) -> list[Event]:
        whole = self._parser.whole(data)
        if whole is not None and self._flows and (text := self._flowing_text(whole)):
            return [TextDelta(text)]
        out: list[Event] = []
        for name, payload in self._parser.feed(data) if whole is None else ((None, whole),):
            if name is None and self._flows and (text := self._flowing_text(payload)):
                out.append(TextDelta(text))
            else:
                self._read(name, payload, out)
        return out

    def _flowing_text(self, payload: bytes) -> str:
        """The text of one more chunk of nothing but text; "" when it has to be read in full."""
        try:
            return _plain_chunk(payload).choices[0].delta.content
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            self._flows = False
            self._misses += 1
            return ""

    def close(self) -> list[Event]:
        out: list[Event] = []
        for name, payload in self._parser.close():
            self._read(name, payload, out)
        return out

    def _read(self, name: str | None, payload: bytes, out: list[Event]) -> None:
        if self._ended:
            return
        if name == "error":
            self._fail(payload, out)
            return
        try:
            chunk = _chunk(payload)
        except UnicodeDecodeError:
            self._read(name, payload.decode("utf-8", "replace").encode(), out)
            return
        except (msgspec.DecodeError, RecursionError):
            self._read_odd(payload, out)
            return
        if chunk.error:
            self._fail(payload, out)
            return
        choices = chunk.choices
        if choices and not self.complete:
            self._read_choices(choices, out)
            if out and type(out[-1]) is Finish:
                out[-1] = _with_unknown(out[-1], payload)
        usage = chunk.usage
        if type(usage) is dict:
            found = usage_of(usage, splice(usage))
            if found is not None:
                out.append(UsageReport(found))

    def _fail(self, payload: bytes, out: list[Event]) -> None:
        self._ended, self._flows = True, False
        out.append(classify_stream_error("openai", _lenient(payload)))

    def _read_odd(self, payload: bytes, out: list[Event]) -> None:
        if payload.strip() != DONE:
            self.bad_events += 1
            if self.bad_events >= MAX_BAD_EVENTS:
                raise malformed("ten undecodable events")
            return
        self._ended, self._flows = True, False
        if not self.complete and (self._content or self._calls):
            self.lossy.add("finish.assumed")
            self._end(Finish("tool_calls" if self._calls else "stop", assumed=True), out)

    def _read_choices(self, choices: Any, out: list[Event]) -> None:
        choice = choices[0] if type(choices) is list else None
        if type(choice) is not dict or choice.get("index"):
            choice = _choice_zero(choices)
            if choice is None:
                return
        delta = choice.get("delta")
        if type(delta) is dict and not self._read_plain(delta, choice, out):
            self._read_delta(delta, choice, out)
        raw = choice.get("finish_reason")
        if raw is not None and raw != "":
            finish = read_finish(raw, choice.get("stop_reason"))
            if finish.reason == "unknown":
                self.lossy.add("finish.unknown")
            self._end(finish, out)

    def _read_plain(self, delta: dict[str, Any], choice: dict[str, Any], out: list[Event]) -> bool:
        """Take a delta that is text and nothing else, as nearly all are; False when it is not one."""
        text = delta.get("content")
        if len(delta) != 1 or type(text) is not str or not text or self._thinking:
            return False
        if choice.get("logprobs") is not None or not _CHOICE_FIELDS.issuperset(choice):
            return False
        self._content = True
        self._expect_text()
        out.append(TextDelta(text))
        return True

    def _expect_text(self) -> None:
        self._flows = self._misses < MAX_MISSES

    def _read_delta(self, delta: dict[str, Any], choice: dict[str, Any], out: list[Event]) -> None:
        thought = delta.get("reasoning_content") or delta.get("reasoning")
        if thought and type(thought) is str:
            self._thinking = True
            out.append(ReasoningDelta(thought))
        content = delta.get("content")
        text = content if type(content) is str else _text_of(content)
        extra = None if _DELTA_FIELDS.issuperset(delta) else _unknown(delta, _DELTA_FIELDS)
        quiet = _CHOICE_FIELDS.issuperset(choice) and choice.get("logprobs") is None
        choice_extra = None if quiet else _unknown(choice, _CHOICE_KNOWN)
        if text or extra or choice_extra:
            if text:
                self._content = True
                self._end_thinking(out)
            out.append(TextDelta(text, extra, choice_extra))
            if not (extra or choice_extra):
                self._expect_text()
        calls = delta.get("tool_calls")
        if calls:
            self._read_calls(calls if type(calls) is list else [calls], out)
        legacy = delta.get("function_call")
        if legacy:
            self._grow(0, {"function": legacy}, out)

    def _read_calls(self, fragments: list[Any], out: list[Event]) -> None:
        for fragment in fragments:
            self._grow(self._place(fragment) if type(fragment) is dict else 0, fragment, out)

    def _place(self, fragment: dict[str, Any]) -> int:
        given = fragment.get("index")
        index = given if type(given) is int else 0
        place = self._moved.get(index, index)
        call = self._calls.get(place)
        if call is not None and call.ends_before(fragment):
            place = self._moved[index] = max(self._calls) + 1
        return place

    def _grow(self, index: int, fragment: Any, out: list[Event]) -> None:
        call = self._calls.get(index)
        if call is None:
            if len(self._calls) >= MAX_BLOCKS:
                raise malformed("more than 1024 blocks")
            call = self._calls[index] = _Call()
            self._end_thinking(out)
            out.append(ToolOpen(index))
        size = call.add(fragment)
        if size:
            out.append(ToolGrow(index, size))

    def _end_thinking(self, out: list[Event]) -> None:
        if self._thinking:
            self._thinking = False
            out.append(ReasoningDone())

    def _end(self, finish: Finish, out: list[Event]) -> None:
        self.complete, self._flows = True, False
        self._end_thinking(out)
        taken: set[str] = set()
        for index, call in self._calls.items():
            out.append(ToolDone(index, distinct(call.done(), taken)))
        out.append(finish)


def _with_unknown(finish: Finish, payload: bytes) -> Finish:
    """The finish with the unknown top-level fields of its chunk; engines repeat theirs in every chunk."""
    if not payload.isascii():
        payload = payload.decode("utf-8", "replace").encode()  # raw parts are not decoded by the line below
    extra = {name: raw for name, raw in _fields(payload).items() if name not in _CHUNK_FIELDS and raw != NULL}
    return msgspec.structs.replace(finish, extra=extra) if extra else finish


def _lenient(payload: bytes) -> Any:
    """An error event's data: its JSON, or its text when it is none."""
    try:
        return msgspec.json.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return payload.decode("utf-8", "replace")


def _choice_zero(choices: Any) -> dict[str, Any] | None:
    for choice in choices if type(choices) is list else ():
        if type(choice) is dict and not choice.get("index"):
            return choice
    return None


def _text_of(content: Any) -> str:
    """Content that is no string: a list of strings and parts, else nothing."""
    parts = content if type(content) is list else ()
    texts = [part.get("text") if type(part) is dict else part for part in parts]
    return "".join([text for text in texts if type(text) is str])


def _unknown(fields: dict[str, Any], known: frozenset[str]) -> dict[str, Raw] | None:
    return {
        name: Raw(splice(value)) for name, value in fields.items() if name not in known and value is not None
    } or None
