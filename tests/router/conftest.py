"""The real router process on loopback, in front of scriptable tiers."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.router.tier import Behaviour, Tier, auto

ROOT = Path(__file__).parents[2]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass
class Running:
    """One router process."""

    process: subprocess.Popen[bytes]
    url: str
    config: Path
    log: Path
    client: httpx.Client = field(init=False)

    def __post_init__(self) -> None:
        self.client = httpx.Client(base_url=self.url, timeout=20, trust_env=False)

    def decisions(self, **params: Any) -> list[dict[str, Any]]:
        data: list[dict[str, Any]] = self.client.get("/v1/decisions", params=params).json()["data"]
        return data

    def last(self) -> dict[str, Any]:
        return self.decisions(limit=1)[0]

    def logged(self) -> str:
        return self.log.read_text()

    def stop(self, expect: int | None = 0) -> None:
        self.client.close()
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                self.process.kill()
                raise
        if expect is not None:
            assert self.process.returncode == expect, self.logged()


def start_router(folder: Path, text: str, env: dict[str, str] | None = None, *args: str) -> Running:
    """Start ``anvil serve`` on a free port and wait until it answers."""
    config = folder / "router.toml"
    config.write_text(text)
    port = free_port()
    log = folder / "router.log"
    environment = {k: v for k, v in os.environ.items() if not k.startswith("ANVIL_")} | (env or {})
    with log.open("wb") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-m", "anvil", "serve", "--config", str(config), "--port", str(port), *args],
            stderr=stderr,
            stdout=stderr,
            env=environment,
            cwd=ROOT,
        )
    running = Running(process, f"http://127.0.0.1:{port}", config, log)
    for _ in range(200):
        if process.poll() is not None:
            raise AssertionError(f"router ended with {process.returncode}: {log.read_text()}")
        try:
            running.client.get("/healthz")
        except httpx.TransportError:
            time.sleep(0.03)
            continue
        return running
    process.kill()
    raise AssertionError(f"router did not answer: {log.read_text()}")


def tier_toml(id: str, url: str, **keys: Any) -> str:
    """One [[router.tiers]] table; defaults make a local OpenAI tier."""
    table = {
        "id": id,
        "base_url": url,
        "dialect": "openai",
        "context_limit": 32768,
        "privacy": "local",
        "tool_support": True,
        "auth_env": "TEST_KEY",
        "model": "upstream-model",
    } | keys
    return "[[router.tiers]]\n" + "".join(f"{key} = {toml(value)}\n" for key, value in table.items())


def toml(value: Any) -> str:
    import json

    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(k)} = {toml(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    return json.dumps(value)


PRESETS = ("chat", "quick-edit", "review", "planning", "long-context")


def config_toml(*tiers: str, presets: dict[str, list[str]] | None = None, server: str = "", router: str = "") -> str:
    ids = [line.split('"')[1] for tier in tiers for line in tier.splitlines() if line.startswith("id = ")]
    chosen = presets if presets is not None else {name: ids for name in PRESETS}
    lists = "".join(f"{toml(name)} = {toml(pool)}\n" for name, pool in chosen.items())
    return (
        f'[server]\n{server}\n[router]\nmapping_version = "test"\n{router}\n'
        + "\n".join(tiers)
        + f"\n[router.presets]\n{lists}"
    )


@pytest.fixture
def tier() -> Iterator[Callable[[Behaviour], Tier]]:
    """Factory of running scriptable tiers."""
    started: list[Tier] = []

    def make(behaviour: Behaviour | None = None) -> Tier:
        made = Tier(behaviour or auto()).start()
        started.append(made)
        return made

    yield make
    for made in started:
        made.stop()


@pytest.fixture
def router(tmp_path: Path) -> Iterator[Callable[..., Running]]:
    """Factory of running routers from configuration text."""
    started: list[Running] = []

    def make(text: str, env: dict[str, str] | None = None, *args: str) -> Running:
        folder = tmp_path / f"router{len(started)}"
        folder.mkdir()
        made = start_router(folder, text, env, *args)
        started.append(made)
        return made

    yield make
    for made in started:
        made.stop(expect=None)
