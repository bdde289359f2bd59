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


class _Mark(Struct, frozen=True, gc=False):
    """What one fence line says: its run starts at column ``width``; ``plain`` means that at most a tag follows."""

    sign: str
    length: int
    width: int
    listed: bool
    tag: str
    plain: bool
    bare: bool
    opens: bool


_Line = tuple[_Mark, int, int]  # and where the line begins and ends


class _Reading(Struct, frozen=True):
    """attributes: words may follow the tag. nested: equal fences nest in a Markdown block. deep: any indent opens."""

    attributes: bool = True
    nested: bool = False
    deep: bool = False


def layout(text: str) -> Layout:
    """Find the blocks of a text in time linear in its length."""
    if "```" not in text and "~~~" not in text:
        return _NOTHING
    lines = _fence_lines(text)
    first = _pair(lines, _Reading(), len(text))
    if not first.unterminated:
        return first
    for reading in _other_readings(lines):
        found = _pair(lines, reading, len(text))
        if not found.unterminated:
            return found
    return first


_NOTHING = Layout((), False)


def _fence_lines(text: str) -> list[_Line]:
    """Equal lines share their mark: hostile texts have a hundred thousand of them."""
    marks: dict[tuple[str, ...], _Mark] = {}
    lines = []
    for match in _FENCE.finditer(text):
        parts = match.groups()
        mark = marks.get(parts)
        if mark is None:
            mark = marks[parts] = _mark(*parts)
        lines.append((mark, match.start(), match.end()))
    return lines


def _mark(lead: str, marker: str, run: str, info: str) -> _Mark:
    info = info.strip()
    tag = _TAG.match(info)
    return _Mark(
        sign=run[0],
        length=len(run),
        width=len(lead),
        listed=bool(marker),
        tag=tag[1].lower() if tag else "",
        plain=not info or bool(tag and tag.end() == len(info)),
        bare=not info,
        opens=run[0] not in info,
    )


def _other_readings(lines: list[_Line]) -> Iterator[_Reading]:
    """The readings that can differ from the first one for these lines."""
    marks = {mark for mark, _, _ in lines}
    if not all(mark.plain for mark in marks):
        yield _Reading(attributes=False)
    if any(mark.tag in _MARKDOWN for mark in marks):
        yield _Reading(nested=True)
    if any(mark.width > _MAX_INDENT for mark in marks):
        yield _Reading(deep=True)


def _pair(lines: list[_Line], reading: _Reading, length: int) -> Layout:
    blocks: list[Block] = []
    opener: _Line | None = None
    inner = 0
    for line in lines:
        mark = line[0]
        if opener is None:
            if _opens(mark, reading):
                opener, inner = line, 0
        elif mark.bare and _closes(mark, opener[0]):
            if inner:
                inner -= 1
                continue
            blocks.append(_block(opener, line[1], line[2]))
            opener = None
        elif reading.nested and mark.tag and opener[0].tag in _MARKDOWN and _fits(mark, opener[0]):
            inner += 1
    if opener is not None:
        blocks.append(
            Block(opener[0].tag, min(opener[2] + 1, length), length, opener[0].width, opener[1], length, False)
        )
    return Layout(tuple(blocks), opener is not None)


def _opens(mark: _Mark, reading: _Reading) -> bool:
    shallow = mark.width <= _MAX_INDENT or mark.listed or reading.deep
    return mark.opens and shallow and (mark.plain or reading.attributes)


def _closes(mark: _Mark, opener: _Mark) -> bool:
    return not mark.listed and mark.width <= opener.width + _MAX_INDENT and _fits(mark, opener)


def _fits(mark: _Mark, opener: _Mark) -> bool:
    return mark.sign == opener.sign and mark.length >= opener.length


def _block(opener: _Line, begin: int, end: int) -> Block:
    """The block between an opening line and the closing one at ``begin``..``end``."""
    mark, opened, start = opener[0], opener[1], opener[2] + 1
    return Block(mark.tag, start, max(start, begin - 1), mark.width, opened, end)
