"""Writing a changed document back over its own JSON5 text, so that comments and formatting stay.

Every result is read again and compared: where an edit cannot express the change, nothing is returned by halves.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from anvil.harness.json5_document import decoded, dumped, parse, reader, same, shielded
from anvil.harness.refusal import Refusal, Unreadable

# (start, end, replacement) in characters of the old text
Edit = tuple[int, int, str]


class CommentsLost(Refusal):
    """The change cannot be written without dropping a comment. ``line`` counts from 1."""

    def __init__(self, line: int) -> None:
        self.line = line
        super().__init__(
            f"line {line}: its comment would be lost; move it out of our part, or allow plain JSON to be written"
        )


def written(original: bytes, wanted: dict[str, Any], *, rewrite: bool = False) -> str:
    """The text that holds ``wanted``: plain JSON in two-space indent, JSON5 edited in place.

    ``rewrite`` allows JSON5 to become plain JSON where an edit would lose a comment. Raises CommentsLost, Unreadable.
    """
    current, plain = parse(original)
    text = decoded(original)
    comments = [] if plain else _comments(text)
    new = None if plain else _edited(text, current, wanted)
    lost = _missing(comments, [] if new is None else _comments(new))
    if new is not None and not lost:
        return new
    if lost and not rewrite:
        raise CommentsLost(lost[0])
    return dumped(wanted).replace("\n", _newline(text))


def _newline(text: str) -> str:
    """Windows' own where the text has no other."""
    return "\r\n" if text.count("\r\n") == text.count("\n") > 0 else "\n"


def _edited(text: str, current: dict[str, Any], wanted: dict[str, Any]) -> str | None:
    """None when the edits do not give the wanted document."""
    root = reader("parser").parse_source(shielded(text)).value
    new, done = "", 0
    # A stable order: at one place, the comma comes before what it separates.
    for start, end, replacement in sorted(_edits(text, root, current, wanted), key=lambda edit: edit[:2]):
        new, done = new + text[done:start] + replacement.replace("\n", _newline(text)), end
    new += text[done:]
    try:
        return new if same(parse(new.encode())[0], wanted) else None
    except Unreadable:
        return None


def _comments(text: str) -> list[tuple[int, str]]:
    """Line and text of each, in order."""
    kinds = ("LINE_COMMENT", "BLOCK_COMMENT")
    tokens = reader("tokenizer").tokenize(shielded(text))
    return [(text.count("\n", 0, token.index) + 1, token.value) for token in tokens if token.type in kinds]


def _missing(old: list[tuple[int, str]], new: list[tuple[int, str]]) -> list[int]:
    """Lines of the old comments that the new text lacks."""
    left = Counter(comment for _, comment in new)
    lines = []
    for line, comment in old:
        if left[comment]:
            left[comment] -= 1
        else:
            lines.append(line)
    return lines


def _span(node: Any) -> tuple[int, int]:
    return node._tok.index, node._end_tok.end


def _edits(text: str, node: Any, current: Any, wanted: Any) -> Iterator[Edit]:
    if same(current, wanted):
        return
    if isinstance(current, dict) and isinstance(wanted, dict):
        yield from _object_edits(text, node, current, wanted)
    elif isinstance(current, list) and isinstance(wanted, list) and _grown(current, wanted):
        for inner, old, new in zip(node.values, current, wanted[: len(current)], strict=True):
            yield from _edits(text, inner, old, new)
        if wanted[len(current) :]:
            items = [(None, item) for item in wanted[len(current) :]]
            yield from _appended(text, node, items, comma=bool(current))
    else:
        start, end = _span(node)
        inline = "\n" not in text[start:end] and isinstance(current, dict | list)
        yield start, end, _value(wanted, None if inline else _indent(text, start))


def _grown(current: list[Any], wanted: list[Any]) -> bool:
    """Whether every old item has its heir at the same place, so that comments stay with what they speak of."""
    return len(wanted) >= len(current) and all(_heir(old, new) for old, new in zip(current, wanted, strict=False))


def _heir(old: Any, new: Any) -> bool:
    both = isinstance(old, dict) and isinstance(new, dict)
    return same(old, new) or (both and "id" in old and old["id"] == new.get("id"))


def _object_edits(text: str, node: Any, current: dict[str, Any], wanted: dict[str, Any]) -> Iterator[Edit]:
    # The reader refused double keys, so the pairs of the text and of the document are in step.
    for (key, value), (name, old) in zip(node.key_value_pairs, current.items(), strict=True):
        if name in wanted:
            yield from _edits(text, value, old, wanted[name])
        else:
            yield _without(text, _span(key)[0], _span(value)[1])
    added = [(name, value) for name, value in wanted.items() if name not in current]
    if added:
        yield from _appended(text, node, added, comma=bool(current) and list(current)[-1] in wanted)


def _without(text: str, start: int, end: int) -> Edit:
    """Takes a pair out with the comma after it, and its line when nothing else stands there, else the blanks it had."""
    if comma := re.match(r"\s*,", text[end:]):
        end += comma.end()
    before = re.search(r"\n[ \t]*$", text[:start])
    if before and re.match(r"[ \t]*\r?\n", text[end:]):
        return before.start(), end, ""
    end = len(text) - len(text[end:].lstrip(" \t"))
    if text[end] == "}":
        start = len(text[:start].rstrip(" \t"))
    return start, end, ""


def _appended(text: str, node: Any, items: Sequence[tuple[str | None, Any]], *, comma: bool) -> Iterator[Edit]:
    """New pairs or items before the closing bracket; ``comma``: the last old one stays and may need a comma."""
    start, end = _span(node)
    inside = text[start + 1 : end - 1]
    if comma and node.trailing_comma is None:
        last = _span(node.values[-1])[1]
        yield last, last, ","
    indent: str | None = None
    glue = " " if node.values else ""
    if "\n" in inside:
        indent = _indent(text, _first(node)) if node.values else _indent(text, end - 1) + "  "
        glue = f"\n{indent}"
    at = start + 1 + len(inside.rstrip())
    yield at, at, glue + f",{glue or ' '}".join(_pair(name, item, indent) for name, item in items)


def _pair(name: str | None, item: Any, indent: str | None) -> str:
    return _value(item, indent) if name is None else f"{json.dumps(name, ensure_ascii=False)}: {_value(item, indent)}"


def _first(node: Any) -> int:
    return int(_span(node.keys[0] if hasattr(node, "keys") else node.values[0])[0])


def _indent(text: str, at: int) -> str:
    """The white space that opens the line of ``at``."""
    line = text[text.rfind("\n", 0, at) + 1 : at]
    return line[: len(line) - len(line.lstrip())]


def _value(value: Any, indent: str | None) -> str:
    """``None`` for a place inside one line."""
    if indent is None:
        return json.dumps(value, ensure_ascii=False)
    return json.dumps(value, ensure_ascii=False, indent=2).replace("\n", f"\n{indent}")
