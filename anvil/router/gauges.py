"""Where the gauges of contract 17 read their values: straight from the worker's state, at scrape time."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from anvil.router.runtime import Runtime

_STATE = {"closed": 0, "half-open": 1, "open": 2, "resting": 3}


def register(runtime: Runtime) -> None:
    """Give every gauge its reader; called once, before the first scrape."""
    gauge = runtime.metrics.gauge
    lanes = (runtime.serve_lane, runtime.control_lane)
    gauge("anvil_in_flight", lambda: [((lane.name,), lane.in_flight) for lane in lanes])
    gauge("anvil_slots", lambda: [((lane.name,), lane.limit) for lane in lanes])
    gauge("anvil_tier_in_flight", lambda: [((b.id,), b.places.in_flight) for b in runtime.backends.values()])
    gauge("anvil_tier_waiting", lambda: [((b.id,), b.places.waiting) for b in runtime.backends.values()])
    gauge("anvil_buffer_bytes", lambda: runtime.pool.used)
    gauge("anvil_profile_stale_rows", lambda: len(runtime.loaded.profile.stale_rows))
    gauge("anvil_resident", lambda: _residents(runtime))
    gauge("anvil_breaker_state", lambda: _breakers(runtime))


def _residents(runtime: Runtime) -> list[tuple[tuple[str, ...], float]]:
    return [
        ((tier.swap_group, tier.id), float(runtime.residencies.is_resident(tier)))
        for tier in runtime.config.tiers
        if tier.swap_group is not None
    ]


def _breakers(runtime: Runtime) -> list[tuple[tuple[str, ...], float]]:
    return [((tier, work_class), _STATE[state]) for (tier, work_class), state in runtime.breakers.states().items()]
