"""Small memories of what was computed from parts of a request that agents send again on every turn.

An agent loop repeats the same 60 kB of tools and all earlier messages; comparing the tools' bytes costs 2 us where
reading them costs 100, and hashing a text costs a fifth of counting its words.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

from msgspec import Raw

from anvil.router.reading import count_words

T = TypeVar("T")
R = TypeVar("R")

ENTRIES = 16
MAX_BYTES = 262_144  # larger texts are read anew: at most ENTRIES times this is kept
_TAIL = 64
WORD_COUNTS = 8192  # about 1 MB
_SHORT = 256
# a value is looked for this close to the end of a body: clients send few and small fields after their tools
_REACH = 4096
# Stands for a value that was cut out. Nobody outside can know it, so it is in no body by itself.
_PLACEHOLDER = b'[{"x%b":0}]' % secrets.token_hex(16).encode()
PLACEHOLDER = Raw(_PLACEHOLDER)


class Recent(Generic[T]):
    """Least-recently-used memory keyed by the exact bytes. Values are shared between requests: treat as immutable."""

    def __init__(self, compute: Callable[[Raw], T]) -> None:
        self._compute = compute
        self._kept: dict[tuple[int, bytes], tuple[Raw, T, bytes]] = {}

    def __call__(self, raw: Raw) -> T:
        """The value for this JSON; whatever ``compute`` raises passes through and nothing is kept."""
        view = memoryview(raw)
        key = (len(view), bytes(view[-_TAIL:]))
        entry = self._kept.pop(key, None)
        if entry is None or (entry[0] is not raw and entry[0] != raw):
            # a copy, so that the rest of the request's body is not kept alive by this view into it
            whole = bytes(raw)
            own = Raw(whole)
            entry = (own, self._compute(own), whole)
            if key[0] > MAX_BYTES:
                return entry[1]
        self._kept[key] = entry
        if len(self._kept) > ENTRIES:
            del self._kept[next(iter(self._kept))]
        return entry[1]

    def cut(self, data: bytes) -> tuple[bytes, Raw] | None:
        """A body without a remembered array of objects that lies near its end, and that array; None without one.

        PLACEHOLDER takes its place; the caller must look whether that is where the array belongs. The short body is
        valid JSON exactly when the long one is: both arrays are whole values that begin alike, and inside a string
        both would end it before a letter.
        """
        for (size, tail), (raw, _, whole) in reversed(self._kept.items()):
            if not _TAIL < size < len(data):
                continue
            end = data.rfind(tail, -_REACH) + _TAIL
            if size <= end and data.startswith(whole, end - size) and _can_be_cut(whole):
                return b"".join((data[: end - size], _PLACEHOLDER, data[end:])), raw
        return None


def _can_be_cut(array: bytes) -> bool:
    return array[:3] == b'[{"' and array[3:4].isalpha()


class Shared(Generic[T, R]):
    """Memory of what is made from a list of values that ``Recent`` shares, while they are the very same objects."""

    def __init__(self, compute: Callable[[list[T]], R], size: Callable[[R], int]) -> None:
        """``size`` tells about how many bytes a result and its values hold."""
        self._compute = compute
        self._size = size
        self._kept: dict[tuple[int, int], tuple[list[T], R]] = {}

    def __call__(self, values: list[T]) -> R:
        """The result for ``values``, which must not be empty; treat it as immutable."""
        key = (id(values[0]), len(values))
        entry = self._kept.get(key)
        if entry is not None and entry[0] == values:
            return entry[1]
        result = self._compute(values)
        if self._size(result) <= MAX_BYTES:
            self._kept[key] = (values[:], result)  # holding the values keeps their ids theirs
            if len(self._kept) > ENTRIES:
                del self._kept[next(iter(self._kept))]
        return result


_counts: dict[tuple[int, int], int] = {}


def recent_words(text: str) -> int:
    """``count_words``, remembered for long texts by keyed hash and length; the text itself is not kept."""
    if len(text) < _SHORT:
        return count_words(text)
    key = (hash(text), len(text))
    count = _counts.get(key)
    if count is None:
        if len(_counts) >= WORD_COUNTS:
            _counts.clear()
        count = _counts[key] = count_words(text)
    return count


def total_words(texts: Iterable[str]) -> int:
    """The sum of ``recent_words``; short texts are counted as one."""
    known = _counts.get
    short: list[str] = []
    total = 0
    for text in texts:
        if len(text) < _SHORT:
            short.append(text)
            continue
        count = known((hash(text), len(text)))
        total += recent_words(text) if count is None else count
    return total + count_words(" ".join(short)) if short else total
