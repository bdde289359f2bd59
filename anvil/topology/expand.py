"""`${NAME}`, `${NAME:-default}` and a leading `~` in the few keys that may differ from machine to machine.

Only controller-side ssh data and paths of process machines are expanded, so that a committed topology holds no path of
one particular machine. Everything else in the file is literal.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

_REFERENCE = re.compile(r"\$\{([A-Z][A-Z0-9_]*)(?::-([^}]*))?\}")
_SERVE_KEYS = ("binary", "model_file", "chat_template_file", "path")


class Unset(Exception):
    """A reference without a default names a variable that is not set."""


def expand(text: str, environ: Mapping[str, str]) -> str:
    """The text with references replaced; ``~`` and ``~/`` at the start become HOME. Raises Unset with the
    variable's name."""

    def value(match: re.Match[str]) -> str:
        name, default = match[1], match[2]
        found = environ.get(name, "")
        if found or default is not None:
            return found or default
        raise Unset(name)

    expanded = _REFERENCE.sub(value, text)
    home = environ.get("HOME", "")
    return home + expanded[1:] if home and (expanded == "~" or expanded.startswith("~/")) else expanded


def expand_document(document: dict[str, Any], environ: Mapping[str, str]) -> list[str]:
    """Expands in place; returns one `table.key: sentence` per variable that is not set."""
    problems: list[str] = []
    for where, table, key in _places(document):
        try:
            table[key] = expand(table[key], environ)
        except Unset as unset:
            problems.append(f"{where}.{key}: {unset} is not set; export it or write the value here")
    return problems


def _places(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any], str]]:
    machines = _tables(document, "machines")
    local = {name for name, machine in machines.items() if machine.get("runtime") == "process"}
    for name, machine in machines.items():
        ssh = machine.get("ssh")
        if isinstance(ssh, dict):
            yield from _texts(f"machines.{name}.ssh", ssh, tuple(ssh))
        if name in local:
            yield from _texts(f"machines.{name}", machine, ("root",))
    for name, serve in _tables(document, "serves").items():
        if _machine(serve) in local:
            yield from _texts(f"serves.{name}", serve, _SERVE_KEYS)
    router = document.get("router")
    if isinstance(router, dict) and _machine(router) in local:
        yield from _texts("router", router, ("python",))


def _machine(table: dict[str, Any]) -> str:
    """Whatever else stands there is refused when the table is converted."""
    found = table.get("machine")
    return found if isinstance(found, str) else ""


def _texts(where: str, table: dict[str, Any], keys: tuple[str, ...]) -> Iterator[tuple[str, dict[str, Any], str]]:
    return ((where, table, key) for key in keys if isinstance(table.get(key), str))


def _tables(document: dict[str, Any], key: str) -> dict[str, dict[str, Any]]:
    tables = document.get(key)
    if not isinstance(tables, dict):
        return {}
    return {name: table for name, table in tables.items() if isinstance(table, dict)}
