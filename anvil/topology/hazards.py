"""Reads hazards.toml and says which entries meet a checkpoint on a card (contract operations.md 6.3)."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from fnmatch import fnmatchcase
from functools import cache
from importlib.resources import files
from typing import Literal

import msgspec
from msgspec import Struct

Format = Literal["nvfp4", "mxfp4", "fp8", "fp8-block", "awq"]

_RELEASE = re.compile(r":v?(\d+(?:\.\d+)+)")
_BOUND = re.compile(r"^(>=|<=|>|<|==)(\d+(?:\.\d+)*)$")
# Mixture-of-experts checkpoints name their active share (30B-A3B) or belong to a family that is always one.
_MOE = re.compile(r"-a\d+(\.\d+)?b\b|moe|gpt-oss|mixtral|deepseek-(v|r)|glm-?4\.[5-9]", re.IGNORECASE)


class Match(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """All given keys must hold. ``quantization_not``: the key is unset or another value ("" stands for unset)."""

    engine: tuple[str, ...] | None = None
    repo: str | None = None
    compute: str | None = None
    format: Format | None = None
    moe: bool | None = None
    quantization: tuple[str, ...] | None = None
    quantization_not: tuple[str, ...] | None = None
    prestart_without: str | None = None


class Hazard(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    id: str
    match: Match
    level: Literal["error", "warn", "info"]
    sentence: str
    versions: str
    source: str


class Checkpoint(Struct, frozen=True, kw_only=True):
    """A model as one engine would load it on one card."""

    name: str
    engine: str = "vllm"
    image: str = ""
    quantization: str = ""
    compute: str = ""
    prestart: tuple[str, ...] = ()


@cache
def hazards() -> tuple[Hazard, ...]:
    document = tomllib.loads(files(__package__).joinpath("hazards.toml").read_text(encoding="utf-8"))
    return msgspec.convert(document["hazard"], tuple[Hazard, ...])


def matching(checkpoint: Checkpoint, known: Sequence[Hazard] | None = None) -> tuple[Hazard, ...]:
    return tuple(hazard for hazard in (hazards() if known is None else known) if _meets(checkpoint, hazard))


def mixture_of_experts(name: str) -> bool:
    return _MOE.search(name) is not None


def quant_format(name: str, quantization: str) -> Format | None:
    """The number format a checkpoint's name or its quantization key gives away."""
    words = f"{name} {quantization}".lower()
    if "fp8" in words and "block" in words:
        return "fp8-block"
    formats: tuple[Format, ...] = ("nvfp4", "mxfp4", "awq", "fp8")
    return next((each for each in formats if each in words), "nvfp4" if quantization == "modelopt_fp4" else None)


def _meets(checkpoint: Checkpoint, hazard: Hazard) -> bool:
    match = hazard.match
    name, quantization = checkpoint.name, checkpoint.quantization
    asked: tuple[tuple[object | None, bool], ...] = (
        (match.engine, checkpoint.engine in (match.engine or ())),
        (match.repo, fnmatchcase(name.lower(), match.repo or "")),
        (match.compute, checkpoint.compute == match.compute),
        (match.format, quant_format(name, quantization) == match.format),
        (match.moe, mixture_of_experts(name) is match.moe),
        (match.quantization, quantization in (match.quantization or ())),
        (match.quantization_not, quantization not in (match.quantization_not or ())),
        (match.prestart_without, not any((match.prestart_without or "") in line for line in checkpoint.prestart)),
    )
    return all(holds for key, holds in asked if key is not None) and _inside(checkpoint.image, hazard.versions)


def _inside(image: str, versions: str) -> bool:
    release = _RELEASE.search(image)
    return release is None or all(_holds(_numbers(release[1]), bound.strip()) for bound in versions.split(","))


def _holds(release: tuple[int, ...], bound: str) -> bool:
    parsed = _BOUND.match(bound)
    if parsed is None:
        raise ValueError(f"hazards.toml: {bound!r} is no version bound")
    limit = _numbers(parsed[2])
    return {
        ">=": release >= limit,
        "<=": release <= limit,
        ">": release > limit,
        "<": release < limit,
        "==": release == limit,
    }[parsed[1]]


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))
