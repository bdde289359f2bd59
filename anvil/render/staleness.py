"""Rows of a profile whose serve is no longer what was measured: the router trusts an allow among them less (11.4)."""

from __future__ import annotations

import msgspec
from msgspec import Struct

from anvil.router.config import RouterConfig
from anvil.router.fingerprint import fingerprint


class _Row(Struct):
    tier_id: str
    work_class: str | None
    fingerprint: str | None = None


class _Profile(Struct):
    entries: list[_Row]


def stale(config: RouterConfig, profile: bytes | None, mode: str | None) -> tuple[str, ...]:
    """``tier/class`` of each such row, in the file's order. Nothing of a text that is no profile: its reader tells."""
    if profile is None:
        return ()
    try:
        rows = msgspec.json.decode(profile, type=_Profile).entries
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return ()
    current = {tier.id.lower(): fingerprint(tier, mode) for tier in config.tiers}
    return tuple(
        f"{row.tier_id}/{row.work_class or 'none'}"
        for row in rows
        if row.fingerprint is not None and current.get(row.tier_id.lower(), row.fingerprint) != row.fingerprint
    )
