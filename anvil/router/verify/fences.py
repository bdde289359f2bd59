"""Where the fenced blocks of a text are (contract 12.6).

A line that may be a fence is found once; then up to four readings pair them, each in one forward pass. The readings
differ in what careful writers differ in: words after the tag, blocks inside a Markdown block of equal fences, blocks
indented as list content. A text is only called unterminated when no reading closes its last block.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from msgspec import Struct

_FENCE = re.compile(
    r"^(?P<lead>[ ]*+(?P<marker>(?:(?:[-*+]|[0-9]{1,9}[.)])[ ]++)*+))(?P<run>`{3,}+|~{3,}+)(?P<info>[^\n]*+)", re.M
)
_TAG = re.compile(r"([A-Za-z0-9_.+-]{1,40})(?=$|[\s{:,])")
_MAX_INDENT = 3
_MARKDOWN = frozenset({"markdown", "md", "mdx"})


class Block(Struct, frozen=True, gc=False):
    """One fenced block: ``start`` and ``end`` bound its body, ``opened`` and ``closed`` all of it."""

    tag: str
    start: int
    end: int
    indent: int
    opened: int
    closed: int
    terminated: bool = True

    def body(self, text: str) -> str:
        """The content lines, without the indentation they share with the fence."""
        body = text[self.start : self.end]
        if self.indent and body:
            body = re.sub(rf"^[ ]{{1,{self.indent}}}", "", body, flags=re.M)
        return body.replace("\r\n", "\n").removesuffix("\r")


class Layout(Struct, frozen=True):
    """The blocks of a text under the reading that fits it best."""

    blocks: tuple[Block, ...]
    unterminated: bool

    def outside(self, text: str) -> list[str]:
        """The pieces of text between the blocks."""
        pieces, position = [], 0
        for block in self.blocks:
            pieces.append(text[position : block.opened])
            position = block.closed
        pieces.append(text[position:])
        return pieces


class _Line(Struct, frozen=True, gc=False):
    """A line that starts with a fence run, at column ``width``; ``plain`` means that at most a tag follows."""

    mark: str
    length: int
    width: int
    listed: bool
    tag: str
    plain: bool
    bare: bool
    opens: bool
    begin: int
    end: int


class _Reading(Struct, frozen=True):
    """attributes: words may follow the tag. nested: equal fences nest in a Markdown block. deep: any indent opens."""

    attributes: bool = True
    nested: bool = False
    deep: bool = False


def layout(text: str) -> Layout:
    """Find the blocks of a text in time linear in its length."""
    if "```" not in text and "~~~" not in text:
        return _NOTHING
    lines = [_line(match) for match in _FENCE.finditer(text)]
    first = _pair(lines, _Reading(), len(text))
    if not first.unterminated:
        return first
    for reading in _other_readings(lines):
        found = _pair(lines, reading, len(text))
        if not found.unterminated:
            return found
    return first


_NOTHING = Layout((), False)


def _other_readings(lines: list[_Line]) -> Iterator[_Reading]:
    """The readings that can differ from the first one for these lines."""
    if not all(line.plain for line in lines):
        yield _Reading(attributes=False)
    if any(line.tag in _MARKDOWN for line in lines):
        yield _Reading(nested=True)
    if any(line.width > _MAX_INDENT for line in lines):
        yield _Reading(deep=True)


def _line(match: re.Match[str]) -> _Line:
    lead, marker, run, info = match.groups()
    begin, end = match.span()
    info = info.strip()
    if not info:
        return _Line(run[0], len(run), len(lead), bool(marker), "", True, True, True, begin, end)
    tag = _TAG.match(info)
    plain = tag is not None and tag.end() == len(info)
    name = tag[1].lower() if tag else ""
    return _Line(run[0], len(run), len(lead), bool(marker), name, plain, False, run[0] not in info, begin, end)


def _pair(lines: list[_Line], reading: _Reading, length: int) -> Layout:
    blocks: list[Block] = []
    opener: _Line | None = None
    inner = 0
    for line in lines:
        if opener is None:
            if _opens(line, reading):
                opener, inner = line, 0
        elif _closes(line, opener):
            if inner:
                inner -= 1
                continue
            blocks.append(_block(opener, line.begin, line.end))
            opener = None
        elif reading.nested and opener.tag in _MARKDOWN and line.tag and _fits(line, opener):
            inner += 1
    if opener is not None:
        blocks.append(_block(opener, length, length, terminated=False))
    return Layout(tuple(blocks), opener is not None)


def _opens(line: _Line, reading: _Reading) -> bool:
    shallow = line.listed or line.width <= _MAX_INDENT or reading.deep
    return line.opens and shallow and (line.plain or reading.attributes)


def _closes(line: _Line, opener: _Line) -> bool:
    return line.bare and not line.listed and line.width <= opener.width + _MAX_INDENT and _fits(line, opener)


def _fits(line: _Line, opener: _Line) -> bool:
    return line.mark == opener.mark and line.length >= opener.length


def _block(opener: _Line, end: int, closed: int, terminated: bool = True) -> Block:
    start = min(opener.end + 1, end)
    return Block(
        opener.tag, start, max(start, end - 1) if terminated else end, opener.width, opener.begin, closed, terminated
    )
