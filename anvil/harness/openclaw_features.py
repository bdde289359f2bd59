"""What an OpenClaw release knows, read from its own ``openclaw config schema`` (contract operations.md 13.3)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from msgspec import Struct

# A schema may refer to itself; nothing we look for lies deeper.
MAX_REFERENCES = 16


class Features(Struct, frozen=True):
    """``None`` for a set of keys: not known, nothing is held back."""

    has_model_policy: bool = True
    provider_keys: frozenset[str] | None = None
    model_keys: frozenset[str] | None = None
    plugin_entry_keys: frozenset[str] | None = None


def features(schema: Mapping[str, Any]) -> Features:
    """From the JSON Schema that the release prints."""
    provider = _at(schema, "models", "providers", "*")
    return Features(
        has_model_policy=bool(_at(schema, "agents", "defaults", "modelPolicy")),
        provider_keys=_keys(schema, provider),
        model_keys=_keys(schema, _at(schema, "models", "providers", "*", "models", "[]")),
        plugin_entry_keys=_keys(schema, _at(schema, "plugins", "entries", "*")),
    )


def _at(schema: Mapping[str, Any], *path: str) -> list[Mapping[str, Any]]:
    found = list(_alternatives(schema, schema))
    for step in path:
        found = [deep for node in found for inner in _step(node, step) for deep in _alternatives(schema, inner)]
    return found


def _step(node: Mapping[str, Any], step: str) -> Iterator[Mapping[str, Any]]:
    inner = {"*": node.get("additionalProperties"), "[]": node.get("items")}.get(step)
    if step not in ("*", "[]"):
        inner = node.get("properties", {}).get(step)
    if isinstance(inner, dict):
        yield inner


def _alternatives(root: Mapping[str, Any], node: Mapping[str, Any], depth: int = 0) -> Iterator[Mapping[str, Any]]:
    if depth > MAX_REFERENCES:
        return
    reference = node.get("$ref")
    if isinstance(reference, str) and reference.startswith("#/"):
        target: Any = root
        for part in reference[2:].split("/"):
            target = target.get(part, {}) if isinstance(target, dict) else {}
        yield from _alternatives(root, target, depth + 1)
        return
    yield node
    for word in ("anyOf", "oneOf", "allOf"):
        for choice in node.get(word, ()):
            yield from _alternatives(root, choice, depth + 1)


def _keys(schema: Mapping[str, Any], nodes: list[Mapping[str, Any]]) -> frozenset[str] | None:
    """Allowed keys of a closed object; None when some alternative is open or nothing is known."""
    objects = [node for node in nodes if "properties" in node]
    if not objects or any(node.get("additionalProperties") not in (False, None) for node in objects):
        return None
    return frozenset(key for node in objects for key in node["properties"])
