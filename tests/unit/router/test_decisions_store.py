"""The durable store under good and bad weather, and one listing over ring and store (contract 16.3, 2.13)."""

from __future__ import annotations

import json
import os
import sqlite3
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from anvil.router.decisions import Recorder, parse_query, search, stored
from anvil.router.decisions import store as module
from anvil.router.decisions.record import Decision
from anvil.router.decisions.store import Store
from tests.unit.router.decision_samples import START, Counts, SilentLog, decision, fell_back, id_at, in_store, metrics


def open_store(path: Path, counts: Counts, **changes: Any) -> Store:
    return Store(
        in_store(path, **changes),
        dropped=counts.drop,
        failed=counts.fail,
        warn=counts.warnings.append,
        clock=lambda: START + 100,
    )


def rows(path: Path) -> list[str]:
    with sqlite3.connect(path) as database:
        found = [row[0] for row in database.execute("SELECT id FROM decisions ORDER BY id")]
    database.close()
    return found


def eventually(check: Callable[[], bool], seconds: float = 5.0) -> None:
    deadline = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < deadline, "it never came to be"
        time.sleep(0.01)


@pytest.fixture(autouse=True)
def no_gathering(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BATCH_SECONDS", 0.01)


@pytest.fixture
def counts() -> Counts:
    return Counts()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "decisions.sqlite"


# ------------------------------------------------------------------------------------------ good weather


def test_records_reach_the_file(path: Path, counts: Counts) -> None:
    store = open_store(path, counts)
    for number in range(450):
        store.put(fell_back(number))
    store.close()
    assert rows(path) == [id_at(number) for number in range(450)]
    with sqlite3.connect(path) as database:
        row = database.execute("SELECT * FROM decisions LIMIT 1").fetchone()
    assert row[:9] == (id_at(0), "2026-01-05T09:00:00.000Z", "chat", "chat", "chat", "paid", "served", 200, 1)
    assert json.loads(row[9])["attempts"][0]["tier_id"] == "small"
    assert (counts.dropped, counts.failed, counts.warnings) == ({}, {}, [])


def test_a_single_record_is_written_within_half_a_second(
    path: Path, counts: Counts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BATCH_SECONDS", 0.25)
    store = open_store(path, counts)
    store.put(decision())
    eventually(lambda: len(store) == 0, 1.0)
    assert rows(path) == [id_at(0)]
    store.close()


def test_the_file_is_private_and_uses_wal(path: Path, counts: Counts) -> None:
    path.parent.mkdir()
    path.touch(mode=0o644)
    store = open_store(path, counts)
    store.put(decision())
    eventually(lambda: len(store) == 0)
    names = sorted(os.listdir(path.parent))
    assert names == ["decisions.sqlite", "decisions.sqlite-shm", "decisions.sqlite-wal"]
    assert {stat.S_IMODE(os.stat(path.parent / name).st_mode) for name in names} == {0o600}
    store.close()


def test_a_restart_goes_on_with_the_file(path: Path, counts: Counts) -> None:
    for number in (1, 2):
        store = open_store(path, counts)
        store.put(decision(number))
        store.put(decision(number))  # the same id twice is one row
        store.close()
    assert rows(path) == [id_at(1), id_at(2)]


def test_old_rows_go(path: Path, counts: Counts) -> None:
    store = open_store(path, counts, store_days=0)
    for number in (0, 50, 99):
        store.put(decision(number))
    store.close()
    store = Store(
        in_store(path, store_days=1),
        dropped=counts.drop,
        failed=counts.fail,
        warn=counts.warnings.append,
        clock=lambda: START + 86400 + 60,
    )
    eventually(lambda: rows(path) == [id_at(99)])
    store.close()


def test_the_oldest_rows_go_above_the_size(path: Path, counts: Counts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TRIM_ROWS", 100)
    store = open_store(path, counts, store_max_mb=1)
    for number in range(1500):
        store.put(decision(number, lossy=("x" * 1000,)))
    eventually(lambda: len(store) == 0)
    store.close()
    store = open_store(path, counts, store_max_mb=1)
    eventually(lambda: path.stat().st_size < 1_100_000)
    store.close()
    assert 100 < len(rows(path)) < 500
    assert rows(path)[-1] == id_at(1499)


# ------------------------------------------------------------------------------------------- bad weather


def test_a_full_queue_drops_the_newest_and_counts(path: Path, counts: Counts) -> None:
    path.parent.mkdir()
    store = open_store(path, counts, store_queue=10)
    blocker = sqlite3.connect(path, isolation_level=None)
    store.put(decision(0))
    eventually(lambda: len(store) == 0)
    blocker.execute("BEGIN EXCLUSIVE")
    for number in range(1, 31):
        store.put(decision(number))
    assert len(store) <= 20
    blocker.execute("COMMIT")
    blocker.close()
    eventually(lambda: len(store) == 0)
    store.close()
    assert counts.dropped == {"queue_full": 20}
    assert rows(path) == [id_at(number) for number in range(11)]


def test_a_locked_file_drops_and_recovers(path: Path, counts: Counts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BUSY_MS", 20)
    store = open_store(path, counts)
    store.put(decision(0))
    eventually(lambda: len(store) == 0)
    blocker = sqlite3.connect(path, isolation_level=None)
    blocker.execute("BEGIN EXCLUSIVE")
    for number in range(1, 4):
        store.put(decision(number))
    eventually(lambda: counts.dropped.get("locked", 0) == 3)
    blocker.execute("COMMIT")
    blocker.close()
    store.put(decision(9))
    eventually(lambda: len(store) == 0)
    store.close()
    assert rows(path) == [id_at(0), id_at(9)]
    assert len(counts.warnings) == 1, "one line a minute"


def test_a_full_disk_drops_and_counts(path: Path, counts: Counts) -> None:
    store = open_store(path, counts)
    store.put(decision(0))
    eventually(lambda: len(store) == 0)
    assert store._database is not None
    store._database.execute("PRAGMA max_page_count=1")
    for number in range(1, 301):
        store.put(decision(number))
    eventually(lambda: sum(counts.dropped.values()) >= 200)
    assert set(counts.dropped) == {"disk_full"}
    assert counts.failed["disk_full"] >= 1
    assert "disk_full" in counts.warnings[0]
    store.close()


def test_a_path_that_cannot_be_written(tmp_path: Path, counts: Counts) -> None:
    (tmp_path / "file").touch()
    store = open_store(tmp_path / "file" / "decisions.sqlite", counts)
    store.put(decision())
    eventually(lambda: counts.dropped == {"unwritable": 1})
    store.close()


@pytest.mark.parametrize("content", [b"this is no database" * 100, b"SQLite format 3\x00" + b"\xff" * 4096])
def test_a_corrupt_file_is_put_aside(path: Path, counts: Counts, content: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(content)
    store = open_store(path, counts)
    store.put(decision())
    store.close()
    assert rows(path) == [id_at(0)]
    [aside] = path.parent.glob("*.corrupt-*")
    assert aside.read_bytes() == content
    assert counts.dropped == {}
    assert "renamed aside" in counts.warnings[0]


def test_a_file_that_breaks_while_running(path: Path, counts: Counts) -> None:
    store = open_store(path, counts)
    for number in range(400):
        store.put(decision(number))
    store.close()
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * 40_000)
    store = open_store(path, counts)
    for number in range(400, 800):
        store.put(decision(number))
    store.close()
    assert rows(path) == [id_at(number) for number in range(400, 800)]
    assert counts.dropped == {}


def test_somebody_elses_database_is_left_alone(path: Path, counts: Counts) -> None:
    path.parent.mkdir()
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE precious(value)")
    database.close()
    before = path.read_bytes()
    store = open_store(path, counts)
    store.put(decision())
    store.close()
    assert counts.dropped == {"foreign": 1}
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == [path.name]


def test_close_waits_two_seconds_at_most(path: Path, counts: Counts, monkeypatch: pytest.MonkeyPatch) -> None:
    release = time.monotonic() + 1.2

    def hang(self: Store, batch: list[Decision]) -> bool:
        time.sleep(max(0.0, release - time.monotonic()))
        return True

    monkeypatch.setattr(Store, "_write", hang)
    store = open_store(path, counts)
    for number in range(7):
        store.put(decision(number))
    began = time.monotonic()
    store.close(0.3)
    assert time.monotonic() - began < 0.9
    assert counts.dropped == {"shutdown": 7}
    store._thread.join()


def test_a_blocked_sink_costs_requests_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Store, "_write", lambda self, batch: time.sleep(0.5) or True)
    counted = metrics()
    recorder = Recorder(in_store(path, store_queue=100, ring_size=100), counted, SilentLog())
    began = time.perf_counter()
    for number in range(3000):
        recorder.record(decision(number))
    assert (time.perf_counter() - began) / 3000 < 0.001
    assert counted.decisions_dropped.values[("queue_full",)] >= 2600
    assert recorder.store is not None
    assert len(recorder.store) <= 300
    recorder.store.close(0.0)
    recorder.store._thread.join()


# --------------------------------------------------------------------------------- one list of ring and store


@pytest.fixture
def recorder(path: Path) -> Recorder:
    """120 records, 20 of them in the ring, all in the store."""
    recorder = Recorder(in_store(path, ring_size=20), metrics(), SilentLog())
    for number in range(120):
        recorder.record(fell_back(number) if number % 10 == 0 else decision(number))
    assert recorder.store is not None
    eventually(lambda: len(recorder.store or ()) == 0)
    return recorder


def ids(page: search.Page) -> list[str]:
    return [json.loads(record)["id"] for record in page.records]


async def test_newest_first_over_both(recorder: Recorder) -> None:
    page = await recorder.query(parse_query("limit=50"))
    assert ids(page) == [id_at(number) for number in range(119, 69, -1)]
    assert (page.has_more, page.next) == (True, id_at(70))
    document = json.loads(page.json())
    assert list(document) == ["object", "data", "has_more", "next"]
    assert document["object"] == "list"
    assert document["next"] == id_at(70)
    assert [json.loads(line)["id"] for line in page.jsonl().splitlines()] == ids(page)
    recorder.close()


@pytest.mark.parametrize("filters", ["", "&fell_back=true", "&failure_class=bad_answer", "&tier=small&status=200"])
@pytest.mark.parametrize("backwards", [False, True])
async def test_pages_cover_everything_once(recorder: Recorder, filters: str, backwards: bool) -> None:
    cursor = f"&after={'dec_' + '0' * 24}" if backwards else ""
    seen: list[str] = []
    for _ in range(40):
        page = await recorder.query(parse_query(f"limit=7{cursor}{filters}"))
        seen += ids(page)
        if not page.has_more:
            break
        cursor = f"&{'after' if backwards else 'before'}={page.next}"
    tens = [number for number in range(120) if number % 10 == 0]
    numbers = {
        "": list(range(120)),
        "&tier=small&status=200": [number for number in range(120) if number % 10],
    }.get(filters, tens)
    expected = [id_at(number) for number in numbers]
    assert seen == (expected if backwards else expected[::-1])
    recorder.close()


async def test_a_long_scan_is_cut_into_pages(recorder: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored, "SCAN_ROWS", 30)
    cursor, seen, pages = "", [], 0
    while True:
        page = await recorder.query(parse_query(f"limit=5&failure_class=bad_answer{cursor}"))
        seen += ids(page)
        pages += 1
        if not page.has_more:
            break
        cursor = f"&before={page.next}"
    assert seen == [id_at(number) for number in range(110, -1, -10)]
    assert pages > 3
    recorder.close()


async def test_one_record_by_id(recorder: Recorder) -> None:
    for number in (119, 3):
        found = await recorder.get(id_at(number))
        assert found is not None
        assert json.loads(found)["id"] == id_at(number)
    assert await recorder.get(id_at(500)) is None
    recorder.close()


async def test_an_unreadable_store_leaves_the_ring(recorder: Recorder, path: Path) -> None:
    recorder.close()
    for file in path.parent.iterdir():
        file.write_bytes(b"garbage" * 1000)
    assert ids(await recorder.query(parse_query("limit=50"))) == [id_at(number) for number in range(119, 99, -1)]
    assert await recorder.get(id_at(3)) is None


async def test_without_a_store() -> None:
    recorder = Recorder(in_store(""), metrics(), SilentLog())
    assert (await recorder.query(parse_query(""))).json() == b'{"object":"list","data":[],"has_more":false,"next":null}'
    assert await recorder.get(id_at(1)) is None
    recorder.close()


async def test_a_sink_that_raises_costs_only_itself() -> None:
    log = SilentLog()
    log.decision = lambda decision: 1 / 0  # type: ignore[assignment,return-value] # the defect under test
    recorder = Recorder(in_store(""), metrics(), log)
    recorder.record(decision())
    assert recorder.ring.total == 1
    assert "ZeroDivisionError" in log.warnings[0]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.integers(0, 40), unique=True, min_size=1),
    st.integers(1, 10),
    st.integers(1, 6),
    st.booleans(),
)
async def test_merge_is_a_sorted_union(numbers: list[int], ring_size: int, limit: int, backwards: bool) -> None:
    query = parse_query(f"limit={limit}" + (f"&after={'dec_' + '0' * 24}" if backwards else ""))
    records = [decision(number) for number in numbers]
    ring = search.from_ring(records[-ring_size:], query)
    stored = search.from_ring(records, query)
    page = search.merge(query, ring, stored, None)
    expected = sorted((record.id for record in records), reverse=not backwards)
    assert ids(page) == expected[:limit]
    assert page.has_more == (len(expected) > limit)
