"""Where the statements of a TOML text lie, so that one value can be replaced and the rest stays. Pure.

Only for text that ``tomllib`` has read: what is not checked here is known to be well formed.
"""

from __future__ import annotations

import re
import tomllib
from typing import Any

from msgspec import Struct

Path = tuple[str, ...]
Span = tuple[int, int]

_PART = r"""[A-Za-z0-9_-]+|"(?:\\.|[^"\\\n])*"|'[^'\n]*'"""
_KEY = re.compile(rf"(?:{_PART})(?:[ \t]*\.[ \t]*(?:{_PART}))*")
_PARTS = re.compile(_PART)
_BLANK = re.compile(r"(?:[ \t\r\n]+|#[^\n]*)*")
_STRING = re.compile(
    r'"{3}(?:\\.|(?!"{3})[^\\])*"{3,5}' r"|'{3}(?:(?!'{3}).)*'{3,5}" r'|"(?:\\.|[^"\\\n])*"' r"|'[^'\n]*'", re.DOTALL
)
_BARE = re.compile(r"[^\s,\]}#\"']+(?: [0-9][^\s,\]}#]*)?")


class Section(Struct):
    """A table header, or the top of the file (``path`` empty). ``end``: behind the line of its last statement."""

    path: Path
    end: int
    array: bool = False
    empty: bool = True


class Pair(Struct, frozen=True):
    """One ``key = value`` with its whole path, in a section or in an inline table of it."""

    path: Path
    value: Span
    section: Section
    inline: bool = False


class Inline(Struct, frozen=True):
    """An inline table: ``span`` with its braces."""

    path: Path
    span: Span
    empty: bool


class Outline(Struct, frozen=True):
    sections: list[Section]
    pairs: list[Pair]
    inlines: list[Inline]


def outline(text: str) -> Outline:
    """Every statement in order."""
    found = Outline([Section((), 0)], [], [])
    at = _after(text, 0)
    while at < len(text):
        at = _after(text, _header(text, at, found) if text[at] == "[" else _pair(text, at, found))
    return found


def _header(text: str, at: int, found: Outline) -> int:
    array = text.startswith("[[", at)
    key = _KEY.search(text, at)
    assert key is not None
    end = _line_end(text, key.end())
    found.sections.append(Section(_path(key[0]), end, array))
    return end


def _pair(text: str, at: int, found: Outline) -> int:
    section = found.sections[-1]
    end = _line_end(text, _read_pair(text, at, section.path, found))
    section.end, section.empty = end, False
    return end


def _read_pair(text: str, at: int, above: Path, found: Outline, *, inline: bool = False) -> int:
    key = _KEY.match(text, at)
    assert key is not None
    path = (*above, *_path(key[0]))
    start = _after(text, text.index("=", key.end()) + 1)
    place = len(found.pairs)
    end = _value_end(text, start, path, found)
    found.pairs.insert(place, Pair(path, (start, end), found.sections[-1], inline))
    return end


def _value_end(text: str, at: int, path: Path, found: Outline) -> int:
    if string := _STRING.match(text, at):
        return string.end()
    if text[at] == "[":
        return _array_end(text, at)
    if text[at] == "{":
        return _inline_end(text, at, path, found)
    bare = _BARE.match(text, at)
    assert bare is not None
    return bare.end()


def _array_end(text: str, at: int) -> int:
    """What lies in an array is never ours, so only its end is looked for."""
    at = _after(text, at + 1)
    nowhere = Outline([Section((), 0)], [], [])
    while text[at] != "]":
        at = _after(text, at + 1 if text[at] == "," else _value_end(text, at, (), nowhere))
    return at + 1


def _inline_end(text: str, start: int, path: Path, found: Outline) -> int:
    at, place = _after(text, start + 1), len(found.inlines)
    empty = text[at] == "}"
    while text[at] != "}":
        at = _after(text, at + 1 if text[at] == "," else _read_pair(text, at, path, found, inline=True))
    found.inlines.insert(place, Inline(path, (start, at + 1), empty))
    return at + 1


def _after(text: str, at: int) -> int:
    """Behind white space and comments."""
    return _BLANK.match(text, at).end()  # type: ignore[union-attr]  # it matches the empty string, too


def _line_end(text: str, at: int) -> int:
    newline = text.find("\n", at)
    return len(text) if newline < 0 else newline + 1


def _path(key: str) -> Path:
    return tuple(_plain(part) for part in _PARTS.findall(key))


def _plain(part: str) -> str:
    value: Any = tomllib.loads(f"k = {part}")["k"] if part[0] in "\"'" else part
    return str(value)
