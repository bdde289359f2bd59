"""The router process under test, and what can be seen of it from outside: sockets, threads, gauges, tasks."""

from __future__ import annotations

import json
import os
import re
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.router.conftest import Running, start_router
from tests.soak import tasks

ROUTER = 'observer = "tests.soak.tasks:note"\n'
_ROW = re.compile(r"^(\w+)(?:\{(.*)\})? (\S+)$", re.M)


@dataclass(frozen=True)
class Held:
    """What the router holds at one moment. ``in_flight``: requests by its own gauges, lanes and tiers together."""

    sockets: int
    threads: int
    tasks: int
    in_flight: float


@dataclass(frozen=True)
class House:
    running: Running
    folder: Path

    @property
    def port(self) -> int:
        return int(self.running.url.rsplit(":", 1)[1])

    def total(self, name: str, *having: str) -> float:
        """Sum of the samples of a metric whose labels contain every text of ``having``."""
        rows = _ROW.findall(self.running.client.get("/metrics").text)
        return sum(float(value) for found, labels, value in rows if found == name and all(h in labels for h in having))

    def held(self) -> Held:
        """A request answered by a tier is needed for the count of tasks: its own connection is part of the figures."""
        (worker,) = _workers(self.running.process.pid)
        in_flight = self.total("anvil_in_flight", 'lane="serve"') + self.total("anvil_tier_in_flight")
        return Held(_sockets(worker), len(os.listdir(f"/proc/{worker}/task")), self._tasks(), in_flight)

    def _tasks(self) -> int:
        """Unfinished tasks inside the router, once the request that asks for the count is over."""
        file = self.folder / "tasks.json"
        file.unlink(missing_ok=True)
        body = {"model": tasks.COUNT, "messages": [{"role": "user", "content": "count"}]}
        self.running.client.post("/v1/route", json=body)
        end = time.monotonic() + 5
        while not file.exists() or not file.stat().st_size:
            if time.monotonic() > end:
                raise SystemExit("scripts/soak: the router did not count its tasks")
            time.sleep(0.01)
        return len(json.loads(file.read_text()))


@contextmanager
def house(text: str) -> Iterator[House]:
    """A router with this configuration, stopped at the end."""
    with tempfile.TemporaryDirectory(prefix="anvil-soak-") as name:
        folder = Path(name)
        running = start_router(folder, text, {tasks.FILE: str(folder / "tasks.json")})
        try:
            yield House(running, folder)
        finally:
            running.stop(expect=None)


def _workers(root: int) -> list[int]:
    """The process that holds the event loop: a child of the one that was started, or itself."""
    children = Path(f"/proc/{root}/task/{root}/children").read_text().split()
    return [int(child) for child in children] or [root]


def _sockets(process: int) -> int:
    folder = Path(f"/proc/{process}/fd")
    return sum(1 for entry in folder.iterdir() if _target(entry).startswith("socket:"))


def _target(entry: Path) -> str:
    try:
        return str(entry.readlink())
    except FileNotFoundError:
        return ""
