"""One spelling for what publishers call many things (lab contract 9.3)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anvil.lab.priors import normal
from anvil.lab.priors.row import column, flat


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("NVIDIA GeForce RTX 5090", "rtx_5090_32gb"),
        ("RTX PRO 6000 Blackwell", "rtx_pro_6000_blackwell_96gb"),
        ("rtx 6000 professional", "rtx_pro_6000_blackwell_96gb"),
        ("RTX 6000 Ada", "rtx_6000_ada"),
        ("H100 SXM-80GB", "h100_sxm_80gb"),
    ],
)
def test_cards(name: str, key: str) -> None:
    assert normal.gpu(name) == key
    assert normal.gpu(key) == key


@pytest.mark.parametrize(
    ("name", "engine"),
    [
        ("vllm 0.11", "vLLM"), ("SGLang", "SGLang"), ("llama.cpp", "llama.cpp"), ("Ollama", "llama.cpp"), ("TRT-LLM", "TensorRT-LLM"),
        ("exllamav3", "ExLlamaV3"), ("HF Transformers", "Transformers"), ("ktransformers", "KTransformers"),
        ("LM Studio", None), ("Ollama UI", None), (None, None), ("MLX", "MLX"),
    ],
)  # fmt: skip
def test_engines(name: str | None, engine: str | None) -> None:
    assert normal.engine(name) == engine


@pytest.mark.parametrize(
    ("precision", "quant", "found"),
    [
        ("fp8", None, ("FP8", None)),
        (None, "FP8", ("FP8", None)),
        ("NVFP4", None, (None, "NVFP4")),
        ("bf16", "awq-4bit", ("BF16", "AWQ")),
        (None, "GGUF Q4_K_M", (None, "GGUF Q4_K_M")),
        (None, "q5-k-m", (None, "GGUF Q5_K_M")),
        (None, "modelopt_fp4", (None, "modelopt_fp4")),
        (None, None, (None, None)),
    ],
)
def test_formats_come_from_either_field(precision: str | None, quant: str | None, found: object) -> None:
    assert normal.formats(precision, quant) == found


def test_models_keep_their_dots_and_families_are_few() -> None:
    assert normal.model("nvidia/Qwen3.6 27B-NVFP4") == "qwen3.6-27b-nvfp4"
    assert [normal.family(name) for name in ("openai/GPT-OSS-120B", "Qwen3.5-122B", "Llama-3.1-8B", "NVIDIA-Nemotron-3")] == [
        "gpt-oss", "qwen", "llama", "nemotron",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("value", "tokens", "number"),
    [
        ("1,234.5", False, 1234.5), ("1.5k", False, 1500), ("2M", False, 2_000_000), ("128k", True, 131072), ("1m", True, 1048576),
        ("520 tok/s", False, 520), ("~95%", False, 95), (7, False, 7), (True, False, None), ("n/a", False, None), (float("inf"), False, None),
    ],
)  # fmt: skip
def test_numbers(value: object, tokens: bool, number: float | None) -> None:
    assert normal.number(value, tokens=tokens) == number


@pytest.mark.parametrize(
    ("value", "seconds", "found"),
    [
        ("95 ms", False, 95), ("95ms", True, 95), ("1.2 s", False, 1200), ("0.2 sec", False, 200), (210, False, 210), (0.21, True, 210),
        ("1,050 milliseconds", True, 1050), ("1.2k", False, 1200), ("-", True, None), (None, False, None),
    ],
)  # fmt: skip
def test_times_are_in_the_unit_that_is_written(value: object, seconds: bool, found: float | None) -> None:
    assert normal.milliseconds(value, seconds=seconds) == found


def test_a_unit_is_no_multiple() -> None:
    assert [normal.number(text) for text in ("95 ms", "12 kWh", "3 m", "3m, 4k")] == [95, 12, 3e6, 3e6]


@pytest.mark.parametrize(
    ("name", "count", "bare"),
    [
        ("2x RTX 5090", 2, "RTX 5090"), ("RTX 5090 x2", 2, "RTX 5090"), ("4 \u00d7 H100", 4, "H100"), ("8X NVIDIA L40S", 8, "NVIDIA L40S"),
        ("RTX 5090", None, "RTX 5090"), ("GX200", None, "GX200"), ("Radeon RX 7900 XTX", None, "Radeon RX 7900 XTX"),
    ],
)  # fmt: skip
def test_cards_are_counted_where_the_name_does(name: str, count: int | None, bare: str) -> None:
    assert normal.cards(name) == (count, bare)


@given(st.text())
def test_any_text_is_a_number_or_none(text: str) -> None:
    found = normal.number(text)
    assert found is None or isinstance(found, float)


def test_buckets_by_their_edges() -> None:
    edges = {8192: "8k", 8193: "16k", 65536: "64k", 131072: "128k", 131073: "128k+"}
    assert {tokens: normal.context_bucket(tokens) for tokens in edges} == edges
    streams = {1: "1", 2: "2-4", 4: "2-4", 5: "5-8", 16: "9-16", 17: "17+"}
    assert {count: normal.concurrency_bucket(count) for count in streams} == streams


def test_columns_are_known_by_many_spellings_and_nested_tables_by_their_path() -> None:
    assert [column(name) for name in ("GPU Model", "tok/s", "TTFT (ms)", "Context-Length", "colour")] == [
        "gpu", "throughput_tok_s", "ttft_ms", "context_tokens", None,
    ]  # fmt: skip
    nested = {"model": {"name": "m"}, "gpu": {"model": "g", "count": 2}, "metrics": {"ttft_ms": 5, "deep": {"x": 1}}}
    assert flat(nested) == {"model": "m", "gpu": "g", "gpu_count": 2, "ttft_ms": 5}
