"""A running container as a recipe: what `docker inspect` says, and nothing that could be a secret."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from anvil.lab.recipes.flags import grouped, portable
from anvil.router.redact import MASK, Scrubber
from anvil.topology.model import Gpu, Topology

_ENV_PREFIXES = ("VLLM_", "FLASHINFER_", "CUDA_", "SGLANG_")
_SECRET_NAME = re.compile(r"TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIAL|API_?KEY|_KEY$|AUTH", re.IGNORECASE)
_SECRET_VALUE = re.compile(r"\bhf_\w{8,}|(?<![\w-])(?=[\w+/=.-]*\d)(?=[\w+/=.-]*[A-Za-z])[\w+/=.-]{40,}")
_CARD = re.compile(r"GPU-[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_MODEL_FLAGS = ("--model-path", "--model")
_PRESTART = ("sh", "-ec")
_SHARED_MEMORY_DEFAULT = 64 << 20


class Container(NamedTuple):
    """The first documents of `docker inspect` of a container and of its image."""

    container: Mapping[str, Any]
    image: Mapping[str, Any]


class Unreadable(Exception):
    """The container shows no model server; the sentence says what is missing."""


def recipe_row(seen: Container, topology: Topology | None) -> dict[str, Any]:
    """The recipe's table, unverified and without figures. Raises Unreadable."""
    config, host = _table(seen.container, "Config"), _table(seen.container, "HostConfig")
    entrypoint, command, prestart = _words(config)
    image = str(config.get("Image") or "")
    engine = _engine(image, [*entrypoint, *command])
    model, rest = _model(engine, command)
    digest = _digest(seen)
    serve = {
        "engine": engine, "image": image.partition("@")[0] + (f"@{digest}" if digest else ""),
        "quantization": _value(rest, "--quantization"), "context_tokens": _context(rest), "port": _port(host),
        "env": _env(config.get("Env")), "flags": [_clean(flag) for flag in portable(grouped(rest))],
        "entrypoint": entrypoint, "ipc": _ipc(host), "shm_size": _shared_memory(host), "prestart": prestart,
    }  # fmt: skip
    row = {
        "model": model,
        "status": "unverified",
        "source": f"captured from container {str(seen.container.get('Name', '')).lstrip('/')}",
        "hardware": _hardware(_card(host, config), topology),
        "serve": serve,
        "measured": {"image_digest": digest},
    }
    found = _present(row)
    return found if isinstance(found, dict) else {}


def started(seen: Container) -> str:
    """Since when this container runs (UTC, as docker writes it); "" when it does not."""
    state = _table(seen.container, "State")
    return str(state.get("StartedAt") or "") if state.get("Running") else ""


