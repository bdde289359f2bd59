"""The store of priors: SQLite, and the raw bytes beside it (lab contract 9.1)."""

from __future__ import annotations

import hashlib
import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePath
from typing import Any, Final, NamedTuple

import msgspec

from anvil.lab.priors import normal
from anvil.lab.priors.row import Row

DATABASE: Final = Path(".anvil/benchmarks.sqlite")
RAW_LIMIT: Final = 20 << 20
_TRIES: Final = 100
_SUFFIXES: Final = {"json": ".json", "csv": ".csv", "html": ".html", "markdown": ".md", "text": ".txt"}
_ROW_COLUMNS: Final = tuple(Row.__struct_fields__)
_NUMBERS: Final = {"int": "INTEGER", "float": "REAL"}


def _column_types() -> str:
    kinds = {field.name: str(field.type) for field in msgspec.structs.fields(Row)}
    typed = (f"{name} {next((sql for kind, sql in _NUMBERS.items() if kind in kinds[name]), 'TEXT')}" for name in kinds)
    return ", ".join(typed)


# Forward only: a released entry is never edited, a new one is added.
MIGRATIONS: Final = (
    f"""
    CREATE TABLE sources(id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, kind TEXT NOT NULL, homepage_url TEXT,
      notes TEXT, created_at TEXT NOT NULL);
    CREATE TABLE snapshots(id INTEGER PRIMARY KEY, source_id INTEGER NOT NULL REFERENCES sources(id), source_url TEXT,
      fetched_at TEXT, imported_at TEXT NOT NULL, raw_path TEXT NOT NULL, raw_sha256 TEXT NOT NULL, content_type TEXT,
      parser_name TEXT NOT NULL, parser_version TEXT NOT NULL,
      parse_status TEXT NOT NULL CHECK(parse_status IN ('pending','parsed','empty','failed')), parse_error TEXT);
    CREATE TABLE rows(id INTEGER PRIMARY KEY, snapshot_id INTEGER NOT NULL REFERENCES snapshots(id),
      {_column_types()}, created_at TEXT NOT NULL);
    CREATE TABLE fingerprints(id INTEGER PRIMARY KEY, model_id TEXT, served_model_name TEXT, engine TEXT,
      engine_version TEXT, quantization TEXT, precision TEXT, gpu_model TEXT, gpu_count INTEGER, context_limit INTEGER,
      kv_cache_dtype TEXT, reasoning_parser TEXT, tool_call_parser TEXT, serve_flags_json TEXT NOT NULL,
      fingerprint_sha256 TEXT NOT NULL UNIQUE, created_at TEXT NOT NULL);
    CREATE TABLE comparisons(id INTEGER PRIMARY KEY, fingerprint_id INTEGER NOT NULL REFERENCES fingerprints(id),
      row_id INTEGER NOT NULL REFERENCES rows(id), local_run_id TEXT, metric TEXT NOT NULL, local_value REAL NOT NULL,
      external_value REAL NOT NULL, delta_abs REAL NOT NULL, delta_pct REAL, notes TEXT, created_at TEXT NOT NULL);
    CREATE INDEX rows_gpu ON rows(gpu_model);
    CREATE INDEX rows_model ON rows(model_id_normalized, model_family);
    CREATE INDEX rows_engine ON rows(engine);
    CREATE INDEX snapshots_source ON snapshots(source_id, imported_at, fetched_at);
    """,
)
SOURCES: Final = (
    ("millstone", "report", "tables of measured serves"),
    ("rtx6kpro", "repository", "decode matrices of RTX PRO 6000 hosts"),
    ("manual", "file", "typed in or exported by hand"),
)


class StoreError(Exception):
    """The store cannot be used; the sentence names it and what to do."""


class Stored(NamedTuple):
    """A row with where it came from."""

    id: int
    source: str
    row: Row


class Snapshot(NamedTuple):
    source: str
    content: bytes
    file_name: str
    content_type: str
    url: str | None = None
    fetched: bool = False


