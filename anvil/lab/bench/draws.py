"""How long each prompt of a run is: a fixed size, or repeatable draws from a distribution of context sizes."""

from __future__ import annotations

import random
from collections.abc import Sequence

# (share of calls up to here, tokens): measured contexts of coding sub-agents, p50 about 55 k, p95 about 159 k.
Steps = Sequence[tuple[float, int]]
BUILTIN: Steps = ((0.0, 16_000), (0.218, 32_768), (0.602, 65_536), (0.906, 131_072), (1.0, 262_144))
SMALLEST_CAP = 256


def sizes(count: int, draw: int, fixed: int = 0, steps: Steps = BUILTIN) -> list[int]:
    """``count`` context sizes in tokens; the same ``draw`` gives the same sizes. ``fixed`` above 0 wins."""
    if fixed:
        return [fixed] * count
    source = random.Random(draw)  # noqa: S311 - repeatable on purpose
    return [step(source.random(), steps) for _ in range(count)]


def step(share: float, steps: Steps) -> int:
    """The size of the first step that reaches ``share`` (0..1)."""
    return next((tokens for upto, tokens in steps if share <= upto), steps[-1][1])


def cap(window: int | None, max_tokens: int, margin: int) -> int | None:
    """The longest prompt in tokens that leaves room for an answer; None = the window is unknown."""
    return None if window is None else max(SMALLEST_CAP, window - max_tokens - margin)


def clamped(wanted: list[int], limit: int | None) -> list[int]:
    return wanted if limit is None else [min(size, limit) for size in wanted]
