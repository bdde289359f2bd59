"""Small memories of what was computed from parts of a request that agents send again on every turn.

An agent loop repeats the same 60 kB of tools and all earlier messages; comparing the tools' bytes costs 2 us where
reading them costs 100, and hashing a text costs a fifth of counting its words.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from msgspec import Raw

from anvil.router.reading import count_words

T = TypeVar("T")

ENTRIES = 16
MAX_BYTES = 262_144  # larger texts are read anew: at most ENTRIES times this is kept
_TAIL = 64
WORD_COUNTS = 8192  # about 1 MB
_SHORT = 400


class Recent(Generic[T]):
    """Least-recently-used memory keyed by the exact bytes. Values are shared between requests: treat as immutable."""

    def __init__(self, compute: Callable[[Raw], T]) -> None:
        self._compute = compute
        self._kept: dict[tuple[int, bytes], tuple[Raw, T]] = {}

    def __call__(self, raw: Raw) -> T:
        """The value for this JSON; whatever ``compute`` raises passes through and nothing is kept."""
        view = memoryview(raw)
        key = (len(view), bytes(view[-_TAIL:]))
        entry = self._kept.pop(key, None)
        if entry is None or entry[0] != raw:
            # a copy, so that the rest of the request's body is not kept alive by this view into it
            own = raw.copy()
            entry = (own, self._compute(own))
            if key[0] > MAX_BYTES:
                return entry[1]
        self._kept[key] = entry
        if len(self._kept) > ENTRIES:
            del self._kept[next(iter(self._kept))]
        return entry[1]


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
