"""What a candidate profile would change: its rows beside the live ones, told before anything is staged (11.5)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec
from pyinfra.api.exceptions import PyinfraError

SCHEMAS = tuple(f"anvil-serving.router.profile_bootstrap/{version}" for version in ("v1", "v2"))
_SHOWN = ("decision", "quality_score")

Rows = Mapping[tuple[str, str], Mapping[str, Any]]


def rows(text: bytes, called: str) -> Rows:
    """The rows of a profile by tier and work class. Raises PyinfraError for what is no profile of ours."""
    try:
        document = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise PyinfraError(f"{called}: is not JSON: {error}") from None
    schema = document.get("schema") if isinstance(document, dict) else None
    if schema not in SCHEMAS:
        raise PyinfraError(f"{called}: schema is {schema!r}, expected {' or '.join(SCHEMAS)}")
    entries = document.get("entries")
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise PyinfraError(f"{called}: entries: expected a list of tables")
    return {(str(entry.get("tier_id")), str(entry.get("work_class"))): entry for entry in entries}


def differences(live: Rows, candidate: Rows, tiers: Mapping[str, object], stale: Iterable[str] = ()) -> Iterator[str]:
    """One line a difference, in the order of tier and class; rows without effect, or of another serve, are warnings."""
    for key in sorted({*live, *candidate}):
        label, before, after = "/".join(key), live.get(key), candidate.get(key)
        if after is None:
            yield f"- {label}: {_verdict(live[key])}"
        elif before is None:
            yield f"+ {label}: {_verdict(after)}"
        elif _verdict(before) != _verdict(after):
            yield f"~ {label}: {_verdict(before)} -> {_verdict(after)}"
    declared = {name.lower() for name in tiers}
    for tier in sorted({tier for tier, _ in candidate if tier.lower() not in declared}):
        yield f"WARN {tier}: no tier has this id; its rows have no effect"
    for label in stale:
        yield f"WARN {label}: measured on another serve than the inventory's; its allow counts as allow-with-verify"


def _verdict(row: Mapping[str, Any]) -> str:
    return " ".join(str(row[key]) for key in _SHOWN if row.get(key) is not None)
