"""What differs between two definitions of a service, in a few words for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import SequenceMatcher
from typing import Any

_LONGEST = 200
_COMMANDS = ("command", "argv")  # A flag says by itself where it stands.


def differing(live: Mapping[str, Any] | None, wanted: Mapping[str, Any]) -> str:
    """ "--max-model-len 32768 -> 65536; ports" and the like; "" when nothing is known of the live one."""
    if not live:
        return ""
    keys = [key for key in sorted({*live, *wanted}) if key != "labels" and live.get(key) != wanted.get(key)]
    return "; ".join(_change(key, live.get(key), wanted.get(key)) for key in keys)[:_LONGEST]


def _cards(deploy: Any) -> str:
    """The UUIDs of a service's cards."""
    try:
        devices = deploy["resources"]["reservations"]["devices"]
        return ",".join(card for device in devices for card in device["device_ids"])
    except (KeyError, TypeError):
        return "none"


def _change(key: str, live: Any, wanted: Any) -> str:
    if key == "deploy" and _cards(live) != _cards(wanted):
        return f"gpu: {_cards(live)} -> {_cards(wanted)}"
    if isinstance(live, Sequence) and isinstance(wanted, Sequence) and not isinstance(live, str):
        changed = _words([str(word) for word in live], [str(word) for word in wanted])
        return changed if key in _COMMANDS and changed.startswith("-") else f"{key}: {changed}"
    if isinstance(live, Mapping) and isinstance(wanted, Mapping):
        return f"{key}: {', '.join(sorted(name for name in {*live, *wanted} if live.get(name) != wanted.get(name)))}"
    if isinstance(live, (str, int)) and isinstance(wanted, (str, int)):
        return f"{key}: {live} -> {wanted}"
    return key


def _words(live: list[str], wanted: list[str]) -> str:
    """The changed words, with the flag before them."""
    parts: list[str] = []
    for tag, a, b, c, d in SequenceMatcher(None, live, wanted, autojunk=False).get_opcodes():
        if tag == "equal":
            continue
        flag = f"{wanted[c - 1]} " if c and wanted[c - 1].startswith("-") else ""
        parts.append(f"{flag}{' '.join(live[a:b]) or 'nothing'} -> {' '.join(wanted[c:d]) or 'nothing'}")
    return ", ".join(parts)
