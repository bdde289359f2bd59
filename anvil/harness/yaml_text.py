"""Plain values as YAML text in block style; strings are always quoted, so that none reads as something else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from anvil.harness.quoting import quoted


def dumps(content: Mapping[str, object]) -> str:
    """Strings, booleans, integers, None, lists and mappings with string keys."""
    return "".join(f"{line}\n" for line in _block(content))


def _block(value: Mapping[str, object] | Sequence[object]) -> list[str]:
    if isinstance(value, Mapping):
        return [line for key, item in value.items() for line in _item(f"{_key(key)}:", item)]
    return [line for item in value for line in _item("-", item)]


def _item(lead: str, value: object) -> list[str]:
    if not isinstance(value, Mapping | list | tuple) or not value:
        return [f"{lead} {_flow(value)}"]
    inner = [f"  {line}" for line in _block(value)]
    if lead == "-":  # the first line of a list item stands beside its dash
        return [f"- {inner[0][2:]}", *inner[1:]]
    return [lead, *inner]


def _key(key: str) -> str:
    return key if key.isascii() and key.isalpha() and key.lower() not in _WORDS else quoted(key)


_WORDS = {"true", "false", "yes", "no", "on", "off", "null", "y", "n"}


def _flow(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return "null"
    if isinstance(value, Mapping):
        return "{}"
    if isinstance(value, list | tuple):
        return "[]"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, str):
        return quoted(value)
    raise TypeError(f"YAML text has no form for {type(value).__name__}")
