"""router.toml -> RouterConfig (contract 4). Nothing is raised before the whole file has been looked at."""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from anvil.router.config import check, tables
from anvil.router.config.model import (
    BreakerConfig,
    ConfigError,
    DecisionsConfig,
    Limits,
    RouterConfig,
    ServerConfig,
    TierConfig,
)
from anvil.router.config.presets import read_classes, read_metered, read_presets
from anvil.router.config.rules import Rule, shown

_IMPLIED_ROLES = {"fast-local": "fast", "heavy-local": "heavy", "cloud": "cloud"}
_SILENCE_KEYS = ("head_timeout_s", "answer_timeout_s")

Table = dict[str, Any]


class Problems:
    """Collects sentences about one file. ``say`` names the table, with the tier where there is one."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.found: list[str] = []

    def say(self, where: str, sentence: str) -> None:
        self.found.append(f"{self.file}: {where}: {sentence}" if where else f"{self.file}: {sentence}")

    def table(self, value: object, where: str) -> Table:
        if isinstance(value, dict):
            return value
        self.say(where, f"must be a table, not {shown(value)}")
        return {}

    def unknown(self, key: str, known: Iterable[str], where: str) -> None:
        near = difflib.get_close_matches(key.lower(), list(known), 1)
        self.say(where, f'unknown key "{key}"; ' + (f'did you mean "{near[0]}"?' if near else "remove it"))

    def values(self, table: Table, known: Mapping[str, Rule], where: str, skip: Iterable[str] = ()) -> Table:
        """The values that obey their rule; every other key is a problem."""
        kept: Table = {}
        names = [*known, *skip]
        for key, value in table.items():
            rule = known.get(key)
            if rule is not None:
                self.keep(kept, key, value, rule, where)
            elif key not in names:
                self.unknown(key, names, where)
        return kept

    def keep(self, kept: Table, key: str, value: object, rule: Rule, where: str) -> None:
        try:
            kept[key] = rule(value)
        except ValueError as error:
            self.say(where, f"{key} {error}")


def load(path: Path, *, environ: Mapping[str, str] | None = None) -> RouterConfig:
    """Read and validate a router.toml; needs no secret and no network. ``~`` is expanded.

    environ: gives ANVIL_MAX_BODY_BYTES and ANVIL_MAX_CONCURRENCY (default: the process environment).
    Raises ConfigError with all problems of the file.
    """
    file = path.expanduser()
    problems = Problems(str(path))
    config = _read(_document(file, problems), problems, os.environ if environ is None else environ)
    if problems.found or config is None:
        raise ConfigError(problems.found)
    return config


def _document(file: Path, problems: Problems) -> Table:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        problems.say("", f"cannot be read: {error.strerror or error}; check the path")
    except UnicodeDecodeError:
        problems.say("", "is not UTF-8 text")
    except (tomllib.TOMLDecodeError, RecursionError, ValueError) as error:
        problems.say("", f"is not valid TOML: {error}")
    raise ConfigError(problems.found)


def _read(document: Table, problems: Problems, environ: Mapping[str, str]) -> RouterConfig | None:
    known = {"server", "router"}
    for key in document:
        if key not in known and key not in tables.IGNORED:
            problems.unknown(key, known, "top level")
    server = _server(problems.table(document.get("server", {}), "[server]"), problems, environ)
    if "router" not in document:
        problems.say("[router]", "the table is missing; it holds mapping_version, tiers and presets")
        return None
    return _router(problems.table(document["router"], "[router]"), server, problems)


def _server(table: Table, problems: Problems, environ: Mapping[str, str]) -> ServerConfig:
    kept = problems.values(table, tables.SERVER, "[server]")
    for name, (key, rule) in tables.ENVIRONMENT.items():
        text = environ.get(name, "").strip()
        if text:
            value: object = int(text) if text.isascii() and text.isdigit() and len(text) < 19 else text
            problems.keep(kept, key, value, _named(rule, name), "[server]")
    server = ServerConfig(**kept)
    if server.idle_timeout_s < server.header_timeout_s:
        problems.say("[server]", f"idle_timeout_s must be at least header_timeout_s ({server.header_timeout_s:g})")
    return server


def _named(rule: Rule, name: str) -> Rule:
    def from_environment(value: object) -> object:
        try:
            return rule(value)
        except ValueError as error:
            raise ValueError(f"from the environment variable {name} {error}") from None

    return from_environment


def _router(table: Table, server: ServerConfig, problems: Problems) -> RouterConfig | None:
    where = "[router]"
    kept = problems.values(table, tables.ROUTER, where, skip=tables.NESTED)
    if "mapping_version" not in table:
        problems.say(where, "mapping_version is missing; give this mapping a label")
    if "relay_timeout" in kept and not any(key in table for key in _SILENCE_KEYS):
        kept |= dict.fromkeys(_SILENCE_KEYS, kept["relay_timeout"])
    tiers = _tiers(table.get("tiers"), problems)
    presets = read_presets(table.get("presets", {}), [tier.id for tier in tiers], problems)
    classes = read_classes(table.get("preset_classes", {}), presets, problems)
    kept |= {
        "tiers": tiers,
        "presets": presets,
        "preset_classes": classes,
        "metered_cloud": read_metered(table.get("metered_cloud", []), presets, classes, problems),
        "limits": Limits(**_inner(table, "limits", tables.LIMITS, problems)),
        "breaker": BreakerConfig(**_inner(table, "breaker", tables.BREAKER, problems)),
        "decisions": DecisionsConfig(**_inner(table, "decisions", tables.DECISIONS, problems)),
        "server": server,
    }
    return None if problems.found else RouterConfig(**kept)


def _inner(table: Table, key: str, known: Mapping[str, Rule], problems: Problems) -> Table:
    where = f"[router.{key}]"
    return problems.values(problems.table(table.get(key, {}), where), known, where)


# ------------------------------------------------------------------------------------------------ tiers


def _tiers(value: object, problems: Problems) -> tuple[TierConfig, ...]:
    if not isinstance(value, list) or not value:
        problems.say("[router]", "tiers is missing or empty; write at least one [[router.tiers]] table")
        return ()
    tiers = [tier for index, item in enumerate(value) if (tier := _tier(item, index, problems))]
    for sentence in check.duplicate_ids(tiers):
        problems.say("[[router.tiers]]", sentence)
    return tuple(tiers)


def _tier(value: object, index: int, problems: Problems) -> TierConfig | None:
    """The tier, as far as other tables can refer to it, even when one of its own values is wrong."""
    where = f"[[router.tiers]] number {index + 1}"
    table = problems.table(value, where)
    if not table:
        if isinstance(value, dict):
            problems.say(where, "is empty")
        return None
    if isinstance(table.get("id"), str):
        where = f'[[router.tiers]] "{table["id"]}"'
    kept = problems.values(table, tables.TIER, where)
    missing = [key for key in tables.TIER_REQUIRED if key not in table]
    if missing:
        problems.say(where, f"missing: {', '.join(missing)}")
    if "id" not in kept:
        return None
    tier = _with_defaults(kept)
    if "privacy" in kept:
        for sentence in check.tier_contradictions(tier):
            problems.say(where, sentence)
    return tier


# stand-ins for required values that were refused: the file is rejected anyway, but the other tables can be checked
_STAND_INS: Table = {
    "base_url": "http://refused.invalid",
    "dialect": "openai",
    "context_limit": 1,
    "privacy": "local",
    "tool_support": False,
    "auth_env": "REFUSED",
}


def _with_defaults(kept: Table) -> TierConfig:
    """Defaults that depend on other keys: role, vision, documents, stable_prefix, reasoning_field (4.5)."""
    values = _STAND_INS | kept
    cloud, openai = values["privacy"] == "cloud", values["dialect"] == "openai"
    derived: Table = {
        "role": _IMPLIED_ROLES.get(values["id"].lower()),
        "vision": True if cloud else None,
        "documents": cloud and not openai,
        "stable_prefix": not cloud,
        "reasoning_field": "reasoning_content" if openai and not cloud else "",
    }
    return msgspec.convert(derived | values, TierConfig)
