"""Rendered texts, read back with their consumers' decoders and compared with what was meant (contract operations.md
4, R1-R5)."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
import yaml

from anvil.render.engine import interpolated
from anvil.router.config import ConfigError, RouterConfig
from anvil.router.config import load as load_router
from anvil.topology import derived
from anvil.topology.finding import Finding, error, warn
from anvil.topology.model import Serve

_FLAG_LISTS: Mapping[str, str] = {"vllm": "vllm-0.32.0.txt", "llamacpp": "llama-server-b10434.txt"}
_TIER_REFUSED = re.compile(r'router\.toml: \[\[router\.tiers\]\] "([^"]+)":')
_TABLE_REFUSED = re.compile(r"router\.toml: \[([a-z_.]+)\]:")
_FORBIDDEN: Mapping[str, object] = {"privileged": True, "network_mode": "host"}


def router(text: str, intended: Mapping[str, Any]) -> tuple[RouterConfig | None, list[Finding]]:
    """R1: the text is the intended document, and the router's own decoder takes it to mean the same."""
    try:
        meant = tomllib.loads(text)
    except tomllib.TOMLDecodeError as problem:
        return None, [error("R1", "router", f"the rendered router.toml is not TOML: {problem}")]
    if meant != _plain(intended):
        return None, [error("R1", "router", "the rendered router.toml does not read back as the intended document")]
    try:
        config = _decoded(text)
    except ConfigError as refused:
        return None, [error("R1", _table(line), line) for line in refused.problems]
    read = msgspec.to_builtins(config)
    wanted = {**intended["router"], "server": intended["server"]}
    return config, [
        error("R1", "router", f"router.toml: {where} is read otherwise") for where in _differing(wanted, read)
    ]


def _table(problem: str) -> str:
    """The topology's table that what the router's decoder refuses comes from."""
    if found := _TIER_REFUSED.match(problem):
        return f"tiers.{found[1]}"
    found = _TABLE_REFUSED.match(problem)
    if found is None or found[1] == "router":
        return "router.settings"
    if found[1] == "server":
        return "router.server"
    inner = found[1].removeprefix("router.")
    return inner if inner == "presets" else f"router.settings.{inner}"


def compose(text: str, intended: Mapping[str, Any], table: str) -> list[Finding]:
    """R2: the text is the intended structure, every service is labelled, nothing reaches beyond its container."""
    try:
        meant = yaml.safe_load(text)
    except yaml.YAMLError as problem:
        return [error("R2", table, f"the rendered compose file is not YAML: {problem}")]
    if meant != _plain(interpolated(intended)):
        return [error("R2", table, "the rendered compose file does not read back as the intended structure")]
    return [finding for name, service in meant["services"].items() for finding in _service(name, service)]


def flags(name: str, serve: Serve, words: Iterable[str]) -> list[Finding]:
    """R3: every long flag of an engine whose flag list is committed is on that list."""
    listed = _FLAG_LISTS.get(derived.engine(serve))
    known = _known_flags(listed) if listed else frozenset()
    asked = [word.split("=", 1)[0] for word in words if word.startswith("--") and len(word) > 2]
    if derived.engine(serve) == "vllm":  # Its parser takes _ for -.
        asked = [flag.replace("_", "-") for flag in asked]
    unknown = [
        flag for flag in dict.fromkeys(asked) if listed and flag not in known and flag.split(".")[0] not in known
    ]
    return [warn("R3", f"serves.{name}", f"{flag} is not a flag of the engine release in {listed}") for flag in unknown]


@cache
def _known_flags(listed: str) -> frozenset[str]:
    return frozenset(files("anvil.topology").joinpath("flags", listed).read_text(encoding="utf-8").split())


def _decoded(text: str) -> RouterConfig:
    with TemporaryDirectory() as folder:
        file = Path(folder, "router.toml")
        file.write_text(text, encoding="utf-8")
        try:
            return load_router(file, environ={})
        except ConfigError as refused:
            raise ConfigError([line.replace(str(file), "router.toml") for line in refused.problems]) from None


def _service(name: str, service: Mapping[str, Any]) -> Iterator[Finding]:
    table = name if name == "router" else f"serves.{name}"
    if not (service.get("labels") or {}).get("anvil.revision"):
        yield error("R2", table, "the service carries no anvil.revision label")
    if "build" in service:
        yield error("R2", table, "the service is built on the host; give it an image")
    for key, value in _FORBIDDEN.items():
        if service.get(key) == value:
            yield error("R2", table, f"{key}: {value} is not allowed")
    image = service.get("image")
    if isinstance(image, str) and image.endswith(":latest"):
        yield error("R2", table, f"{image} without a digest is another image every day; pin it")


def _differing(wanted: Any, read: Any, where: str = "") -> Iterator[str]:
    """Places whose value is not the intended one; defaults that the decoder adds are fine."""
    if isinstance(wanted, Mapping) and isinstance(read, Mapping):
        for key, value in wanted.items():
            yield from _differing(value, read.get(key), f"{where}.{key}".lstrip("."))
    elif isinstance(wanted, (list, tuple)) and isinstance(read, (list, tuple)) and len(wanted) == len(read):
        for index, (value, got) in enumerate(zip(wanted, read, strict=True)):
            yield from _differing(value, got, f"{where}[{index}]")
    elif wanted != read and [wanted] != list(read if isinstance(read, (list, tuple)) else ()):
        yield where


def _plain(value: Any) -> Any:
    """Tuples as lists, as every reader gives them back."""
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    return [_plain(each) for each in value] if isinstance(value, (list, tuple)) else value
