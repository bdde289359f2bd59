"""The real llama.cpp engine with two small models, from the project's own cache."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from anvil.lab import engine as lab
from anvil.lab.fetch import Unavailable
from tests.clients.cache import CannotInstall
from tests.router.conftest import free_port

WINDOW = 8192
_START_S = 90


def fetch() -> None:
    """Engine and weights into the cache; raises CannotInstall with the lab's reason."""
    try:
        lab.engine()
        lab.weights("tiny")
        lab.weights("heavy")
    except Unavailable as reason:
        raise CannotInstall(str(reason)) from reason


@contextmanager
def started(folder: Path) -> Iterator[dict[str, str]]:
    """Role -> base URL of a ready server: the tiny model is fast, the larger one heavy."""
    program, running = lab.engine(), []
    try:
        urls = {}
        for role, model, words in (
            ("fast", lab.weights("tiny"), ["-t", "1"]),
            ("heavy", lab.weights("heavy"), ["-t", "2", "--chat-template-file", str(lab.CHAT_TEMPLATE)]),
        ):
            port = free_port()
            argv = [str(program.binary), "-m", str(model), "--host", "127.0.0.1", "--port", str(port), "-a", role]
            argv += ["-c", str(WINDOW), "-np", "1", "-cram", "0", "--offline", *words]
            with (folder / f"{role}.log").open("wb") as log:
                running.append(subprocess.Popen(argv, env=program.environment(), stdout=log, stderr=log))
            urls[role] = f"http://127.0.0.1:{port}"
        for process, url in zip(running, urls.values(), strict=True):
            _wait(process, url)
        yield {role: f"{url}/v1" for role, url in urls.items()}
    finally:
        for process in running:
            process.kill()
            process.wait()


def _wait(process: subprocess.Popen[bytes], url: str) -> None:
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if httpx.get(f"{url}/health", trust_env=False).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.2)
    raise RuntimeError(f"the engine at {url} did not get ready within {_START_S} s")
