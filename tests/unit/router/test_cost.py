"""Costs and the price look-up (contract 19)."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from anvil.router.config import RouterConfig
from anvil.router.cost import attempt_cost, split, sync_prices
from tests.unit.router.decision_samples import CONFIG, tier

NOW = 1_767_603_600.0
PRICES = {
    "sample_spec": {"input_cost_per_token": "not a price"},
    "frontier-x": {"input_cost_per_token": 3e-06, "output_cost_per_token": 1.5e-05},
    "anthropic/only-prefixed": {"input_cost_per_token": 1e-06, "output_cost_per_token": 2e-06},
    "openrouter/meta/deep": {"input_cost_per_token": 4e-06, "output_cost_per_token": 5e-06},
    "half": {"input_cost_per_token": 1e-06},
    "broken": {"input_cost_per_token": 1e-06, "output_cost_per_token": True},
    "huge": {"input_cost_per_token": 1e999, "output_cost_per_token": 1},
}


@pytest.mark.parametrize(
    ("prices", "cost"),
    [
        ((3.0, 15.0), (3 * 1000 + 15 * 200) / 1e6),
        ((3.0, None), 0.003),
        ((None, 15.0), 0.003),
        ((None, None), 0.0),
        ((0.0, 0.0), 0.0),
    ],
)
def test_the_formula(prices: tuple[float | None, float | None], cost: float) -> None:
    priced = tier("paid", cost_input_per_mtok=prices[0], cost_output_per_mtok=prices[1])
    assert attempt_cost(priced, 1000, 200) == pytest.approx(cost)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 10)), max_size=6), st.sampled_from(["a", "b", None]))
def test_served_and_wasted_are_everything(costs: list[tuple[str, float]], served: str | None) -> None:
    cost, wasted = split(costs, served)
    assert cost + wasted == pytest.approx(sum(value for _, value in costs))
    assert cost == pytest.approx(sum(value for name, value in costs if name == served))
    if served is None:
        assert cost == 0


class Source:
    def __init__(self, answer: bytes | Exception) -> None:
        self.answer = answer
        self.calls = 0
        self.warnings: list[str] = []
        self.failures = 0

    def fetch(self) -> bytes:
        self.calls += 1
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def fail(self) -> None:
        self.failures += 1

    def sync(self, config: RouterConfig, cache: Path, now: float = NOW) -> RouterConfig:
        return sync_prices(
            config, warn=self.warnings.append, failed=self.fail, fetch=self.fetch, cache=cache, clock=lambda: now
        )


@pytest.fixture
def source() -> Source:
    return Source(json.dumps(PRICES).encode())


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "prices.json"


def config(*models: str | None, **changes: object) -> RouterConfig:
    tiers = [tier(f"cloud-{number}", privacy="cloud", model=model) for number, model in enumerate(models)]
    return replace(CONFIG, cost_sync=True, tiers=(tier("small", model="frontier-x"), *tiers), **changes)


def prices(config: RouterConfig) -> list[tuple[float | None, float | None]]:
    return [(one.cost_input_per_mtok, one.cost_output_per_mtok) for one in config.tiers]


def test_prices_are_filled_for_cloud_tiers_only(source: Source, cache: Path) -> None:
    synced = source.sync(config("frontier-x", "only-prefixed", "deep"), cache)
    assert prices(synced) == [(None, None), (3.0, 15.0), (1.0, 2.0), (4.0, 5.0)]
    assert (source.calls, source.warnings, source.failures) == (1, [], 0)


@pytest.mark.parametrize("model", ["half", "broken", "huge", "unknown", "sample_spec"])
def test_what_has_no_usable_price_stays_unset(source: Source, cache: Path, model: str) -> None:
    assert prices(source.sync(config("frontier-x", model), cache)) == [(None, None), (3.0, 15.0), (None, None)]
    assert source.failures == 1
    assert len(source.warnings) == 1
    assert "cloud-1" in source.warnings[0]


def test_the_tier_id_stands_in_for_the_model(source: Source, cache: Path) -> None:
    named = replace(CONFIG, cost_sync=True, tiers=(tier("frontier-x", privacy="cloud"),))
    assert prices(source.sync(named, cache)) == [(3.0, 15.0)]


def test_explicit_configuration_wins(source: Source, cache: Path) -> None:
    half = replace(
        CONFIG, cost_sync=True, tiers=(tier("c", privacy="cloud", model="frontier-x", cost_input_per_mtok=0.5),)
    )
    assert prices(source.sync(half, cache)) == [(0.5, 15.0)]


@pytest.mark.parametrize("change", [{"cost_sync": False}, {"tiers": (tier("small"),)}])
def test_nothing_to_do_means_no_network(source: Source, cache: Path, change: dict[str, object]) -> None:
    unchanged = replace(config("frontier-x"), **change)
    assert source.sync(unchanged, cache) is unchanged
    assert source.calls == 0


def test_a_fresh_cache_is_used_and_an_old_one_renewed(source: Source, cache: Path) -> None:
    source.sync(config("frontier-x"), cache)
    assert prices(source.sync(config("frontier-x"), cache, NOW + 86399))[1] == (3.0, 15.0)
    assert source.calls == 1
    source.sync(config("frontier-x"), cache, NOW + 86400)
    assert source.calls == 2
    assert cache.stat().st_mtime == NOW + 86400
    assert os.listdir(cache.parent) == ["prices.json"]


def test_a_stale_cache_serves_when_the_fetch_fails(source: Source, cache: Path) -> None:
    source.sync(config("frontier-x"), cache)
    source.answer = OSError("no network")
    assert prices(source.sync(config("frontier-x"), cache, NOW + 10 * 86400))[1] == (3.0, 15.0)
    assert source.failures == 0


@pytest.mark.parametrize("answer", [OSError("secret host"), b"<html>", b"[]", b"{}", b"\xff"])
def test_any_failure_is_one_warning_and_no_price(cache: Path, answer: bytes | Exception) -> None:
    source = Source(answer)
    assert prices(source.sync(config("frontier-x", "deep"), cache))[1:] == [(None, None)] * 2
    assert (source.calls, source.failures, len(source.warnings)) == (1, 1, 1)
    assert "secret host" not in source.warnings[0]
    assert not cache.exists(), "only what parses is cached"


def test_a_damaged_cache_is_replaced(source: Source, cache: Path) -> None:
    cache.parent.mkdir()
    cache.write_text("{")
    os.utime(cache, (NOW, NOW))
    assert prices(source.sync(config("frontier-x"), cache))[1] == (3.0, 15.0)
    assert json.loads(cache.read_bytes()) == json.loads(json.dumps(PRICES))


def test_an_unwritable_cache_costs_nothing(source: Source, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert prices(source.sync(config("frontier-x"), tmp_path / "file" / "prices.json"))[1] == (3.0, 15.0)
    assert source.failures == 0