def create(path: Path) -> None:
    """Make the store, or bring an older one up to date. Raises StoreError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with _connected(path) as store:
        version = int(store.execute("PRAGMA user_version").fetchone()[0])
        if version > len(MIGRATIONS):
            raise StoreError(f"{path}: of a newer release (version {version}); update anvil")
        for number, script in enumerate(MIGRATIONS[version:], start=version + 1):
            store.executescript(f"BEGIN; {script}; PRAGMA user_version = {number}; COMMIT;")
        now = utc()
        rows = [(name, kind, notes, now) for name, kind, notes in SOURCES]
        store.executemany("INSERT OR IGNORE INTO sources(name, kind, notes, created_at) VALUES(?,?,?,?)", rows)


@contextmanager
def opened(path: Path) -> Iterator[sqlite3.Connection]:
    """One transaction on an existing, current store. Raises StoreError."""
    if not path.is_file():
        raise StoreError(f"{path}: no such store; make it with `anvil priors init --db {path}`")
    with _connected(path) as store:
        version = int(store.execute("PRAGMA user_version").fetchone()[0])
        if version != len(MIGRATIONS):
            raise StoreError(f"{path}: version {version} is not {len(MIGRATIONS)}; run `anvil priors init --db {path}`")
        yield store


@contextmanager
def _connected(path: Path) -> Iterator[sqlite3.Connection]:
    try:
        store = sqlite3.connect(path)
    except sqlite3.Error as error:
        raise StoreError(f"{path}: cannot be opened: {error}") from None
    try:
        store.row_factory = sqlite3.Row
        store.execute("PRAGMA foreign_keys = ON")
        yield store
        store.commit()
    except sqlite3.Error as error:
        raise StoreError(f"{path}: {error}") from None
    finally:
        store.close()


def utc(seconds: float | None = None) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def keep_raw(database: Path, snapshot: Snapshot, nanoseconds: int | None = None) -> Path:
    """The bytes as they came, in a file of their own that replaces none. Raises StoreError."""
    if len(snapshot.content) > RAW_LIMIT:
        raise StoreError(f"{snapshot.file_name}: {len(snapshot.content)} bytes; the limit is {RAW_LIMIT}")
    ns = time.time_ns() if nanoseconds is None else nanoseconds
    folder = database.parent / "external-benchmarks/raw"
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(ns // 10**9))
    stem = f"{snapshot.source}-{stamp}-{ns % 10**9:09}-{hashlib.sha256(snapshot.content).hexdigest()[:12]}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for attempt in range(_TRIES):
            path = folder / f"{stem}{f'-{attempt}' if attempt else ''}{_suffix(snapshot)}"
            try:
                with path.open("xb") as file:
                    file.write(snapshot.content)
                return path
            except FileExistsError:
                continue
    except OSError as error:
        raise StoreError(f"{folder}: cannot be written: {error.strerror}") from None
    raise StoreError(f"{folder}: {_TRIES} names like {stem} are taken")


def _suffix(snapshot: Snapshot) -> str:
    suffix = PurePath(snapshot.file_name).suffix.lower()
    if suffix[1:].isalnum() and len(suffix) <= 6:
        return suffix
    return next((each for word, each in _SUFFIXES.items() if word in snapshot.content_type), ".bin")


def add_snapshot(store: sqlite3.Connection, snapshot: Snapshot, raw: Path, parser: tuple[str, str]) -> int:
    """A pending snapshot. Raises StoreError for a source nobody declared."""
    source = store.execute("SELECT id FROM sources WHERE name = ?", (snapshot.source,)).fetchone()
    if source is None:
        known = ", ".join(row["name"] for row in store.execute("SELECT name FROM sources ORDER BY id"))
        raise StoreError(f"no source {snapshot.source!r}; known: {known}")
    now = utc()
    digest = hashlib.sha256(snapshot.content).hexdigest()
    values = (
        source["id"],
        snapshot.url,
        now if snapshot.fetched else None,
        now,
        str(raw),
        digest,
        snapshot.content_type,
    )
    added = store.execute(
        "INSERT INTO snapshots(source_id, source_url, fetched_at, imported_at, raw_path, raw_sha256, content_type,"
        " parser_name, parser_version, parse_status) VALUES(?,?,?,?,?,?,?,?,?,'pending')",
        (*values, *parser),
    )
    return int(added.lastrowid or 0)


def finish(store: sqlite3.Connection, snapshot: int, rows: list[Row], error: str | None = None) -> str:
    """Its rows and its status: parsed, empty or failed."""
    status = "failed" if error else "parsed" if rows else "empty"
    marks = ",".join("?" * (len(_ROW_COLUMNS) + 2))
    now = utc()
    store.executemany(
        f"INSERT INTO rows(snapshot_id, {', '.join(_ROW_COLUMNS)}, created_at) VALUES({marks})",
        [(snapshot, *msgspec.structs.astuple(row), now) for row in rows],
    )
    store.execute("UPDATE snapshots SET parse_status = ?, parse_error = ? WHERE id = ?", (status, error, snapshot))
    return status


class Asked(NamedTuple):
    """Filters; None asks for all. ``top`` < 0 = no limit."""

    gpu: str | None = None
    model: str | None = None
    source: str | None = None
    top: int = -1


def rows(store: sqlite3.Connection, asked: Asked) -> list[Stored]:
    """By throughput, then decode rate, highest first, unknown last. ``model`` is an id or a family."""
    values = {
        "gpu": normal.gpu(asked.gpu) if asked.gpu else None,
        "model": normal.model(asked.model) if asked.model else None,
        "source": asked.source,
        "top": asked.top,
    }
    found = store.execute(
        "SELECT rows.*, sources.name AS source FROM rows JOIN snapshots ON snapshots.id = rows.snapshot_id"
        " JOIN sources ON sources.id = snapshots.source_id"
        " WHERE (:gpu IS NULL OR gpu_model = :gpu) AND (:source IS NULL OR sources.name = :source)"
        " AND (:model IS NULL OR model_id_normalized = :model OR model_family = :model)"
        " ORDER BY throughput_tok_s DESC NULLS LAST, decode_tok_s DESC NULLS LAST, rows.id LIMIT :top",
        values,
    )
    return [Stored(each["id"], each["source"], _row(each)) for each in found]


def sources(store: sqlite3.Connection) -> list[dict[str, Any]]:
    counted = (
        "SELECT sources.name, kind, homepage_url, sources.notes, count(snapshots.id) AS snapshots FROM sources"
        " LEFT JOIN snapshots ON snapshots.source_id = sources.id GROUP BY sources.id ORDER BY sources.id"
    )
    return [dict(row) for row in store.execute(counted)]


def _row(found: Mapping[str, Any] | sqlite3.Row) -> Row:
    return Row(**{name: found[name] for name in _ROW_COLUMNS})