def _table(document: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = document.get(key)
    return value if isinstance(value, Mapping) else {}


def _words(config: Mapping[str, Any]) -> tuple[list[str], list[str], list[str]]:
    """Entrypoint, command and prestart lines; the wrapper that runs prestart lines is taken off."""
    entrypoint = [str(word) for word in config.get("Entrypoint") or []]
    command = [str(word) for word in config.get("Cmd") or []]
    if tuple(entrypoint[:2]) != _PRESTART or len(entrypoint) != 4:
        return entrypoint, command, []
    lines = [line for line in entrypoint[2].splitlines() if line != 'exec "$@"']
    inner = 3 if command[1:2] == ["-m"] else 1
    return command[:inner], command[inner:], lines


def _engine(image: str, words: Sequence[str]) -> str:
    text = f"{image.partition('@')[0]} {' '.join(words[:4])}".lower()
    known = {"vllm": "vllm", "sglang": "sglang", "llama-server": "llamacpp", "llama.cpp": "llamacpp"}
    return next((engine for word, engine in known.items() if word in text), "custom")


def _model(engine: str, command: list[str]) -> tuple[str, list[str]]:
    """The model and the words without it."""
    words = command[1:] if command[:1] == ["serve"] else list(command)
    if engine in ("vllm", "sglang") and words and not words[0].startswith("-"):
        return words[0], words[1:]
    named = _value(words, "--hf-repo", "-hf", "-m", *_MODEL_FLAGS) or _value(words, "--served-model-name", "-a")
    if named is None:
        raise Unreadable("its command line names no model; only a container that serves one can be captured")
    for flag in _MODEL_FLAGS:
        if flag in words:
            at = words.index(flag)
            return named, words[:at] + words[at + 2 :]
        words = [word for word in words if not word.startswith(f"{flag}=")]
    return named, words


def _value(words: Sequence[str], *flags: str) -> str | None:
    for group in grouped(words):
        flag, _, value = group.partition(" ")
        if flag in flags and value:
            return value
    return None


def _context(words: Sequence[str]) -> int | None:
    value = _value(words, "--max-model-len", "--context-length", "-c", "--ctx-size")
    return int(value) if value and value.isdigit() and int(value) else None


def _port(host: Mapping[str, Any]) -> int | None:
    """The host's port of the first binding: what a client dials, not what the container calls it."""
    for bindings in _table(host, "PortBindings").values():
        for binding in bindings or []:
            if str(binding.get("HostPort") or "").isdigit():
                return int(binding["HostPort"])
    return None


def _env(lines: Any) -> list[str]:
    pairs = sorted(str(line) for line in lines or [] if str(line).startswith(_ENV_PREFIXES) and "=" in str(line))
    return [line for line in pairs if not secret(*line.split("=", 1)) and not line.startswith("CUDA_VERSION=")]


def secret(name: str, value: str) -> bool:
    """Whether a variable looks like a secret by its name or by its value; card identities are none."""
    bare = _CARD.sub("", value)
    return bool(_SECRET_NAME.search(name) or _SECRET_VALUE.search(bare)) or MASK in Scrubber().scrub(bare)


def _clean(flag: str) -> str:
    """A key given on the command line stays out of the recipe."""
    name, _, value = flag.partition(" ")
    return f"{name} {MASK}" if value and secret(name.replace("-", "_"), "") and "parser" not in name else flag


def _ipc(host: Mapping[str, Any]) -> str | None:
    mode = str(host.get("IpcMode") or "")
    return mode if mode in ("host", "shareable", "none") else None


def _shared_memory(host: Mapping[str, Any]) -> str | None:
    size = host.get("ShmSize")
    if not isinstance(size, int) or size in (0, _SHARED_MEMORY_DEFAULT):
        return None
    return f"{size >> 30}g" if size % (1 << 30) == 0 else f"{size >> 20}m"


def _digest(seen: Container) -> str | None:
    """The registry's digest of the image, which another machine can pull."""
    named = str(_table(seen.container, "Config").get("Image") or "")
    found = [named, *(str(each) for each in seen.image.get("RepoDigests") or [])]
    return next((each.partition("@")[2] for each in found if re.search(r"@sha256:[0-9a-f]{64}$", each)), None)


def _card(host: Mapping[str, Any], config: Mapping[str, Any]) -> str | None:
    for request in host.get("DeviceRequests") or []:
        for card in request.get("DeviceIDs") or []:
            if _CARD.fullmatch(str(card)):
                return str(card)
    lines = (str(line) for line in config.get("Env") or [])
    visible = next((line.partition("=")[2] for line in lines if line.startswith("CUDA_VISIBLE_DEVICES=")), "")
    first = visible.split(",")[0].strip()
    return first if _CARD.fullmatch(first) else None


def _hardware(uuid: str | None, topology: Topology | None) -> dict[str, Any]:
    """A card has a name only where its UUID is known: a guess would put the wrong card beside a figure."""
    known = _cards(topology).get(uuid or "")
    if known is None:
        return {"gpu_uuid": uuid}
    arch = f"sm_{known.compute.replace('.', '')}"
    return {"gpu": known.model, "arch": arch, "gpu_uuid": uuid, "vram_total_gb": known.vram_gb}


def _cards(topology: Topology | None) -> dict[str, Gpu]:
    machines = topology.machines.values() if topology else ()
    return {card.uuid: card for machine in machines for card in machine.gpus.values()}


def _present(value: Any) -> Any:
    if isinstance(value, dict):
        found = {key: _present(each) for key, each in value.items()}
        return {key: each for key, each in found.items() if each not in (None, [], {}, "")}
    return value
