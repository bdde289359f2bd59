"""Runs the scenarios, lane after lane, and keeps every sample."""

from __future__ import annotations

import hashlib
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
from msgspec import Struct

from tests.bench import bodies, tools
from tests.bench.lanes import TOKEN, Lane
from tests.bench.scenarios import CHAT_PATH, CHUNK_DELAY_MS, MARKER, Plan, Scenario

WARM_UP_S = 0.3
# Work done after the answer (records, log lines in batches) counts too: it gets this long to finish.
SETTLE_S = 0.1
# Generous: the load generator ends by itself, at most 20 s after its time.
LOAD_TIMEOUT_S = 60.0
CROWD_LEAD_S = 0.15
DIRECT = "direct"


class BenchFailed(Exception):
    """A lane answered wrongly, or too little to measure."""


class Load(Struct):
    """What the load generator prints; times in microseconds."""

    requests: int
    chunks: int
    errors: int
    first_error: str
    seconds: float
    latency_p50: float
    latency_p99: float
    ttft_p50: float
    ttft_p99: float
    delay_p50: float
    delay_p99: float


class Sample(Struct):
    """One lane in one turn of one scenario. ``cpu_us`` is per request, for streams per chunk; None for ``direct``
    and beside a crowd."""

    turn: int
    scenario: str
    lane: str
    load: Load
    cpu_us: float | None = None
    rss_mib: float = 0.0


class Bench:
    """``instant`` and ``paced`` are the lanes before the upstream's two ports, by name."""

    def __init__(self, plan: Plan, folder: Path, instant: dict[str, Lane], paced: dict[str, Lane]) -> None:
        self._plan = plan
        self._folder = folder
        self._instant = instant
        self._paced = paced
        self._program = tools.build("load")
        self.samples: list[Sample] = []

    def run(self, say: Callable[[str], None]) -> list[Sample]:
        """All rounds. Raises BenchFailed at a wrong answer."""
        self._warm_up()
        for number in range(self._plan.rounds):
            for scenario in self._plan.scenarios:
                say(f"round {number + 1} of {self._plan.rounds}: {scenario.title}")
                turns = 1 if scenario.stream else self._plan.turns
                for turn in range(turns):
                    self._take_turn(number * turns + turn, scenario)
        return self.samples

    def _take_turn(self, turn: int, scenario: Scenario) -> None:
        """Every lane once, another one first each time: what the machine does meanwhile hits them in turn."""
        lanes = self._lanes(scenario)
        for lane in lanes[turn % len(lanes) :] + lanes[: turn % len(lanes)]:
            self.samples.append(self._measure(turn, scenario, lane))

    def _lanes(self, scenario: Scenario) -> list[Lane]:
        group = self._paced if scenario.stream else self._instant
        wanted = scenario.lanes or tuple(name for name in group if name != DIRECT)
        found = [group[name] for name in wanted if name in group]
        if not found:
            raise BenchFailed(f"{scenario.title}: none of its lanes runs")
        return found

    def _warm_up(self) -> None:
        for scenario in self._plan.scenarios:
            if scenario.stream:
                continue
            for lane in self._lanes(scenario):
                self._load(scenario, lane, WARM_UP_S)

    def _measure(self, turn: int, scenario: Scenario, lane: Lane) -> Sample:
        seconds = self._plan.stream_seconds if scenario.stream else self._plan.seconds
        if lane.name == DIRECT:
            return Sample(turn, scenario.key, lane.name, self._load(scenario, lane, seconds))
        if scenario.crowd:
            with self._crowd(scenario.crowd, lane, seconds):
                return Sample(turn, scenario.key, lane.name, self._load(scenario, lane, seconds))
        peak = _PeakMemory(lane) if scenario.stream else None
        before = lane.cpu_ns()
        load = self._load(scenario, lane, seconds)
        time.sleep(SETTLE_S)
        spent = (lane.cpu_ns() - before) / 1000
        units = load.chunks if scenario.stream else load.requests
        return Sample(turn, scenario.key, lane.name, load, spent / units, peak.stop() if peak else 0.0)

    @contextmanager
    def _crowd(self, connections: int, lane: Lane, seconds: float) -> Iterator[None]:
        """Callers of 2 kB chats from a little before to a little after."""
        argv = self._argv(CHAT_PATH, bodies.chat(), lane, connections, seconds + 2 * CROWD_LEAD_S, MARKER)
        with subprocess.Popen(argv, stdout=subprocess.DEVNULL):
            time.sleep(CROWD_LEAD_S)
            yield

    def _load(self, scenario: Scenario, lane: Lane, seconds: float) -> Load:
        argv = self._argv(scenario.path, scenario.body, lane, scenario.connections, seconds, scenario.marker)
        if scenario.stream:
            # One chunk's time spreads the starts evenly over the pace of the streams.
            argv += [str(self._plan.chunks), str(CHUNK_DELAY_MS)]
        done = subprocess.run(argv, check=True, capture_output=True, timeout=LOAD_TIMEOUT_S)
        load = msgspec.json.decode(done.stdout, type=Load)
        if load.errors or not load.requests:
            raise BenchFailed(f"{lane.name}, {scenario.title}: {load.errors} errors, the first: {load.first_error}")
        return load

    def _argv(self, path: str, body: bytes, lane: Lane, connections: int, seconds: float, marker: str) -> list[str]:
        wire = bodies.wire(path, body, TOKEN)
        request = self._folder / f"{hashlib.sha256(wire).hexdigest()[:16]}.http"
        request.write_bytes(wire)
        return [str(self._program), str(lane.port), str(connections), str(seconds), str(request), marker]


class _PeakMemory:
    """Largest resident set of a lane while a load runs."""

    EVERY_S = 0.25

    def __init__(self, lane: Lane) -> None:
        self._lane = lane
        self._peak = 0.0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def stop(self) -> float:
        self._over.set()
        self._thread.join()
        return self._peak

    def _watch(self) -> None:
        while not self._over.wait(self.EVERY_S):
            self._peak = max(self._peak, self._lane.rss_mib())
