"""Would ``patch`` accept the diffs of the answer? (contract 12.7)"""

from __future__ import annotations

import re

from anvil.router.verify import fences
from anvil.router.verify.code import MAX_TEXT
from anvil.router.verify.evidence import Evidence

_TAGS = frozenset({"diff", "patch"})
_HEADER = re.compile(r"@@ -[0-9]{1,9}(?:,([0-9]{1,9}))? \+[0-9]{1,9}(?:,([0-9]{1,9}))? @@(?!@)")
_REAL_HEADER = re.compile("^" + _HEADER.pattern, re.M)
_ENVELOPE_BEGIN, _ENVELOPE_END = "*** Begin Patch", "*** End Patch"
_SECTION_STARTS = ("diff ", "index ", "Index:")
_MERGE_STARTS = ("diff --cc ", "diff --combined ")
_COMPLETE_WITHOUT_HUNK = (
    "rename to ",
    "copy to ",
    "new mode ",
    "new file mode ",
    "deleted file mode ",
    "Binary files ",
)
_SIGNATURES = ("--", "-- ")  # the last lines of ``git format-patch``


def diff_well_formed(evidence: Evidence) -> bool:
    """Every claimed block and every unfenced diff is well formed; an answer without one passes."""
    text = evidence.text
    if len(text) > MAX_TEXT:
        return True
    layout = evidence.layout
    return (_claims_hold(text, layout, evidence) and _prose_holds(text, layout)) or evidence.continues_prefill()


def _claims_hold(text: str, layout: fences.Layout, evidence: Evidence) -> bool:
    for block in layout.tagged(_TAGS):
        judged = block.terminated or not evidence.open_ended
        if judged and not claimed_diff(block.body(text).split("\n")):
            return False
    return True


def _prose_holds(text: str, layout: fences.Layout) -> bool:
    if "@@ -" not in text:
        return True
    return all(unfenced_diff(piece.split("\n")) for piece in layout.outside(text) if _REAL_HEADER.search(piece))


def claimed_diff(lines: list[str]) -> bool:
    """Whether the body of a block that claims to be a diff is one."""
    if any(line.startswith((_ENVELOPE_BEGIN, *_MERGE_STARTS)) for line in lines):
        return True
    return _Hunks(lines).well_formed()


class _Hunks:
    """Walks the lines of one diff; ``old`` and ``new`` are the lines the current hunk still owes."""

    def __init__(self, lines: list[str]) -> None:
        self.lines = lines
        self.inside = False
        self.complete = False
        self.old = self.new = 0

    def well_formed(self) -> bool:
        for at, line in enumerate(self.lines):
            blank_between = not line and not self.old and not self.new
            if not (blank_between or self._count(line[:1]) or self._step(at, line)):
                return False
        return self.complete and self._settled()

    def _settled(self) -> bool:
        return self.old == 0 and self.new == 0

    def _count(self, sign: str) -> bool:
        """The many lines: context and additions of a hunk that still owes them."""
        if sign in ("", " ") and self.old and self.new:
            self.old -= 1
            self.new -= 1
            return True
        if sign == "+" and self.new:
            self.new -= 1
            return True
        return False

    def _step(self, at: int, line: str) -> bool:
        if line.startswith("@@"):
            return self._settled() and self._begin(line)
        if not self.inside:
            return self._between(at, line)
        if self._ends_hunk(at, line):
            self.inside = False
            return self._settled()
        return self._after(line) if self._settled() else self._remove(line)

    def _begin(self, line: str) -> bool:
        header = _HEADER.match(line)
        if header is None:
            return False
        self.old, self.new = (1 if count is None else int(count) for count in header.groups())
        self.inside = self.complete = True
        return True

    def _between(self, at: int, line: str) -> bool:
        """Outside a hunk anything goes, but a file header of one line only leads nowhere."""
        if line.startswith(_COMPLETE_WITHOUT_HUNK):
            self.complete = True
        return not (line.startswith("--- ") and self._line(at + 1).startswith("@@"))

    def _ends_hunk(self, at: int, line: str) -> bool:
        """A file header's two lines may also be a removed and an added line, which only the line after them tells."""
        if line.startswith("--- ") and self._line(at + 1).startswith("+++ "):
            return self._settled() or self._line(at + 2).startswith("@@")
        return line.startswith(_SECTION_STARTS)

    def _line(self, at: int) -> str:
        return self.lines[at] if at < len(self.lines) else ""

    def _remove(self, line: str) -> bool:
        if line[:1] == "-" and self.old:
            self.old -= 1
            return True
        return line[:1] == "\\"

    def _after(self, line: str) -> bool:
        """Once a hunk has all its lines, one more of its kind contradicts the header; anything else is prose."""
        if not line.strip() or line[0] == "\\":
            return True
        self.inside = False
        return line in _SIGNATURES or line[0] not in " +-"


def unfenced_diff(lines: list[str]) -> bool:
    """Whether no invalid hunk header follows a valid one. Counts are not judged, prose may say @@ as it likes."""
    seen = prose = envelope = False
    for line in lines:
        if envelope or line.startswith(_ENVELOPE_BEGIN):
            envelope = not line.startswith(_ENVELOPE_END)
        elif line.startswith("@@"):
            if _HEADER.match(line):
                seen, prose = True, False
            elif seen and not (prose and not line.startswith("@@ -")):
                return False
        elif not prose:
            prose = not _belongs_to_diff(line)
    return True


def _belongs_to_diff(line: str) -> bool:
    return not line or line[0] in " +-\\" or line.startswith(_SECTION_STARTS)
