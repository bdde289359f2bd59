"""Engine command lines: one pure function per engine, the flag order of contract operations.md 6.

Shared by compose files, process definitions, recipes, experiments and the multiplexer. Nothing here quotes: a command
line is a list of words.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from posixpath import join
from typing import NamedTuple

from anvil.topology import families
from anvil.topology.model import Custom, Gpu, LlamaCpp, ModelServe, Serve, Sglang, Speculative, Vllm

IN_CONTAINER = "0.0.0.0"  # noqa: S104 - inside a container; exposure is the publish address
_LLAMA_IN_IMAGE = "/app/llama-server"
_SGLANG_KV = "fp8_e5m2"
_SGLANG_RUNNING = 16
_NO_MMAP = "--weight-loader-disable-mmap"  # A cure for folders of the host, useless on a cache volume (6.2).


class Place(NamedTuple):
    """Where an engine listens and what it finds there. ``mount`` is the volume's path, None outside a container;
    ``directory``: the volume holds plain folders."""

    host: str
    port: int
    mount: str | None
    platform: str = "linux"
    gpus: tuple[Gpu, ...] = ()
    process: bool = False
    directory: bool = False


class Command(NamedTuple):
    entrypoint: tuple[str, ...]
    args: tuple[str, ...]

    def words(self) -> tuple[str, ...]:
        return (*self.entrypoint, *self.args)


def command(serve: Serve, place: Place) -> Command:
    """The pinned entrypoint and its arguments. Upstream images have changed theirs before, so none is inherited
    (C3)."""
    if isinstance(serve, Vllm):
        return vllm(serve, place)
    if isinstance(serve, Sglang):
        return sglang(serve, place)
    return llamacpp(serve, place) if isinstance(serve, LlamaCpp) else custom(serve, place)


def vllm(serve: Vllm, place: Place) -> Command:
    tool, reasoning = parsers(serve, "vllm")
    args = (
        "serve",
        _model(serve, place),
        *_flag("--served-model-name", serve.served_model),
        *_flag("--quantization", serve.quantization),
        *_flag("--kv-cache-dtype", serve.kv_cache_dtype),
        *_flag("--tool-call-parser", tool),
        *_flag("--reasoning-parser", reasoning),
        *_switch("--enable-auto-tool-choice", bool(tool)),
        *_switch("--trust-remote-code", serve.trust_remote_code),
        *_flag("--tensor-parallel-size", _parallel(place)),
        *_flag("--max-num-seqs", serve.max_concurrent),
        *_flag("--speculative-config", _speculative_config(serve.speculative)),
        *_switch("--language-model-only", serve.language_only),
        *_flag("--revision", _revision(serve)),
        *_flag("--gpu-memory-utilization", _share(serve.gpu_memory)),
        *_flag("--max-model-len", serve.context),
        *serve.extra_args,
        *_listen(place),
    )
    return Command((serve.binary or "vllm",), args)


def sglang(serve: Sglang, place: Place) -> Command:
    tool, reasoning = parsers(serve, "sglang")
    args = (
        *_flag("--model-path", _model(serve, place)),
        *_flag("--served-model-name", serve.served_model),
        *_flag("--kv-cache-dtype", serve.kv_cache_dtype or _SGLANG_KV),
        *_flag("--quantization", serve.quantization),
        *_flag("--tool-call-parser", tool),
        *_flag("--reasoning-parser", reasoning),
        *_switch("--trust-remote-code", serve.trust_remote_code),
        *_flag("--tp", _parallel(place)),
        *_switch("--language-only", serve.language_only),
        *_flag("--revision", _revision(serve)),
        *_flag("--context-length", serve.context),
        *_flag("--max-running-requests", serve.max_concurrent or _SGLANG_RUNNING),
        *_flag("--mem-fraction-static", _share(serve.gpu_memory)),
        "--enable-metrics",
        *_speculative_flags(serve.speculative),
        *(word for word in serve.extra_args if word != _NO_MMAP or place.directory or not place.mount),
        *_listen(place),
    )
    return Command((serve.binary or "python3", "-m", "sglang.launch_server"), args)


def llamacpp(serve: LlamaCpp, place: Place) -> Command:
    """`-c` is split over the slots of `-np`, so it is given the sum. `-cram 0`: no prompt cache in RAM (engine
    facts 4)."""
    template = serve.chat_template_file
    args = (
        *_flag("-m", _inside(serve.model_file, place)),
        *_listen(place),
        *_flag("-a", serve.served_model),
        *_flag("-c", serve.context * serve.parallel),
        *_flag("-np", serve.parallel),
        *_flag("-t", serve.threads),
        *_flag("-n", serve.predict),
        "--jinja",
        *_flag("--chat-template-file", _inside(template, place) if template else None),
        "--metrics",
        "--offline",
        *_flag("-cram", 0),
        *serve.extra_args,
    )
    return Command((serve.binary or ("llama-server" if place.process else _LLAMA_IN_IMAGE),), args)


def custom(serve: Custom, place: Place) -> Command:
    """Everything is written out by the operator; only extra_args are added."""
    return Command(serve.argv[:1], (*serve.argv[1:], *serve.extra_args))


def environment(serve: Serve, place: Place) -> dict[str, str]:
    """Engine defaults under the serve's own variables, sorted. Cards are named by UUID: some runtimes ignore
    device_ids (I4)."""
    defaults: dict[str, str] = {}
    if place.gpus:
        defaults["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"
        defaults["CUDA_VISIBLE_DEVICES"] = ",".join(gpu.uuid for gpu in place.gpus)
    if isinstance(serve, Vllm):
        if place.platform == "wsl2":
            defaults["VLLM_USE_V2_MODEL_RUNNER"] = "0"
        if any(gpu.compute == "12.0" for gpu in place.gpus):
            defaults["FLASHINFER_CUDA_ARCH_LIST"] = "12.0f"
    return dict(sorted({**defaults, **serve.env}.items()))


def prepared(serve: Serve, built: Command) -> Command:
    """C4: prestart lines run before the engine in the same shell, each exactly as given; a failing line ends the
    start."""
    if not serve.prestart:
        return built
    script = "\n".join((*serve.prestart, 'exec "$@"'))
    return Command(("sh", "-ec", script, "anvil-prestart"), built.words())


def parsers(serve: ModelServe, engine: str) -> families.Parsers:
    """The serve's own words, else the family's; "" means none."""
    known = families.parsers(serve.family, engine)
    tool = known.tool if serve.tool_parser is None else serve.tool_parser
    reasoning = known.reasoning if serve.reasoning_parser is None else serve.reasoning_parser
    return families.Parsers(tool or None, reasoning or None)


def _listen(place: Place) -> tuple[str, ...]:
    return ("--host", place.host, "--port", str(place.port))


def _model(serve: ModelServe, place: Place) -> str:
    return serve.repo if serve.repo is not None else _inside(serve.path or "", place)


def _inside(path: str, place: Place) -> str:
    return join(place.mount, path) if place.mount else path


def _revision(serve: ModelServe) -> str | None:
    return None if serve.revision == "main" else serve.revision


def _parallel(place: Place) -> int | None:
    return len(place.gpus) if len(place.gpus) > 1 else None


def _share(fraction: float) -> str:
    return f"{fraction:.2f}" if round(fraction, 2) == fraction else repr(fraction)


def _speculative_config(speculative: Speculative | None) -> str | None:
    if speculative is None:
        return None
    config: Mapping[str, object] = {
        "method": speculative.algorithm,
        "num_speculative_tokens": speculative.draft_tokens or speculative.steps,
    }
    return json.dumps({key: value for key, value in config.items() if value is not None}, separators=(",", ":"))


def _speculative_flags(speculative: Speculative | None) -> tuple[str, ...]:
    if speculative is None:
        return ()
    return (
        *_flag("--speculative-algorithm", speculative.algorithm),
        *_flag("--speculative-num-steps", speculative.steps),
        *_flag("--speculative-eagle-topk", speculative.topk),
        *_flag("--speculative-num-draft-tokens", speculative.draft_tokens),
    )


def _flag(name: str, value: object) -> Iterable[str]:
    return () if value is None else (name, str(value))


def _switch(name: str, on: bool) -> Iterable[str]:
    return (name,) if on else ()
