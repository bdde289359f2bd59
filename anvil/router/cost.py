"""What an answer cost, and prices looked up for tiers that state none (contract 19)."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Final

import msgspec

from anvil.router.config import RouterConfig, TierConfig

PRICES_URL: Final = "https://raw.githubusercontent.com/BerriAI/litellm/main/model_prices_and_context_window.json"
FETCH_SECONDS: Final = 10.0
# the list has about 2 MiB; this only stops an endless answer
FETCH_BYTES: Final = 64 * 1024 * 1024
CACHE_SECONDS: Final = 24 * 3600.0
CACHE_PATH: Final = Path("~/.cache/anvil-serving/prices.json")


def attempt_cost(tier: TierConfig, prompt_tokens: int, completion_tokens: int) -> float:
    """USD of one attempt at its own tier; a missing price counts 0, cached tokens are billed as input (19.1)."""
    input_price, output_price = tier.cost_input_per_mtok, tier.cost_output_per_mtok
    if not input_price and not output_price:
        return 0.0
    return ((input_price or 0.0) * prompt_tokens + (output_price or 0.0) * completion_tokens) / 1e6


def split(costs: Iterable[tuple[str, float]], served_tier: str | None) -> tuple[float, float]:
    """(cost_usd, wasted_cost_usd) of a record from (tier id, cost) of its attempts; a walk calls no tier twice."""
    served = wasted = 0.0
    for tier_id, cost in costs:
        if tier_id == served_tier:
            served += cost
        else:
            wasted += cost
    return served, wasted


# --------------------------------------------------------------------------------------------- cost_sync

Prices = Mapping[str, object]


def sync_prices(
    config: RouterConfig,
    *,
    warn: Callable[[str], None],
    failed: Callable[[], None],
    fetch: Callable[[], bytes] | None = None,
    cache: Path = CACHE_PATH,
    clock: Callable[[], float] = time.time,
) -> RouterConfig:
    """The configuration with unset prices of cloud tiers filled in (19.3); itself when there is nothing to fill.

    One look-up for all tiers. Never raises: what fails leaves the prices unset, with one ``warn`` line and one
    ``failed`` call. Blocks for at most about ten seconds; without ``cost_sync`` it touches no network.
    """
    if not config.cost_sync or not any(_wants_price(tier) for tier in config.tiers):
        return config
    try:
        prices = _prices(fetch or download, cache.expanduser(), clock)
    except Exception as error:
        failed()
        warn(f"cost_sync: no price list ({type(error).__name__}); costs of cloud tiers without prices count as 0")
        return config
    tiers = tuple(_priced(tier, prices) if _wants_price(tier) else tier for tier in config.tiers)
    unknown = [tier.id for tier in tiers if _wants_price(tier)]
    if unknown:
        failed()
        warn(f"cost_sync: the price list has no usable entry for {', '.join(unknown)}; set cost_input_per_mtok there")
    return msgspec.structs.replace(config, tiers=tiers)


def _wants_price(tier: TierConfig) -> bool:
    return not tier.local and (tier.cost_input_per_mtok is None or tier.cost_output_per_mtok is None)


def _priced(tier: TierConfig, prices: Prices) -> TierConfig:
    found = _look_up(prices, tier.model or tier.id)
    if found is None:
        return tier
    return msgspec.structs.replace(
        tier,
        cost_input_per_mtok=found[0] if tier.cost_input_per_mtok is None else tier.cost_input_per_mtok,
        cost_output_per_mtok=found[1] if tier.cost_output_per_mtok is None else tier.cost_output_per_mtok,
    )


def _look_up(prices: Prices, name: str) -> tuple[float, float] | None:
    """USD per million input and output tokens: exact key, then anthropic/<id>, then the first key ending /<id>."""
    keys = [name, f"anthropic/{name}", next((key for key in prices if key.endswith(f"/{name}")), name)]
    entry = next((prices[key] for key in keys if key in prices), None)
    if not isinstance(entry, Mapping):
        return None
    sides = [_per_million(entry.get(field)) for field in ("input_cost_per_token", "output_cost_per_token")]
    return None if sides[0] is None or sides[1] is None else (sides[0], sides[1])


def _per_million(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        price = float(value) * 1e6
    except OverflowError:
        return None
    return round(price, 9) if math.isfinite(price) and price >= 0 else None


def _prices(fetch: Callable[[], bytes], cache: Path, clock: Callable[[], float]) -> Prices:
    """From the cache while it is fresh, else fetched; a stale cache serves when the fetch fails."""
    try:
        if 0 <= clock() - cache.stat().st_mtime < CACHE_SECONDS:
            return _parse(cache.read_bytes())
    except (OSError, ValueError):
        pass  # absent or damaged: fetch
    try:
        data = fetch()
        prices = _parse(data)
    except Exception:
        if not cache.is_file():
            raise
        return _parse(cache.read_bytes())
    _save(cache, data, clock())
    return prices


def _parse(data: bytes) -> Prices:
    prices = json.loads(data)
    if not isinstance(prices, dict) or not prices:
        raise ValueError("a price list is a JSON object")
    return prices


def _save(cache: Path, data: bytes, now: float) -> None:
    """Replace the cache atomically; a cache that cannot be written only costs the next load a fetch."""
    import tempfile  # like urllib below: needed once a day at most, so not by every start

    temporary: str | None = None
    try:
        cache.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=cache.parent, prefix=".prices-")
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        os.utime(temporary, (now, now))
        os.replace(temporary, cache)
    except OSError:
        if temporary:
            Path(temporary).unlink(missing_ok=True)


def download() -> bytes:
    """The published price list. Proxy variables have no effect; the ten seconds hold for the whole transfer."""
    import urllib.request

    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    deadline = time.monotonic() + FETCH_SECONDS
    with opener.open(PRICES_URL, timeout=FETCH_SECONDS) as answer:
        parts: list[bytes] = []
        size = 0
        while part := answer.read1(1 << 16):
            parts.append(part)
            size += len(part)
            if size > FETCH_BYTES or time.monotonic() > deadline:
                raise TimeoutError("the price list took too long or is too large")
    return b"".join(parts)
