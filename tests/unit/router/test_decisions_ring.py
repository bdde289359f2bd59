"""The ring and its followers (contract 16.3, 2.13)."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anvil.router.config import DecisionsConfig
from anvil.router.decisions import Recorder, TooManyFollowers, parse_query
from anvil.router.decisions import follow as module
from anvil.router.decisions.ring import Ring
from tests.unit.router.decision_samples import SilentLog, decision, fell_back, id_at, metrics


@given(st.integers(1, 7), st.integers(0, 25), st.integers(0, 25), st.integers(1, 30))
def test_the_ring_keeps_the_newest(size: int, count: int, position: int, most: int) -> None:
    ring = Ring(size)
    for number in range(count):
        ring.append(decision(number))
    kept = list(range(max(0, count - size), count))
    assert [r.id for r in ring.snapshot()] == [id_at(n) for n in kept]
    assert ring.total == count
    found, missed = ring.since(min(position, count), most)
    position = min(position, count)
    lost = max(0, kept[0] - position) if kept else 0
    assert missed == lost
    assert [r.id for r in found] == [id_at(n) for n in range(position + lost, count)][:most]
    for number in range(count):
        assert (ring.get(id_at(number)) is not None) == (number in kept)
        assert ring.position_after(id_at(number)) == (number + 1 if number in kept else None)


def test_snapshots_while_another_thread_appends() -> None:
    ring = Ring(50)
    records = [decision(number) for number in range(4000)]
    writer = threading.Thread(target=lambda: [ring.append(record) for record in records])
    writer.start()
    while writer.is_alive():
        ids = [record.id for record in ring.snapshot()]
        assert ids == sorted(set(ids))
    writer.join()
    assert [r.id for r in ring.snapshot()] == [r.id for r in records[-50:]]


# ---------------------------------------------------------------------------------------------- following


@pytest.fixture
def recorder() -> Recorder:
    return Recorder(DecisionsConfig(ring_size=2000), metrics(), SilentLog())


def parse_events(data: bytes) -> list[tuple[str, str | None, object]]:
    events = []
    for block in data.decode().split("\n\n"):
        if not block or block.startswith(":"):
            continue
        fields = dict(line.split(": ", 1) for line in block.split("\n"))
        events.append((fields["event"], fields.get("id"), json.loads(fields["data"])))
    return events


async def read(stream: AsyncIterator[bytes], count: int) -> list[tuple[str, str | None, object]]:
    events: list[tuple[str, str | None, object]] = []
    while len(events) < count:
        events += parse_events(await asyncio.wait_for(anext(stream), 2))
    return events


async def test_a_follower_gets_each_new_record_once(recorder: Recorder) -> None:
    recorder.record(decision(0))
    stream = recorder.follow(parse_query("follow=1"))
    assert await anext(stream) == b": anvil\n\n"
    for number in (1, 2):
        recorder.record(decision(number))
    assert [event[1] for event in await read(stream, 2)] == [id_at(1), id_at(2)]
    waiting = asyncio.ensure_future(read(stream, 1))
    await asyncio.sleep(0)
    recorder.record(decision(3))
    [(event, event_id, data)] = await waiting
    assert (event, event_id) == ("decision", id_at(3))
    assert isinstance(data, dict)
    assert data["schema"] == "anvil-serving.router.decision/v1"


async def test_filters_apply(recorder: Recorder) -> None:
    stream = recorder.follow(parse_query("follow=1&fell_back=true"))
    await anext(stream)
    for number in range(300):
        recorder.record(decision(number))
    recorder.record(fell_back(300))
    assert [event[1] for event in await read(stream, 1)] == [id_at(300)]


async def test_limit_gives_a_backlog(recorder: Recorder) -> None:
    for number in range(5):
        recorder.record(decision(number))
    stream = recorder.follow(parse_query("follow=1&limit=2"))
    assert [event[1] for event in await read(stream, 2)] == [id_at(3), id_at(4)]


async def test_resume_in_the_order_requests_ended(recorder: Recorder) -> None:
    for number in (5, 1, 7):  # 1 began first and ended second
        recorder.record(decision(number))
    stream = recorder.follow(parse_query("follow=1"), last_id=id_at(5))
    assert [event[1] for event in await read(stream, 2)] == [id_at(1), id_at(7)]


async def test_resume_from_an_id_the_ring_does_not_know(recorder: Recorder) -> None:
    for number in range(4):
        recorder.record(decision(number * 10))
    stream = recorder.follow(parse_query("follow=1"), last_id=id_at(15))
    assert [event[1] for event in await read(stream, 2)] == [id_at(20), id_at(30)]


@pytest.mark.parametrize("last_id", ["zzz", "dec_" + "f" * 24])
async def test_an_odd_id_does_not_silence_the_stream(recorder: Recorder, last_id: str) -> None:
    recorder.record(decision(0))
    stream = recorder.follow(parse_query("follow=1"), last_id=last_id)
    await anext(stream)
    recorder.record(decision(1))
    assert [event[1] for event in await read(stream, 1)] == [id_at(1)]


async def test_more_than_a_thousand_behind_is_a_gap(recorder: Recorder) -> None:
    stream = recorder.follow(parse_query("follow=1"))
    await anext(stream)
    for number in range(1003):
        recorder.record(decision(number))
    events = await read(stream, 1001)
    assert events[0] == ("gap", None, {"missed": 3})
    assert [event[1] for event in events[1:]] == [id_at(number) for number in range(3, 1003)]


async def test_a_small_ring_gaps_earlier() -> None:
    recorder = Recorder(DecisionsConfig(ring_size=4), metrics(), SilentLog())
    stream = recorder.follow(parse_query("follow=1"))
    await anext(stream)
    for number in range(10):
        recorder.record(decision(number))
    events = await read(stream, 5)
    assert events[0] == ("gap", None, {"missed": 6})
    assert [event[1] for event in events[1:]] == [id_at(number) for number in range(6, 10)]


async def test_a_comment_when_nothing_happens(recorder: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "COMMENT_EVERY_S", 0.01)
    stream = recorder.follow(parse_query("follow=1"))
    assert [await anext(stream), await anext(stream)] == [b": anvil\n\n"] * 2


async def test_the_ninth_follower_is_refused_and_places_come_back(recorder: Recorder) -> None:
    streams = [recorder.follow(parse_query("follow=1")) for _ in range(8)]
    with pytest.raises(TooManyFollowers):
        recorder.follow(parse_query("follow=1"))
    streams[0].close()
    streams[0].close()
    recorder.follow(parse_query("follow=1"))
    assert len(recorder.followers) == 8


async def test_closing_ends_followers(recorder: Recorder) -> None:
    stream = recorder.follow(parse_query("follow=1"))
    await anext(stream)
    waiting = asyncio.ensure_future(anext(stream, b"end"))
    await asyncio.sleep(0)
    recorder.close()
    assert await asyncio.wait_for(waiting, 1) == b"end"
    assert len(recorder.followers) == 0


async def test_a_follower_that_never_reads_costs_no_memory(recorder: Recorder) -> None:
    stream = recorder.follow(parse_query("follow=1"))
    for number in range(3000):
        recorder.record(decision(number))
    assert sum(len(chunk) for chunk in stream._backlog) < 100
