"""Event framing: any mix of line ends, any cut, and the caps."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anvil.router.sse import LINE_CAP, Parser, frame, named_frame
from anvil.router.turn import BadAnswer

MIXED = (
    b": hello\r\nevent: a\r\ndata: one\r\n\r\n"
    b"data: two\ndata:three\n\n"
    b"id: 7\rretry: 10\rdata: four\r\r"
    b"event: b\n\n"
    b"data\n\n"
    b"data:  five \r\n\n"
    b"\xef\xbb\xbfdata: not data\n\n"
    b'data: {"t":"\xc3\xa9\xf0\x9f\x98\x80"}'
)
EVENTS = [
    ("a", b"one"),
    (None, b"two\nthree"),
    (None, b"four"),
    (None, b""),
    (None, b" five "),
    (None, '{"t":"é😀"}'.encode()),
]


def read(pieces: list[bytes]) -> list[tuple[str | None, bytes]]:
    parser = Parser()
    events = [event for piece in pieces for event in parser.feed(piece)]
    return events + parser.close()


def test_line_ends_comments_names_and_a_last_event_without_blank_line() -> None:
    assert read([MIXED]) == EVENTS


def test_every_single_cut_gives_the_same_events() -> None:
    for at in range(len(MIXED) + 1):
        assert read([MIXED[:at], MIXED[at:]]) == EVENTS, at


def test_one_byte_at_a_time() -> None:
    assert read([MIXED[at : at + 1] for at in range(len(MIXED))]) == EVENTS


@given(st.lists(st.sampled_from([b"data: x", b"data", b"event: e", b":", b"\r", b"\n", b"\r\n", b"y"])), st.data())
def test_cuts_never_matter(parts: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(parts)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6)))
    pieces = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    assert read(pieces) == read([stream])


def test_usual_reads_hold_one_or_several_whole_events() -> None:
    parser = Parser()
    assert parser.feed(b"data: a\n\n") == [(None, b"a")]
    assert parser.feed(b"data: b\n\ndata: c\n\n") == [(None, b"b"), (None, b"c")]
    assert parser.feed(b"data: d\n\ndata: e\ndata: f\n\n") == [(None, b"d"), (None, b"e\nf")]
    assert parser.close() == []


def test_a_leading_byte_order_mark_is_dropped() -> None:
    assert read([b"\xef\xbb\xbfdata: a\n\n"]) == [(None, b"a")]


@pytest.mark.parametrize("size", [LINE_CAP, LINE_CAP + 1])
@pytest.mark.parametrize("whole", [True, False])
def test_line_cap_is_exact(size: int, whole: bool) -> None:
    line = b"data: " + b"x" * (size - 6)
    pieces = [line + b"\n\n"] if whole else [line[:100], line[100:-1], line[-1:], b"\n\n"]
    if size > LINE_CAP:
        with pytest.raises(BadAnswer) as caught:
            read(pieces)
        assert caught.value.fault.failure_class == "unavailable"
    else:
        assert read(pieces) == [(None, line[6:])]


def test_a_line_that_never_ends_stops_at_the_cap() -> None:
    with pytest.raises(BadAnswer):
        read([b"x" * 65_536] * 17)


def test_many_lines_of_one_event_stop_at_the_cap() -> None:
    with pytest.raises(BadAnswer):
        read([b"data: " + b"x" * 65_536 + b"\n"] * 17)


def test_what_we_write_we_can_read() -> None:
    assert read([frame(b"{}"), named_frame("ping", b"{}")]) == [(None, b"{}"), ("ping", b"{}")]
