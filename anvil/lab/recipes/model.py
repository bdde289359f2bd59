"""What a recipe holds (lab contract 7). Sizes in GB, rates in tokens per second, times in ms, contexts in tokens."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

SCHEMA = "anvil-serving.serve-recipes/v1"

Amount = Annotated[float, Meta(gt=0)]
Count = Annotated[int, Meta(gt=0)]
Text = Annotated[str, Meta(min_length=1)]
Engine = Literal["vllm", "sglang", "llamacpp", "custom"]
Status = Literal["verified", "unverified", "parked"]


class Hardware(Struct, frozen=True, kw_only=True):
    """The card it was measured on. ``gpu_uuid`` names one machine's card and is dropped from a shared registry."""

    gpu: Text | None = None
    arch: Text | None = None
    gpu_uuid: Text | None = None
    vram_total_gb: Amount | None = None
    vram_weights_gb: Amount | None = None
    vram_note: str | None = None


class ServeRecipe(Struct, frozen=True, kw_only=True):
    """``env`` holds NAME=value, ``flags`` one "flag value" each, without the model, --host and --port."""

    engine: Engine
    image: Text | None = None
    quantization: Text | None = None
    context_tokens: Count | None = None
    port: Annotated[int, Meta(ge=1, le=65535)] | None = None
    env: tuple[Annotated[str, Meta(pattern=r"^[A-Za-z_][A-Za-z0-9_]*=")], ...] = ()
    flags: tuple[Text, ...] = ()
    entrypoint: tuple[Text, ...] = ()
    ipc: Text | None = None
    shm_size: Text | None = None
    prestart: tuple[Text, ...] = ()
    note: str | None = None


class Measured(Struct, frozen=True, kw_only=True):
    """A single-stream figure or an aggregate one with its concurrency, never one taken for the other."""

    throughput_single_tok_s: Amount | None = None
    throughput_aggregate_tok_s: Amount | None = None
    concurrency: Count | None = None
    throughput_eager_tok_s: Amount | None = None
    ttft_p50_ms: Amount | None = None
    context_tokens: Count | None = None
    preflight: str | None = None
    stable_under_load: bool | str | None = None
    reasoning: str | None = None
    quality_note: str | None = None
    image_digest: Annotated[str, Meta(pattern=r"^sha256:[0-9a-f]{64}$")] | None = None
    measured_at: str | None = None


class Intent(Struct, frozen=True, kw_only=True):
    suited: tuple[Text, ...] = ()
    not_suited: tuple[Text, ...] = ()
    mode: str | None = None
    rationale: str | None = None


class Download(Struct, frozen=True, kw_only=True):
    note: str | None = None
    command: str | None = None


class Recipe(Struct, frozen=True, kw_only=True):
    model: Text
    status: Status
    serve: ServeRecipe
    source: str | None = None
    family: str | None = None
    total_params_b: Amount | None = None
    active_params_b: Amount | None = None
    hardware: Hardware = Hardware()
    measured: Measured = Measured()
    intent: Intent = Intent()
    download: Download = Download()
