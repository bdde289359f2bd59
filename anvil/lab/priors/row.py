"""One published measurement, and the names that documents give its columns (lab contract 9.1, 9.3)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from msgspec import Struct

from anvil.lab.priors import normal


class Row(Struct, frozen=True, kw_only=True):
    """Rates in tokens per second, times in ms, contexts in tokens, memory in GB. What is not said is None."""

    source_row_id: str
    model_name_raw: str
    model_id_normalized: str
    model_family: str
    model_variant: str
    gpu_model: str
    report_url: str | None = None
    modality: str | None = None
    engine: str | None = None
    engine_version: str | None = None
    precision: str | None = None
    quantization: str | None = None
    gpu_count: int | None = None
    vram_gb: float | None = None
    hardware_notes: str | None = None
    context_tokens: int | None = None
    max_context_tokens: int | None = None
    concurrency: int | None = None
    prompt_tokens: int | None = None
    output_tokens: int | None = None
    ttft_ms: float | None = None
    decode_tok_s: float | None = None
    throughput_tok_s: float | None = None
    peak_throughput_tok_s: float | None = None
    success_rate: float | None = None
    capacity_users_32k: int | None = None
    methodology_notes: str | None = None
    raw_metrics_json: str = "{}"


# Column -> its spellings without case and punctuation, the likeliest first.
SYNONYMS: Final[Mapping[str, tuple[str, ...]]] = {
    "model": ("model", "modelname", "modelid", "llm", "checkpoint", "name"),
    "gpu": ("gpu", "gpumodel", "gpuname", "gputype", "card", "accelerator", "device", "hardware"),
    "gpu_count": ("gpucount", "numgpus", "ngpus", "gpus", "hardwaregpucount"),
    "vram_gb": ("vramgb", "vram", "gpumemorygb", "memorygb", "gpuvramgb"),
    "hardware_notes": ("hardwarenotes",),
    "engine": ("engine", "backend", "inferenceengine", "runtime", "framework", "enginename"),
    "engine_version": ("engineversion", "backendversion", "runtimeversion"),
    "precision": ("precision", "dtype"),
    "quantization": ("quantization", "quantisation", "quant", "weightformat", "precisionquant", "quantprecision"),
    "modality": ("modality",),
    "context_tokens": ("contexttokens", "context", "contextlength", "contextsize", "ctx", "ctxlen", "ctxtokens"),
    "max_context_tokens": ("maxcontexttokens", "maxcontext", "maxcontextlength", "maxctx", "maxmodellen"),
    "concurrency": ("concurrency", "conc", "concurrentusers", "concurrentrequests", "users", "streams", "batchsize"),
    "prompt_tokens": ("prompttokens", "inputtokens", "promptlength"),
    "output_tokens": ("outputtokens", "completiontokens", "generatedtokens", "maxtokens"),
    "ttft_ms": ("ttftms", "ttftp50ms", "ttft", "timetofirsttokenms", "timetofirsttoken", "ttftavgms"),
    "ttft_s": ("ttfts", "ttftsec", "ttftseconds", "ttftavg", "timetofirsttokens"),
    "decode_tok_s": ("decodetoks", "decodetps", "decode", "decodetokenspersecond", "toksperuser", "peruserstoks"),
    "throughput_tok_s": (
        "throughputtoks", "throughput", "aggregatetoks", "aggregatetps", "tokenspersecond", "tokenssec", "tokspersec",
        "toks", "tps", "ts", "outputtoks", "throughputtps",
    ),
    "peak_throughput_tok_s": ("peakthroughputtoks", "peakthroughput", "peaktoks", "peaktps"),
    "success_rate": ("successrate", "success"),
    "capacity_users_32k": ("capacityusers32k", "users32k", "capacity32k"),
    "methodology_notes": ("methodologynotes", "methodology", "notes"),
    "report_url": ("reporturl", "url", "link"),
    "source_row_id": ("sourcerowid", "rowid", "id"),
}  # fmt: skip
_BY_SPELLING = {spelling: column for column, known in SYNONYMS.items() for spelling in known}
_RATES = ("decode_tok_s", "throughput_tok_s", "peak_throughput_tok_s", "success_rate", "vram_gb")
_TOKENS = ("context_tokens", "max_context_tokens", "prompt_tokens", "output_tokens")
_COUNTS = ("gpu_count", "concurrency", "capacity_users_32k")
_TEXTS = ("report_url", "modality", "engine_version", "hardware_notes", "methodology_notes")


def column(name: str) -> str | None:
    return _BY_SPELLING.get(_spelling(name))


def flat(record: Mapping[str, Any]) -> dict[str, Any]:
    """Columns of a record with at most one level of tables: `gpu.model` is a GPU, `metrics.ttft_ms` a time."""
    found: dict[str, Any] = {}
    ranks: dict[str, int] = {}
    for key, value in record.items():
        inner = value.items() if isinstance(value, Mapping) else [("", value)]
        for name, each in inner:
            spelling = _spelling(key + name)
            known = _BY_SPELLING.get(spelling)
            if known is None and name and column(key) is None:
                spelling = _spelling(name)
                known = _BY_SPELLING.get(spelling)
            if known is None or each is None or isinstance(each, Mapping | list):
                continue
            rank = SYNONYMS[known].index(spelling)
            if rank < ranks.get(known, len(SYNONYMS[known])):
                found[known], ranks[known] = each, rank
    return found


def row(columns: Mapping[str, Any], raw_json: str, row_id: str) -> Row | None:
    """A row of the columns; None when the model or the GPU is not said."""
    model, gpu = normal.text(columns.get("model")), normal.text(columns.get("gpu"))
    if model is None or gpu is None:
        return None
    precision, quantization = normal.formats(columns.get("precision"), columns.get("quantization"))
    values: dict[str, Any] = {name: normal.number(columns.get(name)) for name in _RATES}
    values |= {name: normal.whole(columns.get(name), tokens=True) for name in _TOKENS}
    values |= {name: normal.whole(columns.get(name)) for name in _COUNTS}
    values |= {name: normal.text(columns.get(name)) for name in _TEXTS}
    values["ttft_ms"] = normal.milliseconds(columns.get("ttft_ms"), seconds=False)
    if values["ttft_ms"] is None:
        values["ttft_ms"] = normal.milliseconds(columns.get("ttft_s"), seconds=True)
    count, gpu = normal.cards(gpu)
    if values["gpu_count"] is None:
        values["gpu_count"] = count
    return Row(
        source_row_id=normal.text(columns.get("source_row_id")) or row_id,
        model_name_raw=model,
        model_id_normalized=normal.model(model),
        model_family=normal.family(model),
        model_variant=normal.model(model),
        gpu_model=normal.gpu(gpu),
        engine=normal.engine(normal.text(columns.get("engine"))),
        precision=precision,
        quantization=quantization,
        raw_metrics_json=raw_json,
        **values,
    )


def _spelling(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())
