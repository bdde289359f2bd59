"""Answers GET /v1/decisions from the ring, and from the durable store for what the ring no longer holds (2.13)."""

from __future__ import annotations

import heapq
import sqlite3
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from anvil.router.decisions.query import NO_CLASS, Query
from anvil.router.decisions.record import Decision, decode, encode
from anvil.router.decisions.store import reading

# rows looked at for one page; a page cut short by it says has_more and where to go on
SCAN_ROWS: Final = 50_000


class Page(Struct, frozen=True):
    """Records as JSON, in the order of the query. ``next`` is the cursor of the following page when there is more."""

    records: tuple[bytes, ...]
    has_more: bool
    next: str | None

    def json(self) -> bytes:
        after = b"null" if self.next is None else b'"%s"' % self.next.encode()
        more = b"true" if self.has_more else b"false"
        return b'{"object":"list","data":[%s],"has_more":%s,"next":%s}' % (b",".join(self.records), more, after)

    def jsonl(self) -> bytes:
        return b"".join([record + b"\n" for record in self.records])


class Row(Struct, frozen=True):
    id: str
    record: bytes


def from_ring(records: Iterable[Decision], query: Query) -> list[Row]:
    """The first ``page + 1`` matches in query order. Records end in another order than their ids, which are given at
    the start, hence the sort."""
    accept = query.predicate()
    matching = [record for record in records if query.in_window(record.id) and accept(record)]
    matching.sort(key=lambda record: record.id, reverse=not query.oldest_first)
    return [Row(record.id, encode(record)) for record in matching[: query.page + 1]]


def from_store(path: Path, query: Query) -> tuple[list[Row], str | None]:
    """The first ``page + 1`` matches of the file, and the id where the scan stopped early (None: it did not).

    Runs in a thread. Raises sqlite3.Error when the file cannot be read.
    """
    accept = query.predicate() if query.failure_class or query.committed is not None or query.caller_model else None
    statement, values = _select(query)
    found: list[Row] = []
    with reading(path) as database:
        if database is None:
            return [], None
        for scanned, (decision_id, record) in enumerate(database.execute(statement, values), 1):
            if accept is None or _accepted(accept, record):
                found.append(Row(decision_id, record))
                if len(found) > query.page:
                    break
            if scanned == SCAN_ROWS:
                return found, decision_id
    return found, None


def _accepted(accept: Callable[[Decision], bool], record: bytes) -> bool:
    try:
        return accept(decode(record))
    except msgspec.DecodeError:
        return False


def _select(query: Query) -> tuple[str, list[object]]:
    clauses: list[str] = []
    values: list[object] = []
    for column, operator, bound in (
        ("id", "<", query.before),
        ("id", ">", query.after),
        ("ts", ">=", query.since),
        ("ts", "<", query.until),
        ("fell_back", "=", query.fell_back),
    ):
        if bound is not None:
            clauses.append(f"{column} {operator} ?")
            values.append(bound)
    for column, wanted in (
        ("coalesce(work_class, '" + NO_CLASS + "')", query.work_class),
        ("served_tier", query.tier),
        ("preset", query.preset),
        ("endpoint", query.endpoint),
        ("outcome", query.outcome),
        ("status", query.status),
    ):
        if wanted:
            clauses.append(f"{column} IN ({','.join('?' * len(wanted))})")
            values += wanted
    where = f" WHERE {' AND '.join(clauses)}" if clauses else ""
    order = "ASC" if query.oldest_first else "DESC"
    return f"SELECT id, record FROM decisions{where} ORDER BY id {order}", values  # noqa: S608 - columns are ours


def merge(query: Query, ring: list[Row], stored: list[Row], stopped_at: str | None) -> Page:
    """One page of both sources without doubles. Rows beyond a scan that stopped early wait for the next page."""
    rows: list[Row] = []
    for row in heapq.merge(ring, stored, key=lambda row: row.id, reverse=not query.oldest_first):
        if stopped_at is not None and (row.id > stopped_at) == query.oldest_first and row.id != stopped_at:
            break
        if not rows or rows[-1].id != row.id:
            rows.append(row)
    shown = rows[: query.page]
    if len(rows) > query.page:
        return Page(tuple(row.record for row in shown), True, shown[-1].id)
    return Page(tuple(row.record for row in shown), stopped_at is not None, stopped_at)


def one_from_store(path: Path, decision_id: str) -> bytes | None:
    """A record of the file as JSON, None when it has none. Runs in a thread; raises sqlite3.Error."""
    with reading(path) as database:
        if database is None:
            return None
        row = database.execute("SELECT record FROM decisions WHERE id = ?", (decision_id,)).fetchone()
    return None if row is None else bytes(row[0])


StoreError = sqlite3.Error
