"""Which member of a swap group is loaded, as far as answers tell (contract 10.4)."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from anvil.router.config.model import RouterConfig, TierConfig
from anvil.router.decisions.record import Residency

Item = TypeVar("Item")


class Residencies:
    """Per group, the tier that last delivered an answer and when. ``clock`` in seconds, monotonic."""

    def __init__(self, config: RouterConfig, clock: Callable[[], float] = time.monotonic) -> None:
        self._idle_s = config.swap_idle_s
        self._clock = clock
        self._last: dict[str, tuple[str, float]] = {}

    def note(self, tier: TierConfig) -> None:
        """The tier has just delivered an answer."""
        if tier.swap_group is not None:
            self._last[tier.swap_group] = (tier.id, self._clock())

    def resident(self, group: str) -> str | None:
        """The tier believed to be loaded; None once the group has been idle for swap_idle_s."""
        tier_id, since = self._last.get(group, (None, 0.0))
        if tier_id is None or (self._idle_s and self._clock() - since >= self._idle_s):
            return None
        return tier_id

    def is_resident(self, tier: TierConfig) -> bool:
        return tier.swap_group is not None and self.resident(tier.swap_group) == tier.id

    def order(
        self, items: Sequence[Item], tier_of: Callable[[Item], TierConfig]
    ) -> tuple[list[Item], Residency | None]:
        """``items`` with each group's resident moved to the first of its group's places; no other item moves.

        The Residency names the first group whose order a resident decides.
        """
        ordered, told = list(items), None
        for group in dict.fromkeys([tier_of(item).swap_group for item in items]):
            resident = self.resident(group) if group is not None else None
            places = [at for at, item in enumerate(ordered) if tier_of(item).swap_group == group]
            members = [ordered[at] for at in places]
            if group is None or resident is None or resident not in [tier_of(item).id for item in members]:
                continue
            members.sort(key=lambda item: tier_of(item).id != resident)
            for at, item in zip(places, members, strict=True):
                ordered[at] = item
            told = told or Residency(group, resident)
        return ordered, told
