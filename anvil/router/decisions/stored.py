"""Reads the durable store for GET /v1/decisions, in a thread and over its own connection (contract 2.13)."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from anvil.router.decisions.query import NO_CLASS, Query
from anvil.router.decisions.record import Decision, decode
from anvil.router.decisions.search import Row
from anvil.router.decisions.store import reading

# rows looked at for one page; a page cut short by it says has_more and where to go on
SCAN_ROWS: Final = 50_000
StoreError = sqlite3.Error


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


def one_from_store(path: Path, decision_id: str) -> bytes | None:
    """A record of the file as JSON, None when it has none. Runs in a thread; raises sqlite3.Error."""
    with reading(path) as database:
        if database is None:
            return None
        row = database.execute("SELECT record FROM decisions WHERE id = ?", (decision_id,)).fetchone()
    return None if row is None else bytes(row[0])
