"""Writes a Chat Completions stream (contract 14.3): the hot path of every chunk, built from prepared bytes."""

from __future__ import annotations

from typing import Any

from msgspec import Raw

from anvil.router.dialects.encode import splice
from anvil.router.dialects.losses import name_call, name_finish, name_text, name_usage
from anvil.router.dialects.openai_chat_finish import finish_word, usage_body, wants_legacy
from anvil.router.dialects.openai_chat_render import whole_call
from anvil.router.reading import Words
from anvil.router.sse import frame
from anvil.router.turn import (
    Event,
    Fault,
    Finish,
    OpaqueDone,
    ReasoningDelta,
    ReasoningDone,
    Reply,
    TextDelta,
    ToolCall,
    ToolDone,
    Turn,
    Usage,
    UsageReport,
)

DONE = b"data: [DONE]\n\n"
_SHUT = b"}\n\n"
# says nothing of tiers, hosts or models (2.7)
CUT_SHORT = "the answer was cut short by an upstream error"


class StreamWriter:
    """See ``dialects.StreamWriter``. Call order: ``start``, ``write`` per event, ``finish`` or ``abort``."""

    def __init__(self, turn: Turn, reply: Reply) -> None:
        self.lossy: set[str] = set()
        self._turn = turn
        self._reply = reply
        self._legacy = wants_legacy(turn)
        self._usage: Usage | None = None
        self._words = Words() if turn.include_usage else None  # to estimate usage nobody reports
        self._calls = 0
        self._open = _opening(reply)
        self._delta = self._open + b'[{"index":0,"delta":'
        self._text = self._delta + b'{"content":'
        self._thought = self._delta + b'{"reasoning_content":'
        self._shut = b'],"usage":null}\n\n' if turn.include_usage else b"]}\n\n"
        self._end = b',"finish_reason":null}' + self._shut
        self._text_end = b"}" + self._end

    def start(self) -> bytes:
        return self._delta + b'{"role":"assistant"}' + self._end

    def write(self, event: Event) -> bytes:
        if type(event) is TextDelta:
            if self._words is not None:
                self._words.add(event.text)
            if event.extra is None and event.choice_extra is None:
                return self._text + splice(event.text) + self._text_end
            return self._write_extra(event)
        if type(event) is ReasoningDelta:
            return self._thought + splice(event.text) + self._text_end
        return self._write_rare(event)

    def finish(self) -> bytes:
        if not self._turn.include_usage:
            return DONE
        usage = self._usage
        if usage is None:
            completion = self._words.count if self._words is not None else 0
            usage = Usage(self._reply.prompt_estimate, completion, estimated=True)
        return self._open + b'[],"usage":' + splice(usage_body(usage, self._reply)) + b"}\n\n" + DONE

    def abort(self, fault: Fault, status: int) -> bytes:
        """The one error event of 13.5; nothing of the fault's own words leaves."""
        return frame(splice({"error": {"type": "upstream_error", "message": CUT_SHORT, "code": status}}))

    def _write_extra(self, event: TextDelta) -> bytes:
        if not self._reply.same_dialect:
            name_text(event.extra, self.lossy)
            return self._text + splice(event.text) + self._text_end if event.text else b""
        delta: dict[str, Any] = {"content": event.text} if event.text else {}
        delta.update(event.extra or {})
        return self._chunk(delta, event.choice_extra)

    def _write_rare(self, event: Event) -> bytes:
        match event:
            case ToolDone():
                return self._write_call(event.call)
            case UsageReport():
                self._usage = event.usage
                if not self._reply.same_dialect:
                    name_usage(event.usage, self.lossy)
            case Finish():
                return self._write_finish(event)
            case ReasoningDone():
                if event.signature is not None or event.redacted is not None:
                    self.lossy.add("reasoning.signature")
            case OpaqueDone():
                self.lossy.add("answer.opaque")
            case _:
                pass
        return b""

    def _write_call(self, call: ToolCall) -> bytes:
        """Two chunks: who is called, then all the arguments at once."""
        if not self._reply.same_dialect:
            name_call(call, self.lossy)
        at = self._calls
        self._calls += 1
        entry = whole_call(call, at, self._reply)
        kind = entry["type"]
        field = "input" if kind == "custom" else "arguments"
        text = entry[kind][field]
        entry[kind] = {"name": call.name, field: ""}
        if self._legacy and kind == "function":
            return self._chunk({"function_call": entry[kind]}) + self._chunk({"function_call": {field: text}})
        first = self._chunk({"tool_calls": [{"index": at, **entry}]})
        return first + self._chunk({"tool_calls": [{"index": at, kind: {field: text}}]})

    def _write_finish(self, event: Finish) -> bytes:
        word = finish_word(event, self._turn, self.lossy)
        choice: dict[str, Any] = {"index": 0, "delta": {}, "finish_reason": word}
        if event.stop_sequence is not None:
            if self._reply.same_dialect:
                choice["stop_reason"] = event.stop_sequence
            else:
                self.lossy.add("answer.stop_string")
        out = self._open + b"[" + splice(choice) + self._shut
        if not event.extra:
            return out
        if not self._reply.same_dialect:
            name_finish(event, self.lossy)
            return out
        return out.removesuffix(_SHUT) + b"," + splice(event.extra)[1:] + b"\n\n"

    def _chunk(self, delta: dict[str, Any], choice_extra: dict[str, Raw] | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": None, **(choice_extra or {})}
        return self._open + b"[" + splice(choice) + self._shut


def _opening(reply: Reply) -> bytes:
    """Every chunk up to its choices."""
    head = {
        "id": f"chatcmpl-{reply.id}",
        "object": "chat.completion.chunk",
        "created": reply.created,
        "model": reply.model,
    }
    return b"data: " + splice(head)[:-1] + b',"choices":'
