"""Tables in CSV, HTML and Markdown as records, with the standard library's own readers."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable
from html.parser import HTMLParser

Record = dict[str, str]

_SEPARATOR = re.compile(r"\s*:?\s*-[-\s]*:?\s*")


def from_csv(text: str) -> list[Record]:
    """Raises ValueError."""
    try:
        rows = [row for row in csv.reader(io.StringIO(text), strict=True) if row]
    except csv.Error as error:
        raise ValueError(f"not CSV: {error}") from None
    return _records(rows)


def from_html(text: str) -> list[Record]:
    """The records of every table of a page."""
    reader = _Tables()
    reader.feed(text)
    reader.close()
    return [record for table in reader.tables for record in _records(table)]


def from_markdown(text: str) -> list[Record]:
    """The first table with a header and a separator line; cells of the separator may hold spaces and colons."""
    lines = text.splitlines()
    for index in range(1, len(lines)):
        head, separator = _cells(lines[index - 1]), _cells(lines[index])
        if len(head) > 1 and len(head) == len(separator) and all(map(_SEPARATOR.fullmatch, separator)):
            rows = [head]
            for line in lines[index + 1 :]:
                cells = _cells(line)
                if len(cells) < 2:
                    break
                rows.append(cells)
            return _records(rows)
    return []


def _cells(line: str) -> list[str]:
    stripped = line.strip()
    if "|" not in stripped:
        return []
    return [cell.strip().strip("*`").strip() for cell in stripped.removeprefix("|").removesuffix("|").split("|")]


def _records(rows: Iterable[list[str]]) -> list[Record]:
    head, *body = [*rows] or [[]]
    return [{name.strip(): " ".join(cell.split()) for name, cell in zip(head, row, strict=False)} for row in body]


class _Tables(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tables: list[list[list[str]]] = []
        self._in_cell = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "table":
            self.tables.append([])
        elif tag == "tr" and self.tables:
            self.tables[-1].append([])
            self._in_cell = False
        elif tag in ("td", "th") and self.tables and self.tables[-1]:
            self.tables[-1][-1].append("")
            self._in_cell = True

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th", "tr", "table"):
            self._in_cell = False

    def handle_data(self, data: str) -> None:
        if self._in_cell:
            self.tables[-1][-1][-1] += data
