"""Our figures beside published ones (lab contract 9.5, B11)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from anvil.lab.priors.compare import markdown, near, nearest
from anvil.lab.priors.local import LocalError, from_file, from_recipe, local
from anvil.lab.priors.row import Row, row
from anvil.lab.priors.store import Stored
from anvil.lab.recipes import registry
from tests.unit.lab.recipes.samples import ROOT

BENCH: dict[str, Any] = {
    "schema": "anvil.bench/v1", "run_id": "bench-1", "model": "gpt-oss-120b", "engine": "vllm", "quantization": "mxfp4",
    "gpu_model": "rtx_pro_6000_blackwell_96gb", "gpu_count": 1, "concurrency": 4, "context_tokens": 32768,
    "max_context_tokens": 65536, "serve_flags": {"shared_prefix_burst": False, "no_thinking": True, "speculative": None},
    "metrics": {"throughput_tok_s": 520, "decode_tok_s": 260, "ttft_p50_ms": 200, "prefix_cache_hit_avg": 0.5},
}  # fmt: skip
OURS = local(BENCH, "b.json")


def prior(**columns: Any) -> Row:
    base = {
        "model": "openai/gpt-oss-120b", "gpu": "RTX PRO 6000", "engine": "vLLM", "quantization": "MXFP4",
        "context_tokens": "32k", "concurrency": 4, "throughput_tok_s": 410, "decode_tok_s": 203.25,
    }  # fmt: skip
    made = row({**base, **columns}, "{}", "id")
    assert made is not None
    return made


def test_the_pinned_percentages() -> None:
    found = near(OURS, Stored(1, "manual", prior()))
    assert {delta.metric: round(delta.percent or 0, 1) for delta in found.deltas} == {
        "throughput_tok_s": 26.8,
        "decode_tok_s": 27.9,
    }
    page = markdown(OURS, [found])
    assert "| throughput_tok_s | 520 | 410 | +26.8 % |" in page
    assert "| decode_tok_s | 260 | 203.25 | +27.9 % |" in page


def test_the_score_by_axis_and_every_mismatch_named() -> None:
    assert (near(OURS, Stored(1, "m", prior())).score, near(OURS, Stored(1, "m", prior())).exact) == (27, True)
    cases = {
        "GPU": ({"gpu": "RTX 5090"}, 17), "model": ({"model": "gpt-oss-20b"}, 24), "engine": ({"engine": "SGLang"}, 24),
        "quantization": ({"quantization": "AWQ"}, 24), "context": ({"context_tokens": "128k"}, 25),
        "concurrency": ({"concurrency": 5}, 25),
    }  # fmt: skip
    for name, (columns, score) in cases.items():
        found = near(OURS, Stored(1, "m", prior(**columns)))
        assert (found.score, found.exact, [text.split(" ")[0] for text in found.mismatches]) == (score, False, [name])
    assert near(OURS, Stored(1, "m", prior(model="other-1b"))).score == 20


def test_precision_counts_only_when_both_say_it() -> None:
    ours = replace(OURS, quantization=None, precision="FP8")
    assert near(ours, Stored(1, "m", prior(quantization=None))).exact
    assert near(ours, Stored(1, "m", prior(quantization="FP8"))).score == 26
    assert not near(ours, Stored(1, "m", prior(quantization="BF16"))).exact


def test_the_nearest_five_by_score_then_rate_then_id() -> None:
    rows = [Stored(each, "m", prior(throughput_tok_s=rate)) for each, rate in enumerate([1, None, 9, 9, 2, 3])]
    far = Stored(9, "m", prior(gpu="H100", throughput_tok_s=10**6))
    assert [found.id for found in nearest(OURS, [far, *rows])] == [2, 3, 5, 4, 0]


@pytest.mark.parametrize(
    ("flags", "notes", "warnings"),
    [
        ("speculative 1", "", ["speculative decoding here, not in the published run"]),
        ("--speculative-config x", "MTP", []),
        ("", "MTP 3", ["speculative decoding in the published run, not here"]),
        ("", "no MTP", []),
        ("no-mtp", "no-mtp", []),
        ("draft", "without speculative decoding", ["speculative decoding here, not in the published run"]),
        ("shared_prefix_burst ", "", ["prompt or prefix cache here, not in the published run"]),
        ("--enable-prefix-caching", "prefix cache on", []),
        ("", "prompt caching", ["prompt or prefix cache in the published run, not here"]),
    ],
)
def test_warnings_respect_negations(flags: str, notes: str, warnings: list[str]) -> None:
    found = near(replace(OURS, flags=flags), Stored(1, "m", prior(methodology_notes=notes)))
    assert list(found.warnings) == warnings


def test_a_bench_file_needs_no_edits(tmp_path: Path) -> None:
    file = tmp_path / "b.json"
    file.write_text(json.dumps(BENCH))
    ours = from_file(file)
    assert (ours.gpu, ours.engine, ours.quantization, ours.run_id) == (
        "rtx_pro_6000_blackwell_96gb", "vLLM", "MXFP4", "bench-1",
    )  # fmt: skip
    assert ours.flags.split() == ["no_thinking"]
    file.write_text(json.dumps({**BENCH, "schema": "anvil-serving.benchmark/v1"}))
    assert from_file(file) == ours, "files of the older form are read too"
    nested = {"serve": {"model": "m", "engine": "sglang"}, "hardware": {"gpu": "RTX 5090"}, "throughput_tok_s": 4}
    other = local(nested, "x")
    assert (other.model, other.engine, other.gpu) == ("m", "SGLang", "rtx_5090_32gb")


def test_a_file_without_model_or_figure_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LocalError, match="names no model"):
        local({"throughput_tok_s": 5}, "x")
    with pytest.raises(LocalError, match="holds no figure"):
        local({"model": "m"}, "x")
    with pytest.raises(LocalError, match="cannot be read"):
        from_file(tmp_path / "none")


def test_a_recipe_is_a_measurement_too() -> None:
    recipes = registry.read(ROOT / "inventory/recipes.toml").recipes
    ours = from_recipe(recipes[0])
    assert (ours.metrics, ours.concurrency) == ({"throughput_tok_s": 183.2}, 1)
    assert from_recipe(recipes[1]).concurrency is None


def test_the_fingerprint_is_of_the_serve_not_of_the_run() -> None:
    assert OURS.fingerprint() == replace(OURS, run_id="other", metrics={}, concurrency=9).fingerprint()
    assert OURS.fingerprint() != replace(OURS, flags="x").fingerprint()
