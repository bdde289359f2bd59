"""The optional durable store: one SQLite file, one writer thread, never in the way of a request (contract 16.3)."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Final

from anvil.router.config import DecisionsConfig
from anvil.router.decisions.record import Decision, encode, timestamp

BATCH_ROWS: Final = 200
BATCH_SECONDS: Final = 0.25
BUSY_MS: Final = 2000
# rows deleted in one transaction of retention: short, so that a batch never waits long behind it, and more than a
# batch, so that it keeps up
TRIM_ROWS: Final = 250
TRIM_PAGES: Final = 1000
TRIM_EVERY_S: Final = 60.0
TRIM_EVERY_ROWS: Final = 2000
COMPLAIN_EVERY_S: Final = 60.0
VERSION: Final = 1

_TABLE: Final = """
CREATE TABLE IF NOT EXISTS decisions(
    id TEXT PRIMARY KEY, ts TEXT NOT NULL, endpoint TEXT NOT NULL, work_class TEXT, preset TEXT, served_tier TEXT,
    outcome TEXT NOT NULL, status INTEGER NOT NULL, fell_back INTEGER NOT NULL, record BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS decisions_ts ON decisions(ts);
"""
_INSERT: Final = "INSERT OR IGNORE INTO decisions VALUES (?,?,?,?,?,?,?,?,?,?)"
_DELETE: Final = "DELETE FROM decisions WHERE id IN (SELECT id FROM decisions {} LIMIT ?)"


class Foreign(Exception):
    """The file is a database of somebody else, or of another schema version: it is left alone."""


class Store:
    """Writes records in batches; ``put`` costs an append. What cannot be written is dropped and counted.

    dropped(reason, rows) and failed(reason) count; warn(text) logs (at most once a minute). All three are called from
    the writer thread, ``dropped("queue_full", 1)`` from the caller of ``put``.
    """

    def __init__(
        self,
        config: DecisionsConfig,
        *,
        dropped: Callable[[str, int], None],
        failed: Callable[[str], None],
        warn: Callable[[str], None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.path: Final = Path(config.store_path).expanduser()
        self._config = config
        self._dropped = dropped
        self._failed = failed
        self._warn = warn
        self._clock = clock
        self._queue: deque[Decision] = deque()
        self._capacity = config.store_queue
        self._in_hand = 0
        self._wake = threading.Event()
        self._full = threading.Event()
        self._stop = threading.Event()
        self._database: sqlite3.Connection | None = None
        self._complained = -COMPLAIN_EVERY_S
        self._trim_at = 0.0
        self._written = 0
        self._thread = threading.Thread(target=self._run, name="decision-store", daemon=True)
        self._thread.start()

    def __len__(self) -> int:
        """Rows not yet written."""
        return len(self._queue) + self._in_hand

    def put(self, decision: Decision) -> None:
        queue = self._queue
        if len(queue) >= self._capacity or self._stop.is_set():
            self._dropped("queue_full", 1)
            return
        queue.append(decision)
        if not self._wake.is_set():
            self._wake.set()
        elif len(queue) == BATCH_ROWS:
            self._full.set()

    def close(self, timeout: float = 2.0) -> None:
        """Write what is queued, for at most ``timeout`` seconds; the rest is dropped and counted."""
        self._stop.set()
        self._wake.set()
        self._full.set()
        self._thread.join(timeout)
        left = len(self)
        if self._thread.is_alive() and left:
            self._dropped("shutdown", left)

    # ------------------------------------------------------------------------------------- writer thread

    def _run(self) -> None:
        while not self._stop.is_set():
            more_to_trim = self._step(self._trim)
            if not self._wake.wait(0.05 if more_to_trim else TRIM_EVERY_S):
                continue
            self._full.wait(BATCH_SECONDS)
            self._wake.clear()
            self._full.clear()
            self._drain()
        self._drain()
        self._disconnect()

    def _drain(self) -> None:
        while self._queue:
            count = min(BATCH_ROWS, len(self._queue))
            batch = [self._queue.popleft() for _ in range(count)]
            self._in_hand = count
            self._step(partial(self._write, batch), rows=count)
            self._in_hand = 0
            self._written += count
            if self._written >= TRIM_EVERY_ROWS and not self._stop.is_set():
                self._trim_at = 0.0
                self._step(self._trim)

    def _step(self, work: Callable[[], bool], rows: int = 0) -> bool:
        """Run one piece of database work; a corrupt file is put aside and the work tried once more."""
        for last in (False, True):
            try:
                return work()
            except Exception as error:
                reason = _reason(error)
                self._disconnect()
                self._failed(reason)
                renamed = reason == "corrupt" and not last and self._set_aside()
                self._complain(reason, error, renamed)
                if not renamed:
                    break
        if rows:
            self._dropped(reason, rows)
        return False

    def _write(self, batch: list[Decision]) -> bool:
        database = self._connection()
        with database:
            database.executemany(_INSERT, [_row(record) for record in batch])
        return True

    def _connection(self) -> sqlite3.Connection:
        if self._database is None:
            self._database = _open(self.path)
        return self._database

    def _disconnect(self) -> None:
        if self._database is not None:
            with contextlib.suppress(sqlite3.Error):
                self._database.close()
            self._database = None

    def _set_aside(self) -> bool:
        aside = self.path.with_name(f"{self.path.name}.corrupt-{int(self._clock())}")
        try:
            os.replace(self.path, aside)
            for suffix in ("-wal", "-shm"):
                self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)
        except OSError:
            return False
        return True

    def _complain(self, reason: str, error: Exception, renamed: bool) -> None:
        now = time.monotonic()
        if not renamed and now - self._complained < COMPLAIN_EVERY_S:
            return
        self._complained = now
        remedy = "it was renamed aside and a new file begun" if renamed else "decisions are dropped and counted"
        self._warn(f"decision store {self.path}: {reason} ({type(error).__name__}); {remedy}, requests are unaffected")

    # ----------------------------------------------------------------------------------------- retention

    def _trim(self) -> bool:
        """One small step of retention; True when there may be more to delete."""
        now = time.monotonic()
        if now < self._trim_at:
            return False
        database = self._connection()
        if self._trim_days(database) or self._trim_size(database):
            database.executescript(f"PRAGMA incremental_vacuum({TRIM_PAGES})")  # execute() would free one page only
            return True
        database.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()  # the file shrinks when the log is folded in
        self._trim_at = now + TRIM_EVERY_S
        self._written = 0
        return False

    def _trim_days(self, database: sqlite3.Connection) -> bool:
        if not self._config.store_days:
            return False
        oldest = timestamp(self._clock() - self._config.store_days * 86400)
        with database:
            done = database.execute(_DELETE.format("WHERE ts < ? ORDER BY ts"), (oldest, TRIM_ROWS))
        return done.rowcount > 0

    def _trim_size(self, database: sqlite3.Connection) -> bool:
        if _used_bytes(database) <= self._config.store_max_mb * 1_000_000:
            return False
        with database:
            done = database.execute(_DELETE.format("ORDER BY id"), (TRIM_ROWS,))
        return done.rowcount > 0


def _used_bytes(database: sqlite3.Connection) -> int:
    pages, free, size = (
        database.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size")
    )
    return int((pages - free) * size)


def _row(record: Decision) -> tuple[object, ...]:
    preset = record.intent.preset if record.intent else None
    return (
        record.id,
        record.ts,
        record.endpoint,
        record.work_class,
        preset,
        record.served_tier,
        record.outcome,
        record.status,
        record.fell_back,
        encode(record),
    )


def _open(path: Path) -> sqlite3.Connection:
    """Open or create the file, mode 0600. Raises sqlite3.Error, OSError or Foreign."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    database = sqlite3.connect(path, timeout=BUSY_MS / 1000, check_same_thread=False)
    try:
        _prepare(database, path)
    except BaseException:
        database.close()
        raise
    return database


def _prepare(database: sqlite3.Connection, path: Path) -> None:
    version = database.execute("PRAGMA user_version").fetchone()[0]
    if version != VERSION:
        if version or database.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            raise Foreign("not a decision store of this release")
        database.execute("PRAGMA auto_vacuum=INCREMENTAL")
    os.chmod(path, 0o600)  # before WAL: its two files take the mode of this one
    database.execute("PRAGMA journal_mode=WAL").fetchone()
    database.execute("PRAGMA synchronous=NORMAL")
    database.execute("PRAGMA journal_size_limit=4000000").fetchone()
    if version != VERSION:
        database.executescript(f"BEGIN IMMEDIATE;{_TABLE}PRAGMA user_version={VERSION};COMMIT;")


_REASONS: Final = {
    sqlite3.SQLITE_FULL: "disk_full",
    sqlite3.SQLITE_BUSY: "locked",
    sqlite3.SQLITE_LOCKED: "locked",
    sqlite3.SQLITE_CORRUPT: "corrupt",
    sqlite3.SQLITE_NOTADB: "corrupt",
    sqlite3.SQLITE_READONLY: "unwritable",
    sqlite3.SQLITE_CANTOPEN: "unwritable",
    sqlite3.SQLITE_PERM: "unwritable",
    sqlite3.SQLITE_IOERR: "io_error",
}


def _reason(error: Exception) -> str:
    """One word of a fixed vocabulary; it becomes a metric label."""
    if isinstance(error, Foreign):
        return "foreign"
    if isinstance(error, sqlite3.Error):
        code = getattr(error, "sqlite_errorcode", None)
        return _REASONS.get(code & 0xFF, "error") if isinstance(code, int) else "error"
    return "unwritable" if isinstance(error, OSError) else "error"


@contextlib.contextmanager
def reading(path: Path) -> Iterator[sqlite3.Connection | None]:
    """A read-only connection for one query, None while there is no file."""
    if not path.exists():
        yield None
        return
    database = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=BUSY_MS / 1000)
    try:
        yield database
    finally:
        database.close()
