"""Plain values as TOML text, and our keys written into somebody's TOML file without touching the rest."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from datetime import date, time
from typing import Any

from anvil.harness.quoting import quoted
from anvil.harness.refusal import Refusal, Unreadable

_BARE = re.compile(r"[A-Za-z0-9_-]+")
_HEADER = re.compile(r"^[ \t]*\[", re.MULTILINE)


def dumps(content: Mapping[str, Any]) -> str:
    """Tables after plain keys; tables inside arrays are written inline. Raises TypeError for what TOML lacks."""
    return "\n".join(_lines(content, ())).lstrip("\n") + "\n"


def merged(text: str, content: Mapping[str, Any]) -> str:
    """``text`` with the keys of ``content`` set: plain keys one by one, a table of ``content`` as a whole.

    The result is read again. Raises Unreadable for text that is no TOML, Refusal where the lines cannot be found.
    """
    current = _read(text)
    wanted = _joined(current, content)
    if wanted == current:
        return text
    plain = {key: value for key, value in content.items() if not isinstance(value, Mapping)}
    new = _with_keys(text, plain)
    for path, table in _tables(content, ()):
        new = _with_table(new, path, table)
    try:
        found = tomllib.loads(new)
    except tomllib.TOMLDecodeError:
        found = {}
    if found != wanted:
        raise Refusal("our keys stand in a form that cannot be edited line by line; write them in by hand")
    return new


def _read(text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise Unreadable(f"not TOML: {error}") from None


def _joined(current: Mapping[str, Any], content: Mapping[str, Any]) -> dict[str, Any]:
    """Tables that hold values are replaced, tables that only lead to them are joined."""
    found = dict(current)
    for key, value in content.items():
        if isinstance(value, Mapping) and all(isinstance(item, Mapping) for item in value.values()):
            inner = found.get(key)
            found[key] = _joined(inner if isinstance(inner, dict) else {}, value)
        else:
            found[key] = value
    return found


def _with_keys(text: str, content: Mapping[str, Any]) -> str:
    """Plain keys belong above the first table header."""
    header = _HEADER.search(text)
    top, rest = (text[: header.start()], text[header.start() :]) if header else (text, "")
    for key, value in content.items():
        line = f"{_key(key)} = {_value(value)}"
        pattern = re.compile(rf"^[ \t]*(?:{re.escape(key)}|{re.escape(quoted(key))})[ \t]*=.*$", re.MULTILINE)
        if pattern.search(top):
            top = pattern.sub(lambda _, line=line: line, top, count=1)  # type: ignore[misc] # mypy drops the default
        else:
            top = (top.rstrip() + "\n" if top.strip() else "") + line + "\n" + ("\n" if rest else "")
    return top + rest


def _with_table(text: str, path: tuple[str, ...], table: Mapping[str, Any]) -> str:
    new = "\n".join(_lines_of_table(table, path)).lstrip("\n") + "\n"
    name = r"[ \t]*\.[ \t]*".join(f"(?:{re.escape(part)}|{re.escape(quoted(part))})" for part in path)
    found = re.search(rf"^[ \t]*\[[ \t]*{name}[ \t]*\][^\n]*\n?", text, re.MULTILINE)
    if not found:
        return (text.rstrip() + "\n\n" if text.strip() else "") + new
    after = _HEADER.search(text, found.end())
    rest = text[after.start() :] if after else ""
    return text[: found.start()] + new + ("\n" + rest if rest else "")


def _tables(content: Mapping[str, Any], path: tuple[str, ...]) -> list[tuple[tuple[str, ...], Mapping[str, Any]]]:
    found: list[tuple[tuple[str, ...], Mapping[str, Any]]] = []
    for key, value in content.items():
        if isinstance(value, Mapping):
            deeper = _tables(value, (*path, key))
            holds = (
                not value or len(deeper) < len(value) or not all(isinstance(item, Mapping) for item in value.values())
            )
            found += [((*path, key), value)] if holds else deeper
    return found


def _lines(content: Mapping[str, Any], path: tuple[str, ...]) -> list[str]:
    lines = [f"{_key(key)} = {_value(value)}" for key, value in content.items() if not isinstance(value, Mapping)]
    for key, value in content.items():
        if isinstance(value, Mapping):
            lines += _lines_of_table(value, (*path, key))
    return lines


def _lines_of_table(table: Mapping[str, Any], path: tuple[str, ...]) -> list[str]:
    own = not table or any(not isinstance(value, Mapping) for value in table.values())
    header = ["", f"[{'.'.join(map(_key, path))}]"] if own else []
    return header + _lines(table, path)


def _key(key: str) -> str:
    return key if _BARE.fullmatch(key) else quoted(key)


def _value(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{_key(key)} = {_value(item)}' for key, item in value.items())}}}"
    if isinstance(value, date | time):
        return value.isoformat()
    raise TypeError(f"TOML text has no form for {type(value).__name__}")
