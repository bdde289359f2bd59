"""Server-sent events: an incremental parser with byte caps, and the frames we write (contract 7.2, 14.2).

The parser takes CR, LF and CRLF in any mix, comments, multi-line data, a last event without its blank line, and cuts
at any byte. Data stays bytes: decoding text is the reader's business.
"""

from __future__ import annotations

import re

from anvil.router.turn import BadAnswer, Fault

LINE_CAP = 1_048_576  # of one line, and of all data lines of one event

_EOL = re.compile(rb"\r\n|\n|\r")
_BOM = b"\xef\xbb\xbf"

SseEvent = tuple[str | None, bytes]


class Parser:
    """``feed`` gives the events a piece of the stream completes, ``close`` the one that lacks its blank line.

    An event is its ``event:`` name (None without one) and its data. Raises BadAnswer (unavailable) above the cap.
    """

    __slots__ = ("_between", "_data", "_line", "_line_size", "_name", "_size", "_skip_lf", "_started")

    def __init__(self) -> None:
        self._line: list[bytes] = []  # pieces of the line that has no end yet
        self._line_size = 0
        self._data: list[bytes] = []
        self._size = 0
        self._name: str | None = None
        self._skip_lf = False  # the last piece ended in CR: a LF that follows belongs to it
        self._started = False
        self._between = True  # nothing is pending: the next byte begins an event

    def whole(self, piece: bytes) -> bytes | None:
        """The data of a piece that is one unnamed event on one line, as nearly every read is; None for any other."""
        if (
            self._between
            and piece[:6] == b"data: "
            and piece.find(b"\n") == len(piece) - 2
            and piece[-1] == 10
            and b"\r" not in piece
            and len(piece) <= LINE_CAP
        ):
            self._started = True
            return piece[6:-2]
        return None

    def feed(self, piece: bytes) -> list[SseEvent]:
        if self._between:
            events = _whole_events(piece)
            if events is not None:
                self._started = True
                return events
        events = self._feed_lines(piece)
        self._between = not (self._line_size or self._data or self._name or self._skip_lf)
        return events

    def close(self) -> list[SseEvent]:
        out: list[SseEvent] = []
        if self._line_size:
            self._take_line(self._end_line(b""), out)
        self._dispatch(out)
        return out

    def _feed_lines(self, piece: bytes) -> list[SseEvent]:
        out: list[SseEvent] = []
        if not piece:
            return out
        at = 1 if self._skip_lf and piece[0] == 0x0A else 0
        self._skip_lf = piece[-1] == 0x0D
        for end in _EOL.finditer(piece, at):
            self._take_line(self._end_line(piece[at : end.start()]), out)
            at = end.end()
        if at < len(piece):
            self._line.append(piece[at:])
            self._line_size += len(piece) - at
            if self._line_size > LINE_CAP:
                raise _too_long()
        return out

    def _end_line(self, rest: bytes) -> bytes:
        line = rest
        if self._line_size:
            self._line.append(rest)
            line = b"".join(self._line)
            self._line.clear()
            self._line_size = 0
        if len(line) > LINE_CAP:
            raise _too_long()
        if not self._started:
            self._started = True
            line = line.removeprefix(_BOM)
        return line

    def _take_line(self, line: bytes, out: list[SseEvent]) -> None:
        if not line:
            self._dispatch(out)
            return
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"data":
            self._size += len(value)
            if self._size > LINE_CAP:
                raise _too_long()
            self._data.append(value)
        elif field == b"event":
            self._name = value.decode("utf-8", "replace")

    def _dispatch(self, out: list[SseEvent]) -> None:
        if self._data:
            out.append((self._name or None, self._data[0] if len(self._data) == 1 else b"\n".join(self._data)))
            self._data = []
            self._size = 0
        self._name = None


def _whole_events(piece: bytes) -> list[SseEvent] | None:
    """The events of a read that holds nothing but complete one-line events, named or not, with LF ends; else None."""
    if piece[-2:] != b"\n\n" or b"\r" in piece:
        return None
    events: list[SseEvent] = []
    for block in piece[:-2].split(b"\n\n"):
        name, data = None, block
        if block[:7] == b"event: ":
            head, _, data = block.partition(b"\n")
            name = head[7:].decode("utf-8", "replace") or None
        if data[:6] != b"data: " or b"\n" in data or len(data) > LINE_CAP:
            return None
        events.append((name, data[6:]))
    return events


def _too_long() -> BadAnswer:
    return BadAnswer(Fault("unavailable", "event line above 1 MiB"))


def frame(data: bytes) -> bytes:
    """One unnamed event. ``data`` must be free of line breaks, as compact JSON is."""
    return b"data: " + data + b"\n\n"


def named_frame(event: str, data: bytes) -> bytes:
    """One event with its ``event:`` line."""
    return b"event: " + event.encode() + b"\ndata: " + data + b"\n\n"
