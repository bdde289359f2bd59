"""From samples to medians, ratios within one turn, and targets."""

from __future__ import annotations

from collections.abc import Callable
from statistics import median

from msgspec import Struct

from tests.bench.rounds import DIRECT, Load, Sample
from tests.bench.scenarios import Scenario

OURS = "anvil"


class Start(Struct):
    """A freshly started lane: seconds to its first 200, memory before any load (sums over its processes)."""

    lane: str
    ready_s: float
    rss_mib: float
    pss_mib: float


class Figures:
    """Everything a run found out."""

    def __init__(self, scenarios: tuple[Scenario, ...], samples: list[Sample], starts: list[Start]) -> None:
        self.scenarios = scenarios
        self.samples = samples
        self.starts = starts
        self._by_key = {(s.turn, s.scenario, s.lane): s for s in samples}
        self._turns = sorted({s.turn for s in samples})

    def cpu(self, scenario: str, lane: str) -> float | None:
        """Median CPU microseconds per request or chunk."""
        return _median([s.cpu_us for s in self._of(scenario, lane) if s.cpu_us is not None])

    def ratio(self, scenario: Scenario, peer: str) -> float | None:
        """Our CPU over a peer's, median of the ratios of each turn."""
        return _median(self._against(scenario.key, OURS, scenario.peer_row, peer))

    def spread(self, scenario: Scenario, peer: str) -> tuple[float, float] | None:
        """Smallest and largest of the ratios whose median ``ratio`` is."""
        ratios = self._against(scenario.key, OURS, scenario.peer_row, peer)
        return (min(ratios), max(ratios)) if ratios else None

    def growth(self, scenario: str, baseline: str) -> float | None:
        """Our CPU in one scenario over ours in another."""
        return _median(self._against(scenario, OURS, baseline, OURS))

    def load(self, scenario: str, lane: str, read: Callable[[Load], float]) -> float | None:
        """Median of something the load generator saw."""
        return _median([read(s.load) for s in self._of(scenario, lane)])

    def added_ttft_ms(self, scenario: str, lane: str) -> float | None:
        """Time to the first delta, less that of the upstream without anything in between, same turn."""
        pairs = [(self._by_key.get((t, scenario, lane)), self._by_key.get((t, scenario, DIRECT))) for t in self._turns]
        return _median([(a.load.ttft_p50 - b.load.ttft_p50) / 1000 for a, b in pairs if a and b])

    def peak_rss_mib(self, scenario: str, lane: str) -> float | None:
        return max((s.rss_mib for s in self._of(scenario, lane)), default=None)

    def started(self, lane: str, read: Callable[[Start], float]) -> float | None:
        return _median([read(s) for s in self.starts if s.lane == lane])

    def _of(self, scenario: str, lane: str) -> list[Sample]:
        return [s for s in self.samples if s.scenario == scenario and s.lane == lane]

    def _against(self, scenario: str, lane: str, other_scenario: str, other_lane: str) -> list[float]:
        ratios = []
        for turn in self._turns:
            ours = self._by_key.get((turn, scenario, lane))
            theirs = self._by_key.get((turn, other_scenario, other_lane))
            if ours and theirs and ours.cpu_us and theirs.cpu_us:
                ratios.append(ours.cpu_us / theirs.cpu_us)
        return ratios


class Target(Struct, frozen=True):
    """A figure to reach, at most ``limit`` (or at least). ``found`` is None when this run could not measure it."""

    name: str
    limit: float
    unit: str
    found: float | None
    binding: bool = False
    at_least: bool = False

    @property
    def met(self) -> bool:
        if self.found is None:
            return False
        return self.found >= self.limit if self.at_least else self.found <= self.limit


def targets(figures: Figures) -> list[Target]:
    """The published figures to reach; the binding ones decide the exit code of ``--assert``."""
    rows = {s.key: s for s in figures.scenarios}

    def against(key: str, peer: str) -> float | None:
        return figures.ratio(rows[key], peer) if key in rows else None

    def milli(key: str, name: str) -> float | None:
        return figures.load(key, OURS, lambda load: float(getattr(load, name)) / 1000)

    vllm = "vllm-router"
    found = [
        Target("CPU, 2 kB, 16 connections, against vllm-router", 2.0, "x", against("chat-16", vllm), binding=True),
        Target("CPU, 108 kB agent, against vllm-router", 0.5, "x", against("agent-16", vllm), binding=True),
        Target("memory, idle", 100, "MiB", figures.started(OURS, lambda s: s.rss_mib), binding=True),
        Target("CPU, 2 kB, 16 connections, against nginx", 5.0, "x", against("chat-16", "nginx")),
        Target("CPU, 108 kB agent, against nginx", 7.0, "x", against("agent-16", "nginx")),
        Target("CPU, Anthropic caller, against vllm-router's OpenAI", 0.6, "x", against("anthropic-16", vllm)),
        Target("CPU at 256 connections against 16", 1.3, "x", figures.growth("chat-256", "chat-16")),
        Target("latency p50, 2 kB, 1 connection", 0.5, "ms", milli("chat-1", "latency_p50")),
        Target("latency p99, 2 kB, 1 connection", 5, "ms", milli("chat-1", "latency_p99")),
        Target("throughput, 2 kB, 64 connections", 10_000, "/s", figures.load("chat-64", OURS, _rate), at_least=True),
        Target("/healthz p50 beside 64 callers", 5, "ms", milli("healthz", "latency_p50")),
        Target("/healthz p99 beside 64 callers", 50, "ms", milli("healthz", "latency_p99")),
        Target("CPU per chunk, 64 streams, against vllm-router", 1.7, "x", against("stream-64", vllm)),
        Target("the same, translated", 2.0, "x", against("stream-64-anthropic", vllm)),
        Target("added delay per chunk p50, 64 streams", 0.3, "ms", milli("stream-64", "delay_p50")),
        Target("added delay per chunk p99, 64 streams", 3, "ms", milli("stream-64", "delay_p99")),
        Target("added time to first token, 8 streams", 4, "ms", figures.added_ttft_ms("stream-8", OURS)),
        Target("memory, 256 streams", 130, "MiB", figures.peak_rss_mib("stream-256", OURS)),
        Target("start to ready", 1, "s", figures.started(OURS, lambda s: s.ready_s)),
    ]
    return [target for target in found if target.found is not None or target.binding]


def _rate(load: Load) -> float:
    return load.requests / load.seconds


def _median(values: list[float]) -> float | None:
    return median(values) if values else None
