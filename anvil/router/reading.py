"""What every dialect reads out of a request the same way: words, nesting depth, and which texts a human wrote.

All functions are pure and linear in their input; ``count_words`` and ``check_depth`` run on whole agent bodies.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import accumulate

MAX_DEPTH = 128
SYSTEM_KEYWORD_WORDS = 150

# ------------------------------------------------------------------------------------------------ words

_BLANK = 0x20
_ASCII_WORDS = bytes(_BLANK if chr(code).isspace() and code < 128 else 0x78 for code in range(256))
_ASCII = bytes(range(128))
# str.isspace() beyond ASCII: U+0085 U+00A0 U+1680 U+2000-200A U+2028 U+2029 U+202F U+205F U+3000
_WIDE_BLANK = re.compile(rb"\xc2[\x85\xa0]|\xe1\x9a\x80|\xe2\x80[\x80-\x8a\xa8\xa9\xaf]|\xe2\x81\x9f|\xe3\x80\x80")
_SHORT = 128
_GATHER = 128


def count_words(text: str) -> int:
    """Exactly ``len(text.split())``, without building the words."""
    if len(text) < _SHORT:
        return len(text.split())
    data = text.encode("utf-8", "surrogatepass")
    if not text.isascii() and _WIDE_BLANK.search(data.translate(None, _ASCII)):
        return len(text.split())
    marks = data.translate(_ASCII_WORDS)
    return marks.count(b" x") + (marks[0] != _BLANK)


class Words:
    """``count_words`` of a text that comes in pieces: a word cut in two by a piece's end counts once.

    Pieces are kept and counted many at a time: looking into each of them would be felt in every chunk of a stream.
    """

    __slots__ = ("_counted", "_open", "_pieces")

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._counted = 0
        self._open = False  # the last piece ended inside a word

    def add(self, text: str) -> None:
        pieces = self._pieces
        pieces.append(text)
        if len(pieces) >= _GATHER:
            self._fold()

    def _fold(self) -> None:
        """Count what is kept and let it go."""
        text = "".join(self._pieces)
        self._pieces.clear()
        if text:
            self._counted += count_words(text) - (self._open and not text[0].isspace())
            self._open = not text[-1].isspace()

    @property
    def count(self) -> int:
        self._fold()
        return self._counted


def system_signal(text: str, count: Callable[[str], int] = count_words) -> str:
    """S of 9.5 as it may contribute keywords: the system text, or "" when it has more than 150 words."""
    return text if len(text) < 2 * SYSTEM_KEYWORD_WORDS or count(text) <= SYSTEM_KEYWORD_WORDS else ""


# ------------------------------------------------------------------------------------------------ depth

_KEEP = b'[]{}"'
_DROP = bytes(set(range(256)) - set(_KEEP))
_BRACKETS = bytes.maketrans(b"[]{}", b"\x01\xff\x01\xff")
_OPEN, _PAIR = b"\x01", b"\x01\xff"
_PASSES = 8


def check_depth(data: bytes, limit: int = MAX_DEPTH) -> bool:
    """Whether JSON text nests at most ``limit`` arrays and objects. Scans bytes; nothing is decoded.

    Exact for valid JSON. For anything else the answer may be either, but never true for text that would take a
    decoder deeper than ``limit`` before it meets the defect.
    """
    if b"\\" in data:
        data = _without_escaped_quotes(data)
    marks = data.translate(_BRACKETS, _DROP)
    return marks.count(_OPEN) <= limit or _nesting_within(_structure(marks), limit)


def _without_escaped_quotes(data: bytes) -> bytes:
    """Replacements of equal length are done in place, in one pass."""
    if b'\\\\"' in data:
        data = data.replace(b"\\\\", b"--")
    return data.replace(b'\\"', b"--")


def _structure(marks: bytes) -> bytes:
    """Drops brackets inside strings. Taking out two adjacent quotes never changes on which side another mark lies."""
    return b"".join(marks.replace(b'""', b"").split(b'"')[::2])


def _nesting_within(marks: bytes, limit: int) -> bool:
    """Each pass removes the innermost level, so shallow text (the usual kind) ends here after a few of them."""
    for _ in range(_PASSES):
        if marks.count(_OPEN) <= limit:
            return True
        if _OPEN * (limit + 1) in marks:
            return False
        marks, limit = marks.replace(_PAIR, b""), limit - 1
    steps = memoryview(marks).cast("b")
    return all(depth <= limit for depth in accumulate(steps))


# ------------------------------------------------------------------------------------------------ noise

_REMINDER_OPEN, _REMINDER_CLOSE = "<system-reminder>", "</system-reminder>"
_INTERNAL_CONTEXT = "<<<BEGIN_OPENCLAW_INTERNAL_CONTEXT>>>"
_BILLING = "x-anthropic-billing-header:"
# how anything that own_text takes away begins, white space beyond ASCII included
_MAY_BE_NOISE = frozenset(("", "[", _REMINDER_OPEN[0], _INTERNAL_CONTEXT[0], _BILLING[0])) | {
    chr(code) for code in range(0x3001) if chr(code).isspace()
}
_PREFIX = re.compile(
    r"\s*\[(?:Retry after the previous model attempt failed or timed out"
    r"|(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)[a-z]* \d{4}-\d\d-\d\d \d\d:\d\d(?::\d\d)?(?: [A-Za-z0-9_+:/-]{1,40})?)\]\s*"
)


def own_text(text: str) -> str:
    """The text without a harness's prefixes (time stamp, retry remark); "" when nothing in it is a human's own."""
    if text[:1] not in _MAY_BE_NOISE:
        return text
    start = 0
    while prefix := _PREFIX.match(text, start):
        start = prefix.end()
    text = text[start:]
    body = text.lstrip()
    if not body or body.startswith((_INTERNAL_CONTEXT, _BILLING)) or _only_reminders(body):
        return ""
    return text


def is_billing(text: str) -> bool:
    """True for Claude Code's billing block, which changes per run and belongs in no cache key or prefix."""
    return text.startswith(_BILLING)


def _only_reminders(text: str) -> bool:
    at = 0
    while text.startswith(_REMINDER_OPEN, at):
        end = text.find(_REMINDER_CLOSE, at)
        if end < 0:
            return False
        at = end + len(_REMINDER_CLOSE)
        while at < len(text) and text[at].isspace():
            at += 1
    return at == len(text)
