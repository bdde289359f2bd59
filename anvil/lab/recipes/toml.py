"""TOML text of a registry: top keys, then [[recipe]] blocks with their tables. What it wrote it writes again alike."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from datetime import date, time
from typing import Any

_BARE = re.compile(r"[A-Za-z0-9_-]+")
# Legal in JSON, but not as themselves in TOML.
_UNPRINTABLE = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")
_WIDE = 100


def dumps(document: Mapping[str, Any]) -> str:
    """Values are those tomllib returns; tables of a list become [[blocks]]."""
    return "\n".join(_lines(document, "")).lstrip("\n") + "\n"


def table(name: str, values: Mapping[str, Any]) -> str:
    """One `[name]` table with its own tables below it."""
    return "\n".join(_headed(f"[{name}]", values, name)).lstrip("\n") + "\n"


def _lines(values: Mapping[str, Any], path: str) -> Iterator[str]:
    for key, value in values.items():
        if not isinstance(value, Mapping) and not _is_blocks(value):
            yield f"{_key(key)} = {_value(value)}"
    for key, value in values.items():
        name = f"{path}.{_key(key)}" if path else _key(key)
        if isinstance(value, Mapping):
            yield from _headed(f"[{name}]", value, name)
        elif _is_blocks(value):
            for row in value:
                yield from _headed(f"[[{name}]]", row, name)


def _headed(header: str, values: Mapping[str, Any], name: str) -> Iterator[str]:
    yield ""
    yield header
    yield from _lines(values, name)


def _is_blocks(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(row, Mapping) for row in value)


def _key(key: str) -> str:
    return key if _BARE.fullmatch(key) else _quoted(key)


def _quoted(text: str) -> str:
    return _UNPRINTABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", json.dumps(text, ensure_ascii=False))


def _value(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return _quoted(value)
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{_key(key)} = {_value(each)}" for key, each in value.items()) + " }"
    if isinstance(value, list | tuple):
        return _array([_value(each) for each in value])
    raise TypeError(f"TOML text has no form for {type(value).__name__}")


def _array(items: list[str]) -> str:
    line = f"[{', '.join(items)}]"
    return line if len(line) <= _WIDE or len(items) < 2 else "[\n" + "".join(f"  {item},\n" for item in items) + "]"
