"""Reads presets, preset_classes and metered_cloud, whose values refer to each other (contract 4.3)."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Protocol

from anvil.router.config.rules import shown, strings
from anvil.router.taxonomy import CANONICAL_PRESETS, PRESET_CLASS, WORK_CLASSES

Presets = dict[str, tuple[str, ...]]


class Reporter(Protocol):
    def say(self, where: str, sentence: str) -> None: ...
    def table(self, value: object, where: str) -> dict[str, object]: ...


def read_presets(value: object, tier_ids: Iterable[str], problems: Reporter) -> Presets:
    """Preset -> tier ids, both in the configured spelling; references match in any letter case."""
    where = "[router.presets]"
    ids = {tier_id.lower(): tier_id for tier_id in tier_ids}
    found: Presets = {}
    seen: dict[str, str] = {}
    for name, listed in problems.table(value, where).items():
        if name.lower() in seen:
            problems.say(where, f'"{name}" and "{seen[name.lower()]}" are the same name; presets ignore letter case')
        elif not name.strip():
            problems.say(where, "a preset has an empty name")
        seen[name.lower()] = name
        found[name] = _pool(name, listed, ids, problems)
    return found


def _pool(name: str, listed: object, ids: dict[str, str], problems: Reporter) -> tuple[str, ...]:
    where = "[router.presets]"
    try:
        wanted = strings(listed)
    except ValueError as error:
        problems.say(where, f'"{name}" {error}')
        return ()
    if not wanted:
        problems.say(where, f'"{name}" lists no tier; list one or remove the preset')
    pool: list[str] = []
    for tier_id in wanted:
        known = ids.get(tier_id.lower())
        if known is None:
            problems.say(where, f'"{name}" names the unknown tier "{tier_id}"{near(tier_id, ids.values())}')
        elif known in pool:
            problems.say(where, f'"{name}" lists "{tier_id}" twice')
        else:
            pool.append(known)
    return tuple(pool)


def read_classes(value: object, presets: Presets, problems: Reporter) -> dict[str, str]:
    """Custom preset -> work class, presets in their configured spelling."""
    where = "[router.preset_classes]"
    known = {name.lower(): name for name in presets}
    classes: dict[str, str] = {}
    for name, work_class in problems.table(value, where).items():
        if name.lower() in CANONICAL_PRESETS:
            problems.say(where, f'"{name}" has the fixed class {PRESET_CLASS[name.lower()]}; remove it here')
        elif name.lower() not in known:
            problems.say(where, f'"{name}" is not in [router.presets]{near(name, presets)}')
        elif not isinstance(work_class, str) or work_class not in WORK_CLASSES:
            problems.say(where, f'"{name}" must be one of {", ".join(WORK_CLASSES)}, not {shown(work_class)}')
        else:
            classes[known[name.lower()]] = work_class
    return classes


def read_metered(value: object, presets: Presets, classes: dict[str, str], problems: Reporter) -> tuple[str, ...]:
    """The work classes that may cost money, each once."""
    try:
        listed = strings(value)
    except ValueError as error:
        problems.say("[router]", f"metered_cloud {error}")
        return ()
    for name in listed:
        if name not in WORK_CLASSES:
            problems.say("[router]", f'metered_cloud: "{name}" {_metered_hint(name, presets, classes)}')
    return tuple(dict.fromkeys(listed))


def _metered_hint(name: str, presets: Presets, classes: dict[str, str]) -> str:
    work_class = PRESET_CLASS.get(name.lower()) or classes.get(name)
    if work_class:
        return f"is a preset, its work class is {work_class}"
    if name in presets:
        return "is a preset without a work class; give it one in [router.preset_classes]"
    return f"is not a work class{near(name, WORK_CLASSES)}; work classes: {', '.join(WORK_CLASSES)}"


def near(name: str, known: Iterable[str]) -> str:
    match = difflib.get_close_matches(name.lower(), list(known), 1)
    return f'; did you mean "{match[0]}"?' if match else ""
