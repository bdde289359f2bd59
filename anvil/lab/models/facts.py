"""What a checkpoint says of itself: number format, window, experts, sampling (lab contract 8)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from msgspec import Struct

from anvil.lab.models.cache import Found, document, files
from anvil.topology.hazards import mixture_of_experts

_EXPERTS = ("num_experts", "num_local_experts", "n_routed_experts")
_GGUF_QUANT = re.compile(r"(?:^|[-._])((?:I?Q\d\w*|F16|BF16|F32|MXFP4\w*))(?:[-._]|$)", re.IGNORECASE)
_NAMED = ("mxfp4", "nvfp4")
_LOADABLE = {"safetensors": ("vllm", "sglang"), "GGUF": ("llamacpp",)}
_TOO_SMALL = 200_000_000


class Facts(Struct, frozen=True, kw_only=True):
    """``format`` is GGUF, safetensors or "?"; ``context`` in tokens; what is not said is None."""

    format: str
    quant: str | None = None
    quant_method: str | None = None
    context: int | None = None
    architectures: tuple[str, ...] = ()
    model_type: str | None = None
    moe: bool = False
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None

    @property
    def loadable_by(self) -> tuple[str, ...]:
        return _LOADABLE.get(self.format, ())


def facts(found: Found) -> Facts:
    names = [path.name for path in files(found.snapshot)]
    config = document(found.snapshot / "config.json")
    sampling = document(found.snapshot / "generation_config.json")
    kind = weights_format(names)
    method, quant = _quant(config, found.snapshot, names if kind == "GGUF" else [])
    architectures = config.get("architectures")
    return Facts(
        format=kind,
        quant=quant,
        quant_method=method,
        context=_context(config),
        architectures=tuple(str(each) for each in architectures) if isinstance(architectures, list) else (),
        model_type=_text(config.get("model_type")),
        moe=_moe(config, found.repo),
        temperature=_number(sampling.get("temperature")),
        top_p=_number(sampling.get("top_p")),
        top_k=_whole(sampling.get("top_k")),
    )


def weights_format(names: list[str]) -> str:
    if any(name.lower().endswith(".safetensors") for name in names):
        return "safetensors"
    return "GGUF" if any(name.lower().endswith(".gguf") for name in names) else "?"


def is_real(repo: str, size_bytes: int, kind: str, model_type: str | None) -> bool:
    """Adapters' caches, stubs and tokenizers are no models."""
    if repo.partition("/")[0].lower() == "unslothai" or (size_bytes < _TOO_SMALL and kind == "?"):
        return False
    return bool(model_type) or kind != "?"


def _quant(config: Mapping[str, Any], snapshot: Path, gguf: list[str]) -> tuple[str | None, str | None]:
    """(method, number format)."""
    if gguf:
        found = next((match[1] for name in gguf if (match := _GGUF_QUANT.search(name))), None)
        return ("gguf", found.upper() if found else None)
    told = _table(config, "quantization_config") or _table(_table(config, "text_config"), "quantization_config")
    optimizer = _table(document(snapshot / "hf_quant_config.json"), "quantization")
    if not told and not optimizer:
        return None, _text(config.get("dtype") or config.get("torch_dtype"))
    method = _text(told.get("quant_method")) or ("modelopt" if optimizer else None)
    words = [method, *(_text(table.get(key)) for table in (told, optimizer) for key in ("quant_algo", "format"))]
    return method, _number_format(told, " ".join(word for word in words if word).lower(), method)


def _number_format(told: Mapping[str, Any], words: str, method: str | None) -> str | None:
    for name in _NAMED:
        if name in words:
            return name
    bits, floating = _bits(told)
    if "fp8" in words or (floating and bits == 8):
        return "fp8-block" if told.get("weight_block_size") else "fp8"
    if floating and bits == 4:
        return "nvfp4"
    return f"{method}-{bits}bit" if method and bits else method


def _bits(told: Mapping[str, Any]) -> tuple[int | None, bool]:
    """Bits of a weight, and whether it is a float: from the top, else from the first group (compressed-tensors)."""
    groups = [_table(group, "weights") for group in _table(told, "config_groups").values() if isinstance(group, dict)]
    for table in (told, *groups):
        bits = _whole(table.get("bits")) or _whole(table.get("num_bits"))
        if bits:
            return bits, table.get("type") == "float"
    return None, False


def _context(config: Mapping[str, Any]) -> int | None:
    return _whole(config.get("max_position_embeddings")) or _whole(
        _table(config, "text_config").get("max_position_embeddings")
    )


def _moe(config: Mapping[str, Any], repo: str) -> bool:
    tables = (config, _table(config, "text_config"))
    return any((_whole(table.get(key)) or 0) > 1 for table in tables for key in _EXPERTS) or mixture_of_experts(repo)


def _table(table: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = table.get(key)
    return value if isinstance(value, dict) else {}


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None
