"""One spelling for what publishers call many things (lab contract 9.3)."""

from __future__ import annotations

import math
import re
from typing import Final

_NUMBER = re.compile(r"[^\d.+-]*([+-]?\d[\d,_ ]*(?:\.\d+)?|\.\d+)\s*(?:([kKmM])(?![A-Za-z]))?(?![A-Za-z]*\d)")
_TIME_UNIT = re.compile(r"\d\s*(ms|msec|milliseconds?|s|secs?|seconds?)\b", re.IGNORECASE)
_CARDS = re.compile(
    r"(?P<before>\d{1,2})\s*[x\u00d7]\s+(?P<name>.+)|(?P<first>.+?)\s+[x\u00d7]\s*(?P<after>\d{1,2})", re.I
)
_ENGINES: Final = (
    ("tensorrtllm", "TensorRT-LLM"),
    ("trtllm", "TensorRT-LLM"),
    ("ktransformers", "KTransformers"),
    ("exllamav3", "ExLlamaV3"),
    ("vllm", "vLLM"),
    ("sglang", "SGLang"),
    ("llamacpp", "llama.cpp"),
    ("llamaserver", "llama.cpp"),
    ("ollama", "llama.cpp"),
    ("transformers", "Transformers"),
)
_NO_ENGINE: Final = ("lmstudio", "ollamaui")
_PRECISIONS: Final = ("FP8", "BF16", "INT8")
_QUANTS: Final = (
    ("nvfp4", "NVFP4"),
    ("mxfp4", "MXFP4"),
    ("awq", "AWQ"),
    ("q4_k_m", "GGUF Q4_K_M"),
    ("q5_k_m", "GGUF Q5_K_M"),
    ("exl3", "EXL3"),
)
_FAMILIES: Final = ("gpt-oss", "qwen", "nemotron", "gemma")
_CONTEXTS: Final = ((8192, "8k"), (16384, "16k"), (32768, "32k"), (65536, "64k"), (131072, "128k"))
_STREAMS: Final = ((1, "1"), (4, "2-4"), (8, "5-8"), (16, "9-16"))


def gpu(name: str) -> str:
    """The same key a topology uses for the two cards at home, a snake-case key for any other."""
    lower = name.lower()
    if "rtx" in lower and "5090" in lower:
        return "rtx_5090_32gb"
    if "rtx" in lower and "6000" in lower and "pro" in lower:
        return "rtx_pro_6000_blackwell_96gb"
    return re.sub(r"[^a-z0-9]+", "_", lower).strip("_")


def cards(name: str) -> tuple[int | None, str]:
    """How many, where the name says it, and the name without it: `2x RTX 5090`, `RTX 5090 x2`."""
    match = _CARDS.fullmatch(name.strip())
    if match is None:
        return None, name
    return int(match["before"] or match["after"]), match["name"] or match["first"]


def engine(name: str | None) -> str | None:
    """A front end is no engine; an unknown engine keeps its name."""
    bare = re.sub(r"[^a-z0-9]", "", (name or "").lower())
    if not bare or bare in _NO_ENGINE:
        return None
    return next((known for word, known in _ENGINES if word in bare), name)


def formats(precision: object, quantization: object) -> tuple[str | None, str | None]:
    """(precision, quantization), each from whichever field says it."""
    fields = [text(precision) or "", text(quantization) or ""]
    words = " ".join(fields).lower()
    found = next((name for name in _PRECISIONS if name.lower() in words), None)
    quant = next((name for word, name in _QUANTS if word in words.replace("-", "_")), None)
    if quant is None and fields[1] and not any(name.lower() in fields[1].lower() for name in _PRECISIONS):
        quant = fields[1]
    return found or (fields[0] if fields[0] and quant is None else None), quant


def model(name: str) -> str:
    """A slug with its dots: `openai/GPT-OSS 120B` -> `gpt-oss-120b`."""
    return re.sub(r"[^a-z0-9.]+", "-", name.rpartition("/")[2].lower()).strip("-")


def family(name: str) -> str:
    slug = model(name)
    return next((known for known in _FAMILIES if known in slug), slug.partition("-")[0])


def number(value: object, *, tokens: bool = False) -> float | None:
    """A figure without its thousands separators and unit; k and m count in 1000s, of tokens in 1024s (ms is a unit)."""
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, int | float):
        return float(value) if math.isfinite(value) else None
    match = _NUMBER.match(str(value).strip())
    if match is None:
        return None
    step = 1024 if tokens else 1000
    scale = {"k": step, "m": step * step}.get((match[2] or "").lower(), 1)
    return float(re.sub(r"[,_ ]", "", match[1])) * scale


def milliseconds(value: object, *, seconds: bool) -> float | None:
    """A time: in the unit that stands behind the figure, else in ``seconds`` or milliseconds as its column says."""
    found = number(value)
    unit = _TIME_UNIT.search(value) if isinstance(value, str) else None
    if unit is not None:
        seconds = not unit[1].lower().startswith("m")
    return found * 1000 if found is not None and seconds else found


def whole(value: object, *, tokens: bool = False) -> int | None:
    found = number(value, tokens=tokens)
    return round(found) if found is not None else None


def text(value: object) -> str | None:
    if value is None or isinstance(value, dict | list | bool):
        return None
    return str(value).strip() or None


def context_bucket(tokens: int | None) -> str | None:
    return None if tokens is None else next((name for limit, name in _CONTEXTS if tokens <= limit), "128k+")


def concurrency_bucket(streams: int | None) -> str | None:
    return None if streams is None else next((name for limit, name in _STREAMS if streams <= limit), "17+")
