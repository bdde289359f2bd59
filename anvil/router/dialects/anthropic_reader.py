"""Reads a tier's Messages stream: SSE bytes -> events (contract 7.2)."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw, Struct

from anvil.router.dialects.anthropic_answer import others, text_of, tool_call, usage_of
from anvil.router.dialects.encode import NULL, splice, unknown_names
from anvil.router.dialects.openai_chat_answer import MAX_BLOCKS, distinct, malformed, read_finish
from anvil.router.failures import classify_stream_error
from anvil.router.sse import Parser
from anvil.router.turn import (
    BadAnswer,
    Event,
    Fault,
    Opaque,
    OpaqueDone,
    ReasoningDelta,
    ReasoningDone,
    TextDelta,
    ToolDone,
    ToolGrow,
    ToolOpen,
    UsageReport,
)

MAX_BAD_EVENTS = 10
# an opaque block is gathered here, out of the gate's sight, so its size is bounded here (limits.buffer_cap_bytes)
OPAQUE_CAP = 33_554_432
# keys of TextDelta.extra between this reader and this dialect's writer: the raw start of a text block that follows
# another one or carries more than text, and a raw delta of another kind than text
BLOCK_START, RAW_DELTA = "content_block", "delta"


class _TextD(Struct, tag="text_delta", gc=False):
    text: str


class _ThinkingD(Struct, tag="thinking_delta", gc=False):
    thinking: str


class _SignatureD(Struct, tag="signature_delta", gc=False):
    signature: str


class _JsonD(Struct, tag="input_json_delta", gc=False):
    partial_json: str


class _Delta(Struct, tag="content_block_delta"):
    delta: _TextD | _ThinkingD | _SignatureD | _JsonD
    index: int = 0


class _Start(Struct, tag="content_block_start"):
    content_block: Raw
    index: int = 0


class _Stop(Struct, tag="content_block_stop"):
    index: int = 0


class _Message(Struct):
    usage: Raw = NULL


class _MessageStart(Struct, tag="message_start"):
    message: _Message


class _Reason(Struct):
    stop_reason: str | None = None
    stop_sequence: str | None = None


class _MessageDelta(Struct, tag="message_delta"):
    delta: _Reason
    usage: Raw = NULL


class _MessageStop(Struct, tag="message_stop"):
    pass


class _Ping(Struct, tag="ping"):
    pass


_event = msgspec.json.Decoder(
    _Delta | _Start | _Stop | _MessageStart | _MessageDelta | _MessageStop | _Ping  # one union: one pass per event
).decode
_KNOWN = frozenset({"content_block_start", "content_block_stop", "message_start", "message_delta"})
_DELTAS = frozenset({"text_delta", "thinking_delta", "signature_delta", "input_json_delta"})
_plain = msgspec.json.Decoder().decode
_fields = msgspec.json.Decoder(dict[str, Raw]).decode
_TEXT_FIELDS = frozenset({"type", "text"})
_END_FIELDS = frozenset({"type", "delta", "usage"})
_MESSAGE = frozenset({"id", "type", "role", "model", "content", "stop_reason", "stop_sequence", "usage"})
_REASON_FIELDS = frozenset({"stop_reason", "stop_sequence"})


class _Block:
    """One open content block. ``frames``: raw payloads of an opaque one; ``pieces``: of signature or arguments."""

    __slots__ = ("fields", "frames", "kind", "pieces", "raw")

    def __init__(self, kind: str, fields: dict[str, Raw], raw: Raw) -> None:
        self.kind = kind
        self.fields = fields
        self.raw = raw
        self.pieces: list[str] = []
        self.frames: list[bytes] = []


class StreamReader:
    """See ``dialects.StreamReader``. An error event comes out as a Fault event."""

    def __init__(self) -> None:
        self.complete = False
        self.bad_events = 0
        self.lossy: set[str] = set()
        self._parser = Parser()
        self._open: dict[int, _Block] = {}
        self._count = 0
        self._after_text = False
        self._opaque_size = 0
        self._usage: dict[str, Any] = {}
        self._ids: set[str] = set()  # of the calls so far

    def feed(self, data: bytes) -> list[Event]:
        out: list[Event] = []
        for name, payload in self._parser.feed(data):
            self._read(name, payload, out)
        return out

    def close(self) -> list[Event]:
        out: list[Event] = []
        for name, payload in self._parser.close():
            self._read(name, payload, out)
        return out

    def _read(self, name: str | None, payload: bytes, out: list[Event]) -> None:
        if not payload.isascii():
            payload = payload.decode("utf-8", "replace").encode()  # raw parts are not decoded by the line below
        try:
            event = _event(payload)
        except msgspec.ValidationError:
            self._read_odd(name, payload, out)
            return
        except (msgspec.DecodeError, RecursionError):
            self._bad(name, out)
            return
        if type(event) is _Delta:
            self._delta(event, payload, out)
            return
        try:
            self._boundary(event, payload, out)
        except msgspec.DecodeError:
            self._bad(name, out)

    def _boundary(self, event: Any, payload: bytes, out: list[Event]) -> None:
        match event:
            case _Start() if not self.complete:
                self._start(event, payload, out)
            case _Stop() if not self.complete:
                self._stop(event.index, payload, out)
            case _MessageStart():
                self._name_unknown(payload)
                self._report(event.message.usage, out)
            case _MessageDelta():
                self._message_delta(event, payload, out)

    # ------------------------------------------------------------------------------------------- blocks

    def _delta(self, event: _Delta, payload: bytes, out: list[Event]) -> None:
        if self.complete:
            return
        delta: Any = event.delta
        kind = type(delta)
        block = self._open.get(event.index)
        if block is not None and block.frames:
            self._frame(block, payload)
            if kind is _JsonD:
                block.pieces.append(delta.partial_json)
        elif kind is _TextD:
            out.append(TextDelta(delta.text))
        elif kind is _ThinkingD:
            out.append(ReasoningDelta(delta.thinking))
        elif block is None:
            self._bad(None, out)  # pieces of a block that was never opened
        elif kind is _SignatureD:
            block.pieces.append(delta.signature)
        else:
            piece = delta.partial_json
            block.pieces.append(piece)
            if piece:
                out.append(ToolGrow(event.index, len(piece) if piece.isascii() else len(piece.encode())))

    def _start(self, event: _Start, payload: bytes, out: list[Event]) -> None:
        raw = event.content_block
        fields = _fields(raw)
        self._count += 1
        if self._count > MAX_BLOCKS:
            raise malformed("more than 1024 blocks")
        if event.index in self._open:
            self._stop(event.index, payload, out)
        kind = text_of(fields, "type")
        block = self._open[event.index] = _Block(kind, fields, raw)
        if kind == "text":
            self._start_text(block, out)
        elif kind == "thinking":
            if text := text_of(fields, "thinking"):
                out.append(ReasoningDelta(text))
            block.pieces.append(text_of(fields, "signature"))
        elif kind == "tool_use":
            out.append(ToolOpen(event.index))
        elif not kind:
            raise malformed("content block without a type")
        elif kind != "redacted_thinking":
            self._frame(block, payload)
        self._after_text = False

    def _start_text(self, block: _Block, out: list[Event]) -> None:
        text = text_of(block.fields, "text")
        if self._after_text or others(block.fields, _TEXT_FIELDS):
            out.append(TextDelta(text, {BLOCK_START: block.raw}))
        elif text:
            out.append(TextDelta(text))

    def _stop(self, index: int, payload: bytes, out: list[Event]) -> None:
        block = self._open.pop(index, None)
        if block is None:
            return
        kind = block.kind
        if kind == "text":
            self._after_text = True
        elif kind == "tool_use":
            call = tool_call(block.fields, "".join(block.pieces))
            out.append(ToolDone(index, distinct(call, self._ids)))
        elif kind == "thinking":
            out.append(ReasoningDone("".join(block.pieces) or None))
        elif kind == "redacted_thinking":
            out.append(ReasoningDone(redacted=text_of(block.fields, "data")))
        else:
            self._frame(block, payload)
            out.append(OpaqueDone(Opaque(kind, _whole(block)), block.frames))

    def _frame(self, block: _Block, payload: bytes) -> None:
        block.frames.append(payload)
        self._opaque_size += len(payload)
        if self._opaque_size > OPAQUE_CAP:
            raise BadAnswer(Fault("bad_answer", f"buffer cap {OPAQUE_CAP}"))

    # ---------------------------------------------------------------------------------------- lifecycle

    def _message_delta(self, event: _MessageDelta, payload: bytes, out: list[Event]) -> None:
        self._report(event.usage, out)
        reason = event.delta.stop_reason
        if reason is None or self.complete:
            return
        for index in list(self._open):  # a tier that forgot the stop of its last block
            self._stop(index, b'{"type":"content_block_stop","index":%d}' % index, out)
        finish = read_finish(reason, event.delta.stop_sequence)
        if finish.reason == "unknown":
            self.lossy.add("finish.unknown")
        self.complete = True
        out.append(msgspec.structs.replace(finish, extra=_end_extra(payload)))

    def _name_unknown(self, payload: bytes) -> None:
        """No caller gets what only message_start says; services repeat it at the end, where it is kept."""
        message = _fields(_fields(payload)["message"])
        self.lossy.update(unknown_names(others(message, _MESSAGE) or ()))

    def _report(self, raw: Raw, out: list[Event]) -> None:
        """Counts so far: message_delta repeats or completes what message_start said."""
        given = _plain(raw)
        if isinstance(given, dict):
            self._usage.update({name: value for name, value in given.items() if value is not None})
            if (usage := usage_of(self._usage, splice(self._usage))) is not None:
                out.append(UsageReport(usage))

    # ------------------------------------------------------------------------------------------- oddities

    def _read_odd(self, name: str | None, payload: bytes, out: list[Event]) -> None:
        """JSON of an unexpected shape: an error, a delta or event of unknown kind, or a defect."""
        try:
            event = _plain(payload)
        except msgspec.DecodeError:  # a number too large
            event = None
        if not isinstance(event, dict):
            self._bad(name, out)
            return
        kind = event.get("type")
        if kind == "error" or name == "error" or event.get("error"):
            out.append(classify_stream_error("anthropic", event.get("error") or event))
        elif kind == "content_block_delta":
            self._odd_delta(event, payload, out)
        elif not isinstance(kind, str) or kind in _KNOWN:
            self._bad(name, out)

    def _odd_delta(self, event: dict[str, Any], payload: bytes, out: list[Event]) -> None:
        delta, index = event.get("delta"), event.get("index", 0)
        kind = delta.get("type") if isinstance(delta, dict) else None
        if not isinstance(kind, str) or kind in _DELTAS or type(index) is not int:
            self._bad(None, out)
            return
        block = self._open.get(index)
        if block is None or self.complete:
            return
        if block.frames:
            self._frame(block, payload)
        elif block.kind == "text":  # citations
            out.append(TextDelta("", {RAW_DELTA: _fields(payload)["delta"]}))

    def _bad(self, name: str | None, out: list[Event]) -> None:
        if name == "error":
            out.append(Fault("unavailable", "backend error anthropic error event"))
            return
        self.bad_events += 1
        if self.bad_events >= MAX_BAD_EVENTS:
            raise malformed("ten undecodable events")


def _end_extra(payload: bytes) -> dict[str, Raw] | None:
    """Unknown fields of message_delta; those of its ``delta`` together under that name."""
    fields = _fields(payload)
    inner = others(_fields(fields["delta"]), _REASON_FIELDS)
    extra = others(fields, _END_FIELDS) or {}
    return {**extra, "delta": Raw(splice(inner))} if inner else extra or None


def _whole(block: _Block) -> bytes:
    """The block as it would stand in a complete answer: streamed input joined into it."""
    joined = "".join(block.pieces)
    if not joined:
        return bytes(block.raw)
    try:
        _plain(joined)
    except msgspec.DecodeError:
        return bytes(block.raw)
    return splice({**block.fields, "input": Raw(joined.encode())})
