"""The folder that docs/catalogue.md is read in: a cache of models, logs of a client, a report, a table of benchmarks."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

from tests.unit.lab.models.planted import model, sparse
from tests.unit.topology.example import ROOT

GB = 1 << 30
README = """---
license: apache-2.0
---
| Benchmark | Score |
|---|---|
| MMLU-Pro | 71.5 |
"""
PUBLISHED = """model,gpu,engine,quantization,context,concurrency,throughput,decode
Qwen3-32B-NVFP4,RTX 5090,vLLM,NVFP4,32768,8,410,203.25
gpt-oss-120b,RTX PRO 6000,vLLM,MXFP4,131072,1,176,176
"""
BENCH = {
    "schema": "anvil.bench/v1",
    "run_id": "bench-20261102T101500Z",
    "base_url": "http://127.0.0.1:30000/v1",
    "model": "qwen3-32b-nvfp4",
    "engine": "vllm",
    "quantization": "NVFP4",
    "gpu_model": "rtx_5090_32gb",
    "concurrency": 8,
    "completed": 60,
    "context_tokens": 32768,
    "max_context_tokens": 32768,
    "metrics": {"throughput_tok_s": 520, "decode_tok_s": 260, "ttft_p50_ms": 410},
}
CALL = {
    "type": "assistant",
    "sessionId": "s1",
    "isSidechain": True,
    "timestamp": "2026-11-02T10:00:00Z",
    "message": {
        "model": "claude-sonnet-5",
        "usage": {"input_tokens": 12, "cache_read_input_tokens": 41000, "output_tokens": 300},
        "content": [{"type": "tool_use", "name": "Read", "input": {}}],
    },
}


def plant(place: Path) -> None:
    """Everything under ``place``; sizes are sparse."""
    hub = place / "hub"
    small = {"model_type": "gpt_oss", "max_position_embeddings": 131072, "num_local_experts": 32}
    quantized = {"quantization_config": {"quant_method": "mxfp4"}}
    model(hub, "models--openai--gpt-oss-20b", {**small, **quantized}, size=13 * GB, **{"README.md": README})
    model(hub, "models--Qwen--Qwen3-8B-GGUF", None, weights="Qwen3-8B-Q4_K_M.gguf", size=5 * GB)
    model(hub, "models--someone--Half-7B", {"model_type": "llama"}, size=GB)
    part = sparse(hub / "models--someone--Half-7B" / "blobs" / "rest.incomplete", GB)
    os.utime(part, (time.time() - 10 * 86400,) * 2)
    (hub / "models--someone--Half-7B" / "snapshots" / "c1" / "model.safetensors").unlink()
    (place / "inventory").mkdir()
    for name in ("topology.toml", "recipes.toml"):
        (place / "inventory" / name).write_text((ROOT / "inventory" / name).read_text())
    (place / "published.csv").write_text(PUBLISHED)
    (place / "bench.json").write_text(json.dumps(BENCH))
    sessions = place / ".claude" / "projects" / "a"
    sessions.mkdir(parents=True)
    calls = [json.dumps({**CALL, "requestId": f"r{number}", "uuid": f"u{number}"}) for number in range(3)]
    (sessions / "s1.jsonl").write_text("\n".join(calls) + "\n")
