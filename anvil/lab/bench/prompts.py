"""Prompts of a wanted size: a prefix all share, then lines of pseudo-code that only one request has."""

from __future__ import annotations

from collections.abc import Iterator

WORDS_PER_TOKEN = 0.75
CHARACTERS_PER_TOKEN = 3  # fewer than code has: an estimate that errs on the long side
_HEAD = "# a program to be read\n"
_LINE = "for each item in pending do total becomes total plus weight of item and count becomes count plus one end\n"
_LINE_WORDS = len(_LINE.split())


def prompt(number: int, tokens: int, shared_tokens: int, cap: int | None) -> str:
    """About ``tokens`` tokens of which the first ``shared_tokens`` are the same for every number; never more than
    ``cap`` x 3 characters."""
    prefix = _HEAD + "".join(_lines(min(shared_tokens, tokens)))
    # The number stands here too: at the end alone, a prefix cache would find everything before it.
    own = f"# part {number}\n" + "".join(_lines(max(0, tokens - shared_tokens)))
    tail = f"# request {number}: say in one sentence what the program above computes"
    return prefix + own + tail if cap is None else _cut(prefix, own, tail, cap * CHARACTERS_PER_TOKEN)


def _cut(prefix: str, own: str, tail: str, room: int) -> str:
    """The prefix is kept longest, the end always."""
    kept = prefix[: max(0, room - len(tail))]
    return kept + own[: max(0, room - len(kept) - len(tail))] + tail


def _lines(tokens: int) -> Iterator[str]:
    for _ in range(-(-int(tokens * WORDS_PER_TOKEN) // _LINE_WORDS)):
        yield _LINE
