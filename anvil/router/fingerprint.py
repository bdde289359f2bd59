"""The identity of a tier as a digest: a grade counts only while what was graded still runs (contract 11.4)."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import msgspec

from anvil.router.config.model import TierConfig

SCHEMA = "anvil-serving.router.fingerprint/v1"

# identity field -> names it may go by; the first that is present and not null wins
SYNONYMS: dict[str, tuple[str, ...]] = {
    "tier_id": ("tier_id", "id"),
    "model": ("model", "model_id", "served_model", "model_name"),
    "revision": ("revision", "model_revision", "commit"),
    "quantization": ("quantization", "quant", "dtype"),
    "engine": ("engine", "runtime"),
    "endpoint": ("base_url", "endpoint", "url"),
    "dialect": ("dialect", "protocol"),
    "context_limit": ("context_limit", "max_model_len", "context"),
    "params": ("params", "parameters"),
    "reasoning": ("extra_body", "reasoning"),
    "mode": ("mode",),
}


def fingerprint(tier: TierConfig | Mapping[str, object], mode: str | None = None) -> str:
    """64 hex. Absent fields are left out, so a new optional field changes no digest; mapping order does not matter."""
    fields = msgspec.structs.asdict(tier) if isinstance(tier, TierConfig) else tier
    if mode is not None:
        fields = {**fields, "mode": mode}
    identity = {
        name: _canonical(found)
        for name, spellings in SYNONYMS.items()
        if (found := next((fields[key] for key in spellings if fields.get(key) is not None), None)) is not None
    }
    return hashlib.sha256(_encode({"schema": SCHEMA, "identity": identity})).hexdigest()


def _canonical(value: object) -> object:
    if isinstance(value, Mapping):
        return {str(key): _canonical(inner) for key, inner in value.items()}
    if isinstance(value, set | frozenset):
        return sorted([_canonical(item) for item in value], key=_encode)
    if isinstance(value, list | tuple):
        return [_canonical(item) for item in value]
    return value


def _encode(value: object) -> bytes:
    return msgspec.json.encode(value, order="sorted")
