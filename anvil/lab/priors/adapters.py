"""Published documents -> rows: one adapter per source (lab contract 9.4)."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from anvil.lab.priors import tables
from anvil.lab.priors.row import Row, flat, row

VERSION = "2"
_LISTS = ("benchmarks", "results", "rows", "data")
_DEFAULTS = ("report_url", "methodology_notes")
_TEXT = re.compile(
    r"(?im)^.*?\bmodel\s*[:=]\s*(?P<model>[^,;|\n]+)[,;|].*?\b(?:gpu|card)\s*[:=]\s*(?P<gpu>[^,;|\n]+)"
    r".*?(?P<rate>\d[\d,.]*)\s*(?:tok(?:ens)?/s|t/s|tps)"
)


class Parsed(NamedTuple):
    rows: list[Row]
    warnings: list[str]


class ParseError(Exception):
    """The document is none this adapter reads; the sentence says what it looked for."""


Adapter = Callable[[bytes, str, str, str], Parsed]


def tabular(content: bytes, content_type: str, source_url: str, file_name: str) -> Parsed:
    """JSON, CSV, HTML tables, the first Markdown table, else text patterns. Raises ParseError."""
    text = decoded(content)
    records, warnings = _records(text, content_type, file_name)
    rows = [
        made
        for index, record in enumerate(records)
        if (made := row({"report_url": source_url or None} | flat(record), _json(record), f"{file_name}:row={index}"))
    ]
    if records and not rows:
        raise ParseError("no row names both a model and a GPU")
    if len(rows) < len(records):
        warnings.append(f"{len(records) - len(rows)} rows without a model or a GPU were left out")
    return Parsed(rows, warnings)


def decoded(content: bytes) -> str:
    """Raises ParseError."""
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ParseError(f"not UTF-8 text: {error}") from None


def document(text: str) -> Any:
    """Raises ParseError; duplicate or endless numbers included."""
    try:
        return json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise ParseError(f"not JSON: {error}") from None


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is no number")


def _records(text: str, content_type: str, file_name: str) -> tuple[list[Mapping[str, Any]], list[str]]:
    suffix = file_name.lower().rpartition(".")[2]
    start = text.lstrip()[:1]
    if suffix == "json" or "json" in content_type or start in ("{", "["):
        return _from_json(document(text)), []
    try:
        if suffix == "csv" or "csv" in content_type:
            return list(tables.from_csv(text)), []
    except ValueError as error:
        raise ParseError(str(error)) from None
    if suffix in ("html", "htm") or "html" in content_type or "<table" in text.lower():
        return list(tables.from_html(text)), []
    found: list[Mapping[str, Any]] = list(tables.from_markdown(text))
    if found or not text.strip():
        return found, []
    return _from_text(text), ["no table found: figures were taken from text lines, check them"]


def _from_json(content: Any) -> list[Mapping[str, Any]]:
    if isinstance(content, list):
        return _tables(content)
    if not isinstance(content, dict):
        raise ParseError("a JSON document of neither an object nor a list")
    found = next((content[name] for name in _LISTS if isinstance(content.get(name), list)), None)
    if found is None:
        raise ParseError(f"no list under {', '.join(_LISTS)}")
    shared = {key: value for key, value in content.items() if key not in _LISTS}
    defaults = {key: value for key, value in flat(shared).items() if key in _DEFAULTS}
    return [{**defaults, **record} for record in _tables(found)]


def _tables(items: Iterable[Any]) -> list[Mapping[str, Any]]:
    return [item for item in items if isinstance(item, dict)]


def _from_text(text: str) -> list[Mapping[str, Any]]:
    found = [
        {"model": match["model"].strip(), "gpu": match["gpu"].strip(), "throughput": match["rate"].rstrip(".,")}
        for match in _TEXT.finditer(text)
    ]
    if not found:
        raise ParseError("no table, and no line with a model, a GPU and a rate")
    return list(found)


def _json(record: Mapping[str, Any]) -> str:
    return json.dumps(record, sort_keys=True, ensure_ascii=False, allow_nan=False)


# ---------------------------------------------------------------------------------------------------- rtx6kpro

_ONLY = (
    "only JSON artefacts with results[] are read: benchmarks/inference-throughput/*.json and "
    "models/glm5.1/benchmarks/**/decode-matrix.json"
)
_CARD = re.compile(r"NVIDIA ((?:GeForce )?RTX [A-Za-z0-9 ]*?\d{4}[A-Za-z0-9 ]*)")
_ENGINES = (("vllm_", "vLLM"), ("sglang_", "SGLang"))
_NOTES = (
    (r"no[-_ ]?mtp", "no MTP"),
    (r"(?<!no)(?<!no[-_ ])mtp", "MTP"),
    (r"dcp[-_ =]?(\d+)", "DCP size {0}"),
    (r"skip[-_ ]prefill[\"':= ]*(?:true|1|yes)?", "skip_prefill"),
    (r"p2p[-_ ]?override|override[-_ ]?p2p", "P2P override"),
    (r"patched[-_ ]nccl|nccl[-_ ]patch", "patched NCCL"),
    (r"custom[-_ ]all[-_ ]?reduce", "custom allreduce"),
)


def rtx6kpro(content: bytes, content_type: str, source_url: str, file_name: str) -> Parsed:
    """Decode matrices of the rtx6kpro repository. Raises ParseError."""
    try:
        artefact = document(decoded(content))
    except ParseError:
        raise ParseError(_ONLY) from None
    results = artefact.get("results") if isinstance(artefact, dict) else None
    if not isinstance(results, list):
        raise ParseError(_ONLY)
    table = artefact.get("metadata")
    metadata: Mapping[str, Any] = table if isinstance(table, dict) else {}
    place = f"{source_url} {file_name}"
    shared, warnings = _shared(metadata, artefact, place, file_name)
    rows = [
        made
        for index, record in enumerate(_tables(results))
        if (made := row(shared | _figures(record), _json(record), _row_id(file_name, index, record)))
    ]
    if results and not rows:
        raise ParseError("no row: metadata names no model")
    return Parsed(rows, warnings)


def _shared(
    metadata: Mapping[str, Any], artefact: Mapping[str, Any], place: str, file_name: str
) -> tuple[dict[str, Any], list[str]]:
    model = str(metadata.get("model") or "").replace("Qwen3_5-", "Qwen3.5-") or None
    cards = _CARD.findall(_diagnostics(metadata, artefact))
    words = f"{model or ''} {place}".lower()
    quant = next((name for name in ("nvfp4", "awq") if name in words), None)
    notes = _methodology(f"{place} {json.dumps(metadata)}")
    shared = {
        "model": model,
        "gpu": cards[0] if cards else "RTX PRO 6000",
        "gpu_count": len(cards) or metadata.get("gpu_count") or metadata.get("num_gpus"),
        "hardware_notes": None if cards else "GPU not stated; assumed RTX PRO 6000",
        "engine": next((engine for prefix, engine in _ENGINES if file_name.startswith(prefix)), metadata.get("engine")),
        "engine_version": metadata.get("engine_version"),
        "quantization": quant or metadata.get("quantization"),
        "methodology_notes": "; ".join(notes) or None,
        "report_url": place.split(" ", 1)[0] or None,
    }
    return shared, [] if cards else ["the GPU is not stated; RTX PRO 6000 is assumed"]


def _diagnostics(metadata: Mapping[str, Any], artefact: Mapping[str, Any]) -> str:
    found = artefact.get("startup_diagnostics") or metadata.get("startup_diagnostics") or ""
    return found if isinstance(found, str) else "\n".join(_strings(found))


def _strings(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [text for each in inner for text in _strings(each)]


def _methodology(text: str) -> list[str]:
    lower = text.lower()
    found = [form.format(*match.groups()) for pattern, form in _NOTES if (match := re.search(pattern, lower))]
    return [note for note in found if note != "MTP" or "no MTP" not in found]


def _figures(record: Mapping[str, Any]) -> dict[str, Any]:
    def first(*names: str) -> Any:
        return next((record[name] for name in names if record.get(name) is not None), None)

    return {
        "throughput_tok_s": first("aggregate_tps", "server_gen_throughput"),
        "decode_tok_s": first("per_request_avg_tps", "output_tps_per_user_avg"),
        "ttft_ms": first("ttft_ms"),
        "ttft_s": first("ttft_avg"),
        "context_tokens": first("context_tokens", "context", "ctx"),
        "concurrency": first("concurrency", "conc"),
        "output_tokens": first("output_tokens", "max_tokens"),
    }


def _row_id(artefact: str, index: int, record: Mapping[str, Any]) -> str:
    figures = _figures(record)
    return f"{artefact}:row={index}:ctx={figures['context_tokens']}:conc={figures['concurrency']}"


ADAPTERS: Mapping[str, Adapter] = {"millstone": tabular, "manual": tabular, "rtx6kpro": rtx6kpro}
