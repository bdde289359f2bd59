"""Which models an OpenClaw gateway lets its agents use: the catalogue map and modelPolicy (rules M6 and M7)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from anvil.harness.openclaw_place import Place

# The parts of a document that name models.
_NAMING = ("agents", "channels", "cron", "hooks", "messages", "tools")


def catalogue(defaults: Place, provider: str, presets: list[str]) -> None:
    """Keeps agents.defaults.models in step; never creates it, for it may be an allowlist of everything (M6)."""
    entries = defaults.value.get("models")
    if not isinstance(entries, dict):
        absent = entries is None
        defaults.note("no allowlist in force" if absent else f"{defaults.below('models')} is not an object: left alone")
        return
    place = defaults.child("models")
    for gone in [key for key in entries if _is_stale(key, provider, presets)]:
        del entries[gone]
    for preset in presets:
        place.child(preset).value.pop("params", None)  # stale params would override the router's


def allow(defaults: Place, provider: str, presets: list[str]) -> None:
    """Keeps a non-empty agents.defaults.modelPolicy.allow in step; absent or empty allows everything (M7)."""
    if not isinstance(defaults.value.get("modelPolicy"), dict):
        return
    policy = defaults.child("modelPolicy")
    allowed = policy.value.get("allow")
    if not isinstance(allowed, list) or not allowed:
        return
    allowed[:] = [name for name in allowed if not (isinstance(name, str) and _is_stale(name, provider, presets))]
    if f"{provider}/*" not in allowed and not set(presets) <= {name for name in allowed if isinstance(name, str)}:
        allowed.append(f"{provider}/*")


def report_agents(agents: Place) -> None:
    """Per-agent policies are the operator's own; they are named, not edited."""
    entries = agents.value.get("entries")
    for name, entry in entries.items() if isinstance(entries, dict) else ():
        policy = entry.get("modelPolicy") if isinstance(entry, dict) else None
        if isinstance(policy, dict) and policy.get("allow"):
            agents.note(f"agents.entries.{name} has a modelPolicy of its own: see that it allows the presets")


def report_gone(root: Place, provider: str, presets: list[str]) -> None:
    """Whoever still asks for a preset that is gone is named: the gateway would refuse such turns, and only its operator
    knows what is meant instead."""
    for part in _NAMING:
        for path, name in _texts(root.value.get(part), part):
            if _is_stale(name, provider, presets) and not re.search(r"\s", name):
                root.warn(f"{path} is {name}, which the router does not offer")


def _texts(value: Any, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _texts(item, f"{path}.{key}")
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from _texts(item, f"{path}[{number}]")


def _is_stale(name: str, provider: str, presets: list[str]) -> bool:
    return name.startswith(f"{provider}/") and "*" not in name and name not in presets
