"""Plain values as TOML text."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date, time
from typing import Any

from anvil.harness.quoting import quoted

_BARE = re.compile(r"[A-Za-z0-9_-]+")


def dumps(content: Mapping[str, Any]) -> str:
    """Tables after plain keys; tables inside arrays are written inline. Raises TypeError for what TOML lacks."""
    return "\n".join(_lines(content, ())).lstrip("\n") + "\n"


def _lines(content: Mapping[str, Any], path: tuple[str, ...]) -> list[str]:
    lines = [
        f"{key_text(key)} = {value_text(value)}" for key, value in content.items() if not isinstance(value, Mapping)
    ]
    for key, value in content.items():
        if isinstance(value, Mapping):
            lines += _lines_of_table(value, (*path, key))
    return lines


def _lines_of_table(table: Mapping[str, Any], path: tuple[str, ...]) -> list[str]:
    own = not table or any(not isinstance(value, Mapping) for value in table.values())
    header = ["", f"[{'.'.join(map(key_text, path))}]"] if own else []
    return header + _lines(table, path)


def key_text(key: str) -> str:
    return key if _BARE.fullmatch(key) else quoted(key)


def value_text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(value_text, value))}]"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{key_text(key)} = {value_text(item)}' for key, item in value.items())}}}"
    if isinstance(value, date | time):
        return value.isoformat()
    raise TypeError(f"TOML text has no form for {type(value).__name__}")
