"""Our keys written into somebody's TOML file: one value at a time, everything else stays as it is. Pure."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from typing import Any

from anvil.harness.refusal import Refusal, Unreadable
from anvil.harness.toml_outline import Inline, Outline, Pair, Path, Section, outline
from anvil.harness.toml_text import dumps, key_text, value_text


def merged(text: str, content: Mapping[str, Any]) -> str:
    """``text`` with the values of ``content`` set; comments, other keys and the order of lines stay.

    The result is read again. Raises Unreadable for text that is no TOML, Refusal where a value has no place.
    """
    current = _read(text)
    wanted = _joined(current, content, ())
    if wanted == current:
        return text
    if not text.strip():
        return dumps(content)
    new = text
    for path, value in _leaves(content, ()):
        if _at(current, path) != value:
            new = _set(new, path, value_text(value))
    try:
        found = tomllib.loads(new)
    except tomllib.TOMLDecodeError:
        found = {}
    if found != wanted:
        raise Refusal(f"our keys cannot be written beside what stands there; put them in by hand:\n{dumps(content)}")
    return new


def _read(text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise Unreadable(f"not TOML: {error}") from None


def _joined(current: Mapping[str, Any], content: Mapping[str, Any], path: Path) -> dict[str, Any]:
    found = dict(current)
    for key, value in content.items():
        live, here = found.get(key), (*path, key)
        if isinstance(value, Mapping):
            if live is not None and not isinstance(live, dict):
                raise Refusal(f"{'.'.join(here)} is not a table; correct it by hand")
            found[key] = _joined(live or {}, value, here)
        elif isinstance(live, dict):
            raise Refusal(f"{'.'.join(here)} is a table, one value is needed; correct it by hand")
        else:
            found[key] = value
    return found


def _leaves(content: Mapping[str, Any], path: Path) -> Iterator[tuple[Path, Any]]:
    for key, value in content.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, (*path, key))
        else:
            yield (*path, key), value


def _at(document: Any, path: Path) -> Any:
    for key in path:
        document = document.get(key) if isinstance(document, dict) else None
    return document


def _set(text: str, path: Path, value: str) -> str:
    """Replace the value where the key stands, else add the key where its table is written."""
    seen = outline(text)
    for pair in seen.pairs:
        if pair.path == path:
            start, end = pair.value
            return text[:start] + value + text[end:]
    inline = _last_inline(seen, path)
    if inline is not None:
        return _into_inline(text, inline, _line(path[len(inline.path) :], value))
    section = _home(seen, path)
    if section is not None and section.path:
        return _after(text, section.end, _line(path[len(section.path) :], value))
    if section is not None:
        return _at_top(text, seen, _line(path, value))
    header = f"[{'.'.join(map(key_text, path[:-1]))}]"
    newline = _newline(text)
    return text.rstrip() + newline * 2 + header + newline + _line(path[-1:], value) + newline


def _line(path: Path, value: str) -> str:
    return f"{'.'.join(map(key_text, path))} = {value}"


def _last_inline(seen: Outline, path: Path) -> Inline | None:
    """The deepest inline table that the key belongs into: nothing outside its braces may add to it."""
    above = [inline for inline in seen.inlines if inline.path == path[: len(inline.path)]]
    return max(above, key=lambda inline: len(inline.path), default=None)


def _into_inline(text: str, inline: Inline, line: str) -> str:
    end = inline.span[1] - 1
    before = text[:end].rstrip()
    return f"{before}{' ' if inline.empty else ', '}{line} {text[end:]}"


def _home(seen: Outline, path: Path) -> Section | None:
    """The section that writes the table of this key: by a header of its own, or by dotted keys from further up."""
    for section in seen.sections:
        if section.path == path[:-1] and not section.array:
            return section
    return next((pair.section for pair in reversed(seen.pairs) if _dotted(pair, path[:-1])), None)


def _dotted(pair: Pair, table: Path) -> bool:
    return not pair.inline and pair.path[: len(table)] == table and len(pair.section.path) < len(table)


def _at_top(text: str, seen: Outline, line: str) -> str:
    """Plain keys belong above the first header, below what the file says of itself."""
    top = seen.sections[0]
    if not top.empty:
        return _after(text, top.end, line)
    newline = _newline(text)
    opening = re.match(r"(?:#[^\n]*\n)*(?:#[^\n]*\Z)?", text)
    end = opening.end() if opening and re.match(r"[ \t\r]*(?:\n|\Z)", text[opening.end() :]) else 0
    if end:
        return _after(text, end, line)
    return f"{line}{newline}{newline if text[:1] in '#[' else ''}{text}"


def _after(text: str, end: int, line: str) -> str:
    newline = _newline(text)
    before = text[:end] if text[:end].endswith("\n") or not end else text[:end] + newline
    return before + line + newline + text[end:]


def _newline(text: str) -> str:
    """Windows' own where the text has no other."""
    return "\r\n" if text.count("\r\n") == text.count("\n") > 0 else "\n"
