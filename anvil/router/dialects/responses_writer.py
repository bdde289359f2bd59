"""Writes a Responses stream (contract 14.5): the hot path of every delta, built from prepared bytes."""

from __future__ import annotations

from typing import Any

from anvil.router.dialects.encode import splice
from anvil.router.dialects.losses import name_call, name_finish, name_text, name_usage
from anvil.router.dialects.responses_render import (
    Item,
    Items,
    envelope,
    message_item,
    outcome,
    reasoning_item,
    usage_body,
)
from anvil.router.reading import count_words
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

# says nothing of tiers, hosts or models (2.7)
CUT_SHORT = "the answer was cut short by an upstream error"

_OUTPUT_TEXT, _REASONING_TEXT = "output_text", "reasoning_text"
# kind of call -> the field with its text, and what its events are called
_CALLS = {
    "function_call": ("arguments", "function_call_arguments"),
    "custom_tool_call": ("input", "custom_tool_call_input"),
}


class StreamWriter:
    """See ``dialects.StreamWriter``. Usage written before ``start`` shows in the first frames."""

    def __init__(self, turn: Turn, reply: Reply) -> None:
        self.lossy: set[str] = set()
        self._turn = turn
        self._reply = reply
        self._items = Items(turn, reply)
        self._response = envelope(turn, reply)
        self._output: list[Item] = []
        self._number = 0  # of the next frame
        self._usage: Usage | None = None
        self._finish: Finish | None = None
        self._open = ""  # part type of the open item: output_text, reasoning_text or none
        self._open_id = ""
        self._pieces: list[str] = []  # of the open item's text
        self._delta = b""  # everything of an open part's delta frame before its number
        self._blank = ""  # text of nothing but spaces, kept until something follows it

    def start(self) -> bytes:
        if self._usage is not None:
            self._response["usage"] = usage_body(self._usage)
        return self._lifecycle("created") + self._lifecycle("in_progress")

    def write(self, event: Event) -> bytes:
        if type(event) is TextDelta:
            text = event.text
            if self._open == _OUTPUT_TEXT and event.extra is None and event.choice_extra is None:
                self._pieces.append(text)
                self._number += 1
                return b'%s%d,"delta":%s}\n\n' % (self._delta, self._number - 1, splice(text))
            return self._text(event)
        return self._rare(event)

    def finish(self) -> bytes:
        """The open item's end and the closing frame with the whole response."""
        status, details = outcome(self._finish, self._turn, self.lossy)
        name_finish(self._finish, self.lossy)
        name_usage(self._usage, self.lossy)
        blank = "" if self._items.count else self._blank
        out = self._begin(_OUTPUT_TEXT) + self._piece(blank) if blank else b""
        out += self._close(status)
        usage = self._usage or self._estimate()
        self._response.update(status=status, incomplete_details=details, output=self._output, usage=usage_body(usage))
        return out + self._lifecycle(status)

    def abort(self, fault: Fault, status: int) -> bytes:
        """The one error event of 13.5; nothing of the fault's own words leaves."""
        code = "rate_limit_exceeded" if fault.failure_class == "rate_limited" else "server_error"
        error = {"code": code, "message": CUT_SHORT}
        self._response.update(status="failed", error=error, output=self._output, usage=None)
        return self._lifecycle("failed")

    # ------------------------------------------------------------------------------------------- events

    def _rare(self, event: Event) -> bytes:
        match event:
            case ReasoningDelta():
                if self._open == _REASONING_TEXT:
                    return self._piece(event.text)
                return self._begin(_REASONING_TEXT) + self._piece(event.text) if event.text else b""
            case ReasoningDone():
                if event.signature is not None or event.redacted is not None:
                    self.lossy.add("reasoning.signature")
                return self._close() if self._open == _REASONING_TEXT else b""
            case ToolDone():
                return self._call(event)
            case OpaqueDone():
                self.lossy.add("answer.opaque")
            case UsageReport():
                self._usage = event.usage
            case Finish():
                self._finish = event
            case _:
                pass
        return b""

    def _text(self, event: TextDelta) -> bytes:
        name_text(event.extra, self.lossy)
        name_text(event.choice_extra, self.lossy)
        if not event.text:
            return b""
        if self._open == _OUTPUT_TEXT:
            return self._piece(event.text)
        # a message of blanks (some models write them before a call) would only litter the caller's history
        if event.text.isspace():
            self._blank += event.text
            return b""
        text = self._blank + event.text
        return self._begin(_OUTPUT_TEXT) + self._piece(text)

    def _call(self, event: ToolDone) -> bytes:
        name_call(event.call, self.lossy)
        out = self._close()
        self._blank = ""
        item = self._items.call(event.call)
        field, events = _CALLS[item["type"]]
        place = {"item_id": item["id"], "output_index": len(self._output)}
        out += self._item("added", {**item, "status": "in_progress", field: ""})
        out += self._frame(f"{events}.delta", **place, delta=item[field])
        out += self._frame(f"{events}.done", **place, **{field: item[field]})
        return out + self._item_done(item)

    # -------------------------------------------------------------------------------------------- items

    def _begin(self, part: str) -> bytes:
        """Open a message or a reasoning item with its one part, after whatever is open."""
        out = self._close()
        self._blank = ""
        self._open = part
        spoken = part == _OUTPUT_TEXT
        self._open_id = self._items.id("msg" if spoken else "rs")
        item = self._whole("", "in_progress")
        out += self._item("added", {**item, "content": []})
        out += self._frame("content_part.added", **self._place(), part=item["content"][0])
        head: dict[str, Any] = {"type": f"response.{part}.delta", **self._place()}
        if spoken:
            head["logprobs"] = []
        self._delta = named_frame(head["type"], splice(head)[:-1] + b',"sequence_number":')[:-2]
        return out

    def _piece(self, text: str) -> bytes:
        self._pieces.append(text)
        self._number += 1
        return b'%s%d,"delta":%s}\n\n' % (self._delta, self._number - 1, splice(text))

    def _close(self, status: str = "completed") -> bytes:
        if not self._open:
            return b""
        text = "".join(self._pieces)
        item = self._whole(text, status)
        extra: dict[str, Any] = {"logprobs": []} if self._open == _OUTPUT_TEXT else {}
        out = self._frame(f"{self._open}.done", **self._place(), text=text, **extra)
        out += self._frame("content_part.done", **self._place(), part=item["content"][0])
        out += self._item_done(item)
        self._open = ""
        self._pieces = []
        return out

    def _whole(self, text: str, status: str) -> Item:
        make = message_item if self._open == _OUTPUT_TEXT else reasoning_item
        return make(self._open_id, text, status)

    def _place(self) -> dict[str, Any]:
        return {"item_id": self._open_id, "output_index": len(self._output), "content_index": 0}

    def _item_done(self, item: Item) -> bytes:
        out = self._item("done", item)
        self._output.append(item)
        return out

    def _item(self, moment: str, item: Item) -> bytes:
        return self._frame(f"output_item.{moment}", output_index=len(self._output), item=item)

    # ------------------------------------------------------------------------------------------- frames

    def _lifecycle(self, moment: str) -> bytes:
        return self._frame(moment, response=self._response)

    def _frame(self, kind: str, **fields: Any) -> bytes:
        event = f"response.{kind}"
        self._number += 1
        return named_frame(event, splice({"type": event, "sequence_number": self._number - 1, **fields}))

    def _estimate(self) -> Usage:
        texts = [part["text"] for item in self._output for part in item.get("content", ())]
        return Usage(self._reply.prompt_estimate, count_words("\n".join(texts)), estimated=True)
