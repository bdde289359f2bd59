"""Comparisons kept in the store: one fingerprint per measured serve, one row per metric (lab contract 9.5)."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable

from anvil.lab.priors.compare import Near
from anvil.lab.priors.local import Local
from anvil.lab.priors.store import utc


def keep(store: sqlite3.Connection, ours: Local, found: Iterable[Near]) -> int:
    """How many comparison rows were added."""
    fingerprint = _fingerprint(store, ours)
    rows = [
        (fingerprint, near.id, ours.run_id, delta.metric, delta.local, delta.external, delta.absolute, delta.percent,
         "; ".join((*near.mismatches, *near.warnings)) or None, utc())
        for near in found
        for delta in near.deltas
    ]  # fmt: skip
    store.executemany(
        "INSERT INTO comparisons(fingerprint_id, row_id, local_run_id, metric, local_value, external_value, delta_abs,"
        " delta_pct, notes, created_at) VALUES(?,?,?,?,?,?,?,?,?,?)",
        rows,
    )
    return len(rows)


def _fingerprint(store: sqlite3.Connection, ours: Local) -> int:
    digest = ours.fingerprint()
    values = (
        ours.model, ours.served, ours.engine, ours.engine_version, ours.quantization, ours.precision, ours.gpu,
        ours.gpu_count, ours.context_limit, ours.kv_cache_dtype, ours.reasoning_parser, ours.tool_call_parser,
        json.dumps(ours.flags), digest, utc(),
    )  # fmt: skip
    store.execute(
        "INSERT OR IGNORE INTO fingerprints(model_id, served_model_name, engine, engine_version, quantization,"
        " precision, gpu_model, gpu_count, context_limit, kv_cache_dtype, reasoning_parser, tool_call_parser,"
        f" serve_flags_json, fingerprint_sha256, created_at) VALUES({','.join('?' * len(values))})",
        values,
    )
    found = store.execute("SELECT id FROM fingerprints WHERE fingerprint_sha256 = ?", (digest,)).fetchone()
    return int(found["id"])
