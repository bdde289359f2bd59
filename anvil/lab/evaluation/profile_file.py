"""Rows of measurements as a profile file the router reads (lab contract 6.1)."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Literal

import msgspec

from anvil.router.profile import EVAL_MAX, SCHEMA_V2, Row


def encode(rows: Iterable[Row], mode: Literal["replay", "live"]) -> bytes:
    """Profile v2: indent 2, sorted keys, final newline, rows by (tier, class). Same rows, same bytes."""
    ordered = sorted(rows, key=lambda row: (row.tier_id, row.work_class or ""))
    document = {
        "schema": SCHEMA_V2,
        "mode": mode,
        "eval_max": EVAL_MAX,
        "entries": [msgspec.to_builtins(row) for row in ordered],
    }
    return json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False).encode() + b"\n"
