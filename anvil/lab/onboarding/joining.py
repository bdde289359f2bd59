"""A plan as the text of a topology: a new one, or joined into one that people have edited."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from typing import Any, NamedTuple

from anvil.lab.onboarding import toml_tables
from anvil.lab.onboarding.planning import CannotPlan, Plan
from anvil.lab.onboarding.toml_tables import Path, Unsayable

_OPENING = """#:schema ./topology.schema.json
# Written by `anvil init`. A table marked `# anvil init` is brought up to date by the next run as long as nobody edits
# it; in an edited one only what the command line names is set. Without the mark a table is left alone.
"""


class Text(NamedTuple):
    """``notes`` say which tables of a person were left as they are."""

    text: str
    notes: tuple[str, ...] = ()


def fresh(plan: Plan) -> Text:
    top = "".join(f"{key} = {toml_tables.value(each)}\n" for key, each in plan.top.items())
    blocks = []
    for path, keys in plan.tables.items():
        blocks.append(toml_tables.rendered(path, keys))
        if plan.example and path == ("machines", plan.machine):
            blocks.append(plan.example.lstrip("\n"))
    return Text("\n".join([_OPENING + top, *blocks]))


def merged(current: str, plan: Plan) -> Text:
    """The plan's tables in ``current``; keys of people stay, and so does every line around ours. Raises CannotPlan."""
    notes: list[str] = []
    text = current if current.endswith("\n") or not current else current + "\n"
    try:
        for path, keys in plan.tables.items():
            text = _joined(text, path, keys, plan.explicit.get(path, frozenset()), notes)
    except Unsayable as error:
        raise CannotPlan(f"{error}; write it as [table] and key = value lines") from None
    notes += (f"tiers.{name} is in no preset; remove it, or name it in one" for name in _idle(tomllib.loads(text)))
    return Text(text, tuple(notes))


def _idle(document: Mapping[str, Any]) -> list[str]:
    used = {tier for tiers in document.get("presets", {}).values() for tier in tiers}
    return [name for name in document.get("tiers", {}) if name not in used]


def _joined(text: str, path: Path, keys: Mapping[str, Any], explicit: frozenset[str], notes: list[str]) -> str:
    found = toml_tables.tables(text).get(path)
    live = _own(toml_tables.plain(tomllib.loads(text), path), text, path)
    name = ".".join(path)
    if found is None:
        if live:
            raise Unsayable(f"{name} has no header line of its own")
        return toml_tables.with_table(text, path, keys)
    if live == _plain(keys):
        return text
    if found.digest is None:
        notes.append(f"{name} is yours (no `{toml_tables.MARK}` mark): left as it is")
        return text
    if found.digest == toml_tables.digest(live):
        gone = set(live) - set(keys)
        return toml_tables.with_keys(text, path, keys, gone, toml_tables.digest(keys))
    asked = {key: each for key, each in keys.items() if key in explicit}
    gone = {key for key in explicit if key not in keys and key in live}
    kept = [key for key in live if key in keys and live[key] != _plain(keys)[key] and key not in asked]
    if kept:
        notes.append(f"{name} was edited by hand: {', '.join(kept)} left as it is")
    return toml_tables.with_keys(text, path, asked, gone, found.digest) if asked or gone else text


def _own(live: Mapping[str, Any], text: str, path: Path) -> dict[str, Any]:
    """Without the tables below it that have headers of their own."""
    below = {table[len(path)] for table in toml_tables.tables(text) if table[: len(path)] == path and table != path}
    return {key: each for key, each in live.items() if key not in below}


def _plain(found: Any) -> Any:
    if isinstance(found, Mapping):
        return {key: _plain(each) for key, each in found.items()}
    return [_plain(each) for each in found] if isinstance(found, list | tuple) else found
