"""One cell's claims: a letter of the matrix, and how the bytes or the record show it."""

from __future__ import annotations

from typing import Any, NamedTuple

MISSING: Any = object()
SAME: Any = object()


class Check(NamedTuple):
    """path: dotted place in the body. value: what stands there (SAME: what the other side sent at that place).

    name: the entry in ``lossy``. gone: a text that must not be in the bytes. tier: makes a tier that cannot take it.
    """

    letter: str
    path: str = ""
    value: Any = MISSING
    name: str = ""
    gone: str = ""
    tier: dict[str, Any] | None = None


class Probe(NamedTuple):
    """send: fields of the caller's request, or of the tier's answer. tier: what is special about the tier asked."""

    row: str
    way: str
    send: dict[str, Any]
    checks: tuple[Check, ...]
    tier: dict[str, Any]


def probe(row: str, way: str, send: dict[str, Any], *checks: Check, **tier: Any) -> Probe:
    return Probe(row, way, send, checks, tier)


def kept(path: str) -> Check:
    """The same value at the same place."""
    return Check("K", path, SAME)


def kept_as(path: str, value: object) -> Check:
    return Check("K", path, value)


def mapped(path: str, value: object, name: str = "") -> Check:
    return Check("M", path, value, name)


def named(name: str, gone: str = "") -> Check:
    return Check("N", name=name, gone=gone)


def excludes(**tier: Any) -> Check:
    return Check("C", tier=tier)


def at(value: Any, path: str) -> Any:
    """What stands at a dotted path, MISSING when nothing does."""
    for step in path.split("."):
        if isinstance(value, list) and step.isdigit() and int(step) < len(value):
            value = value[int(step)]
        elif isinstance(value, dict) and step in value:
            value = value[step]
        else:
            return MISSING
    return value
