"""Our own measurement, from a bench file or a recipe (lab contract 9.5)."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from anvil.lab.priors import normal
from anvil.lab.recipes.model import Recipe

_ALTERNATIVES: Mapping[str, tuple[str, ...]] = {
    "model": ("model_id", "model", "served_model_name", "serve.model", "serve.served_model_name"),
    "served": ("served_model_name", "serve.served_model_name", "model"),
    "engine": ("engine", "serve.engine", "engine.name"),
    "engine_version": ("engine_version", "serve.engine_version", "engine.version"),
    "quantization": ("quantization", "serve.quantization", "quant"),
    "precision": ("precision", "serve.precision", "dtype"),
    "gpu": ("gpu_model", "gpu", "hardware.gpu", "gpu.model"),
    "gpu_count": ("gpu_count", "hardware.gpu_count", "gpu.count"),
    "context": ("context_tokens", "max_context_tokens", "serve.context_tokens"),
    "context_limit": ("max_context_tokens", "serve.context_tokens", "context_tokens"),
    "concurrency": ("concurrency", "metrics.concurrency"),
    "kv_cache_dtype": ("kv_cache_dtype", "serve.kv_cache_dtype", "serve_flags.kv_cache_dtype"),
    "reasoning_parser": ("reasoning_parser", "serve.reasoning_parser", "serve_flags.reasoning_parser"),
    "tool_call_parser": ("tool_call_parser", "serve.tool_call_parser", "serve_flags.tool_call_parser"),
    "throughput_tok_s": ("metrics.throughput_tok_s", "throughput_tok_s"),
    "decode_tok_s": ("metrics.decode_tok_s", "decode_tok_s"),
    "ttft_p50_ms": ("metrics.ttft_p50_ms", "ttft_p50_ms", "metrics.ttft_ms"),
    "run_id": ("run_id",),
    "flags": ("serve_flags", "serve.flags", "flags"),
}
METRICS = ("throughput_tok_s", "decode_tok_s", "ttft_p50_ms")


class Local(Struct, frozen=True, kw_only=True):
    """Normalised like a prior's row. ``flags`` is the text that tells speculative decoding and prefix caching."""

    model: str
    served: str | None = None
    engine: str | None = None
    engine_version: str | None = None
    quantization: str | None = None
    precision: str | None = None
    gpu: str | None = None
    gpu_count: int | None = None
    context: int | None = None
    context_limit: int | None = None
    concurrency: int | None = None
    kv_cache_dtype: str | None = None
    reasoning_parser: str | None = None
    tool_call_parser: str | None = None
    flags: str = ""
    run_id: str | None = None
    metrics: dict[str, float] = {}

    def fingerprint(self) -> str:
        """What was measured, apart from how fast it was."""
        identity = msgspec.structs.replace(self, metrics={}, run_id=None, concurrency=None, context=None)
        return hashlib.sha256(msgspec.json.encode(identity, order="sorted")).hexdigest()


class LocalError(Exception):
    """A file that holds no measurement; the sentence names it and what is missing."""


def from_file(path: Path) -> Local:
    """A bench file as it is. Raises LocalError."""
    try:
        content = msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
    except OSError as error:
        raise LocalError(f"{path}: cannot be read: {error.strerror}") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise LocalError(f"{path}: {error}; give the file of `anvil bench --json-out`") from None
    return local(content, str(path))


def from_recipe(recipe: Recipe) -> Local:
    """Raises LocalError for a recipe without a figure."""
    measured, serve = recipe.measured, recipe.serve
    single = measured.throughput_single_tok_s
    return local(
        {
            "model": recipe.model,
            "engine": serve.engine,
            "quantization": serve.quantization,
            "gpu_model": recipe.hardware.gpu,
            "context_tokens": measured.context_tokens or serve.context_tokens,
            "concurrency": 1 if single else measured.concurrency,
            "throughput_tok_s": single or measured.throughput_aggregate_tok_s,
            "ttft_p50_ms": measured.ttft_p50_ms,
            "flags": list(serve.flags),
        },
        f"recipe {recipe.model}",
    )


def local(content: Mapping[str, Any], name: str) -> Local:
    """Raises LocalError."""
    told = {key: _first(content, paths) for key, paths in _ALTERNATIVES.items()}
    model = normal.text(told["model"])
    metrics = {key: value for key in METRICS if (value := normal.number(told[key])) is not None and value > 0}
    if model is None:
        raise LocalError(f"{name}: names no model (model_id, model or served_model_name)")
    if not metrics:
        raise LocalError(f"{name}: holds no figure of {', '.join(METRICS)}")
    precision, quantization = normal.formats(told["precision"], told["quantization"])
    gpu = normal.text(told["gpu"])
    return Local(
        model=model,
        served=normal.text(told["served"]),
        engine=normal.engine(normal.text(told["engine"])),
        engine_version=normal.text(told["engine_version"]),
        quantization=quantization,
        precision=precision,
        gpu=normal.gpu(gpu) if gpu else None,
        gpu_count=normal.whole(told["gpu_count"]),
        context=normal.whole(told["context"], tokens=True),
        context_limit=normal.whole(told["context_limit"], tokens=True),
        concurrency=normal.whole(told["concurrency"]),
        kv_cache_dtype=normal.text(told["kv_cache_dtype"]),
        reasoning_parser=normal.text(told["reasoning_parser"]),
        tool_call_parser=normal.text(told["tool_call_parser"]),
        flags=_flags(told["flags"]),
        run_id=normal.text(told["run_id"]),
        metrics=metrics,
    )


def _first(content: Mapping[str, Any], paths: tuple[str, ...]) -> Any:
    for path in paths:
        value: Any = content
        for part in path.split("."):
            value = value.get(part) if isinstance(value, Mapping) else None
        if value is not None:
            return value
    return None


def _flags(value: Any) -> str:
    """Keys that are on, with their values; a key that is off is no feature."""
    if isinstance(value, Mapping):
        on = [
            f"{key} {'' if each is True else each}" for key, each in value.items() if each not in (None, False, "", 0)
        ]
        return " ".join(on)
    return " ".join(map(str, value)) if isinstance(value, list) else str(value or "")
