"""Tables of a TOML text, written and edited line by line, so that what a person wrote around them stays.

A table that we write carries `# anvil init <8 hex>` behind its header: the digest of its plain keys as we wrote them.
It tells a table that is still ours from one that was edited since.
"""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from collections.abc import Collection, Iterator, Mapping
from typing import Any, NamedTuple

MARK = "# anvil init"
Path = tuple[str, ...]

_HEADER = re.compile(r"^[ \t]*\[(?P<path>[^\[\]]+)\][ \t]*(?P<comment>#.*)?$")
_BARE = re.compile(r"[A-Za-z0-9_-]+")
_MARKED = re.compile(rf"{MARK}(?: (?P<digest>[0-9a-f]{{8}}))?\b")


class Unsayable(Exception):
    """The text is in a form that cannot be edited line by line."""


class Table(NamedTuple):
    """Where a table stands: the line of its header, the line after its last one. ``digest``: None = not marked."""

    path: Path
    start: int
    end: int
    digest: str | None


def rendered(path: Path, keys: Mapping[str, Any]) -> str:
    """A marked table with its header."""
    header = f"[{'.'.join(map(_key, path))}]  {MARK} {digest(keys)}"
    return "\n".join([header, *(f"{_key(key)} = {value(each)}" for key, each in keys.items())]) + "\n"


def digest(keys: Mapping[str, Any]) -> str:
    text = json.dumps(keys, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def value(found: Any) -> str:
    """TOML text of a value; strings hold no control characters here, so JSON's form is TOML's."""
    if isinstance(found, Mapping):
        return "{ " + ", ".join(f"{_key(key)} = {value(each)}" for key, each in found.items()) + " }"
    if isinstance(found, list | tuple):
        return f"[{', '.join(map(value, found))}]"
    if isinstance(found, bool | str):
        return json.dumps(found, ensure_ascii=False)
    return repr(found)


def tables(text: str) -> dict[Path, Table]:
    """Every table that has a header line of its own."""
    lines = text.splitlines()
    starts = [(number, match) for number, line in enumerate(lines) if (match := _HEADER.match(line))]
    found = {}
    for index, (start, match) in enumerate(starts):
        path = _path(match["path"])
        marked = _MARKED.search(match["comment"] or "")
        end = starts[index + 1][0] if index + 1 < len(starts) else len(lines)
        if path:
            found[path] = Table(path, start, end, (marked["digest"] or "") if marked else None)
    return found


def plain(document: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """The table's own keys; tables below it are left out unless they stand in it as inline tables we wrote."""
    found: Any = document
    for part in path:
        found = found.get(part, {}) if isinstance(found, Mapping) else {}
    return dict(found) if isinstance(found, Mapping) else {}


def with_keys(text: str, path: Path, keys: Mapping[str, Any], gone: Collection[str], mark: str) -> str:
    """``text`` with the table's ``keys`` set, those of ``gone`` removed, and its mark renewed.

    Raises Unsayable when the result does not read as meant.
    """
    found = tables(text)[path]
    lines = text.splitlines()
    body = lines[found.start : found.end]
    for key in gone:
        first, after = _extent(body, key)
        body[first:after] = []
    for key, each in keys.items():
        body = _set(body, key, each)
    body[0] = _MARKED.sub(f"{MARK} {mark}", body[0])
    made = "\n".join([*lines[: found.start], *body, *lines[found.end :]]) + "\n"
    _verify(text, made, path, keys, gone)
    return made


def with_table(text: str, path: Path, keys: Mapping[str, Any]) -> str:
    """``text`` with a new table, behind the last one of the same kind or at the end. Raises Unsayable."""
    kin = [table for known, table in tables(text).items() if known[0] == path[0]]
    lines = text.splitlines()
    place = max((table.end for table in kin), default=len(lines))
    while place > 0 and not lines[place - 1].strip():
        place -= 1
    made = "\n".join([*lines[:place], "", *rendered(path, keys).splitlines(), *_gap(lines[place:])]) + "\n"
    _verify(text, made, path, keys, ())
    return made


def _gap(rest: list[str]) -> list[str]:
    return rest if not rest or not rest[0].strip() else ["", *rest]


def _set(body: list[str], key: str, each: Any) -> list[str]:
    try:
        first, after = _extent(body, key)
    except Unsayable:
        last = len(body)
        while last > 1 and not body[last - 1].strip():
            last -= 1
        return [*body[:last], f"{_key(key)} = {value(each)}", *body[last:]]
    return [*body[:first], f"{_key(key)} = {value(each)}{_comment(body[first:after])}", *body[after:]]


def _extent(body: list[str], key: str) -> tuple[int, int]:
    """First line of a key and the line after its value, which may span lines."""
    start = re.compile(rf"""^[ \t]*(?:{re.escape(key)}|"{re.escape(key)}")[ \t]*=""")
    first = next((number for number, line in enumerate(body) if start.match(line)), None)
    if first is None:
        raise Unsayable(key)
    for after in range(first + 1, len(body) + 1):
        if _reads("\n".join(body[first:after])) is not None:
            return first, after
    raise Unsayable(key)


def _comment(lines: list[str]) -> str:
    """What stands behind a one-line value, from the first # that is no part of it."""
    if len(lines) != 1:
        return ""
    whole = _reads(lines[0])
    places = (match.start() for match in re.finditer(r"[ \t]*#", lines[0]))
    return next((lines[0][place:] for place in places if _reads(lines[0][:place]) == whole), "")


def _verify(before: str, after: str, path: Path, keys: Mapping[str, Any], gone: Collection[str]) -> None:
    wanted = _reads(before)
    table: Any = wanted if wanted is not None else {}
    for part in path:
        table = table.setdefault(part, {})
    for key in gone:
        table.pop(key, None)
    table.update(_lists(keys))
    if _reads(after) != wanted:
        raise Unsayable(f"[{'.'.join(path)}] stands in a form that cannot be edited line by line")


def _lists(found: Any) -> Any:
    if isinstance(found, Mapping):
        return {key: _lists(each) for key, each in found.items()}
    return [_lists(each) for each in found] if isinstance(found, list | tuple) else found


def _reads(text: str) -> dict[str, Any] | None:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return None


def _path(header: str) -> Path:
    """The dotted path of a header; () for one that is no TOML."""
    return tuple(_walk(_reads(f"[{header}]") or {}))


def _walk(nested: dict[str, Any]) -> Iterator[str]:
    for key, inner in nested.items():
        yield key
        yield from _walk(inner)


def _key(key: str) -> str:
    return key if _BARE.fullmatch(key) else json.dumps(key, ensure_ascii=False)
