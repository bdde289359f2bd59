"""Rows of measurements as a profile file the router reads (lab contract 6.1)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from anvil.router import profile
from anvil.router.profile import Row


def encode(rows: Iterable[Row], mode: Literal["replay", "live"]) -> bytes:
    """Profile v2: indent 2, sorted keys, final newline, rows by (tier, class). Same rows, same bytes."""
    return profile.encode(sorted(rows, key=lambda row: (row.tier_id, row.work_class or "")), mode)
