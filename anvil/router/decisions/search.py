"""Answers GET /v1/decisions from the ring, merged with what the durable store found (contract 2.13)."""

from __future__ import annotations

import heapq
from collections.abc import Iterable

from msgspec import Struct

from anvil.router.decisions.query import Query
from anvil.router.decisions.record import Decision, encode


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
