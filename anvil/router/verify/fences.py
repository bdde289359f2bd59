"""Where the fenced blocks of a text are (contract 12.6).

A line that may be a fence is found once; then up to five readings pair them, each in one forward pass. The readings
differ in what careful writers differ in: words after the tag, blocks inside a Markdown block of equal fences, blocks
indented as list content, headings underlined with tildes. A text is only called unterminated when no reading closes
its last block.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterator

from msgspec import Struct

_FENCE = re.compile(
    r"^(?P<lead>[ ]*+(?P<marker>(?:(?:[-*+]|[0-9]{1,9}[.)])[ ]++)*+))(?P<run>`{3,}+|~{3,}+)(?P<info>[^\n]*+)", re.M
)
_TAG = re.compile(r"([A-Za-z0-9_.+-]{1,40})(?=$|[\s{:,])")
_MAX_INDENT = 3
_SHORTEST_RUN = 3
_MARKDOWN = frozenset({"markdown", "md", "mdx"})


class Block(Struct, frozen=True):
    """One fenced block: ``start`` and ``end`` bound its body; ``terminated`` is false without a closing line."""

    tag: str
    indent: int
    start: int
    end: int
    terminated: bool = True

    def body(self, text: str) -> str:
        """The content lines, without the indentation they share with the fence."""
        body = text[self.start : self.end]
        if self.indent and body:
            body = re.sub(rf"^[ ]{{1,{self.indent}}}", "", body, flags=re.M)
        return body.replace("\r\n", "\n").removesuffix("\r")


class _Mark(Struct, frozen=True, gc=False):
    """What a fence line says: its run starts at column ``width``; ``plain`` means that at most a tag follows."""

    size: int
    sign: str
    length: int
    width: int
    listed: bool
    tag: str
    plain: bool
    bare: bool
    opens: bool
    underlines: bool


class _Lines(Struct, frozen=True):
    """The fence lines of a text of ``length`` characters. Hostile texts have 65,000: equal ones share their mark."""

    length: int
    marks: list[_Mark]
    begins: array[int]

    def begin(self, at: int) -> int:
        return self.begins[at] if at < len(self.marks) else self.length

    def end(self, at: int) -> int:
        return self.begins[at] + self.marks[at].size if at < len(self.marks) else self.length


class Layout(Struct, frozen=True):
    """The blocks of a text under the reading that fits it best.

    pairs: for each block the indexes of its opening and its closing line; one past the last line means none.
    """

    lines: _Lines
    pairs: array[int]
    unterminated: bool

    def tagged(self, tags: frozenset[str]) -> Iterator[Block]:
        """The blocks with one of these tags (lower-case)."""
        marks = self.lines.marks
        return (self._block(at, end) for at, end in self._pairs() if marks[at].tag in tags)

    def spanning(self, text: str) -> Block | None:
        """The sole block of a text that has nothing but white space around it."""
        if len(self.pairs) != 2 or any(piece.strip() for piece in self.outside(text)):
            return None
        return self._block(*self.pairs)

    def outside(self, text: str) -> list[str]:
        """The pieces of text between the blocks."""
        pieces, position = [], 0
        for opening, closing in self._pairs():
            pieces.append(text[position : self.lines.begin(opening)])
            position = self.lines.end(closing)
        pieces.append(text[position:])
        return pieces

    def _pairs(self) -> Iterator[tuple[int, int]]:
        return zip(self.pairs[::2], self.pairs[1::2], strict=True)

    def _block(self, opening: int, closing: int) -> Block:
        lines, mark = self.lines, self.lines.marks[opening]
        close = lines.begin(closing)
        start = min(lines.end(opening) + 1, close)
        terminated = closing < len(lines.marks)
        return Block(mark.tag, mark.width, start, max(start, close - 1) if terminated else close, terminated)


class _Reading(Struct, frozen=True):
    """How fence lines are understood.

    attributes: words may follow the tag. nested: equal fences nest in a Markdown block. deep: any indent opens.
    headings: tildes as long as the line above underline it.
    """

    attributes: bool = True
    nested: bool = False
    deep: bool = False
    headings: bool = False


def layout(text: str) -> Layout:
    """Find the blocks of a text in time linear in its length."""
    if absent(text):
        return _NOTHING
    lines = _fence_lines(text)
    first = _pair(lines, _Reading())
    if not first.unterminated:
        return first
    for reading in _other_readings(lines):
        found = _pair(lines, reading)
        if not found.unterminated:
            return found
    return first


def absent(text: str) -> bool:
    """Whether no line can be a fence. Looking for one character first is a tenth of the cost."""
    return ("`" not in text or "```" not in text) and ("~" not in text or "~~~" not in text)


_NOTHING = Layout(_Lines(0, [], array("L")), array("L"), False)


def _fence_lines(text: str) -> _Lines:
    known: dict[tuple[str | bool, ...], _Mark] = {}
    marks: list[_Mark] = []
    begins = array("L")
    for match in _FENCE.finditer(text):
        lead, marker, run, info = match.groups()
        underlines = run[0] == "~" and not lead and _fits_above(text, match.start(), len(run))
        parts = (lead, marker, run, info, underlines)
        mark = known.get(parts)
        if mark is None:
            mark = known[parts] = _mark(lead, marker, run, info, underlines)
        marks.append(mark)
        begins.append(match.start())
    return _Lines(len(text), marks, begins)


def _fits_above(text: str, begin: int, length: int) -> bool:
    """Whether the line above is at most as long as a run of ``length`` tildes, and hardly shorter."""
    above = text[max(0, begin - length - 3) : begin].rstrip("\r\n").rpartition("\n")[2].strip()
    return length > _SHORTEST_RUN and length - 2 <= len(above) <= length


def _mark(lead: str, marker: str, run: str, info: str, underlines: bool) -> _Mark:
    size = len(lead) + len(run) + len(info)
    info = info.strip()
    tag = _TAG.match(info)
    return _Mark(
        size=size,
        sign=run[0],
        length=len(run),
        width=len(lead),
        listed=bool(marker),
        tag=tag[1].lower() if tag else "",
        plain=not info or bool(tag and tag.end() == len(info)),
        bare=not info,
        opens=run[0] not in info,
        underlines=underlines and not info,
    )


def _other_readings(lines: _Lines) -> Iterator[_Reading]:
    """The readings that can differ from the first one for these lines."""
    marks = set(lines.marks)
    if not all(mark.plain for mark in marks):
        yield _Reading(attributes=False)
    if any(mark.tag in _MARKDOWN for mark in marks):
        yield _Reading(nested=True)
    if any(mark.width > _MAX_INDENT for mark in marks):
        yield _Reading(deep=True)
    if any(mark.underlines for mark in marks):
        yield _Reading(headings=True)


def _pair(lines: _Lines, reading: _Reading) -> Layout:
    pairs = array("L")
    opener: _Mark | None = None
    inner = 0
    for at, mark in enumerate(lines.marks):
        if opener is None:
            if _opens(mark, reading):
                opener, inner = mark, 0
                pairs.append(at)
        elif mark.bare and _closes(mark, opener):
            if inner:
                inner -= 1
                continue
            pairs.append(at)
            opener = None
        elif reading.nested and mark.tag and opener.tag in _MARKDOWN and _fits(mark, opener):
            inner += 1
    if opener is not None:
        pairs.append(len(lines.marks))
    return Layout(lines, pairs, opener is not None)


def _opens(mark: _Mark, reading: _Reading) -> bool:
    shallow = mark.width <= _MAX_INDENT or mark.listed or reading.deep
    heading = mark.underlines and reading.headings
    return mark.opens and shallow and (mark.plain or reading.attributes) and not heading


def _closes(mark: _Mark, opener: _Mark) -> bool:
    return not mark.listed and mark.width <= opener.width + _MAX_INDENT and _fits(mark, opener)


def _fits(mark: _Mark, opener: _Mark) -> bool:
    return mark.sign == opener.sign and mark.length >= opener.length
