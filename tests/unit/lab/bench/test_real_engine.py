"""Both commands against a real llama-server with a model of 135 M parameters, as cached by the demo or rehearsals."""

from __future__ import annotations

import json
import os
import time
import urllib.error
from collections.abc import Iterator

import pytest
from click.testing import CliRunner

from anvil.cli.bench import command as bench
from anvil.cli.preflight import command as preflight
from anvil.lab import engine, fetch
from tests.unit.lab.test_engine import ask, serving

pytestmark = pytest.mark.real_engine


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    if not (engine.own_engine(os.environ) or engine.ENGINE.folder.is_dir()) or not engine.TINY.folder.is_dir():
        pytest.skip(f"engine or weights are not in {fetch.cache()}: fetch them with scripts/demo --once")
    try:
        made = engine.engine()
    except fetch.Unavailable as why:
        pytest.skip(str(why))
    with serving(made, engine.weights("tiny")) as address:
        for _ in range(200):
            try:
                ask(f"{address}/health")
                break
            except (urllib.error.URLError, ConnectionError):
                time.sleep(0.1)
        yield address


def test_preflight_reads_what_a_real_engine_says(url: str) -> None:
    words = ["--base-url", url, "--model", "tiny", "--only", "schema,tool_turn,stream", "--json"]
    result = CliRunner().invoke(preflight, words)
    report = json.loads(result.stdout)
    found = {test["name"]: test["class"] for test in report["tests"]}
    assert (report["engine"], report["window"]) == ("llamacpp", 2048)
    assert found["schema"] is None  # the grammar enforces it
    assert found["stream"] in (None, "wrong_answer")  # what the model knows is its own affair
    assert found["tool_turn"] in (None, "no_tool_call", "wrong_args", "garbage", "http_500")
    assert result.exit_code == (0 if report["passed"] else 1)


def test_bench_measures_a_real_engine_at_two_levels(url: str) -> None:
    words = ["--base-url", url, "--model", "tiny", "--sweep", "1,2", "--requests", "2", "--ctx-tokens", "20"]
    result = CliRunner().invoke(
        bench, [*words, "--shared-prefix-tokens", "10", "--warmup", "0", "--max-tokens", "8", "--json"]
    )
    assert result.exit_code == 0, result.stderr
    report = json.loads(result.stdout)
    assert [level["completed"] for level in report["levels"]] == [2, 2]
    for figures in (level["metrics"] for level in report["levels"]):
        assert 0 < figures["ttft_p50_ms"] <= figures["e2e_p50_ms"]
        assert 0 < figures["output_tokens"] <= 16
        assert figures["output_tokens_estimated"] is False
        assert 30 < figures["prompt_tokens_avg"] < 160
        assert 0 <= figures["prefix_cache_hit_avg"] < 1
