"""Draws, prompts, percentiles and the picture, without an engine."""

from __future__ import annotations

from collections import Counter
from xml.etree import ElementTree

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anvil.lab.bench import draws, picture
from anvil.lab.bench.load import Outcome, Run
from anvil.lab.bench.prompts import CHARACTERS_PER_TOKEN, prompt
from anvil.lab.bench.report import Level, Report, ServeFlags, enough, level, percentile


def test_the_same_number_draws_the_same_sizes() -> None:
    assert draws.sizes(200, 7) == draws.sizes(200, 7)
    assert draws.sizes(200, 7) != draws.sizes(200, 8)
    assert draws.sizes(3, 7, fixed=500) == [500, 500, 500]


@pytest.mark.parametrize(
    ("share", "tokens"),
    [(0, 16_000), (0.001, 32_768), (0.218, 32_768), (0.6, 65_536), (0.602, 65_536), (0.9, 131_072), (0.907, 262_144)],
)
def test_the_steps_of_the_measured_distribution(share: float, tokens: int) -> None:
    assert draws.step(share, draws.BUILTIN) == tokens


def test_many_draws_follow_the_distribution() -> None:
    shares = {size: count / 4000 for size, count in Counter(draws.sizes(4000, 1)).items()}
    assert shares == pytest.approx({32_768: 0.218, 65_536: 0.384, 131_072: 0.304, 262_144: 0.094}, abs=0.03)


def test_2000_draws_never_leave_the_window() -> None:
    for window in (512, 2048, 8192, 40_000, 300_000):
        limit = draws.cap(window, 64, 1024)
        assert limit is not None
        sizes = draws.clamped(draws.sizes(2000, window), limit)
        assert max(sizes) <= limit
        for size in set(sizes):
            assert len(prompt(3, size, 8000, limit)) <= limit * CHARACTERS_PER_TOKEN


@given(
    number=st.integers(0, 10**6), tokens=st.integers(0, 3000), shared=st.integers(0, 4000), limit=st.integers(256, 2500)
)
def test_a_prompt_fits_and_ends_with_its_number(number: int, tokens: int, shared: int, limit: int) -> None:
    text = prompt(number, tokens, shared, limit)
    assert len(text) <= limit * CHARACTERS_PER_TOKEN
    assert f"# request {number}: " in text.splitlines()[-1]


def test_prompts_share_the_prefix_and_nothing_behind_it() -> None:
    one, two = prompt(1, 2000, 500, None), prompt(2, 2000, 500, None)
    common = next(place for place, (a, b) in enumerate(zip(one, two, strict=True)) if a != b)
    assert len(one[:common].split()) == pytest.approx(500 * 0.75, abs=30)
    assert len(one.split()) == pytest.approx(2000 * 0.75, abs=50)


@pytest.mark.parametrize(("share", "value"), [(0.05, 15), (0.3, 20), (0.4, 20), (0.5, 35), (1.0, 50), (0.0, 15)])
def test_percentiles_are_of_the_nearest_rank(share: float, value: float) -> None:
    assert percentile([50, 15, 40, 20, 35], share) == value


def test_a_percentile_of_nothing_is_nothing() -> None:
    assert percentile([], 0.5) is None


def outcomes() -> tuple[Outcome, ...]:
    good = [Outcome(ttft_ms=100.0 * n, e2e_ms=200.0 * n, output_tokens=10, decode_tok_s=5.0 * n) for n in (1, 2, 3, 4)]
    return (*good, Outcome("timeout", "late"))


def test_the_figures_of_a_level_by_hand() -> None:
    found = level(Run(2, outcomes(), 4.0))
    assert (found.completed, found.requests, found.failures) == (4, 5, {"timeout": 1})
    m = found.metrics
    assert (m.ttft_p50_ms, m.ttft_p95_ms, m.e2e_p50_ms, m.e2e_p99_ms) == (200, 400, 400, 800)
    assert (m.throughput_tok_s, m.decode_tok_s, m.output_tokens) == (10.0, 10.0, 40)
    assert m.prefix_cache_hit_avg is m.ttft_content_p50_ms is None


@pytest.mark.parametrize(
    ("completed", "allowed", "well"), [(57, 0.05, True), (56, 0.05, False), (60, 0, True), (59, 0, False)]
)
def test_enough(completed: int, allowed: float, well: bool) -> None:
    found = msgspec.structs.replace(level(Run(2, outcomes(), 4.0)), requests=60, completed=completed)
    assert enough(found, allowed) is well


def report(*levels: Level, model: str = "m") -> Report:
    last = levels[-1]
    return Report(
        run_id="bench-20260131T120000Z", base_url="http://127.0.0.1:1/v1", model=model, engine=None,
        engine_version=None, quantization=None, gpu_model=None, gpu_count=None, requests=last.requests,
        completed=last.completed, failures=last.failures, concurrency=last.concurrency, context_tokens=None,
        max_context_tokens=1000, max_tokens=64, window=None, serve_flags=ServeFlags(False, False, None),
        metrics=last.metrics, levels=list(levels), notes=[],
    )  # fmt: skip


def test_the_picture_is_well_formed_for_any_name_and_says_what_failed() -> None:
    levels = [level(Run(count, outcomes(), 4.0)) for count in (1, 4)]
    root = ElementTree.fromstring(picture.svg(report(*levels, model="<script>&" + "x" * 300)))
    texts = [text.text or "" for text in root.findall("{*}text")]
    assert texts[0].startswith("<script>&x")
    assert len(texts[0]) < 120
    assert "1 of 5 failed at 1; 1 of 5 failed at 4" in texts
    assert root.findall("{*}script") == []


def test_the_picture_of_a_level_where_nothing_completed_has_no_points() -> None:
    root = ElementTree.fromstring(picture.svg(report(level(Run(2, (Outcome("timeout"),), 1.0)))))
    assert root.findall("{*}circle") == []


@given(st.floats(1e-4, 1e7))
def test_a_scale_covers_the_highest_value_in_few_round_steps(highest: float) -> None:
    ticks = picture.scale(highest)
    assert ticks[0] == 0
    assert ticks[-1] >= highest * 0.999
    assert 3 <= len(ticks) <= 8


@given(st.lists(st.floats(96, 348), max_size=4))
def test_names_of_lines_never_overlap_and_keep_their_order(heights: list[float]) -> None:
    placed = picture.spread(heights)
    for a, high in enumerate(heights):
        for b, low in enumerate(heights):
            if high < low:
                assert placed[b] - placed[a] > 14.9
    assert all(height <= 348.001 for height in placed)
