"""GET /readyz: whether some preset can be served now, and by which tiers (contract 2.9)."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import msgspec

from anvil.router.backends import Backend, base_of, fetch, models_path, path_of
from anvil.router.config import TierConfig
from anvil.router.exchange import Plain
from anvil.router.upstream import UpstreamError

if TYPE_CHECKING:
    from anvil.router.runtime import Runtime

PROBE_TIMEOUT_S = 2.0
PROBE_CACHE_S = 5.0


async def report(runtime: Runtime, *, full: bool, probe: bool) -> Plain:
    """``full`` adds the tier list (token needed); ``probe`` asks local tiers, cached for 5 s."""
    ready = is_ready(runtime) and not runtime.draining
    body: dict[str, object] = {"status": "ready" if ready else "not_ready"}
    if full:
        reachable = await _probe(runtime) if probe else {}
        body["tiers"] = [_row(runtime, tier, reachable) for tier in runtime.config.tiers]
    return Plain(200 if ready else 503, msgspec.json.encode(body))


def is_ready(runtime: Runtime) -> bool:
    """At least one preset is servable by a tier whose breaker is not open; a rest a tier asked for is not a failure."""
    return any(
        runtime.breakers.state(tier.id).state != "open"
        for preset in runtime.config.presets
        for tier in runtime.policy.usable(preset)
    )


def _row(runtime: Runtime, tier: TierConfig, reachable: dict[str, bool]) -> dict[str, object]:
    backend = runtime.backends.get(tier.id)
    state = runtime.breakers.state(tier.id)
    row: dict[str, object] = {
        "id": tier.id,
        "privacy": tier.privacy,
        "model": backend.tier.model if backend is not None else tier.model,
        "bound": backend is not None,
        "model_known": backend is not None and backend.tier.model is not None,
        "breaker": state.state,
        "resting_s": round(state.resting_s, 1),
        "in_flight": backend.places.in_flight if backend is not None else 0,
        "waiting": backend.places.waiting if backend is not None else 0,
        "resident": runtime.residencies.is_resident(tier),
    }
    if tier.id in reachable:
        row["reachable"] = reachable[tier.id]
    return row


async def _probe(runtime: Runtime) -> dict[str, bool]:
    asked_at, known = runtime.reachable
    if time.monotonic() - asked_at > PROBE_CACHE_S:
        local = [backend for backend in runtime.backends.values() if backend.tier.local]
        answers = await asyncio.gather(*[_reachable(backend) for backend in local])
        known = {backend.id: answer for backend, answer in zip(local, answers, strict=True)}
        runtime.reachable = (time.monotonic(), known)
    return known


async def _reachable(backend: Backend) -> bool:
    try:
        path = path_of(base_of(backend.tier), models_path(backend.tier))
        status, _ = await fetch(backend.upstream, path, PROBE_TIMEOUT_S)
    except UpstreamError:
        return False
    return 200 <= status < 300
