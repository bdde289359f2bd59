"""secrets.env: what docker compose's --env-file and a POSIX shell read alike (contract operations.md 5.5, 18 S1)."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping

import msgspec

from anvil.render import engine
from anvil.topology.derived import short_hash

_LINE = re.compile(r"(?:export[ \t]+)?([A-Za-z_][A-Za-z0-9_]*)=(.*)")
_PLAIN = re.compile(r"[^\s'\"`$\\;&|<>()#]*")


class EnvFileError(ValueError):
    """A value or a line that the grammar cannot carry. The message names the variable or the line, never a value."""


class Secrets(msgspec.Struct, frozen=True, kw_only=True):
    """What rendering may know of secrets: SHA-256 hex digests by variable name."""

    digests: dict[str, str] = {}

    @classmethod
    def of(cls, values: Mapping[str, str]) -> Secrets:
        return cls(
            digests={name: hashlib.sha256(value.encode()).hexdigest() for name, value in values.items() if value}
        )

    def digest(self, names: Iterable[str]) -> str:
        """C6: 16 hex over the sorted `name NUL sha256(value)` lines of the names that have a value."""
        known = sorted({name for name in names if name in self.digests})
        return short_hash("\n".join(f"{name}\0{self.digests[name]}" for name in known).encode())


def secrets_env(values: Mapping[str, str], wanted: Iterable[str]) -> str:
    """One `NAME='value'` line per wanted name that has a value, sorted. Raises EnvFileError naming the variable."""
    rows = [(name, values[name]) for name in sorted(set(wanted)) if values.get(name)]
    for name, value in rows:
        _carried(name, value)
    return engine.render("secrets.env.j2", rows=rows)


def parse(text: str) -> dict[str, str]:
    """The env-file grammar: NAME=value, optional `export`, single or double quotes, `#` lines.

    Raises EnvFileError with the line number for anything else; nothing is expanded or executed.
    """
    values: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        match = _LINE.fullmatch(stripped)
        value = _unquoted(match[2]) if match else None
        if match is None or value is None:
            raise EnvFileError(f"line {number}: expected NAME=value, NAME='value' or NAME=\"value\"")
        values[match[1]] = value
    return values


def _unquoted(raw: str) -> str | None:
    if len(raw) >= 2 and raw[0] == raw[-1] == "'":
        return raw[1:-1] if "'" not in raw[1:-1] else None
    if len(raw) >= 2 and raw[0] == raw[-1] == '"':
        return raw[1:-1] if not set(raw[1:-1]) & set('"$`\\') else None
    return raw if _PLAIN.fullmatch(raw) else None


def _carried(name: str, value: str) -> None:
    """A trailing backslash is refused too: compose's reader takes it for an escaped quote."""
    if len(value.splitlines()) != 1 or set(value) & set("'\n\r\0") or value.endswith("\\"):
        raise EnvFileError(f"{name}: the value holds a single quote, a line break, NUL or ends in a backslash")
