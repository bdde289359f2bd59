"""What one request may spend over all its attempts: calls, tokens, time (contract 15.3 steps 1 to 3)."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Literal

from anvil.router.config.model import Limits

Stop = Literal["attempts", "deadline", "tokens"]


class Budget:
    """Counts from the moment the body is complete. ``clock`` in seconds, monotonic."""

    __slots__ = ("_clock", "_limits", "attempts", "deadline", "tokens")

    def __init__(self, limits: Limits, clock: Callable[[], float] = time.monotonic) -> None:
        self._limits = limits
        self._clock = clock
        self.deadline = clock() + limits.request_deadline_s
        self.attempts = 0
        self.tokens = 0

    def stop(self, prompt_tokens: int) -> Stop | None:
        """Why no further attempt may begin, in the order of 15.3; only "tokens" is recorded, as budget-stop."""
        if self.attempts >= self._limits.max_attempts:
            return "attempts"
        if self.left_s() <= 0:
            return "deadline"
        ceiling = self._limits.token_ceiling
        return "tokens" if ceiling and self.tokens + prompt_tokens >= ceiling else None

    def charge(self, prompt_tokens: int, completion_tokens: int = 0) -> None:
        """One real attempt has ended; completion tokens only when it completed."""
        self.attempts += 1
        self.tokens += prompt_tokens + completion_tokens

    def left_s(self) -> float:
        return self.deadline - self._clock()
