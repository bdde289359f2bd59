"""Writes a Messages stream (contract 14.4): the hot path of every delta, built from prepared bytes."""

from __future__ import annotations

from typing import Any, cast

import msgspec
from msgspec import Raw

from anvil.router.dialects.anthropic_reader import BLOCK_START, RAW_DELTA
from anvil.router.dialects.anthropic_render import call_extra, call_head, stop_reason, usage_body
from anvil.router.dialects.encode import splice
from anvil.router.dialects.losses import name_call, name_finish, name_text, name_usage
from anvil.router.reading import Words
from anvil.router.sse import named_frame
from anvil.router.turn import (
    Event,
    Fault,
    Finish,
    OpaqueDone,
    ReasoningDelta,
    ReasoningDone,
    Reply,
    TextDelta,
    ToolDone,
    Turn,
    Usage,
    UsageReport,
)

PING = named_frame("ping", b'{"type":"ping"}')
# says nothing of tiers, hosts or models (2.7)
CUT_SHORT = "the answer was cut short by an upstream error"

_END = b"}}\n\n"
_fields = msgspec.json.Decoder(dict[str, Raw]).decode
_plain = msgspec.json.Decoder().decode


class StreamWriter:
    """See ``dialects.StreamWriter``. Usage written before ``start`` shows in message_start."""

    def __init__(self, turn: Turn, reply: Reply) -> None:
        self.lossy: set[str] = set()
        self._show = turn.show_reasoning
        self._turn = turn
        self._reply = reply
        self._usage: Usage | None = None
        self._finish: Finish | None = None
        self._index = 0  # of the block that is open or comes next
        self._open = ""  # kind of the open block: text, thinking or none
        self._delta = b""  # everything of an open block's delta frame before the text itself
        self._blank = ""  # text of nothing but spaces, kept until something follows it
        self._calls = 0
        self._words = Words()  # to estimate usage nobody reports

    def start(self) -> bytes:
        usage = self._usage or Usage(self._reply.prompt_estimate, 0, estimated=True)
        message: dict[str, object] = {
            "id": f"msg_{self._reply.id}",
            "type": "message",
            "role": "assistant",
            "model": self._reply.model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": {**usage_body(usage, self._reply), "output_tokens": 0},
        }
        return _frame({"type": "message_start", "message": message})

    def write(self, event: Event) -> bytes:
        if type(event) is TextDelta:
            if self._open == "text" and event.extra is None and event.choice_extra is None:
                self._words.add(event.text)
                return self._delta + splice(event.text) + _END
            return self._text(event)
        return self._rare(event)

    def finish(self) -> bytes:
        """The last block's end, an empty block if there was none, and the closing frames."""
        out = self._close()
        if self._index == 0:
            blank = self._blank
            out = self._begin_text() + (self._piece(blank) if blank else b"") + self._close()
        finish = self._finish
        estimate = Usage(self._reply.prompt_estimate, self._words.count, estimated=True)
        delta: dict[str, Any] = {
            "stop_reason": stop_reason(finish, self._calls > 0, self.lossy),
            "stop_sequence": finish.stop_sequence if finish is not None else None,
        }
        last: dict[str, Any] = {"type": "message_delta", "delta": delta}
        last["usage"] = usage_body(self._usage or estimate, self._reply)
        if not self._reply.same_dialect:
            name_finish(finish, self.lossy)
            name_usage(self._usage, self.lossy, reasoning=False)
        elif finish is not None and finish.extra:
            extra = dict(finish.extra)
            delta.update(_fields(extra.pop("delta", Raw(b"{}"))))
            last.update(extra)
        return out + _frame(last) + _frame({"type": "message_stop"})

    def abort(self, fault: Fault, status: int) -> bytes:
        """The one error event of 13.5; nothing of the fault's own words leaves."""
        kind = "overloaded_error" if fault.failure_class == "rate_limited" else "api_error"
        return _frame({"type": "error", "error": {"type": kind, "message": CUT_SHORT}})

    # ------------------------------------------------------------------------------------------- events

    def _rare(self, event: Event) -> bytes:
        match event:
            case ReasoningDelta():
                return self._thought(event.text)
            case ReasoningDone():
                return self._thought_done(event)
            case ToolDone():
                return self._tool(event)
            case OpaqueDone():
                return self._opaque(event)
            case UsageReport():
                self._usage = event.usage
            case Finish():
                self._finish = event
            case _:
                pass
        return b""

    def _text(self, event: TextDelta) -> bytes:
        extra = event.extra or {}
        if not self._reply.same_dialect:
            name_text(extra, self.lossy)
            name_text(event.choice_extra, self.lossy)
            extra = {}
        out = b""
        if BLOCK_START in extra:
            out = self._close() + self._begin_text({**_plain(extra[BLOCK_START]), "text": ""})
        if event.text:
            out += self._spoken(event.text)
        if RAW_DELTA in extra:
            out += b"" if self._open == "text" else self._close() + self._begin_text()
            out += self._raw_delta(extra[RAW_DELTA])
        return out

    def _spoken(self, text: str) -> bytes:
        if self._open == "text":
            return self._piece(text)
        # a block of blanks (some models write them before a call) would be refused when sent back as history
        if text.isspace():
            self._blank += text
            return b""
        text, self._blank = self._blank + text, ""
        return self._close() + self._begin_text() + self._piece(text)

    def _thought(self, text: str) -> bytes:
        if not self._show:
            if text:
                self.lossy.add("reasoning.hidden")
            return b""
        if self._open == "thinking":
            return self._piece(text)
        return (self._close() + self._begin_thinking() + self._piece(text)) if text else b""

    def _thought_done(self, event: ReasoningDone) -> bytes:
        """Signed and redacted blocks stay in place even when their text is hidden: the tier wants them back."""
        own = self._reply.same_dialect
        if event.redacted is not None:
            block = {"type": "redacted_thinking", "data": event.redacted}
            return self._close() + self._begin(block) + self._close() if own else b""
        if not event.signature or not own:
            return self._close() if self._open == "thinking" else b""
        out = b"" if self._open == "thinking" else self._close() + self._begin_thinking()
        return out + self._raw_delta({"type": "signature_delta", "signature": event.signature}) + self._close()

    def _tool(self, event: ToolDone) -> bytes:
        call = event.call
        if not self._reply.same_dialect:
            name_call(call, self.lossy)
        head: dict[str, Any] = {**call_head(call, self._calls, self._turn, self._reply), "input": {}}
        self._calls += 1
        arguments = call.arguments if call.arguments.strip() else "{}"
        out = self._close() + self._begin({**head, **call_extra(call, self._reply)})
        return out + self._raw_delta({"type": "input_json_delta", "partial_json": arguments}) + self._close()

    def _opaque(self, event: OpaqueDone) -> bytes:
        if not self._reply.same_dialect:
            self.lossy.add("answer.opaque")
            return b""
        if not event.frames:
            return self._close() + self._begin(Raw(event.block.raw)) + self._close()
        out = self._close()
        for at, payload in enumerate(event.frames):
            frame = {**_fields(payload), "index": self._index}
            out += named_frame(_plain(cast("Raw", frame["type"])), splice(frame))
            if at == 0 and self._index == 0:
                out += PING
        self._index += 1
        return out

    # ------------------------------------------------------------------------------------------- blocks

    def _begin_text(self, block: dict[str, Any] | None = None) -> bytes:
        out = self._begin(block or {"type": "text", "text": ""})
        self._open = "text"
        self._delta = self._delta_head("text_delta", "text")
        return out

    def _begin_thinking(self) -> bytes:
        out = self._begin({"type": "thinking", "thinking": "", "signature": ""})
        self._open = "thinking"
        self._delta = self._delta_head("thinking_delta", "thinking")
        return out

    def _delta_head(self, kind: str, field: str) -> bytes:
        head = f'{{"type":"content_block_delta","index":{self._index},"delta":{{"type":"{kind}","{field}":'
        return b"event: content_block_delta\ndata: " + head.encode()

    def _begin(self, block: object) -> bytes:
        self._open = "other"
        self._blank = ""
        start = _frame({"type": "content_block_start", "index": self._index, "content_block": block})
        return start + PING if self._index == 0 else start

    def _piece(self, text: str) -> bytes:
        if self._open == "text":
            self._words.add(text)
        return self._delta + splice(text) + _END

    def _raw_delta(self, delta: object) -> bytes:
        return _frame({"type": "content_block_delta", "index": self._index, "delta": delta})

    def _close(self) -> bytes:
        if not self._open:
            return b""
        self._open = ""
        self._index += 1
        return _frame({"type": "content_block_stop", "index": self._index - 1})


def _frame(event: dict[str, Any]) -> bytes:
    """One event whose ``event:`` line repeats its type."""
    return named_frame(event["type"], splice(event))
