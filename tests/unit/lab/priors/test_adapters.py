"""Published documents -> rows (lab contract 9.4, B11)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from anvil.lab.priors.adapters import Parsed, ParseError, rtx6kpro, tabular

CSV = 'Model,GPU,Engine,Quant,Context,Conc,tok/s,TTFT (ms)\nopenai/gpt-oss-120b,RTX PRO 6000,vLLM,MXFP4,32k,4,"1,410.5",180\n'
HTML = (
    "<table><tr><th>Model<th>GPU</th><th>Throughput</th></tr>"
    "<tr><td><b>Qwen</b>3-32B</td><td>RTX 5090</td><td>340 tok/s</td></tr></table><table><tr><td>x</td></tr></table>"
)
MARKDOWN = "intro | no table\n\n| Model | GPU | tok/s |\n| :--- | - - | --: |\n| **m-1** | RTX 5090 | 99 |\n\n| Model | GPU |\n|---|---|\n| z | z |\n"


def parsed(content: str | bytes, name: str, kind: str = "") -> Parsed:
    return tabular(content.encode() if isinstance(content, str) else content, kind, "https://x/y", name)


def test_csv() -> None:
    (row,) = parsed(CSV, "a.csv").rows
    assert (row.model_id_normalized, row.model_family, row.gpu_model) == (
        "gpt-oss-120b", "gpt-oss", "rtx_pro_6000_blackwell_96gb",
    )  # fmt: skip
    assert (row.engine, row.quantization, row.context_tokens, row.concurrency) == ("vLLM", "MXFP4", 32768, 4)
    assert (row.throughput_tok_s, row.ttft_ms, row.report_url) == (1410.5, 180, "https://x/y")
    assert row.source_row_id == "a.csv:row=0"


def test_html_tables_and_the_first_markdown_table() -> None:
    (row,) = parsed(HTML, "page", "text/html; charset=utf-8").rows
    assert (row.model_name_raw, row.throughput_tok_s) == ("Qwen3-32B", 340)
    assert [row.model_name_raw for row in parsed(MARKDOWN, "a.md").rows] == ["m-1"]


@pytest.mark.parametrize("key", ["benchmarks", "results", "rows", "data"])
def test_json_lists_with_document_defaults(key: str) -> None:
    document = {
        "url": "https://report", "methodology": "no MTP",
        key: [{"model": "m", "gpu": {"name": "RTX 5090"}, "metrics": {"throughput": 5}, "notes": None}, {"model": "only"}],
    }  # fmt: skip
    found = parsed(json.dumps(document), "a.json")
    (row,) = found.rows
    assert (row.report_url, row.methodology_notes, row.throughput_tok_s) == ("https://report", "no MTP", 5)
    assert found.warnings == ["1 rows without a model or a GPU were left out"]


def test_text_is_the_last_resort_and_says_so() -> None:
    found = parsed("Model: m, GPU: RTX 5090, about 1,234 tok/s\n", "notes.txt")
    assert (found.rows[0].throughput_tok_s, len(found.warnings)) == (1234, 1)


@pytest.mark.parametrize(
    ("content", "name"),
    [
        ("{", "a.json"), ("3", "a.json"), ('{"x": []}', "a.json"), ('{"rows": [{"model": "m"}]}', "a.json"), ("[NaN]", "a.json"),
        ("[" * 100_000, "a.json"), (b"\xff\xfe\xff", "a.csv"), ("nothing here", "a.txt"), ("a,b\n1,2\n", "a.csv"), ('a,"b\n', "a.csv"),
    ],
)  # fmt: skip
def test_malformed_input_is_refused_with_a_sentence(content: str | bytes, name: str) -> None:
    with pytest.raises(ParseError):
        parsed(content, name)


def test_an_empty_list_is_no_error() -> None:
    assert parsed('{"rows": []}', "a.json") == Parsed([], [])


# ------------------------------------------------------------------------------------------------ rtx6kpro

ARTEFACT: dict[str, Any] = {
    "metadata": {"model": "Qwen3_5-122B-A10B", "notes": "no-mtp, DCP=2, skip_prefill: true, custom all-reduce"},
    "startup_diagnostics": {
        "smi": "GPU 0: NVIDIA RTX PRO 6000 Blackwell Workstation Edition (UUID: x)\nGPU 1: NVIDIA RTX PRO 6000 Blackwell Workstation Edition (UUID: y)"
    },
    "results": [
        {"concurrency": 1, "context_tokens": 0, "aggregate_tps": 100.5, "per_request_avg_tps": 101, "ttft_avg": 0.25},
        {
            "concurrency": 8,
            "context": 16384,
            "server_gen_throughput": 520,
            "output_tps_per_user_avg": 65,
            "ttft_ms": 300,
        },
    ],
}


def matrix(artefact: Any, name: str = "vllm_nvfp4.json") -> Parsed:
    return rtx6kpro(json.dumps(artefact).encode(), "", "https://h/benchmarks/inference-throughput/x", name)


def test_a_decode_matrix() -> None:
    first, second = matrix(ARTEFACT).rows
    assert (first.model_name_raw, first.engine, first.quantization) == ("Qwen3.5-122B-A10B", "vLLM", "NVFP4")
    assert (first.gpu_model, first.gpu_count, first.hardware_notes) == ("rtx_pro_6000_blackwell_96gb", 2, None)
    assert (first.throughput_tok_s, first.decode_tok_s, first.ttft_ms) == (100.5, 101, 250)
    assert (second.throughput_tok_s, second.decode_tok_s, second.ttft_ms) == (520, 65, 300)
    assert first.methodology_notes == "no MTP; DCP size 2; skip_prefill; custom allreduce"
    assert second.source_row_id == "vllm_nvfp4.json:row=1:ctx=16384:conc=8"


def test_an_unstated_card_is_assumed_with_a_note() -> None:
    found = matrix({**ARTEFACT, "startup_diagnostics": None}, "sglang_x.json")
    assert found.rows[0].hardware_notes == "GPU not stated; assumed RTX PRO 6000"
    assert (found.rows[0].gpu_model, found.rows[0].engine) == ("rtx_pro_6000_blackwell_96gb", "SGLang")
    assert len(found.warnings) == 1


@pytest.mark.parametrize("content", [b"# readme", b"[]", b'{"results": {}}', b"{}"])
def test_anything_else_gets_the_one_message(content: bytes) -> None:
    with pytest.raises(ParseError, match=r"benchmarks/inference-throughput/\*\.json and .*decode-matrix\.json"):
        rtx6kpro(content, "", "", "README.md")


def test_units_and_counts_inside_cells() -> None:
    table = b"Model,GPU,Precision / Quant,TTFT (ms),tok/s\nqwen3-32b,4x H100,NVFP4,95 ms,1.5k tok/s\nx,5090 RTX x2,FP8,1.2 s,9\n"
    first, second = tabular(table, "text/csv", "", "a.csv").rows
    assert (first.gpu_model, first.gpu_count, first.quantization, first.ttft_ms, first.throughput_tok_s) == (
        "h100", 4, "NVFP4", 95, 1500,
    )  # fmt: skip
    assert (second.gpu_model, second.gpu_count, second.precision, second.ttft_ms) == ("rtx_5090_32gb", 2, "FP8", 1200)
