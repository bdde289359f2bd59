"""Live metrics of the router, Prometheus text and OpenMetrics (contract 17).

The hot path is dictionary and list arithmetic on tuples of label values; ``prometheus_client`` is imported when the
first scrape renders them. Label values come from configuration or fixed vocabularies, never from callers.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from anvil import __version__
from anvil.router.decisions.record import UNCALLED_OUTCOMES

if TYPE_CHECKING:
    from anvil.router.config import RouterConfig
    from anvil.router.decisions.record import Attempt, Decision

Labels = tuple[str | int | None, ...]
Samples = Iterable[tuple[Labels, float]]

# what a defect of ours could add in series before it is cut off; honest configurations stay far below
MAX_SERIES: Final = 5000
# the release whose names and buckets are used; the conventions are still in development
OTEL_SEMCONV: Final = "1.37.0"
OPENMETRICS: Final = "application/openmetrics-text"

REFUSALS: Final = ("auth", "not_found", "method", "framing", "size", "slow_body", "busy", "per_client", "json")
STAGES: Final = ("body", "waiting", "live")
RELOADS: Final = ("applied", "refused")

LATENCY: Final = tuple(0.01 * 2**step for step in range(14))
FIRST_TOKEN: Final = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)
PER_TOKEN: Final = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5)
TOKENS: Final = tuple(4**step for step in range(14))
OVERHEAD: Final = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1)
HOLD: Final = (0.001, 0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
CHECKS: Final = (0.0001, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5)


class Counter:
    """``inc`` from the event loop; other threads go through methods of Metrics that take its lock."""

    __slots__ = ("help", "labels", "name", "values")

    def __init__(self, name: str, help: str, labels: Sequence[str] = ()) -> None:
        self.name = name
        self.help = help
        self.labels = tuple(labels)
        self.values: dict[Labels, float] = {} if labels else {(): 0}

    def inc(self, labels: Labels = (), amount: float = 1) -> None:
        values = self.values
        try:
            values[labels] += amount
        except KeyError:
            if len(values) < MAX_SERIES:
                values[labels] = amount


class Histogram:
    """``observe`` from the event loop. A series is a list: one count per bucket, one for +Inf, the sum."""

    __slots__ = ("bounds", "help", "labels", "name", "values")

    def __init__(self, name: str, help: str, labels: Sequence[str], bounds: Sequence[float]) -> None:
        self.name = name
        self.help = help
        self.labels = tuple(labels)
        self.bounds = list(bounds)
        self.values: dict[Labels, list[float]] = {}

    def observe(self, labels: Labels, value: float) -> None:
        try:
            series = self.values[labels]
        except KeyError:
            if len(self.values) >= MAX_SERIES:
                return
            series = self.values[labels] = [0] * (len(self.bounds) + 2)
        series[bisect_left(self.bounds, value)] += 1
        series[-1] += value


class Gauge:
    """Read at scrape time by a callback. A callback that raises leaves its gauge out of that scrape."""

    __slots__ = ("help", "labels", "name", "read")

    def __init__(self, name: str, help: str, labels: Sequence[str] = ()) -> None:
        self.name = name
        self.help = help
        self.labels = tuple(labels)
        self.read: Callable[[], Samples] = tuple


_GEN_AI: Final = (
    "gen_ai_operation_name",
    "gen_ai_provider_name",
    "gen_ai_request_model",
    "gen_ai_response_model",
    "error_type",
    "anvil_tier",
)
_USAGE: Final = tuple("gen_ai_token_type" if label == "error_type" else label for label in _GEN_AI)


class Metrics:
    """All series of one worker. ``observe`` takes a finished record; the walk and the door count the rest directly
    (``metrics.refused.inc(("auth",))``, ``metrics.commit_hold.observe((tier, verdict), seconds)``)."""

    def __init__(
        self, config: RouterConfig, *, release: str | None, config_hash: str | None, mode: str | None = None
    ) -> None:
        self._lock = threading.Lock()
        self._dialects = {tier.id: tier.dialect for tier in config.tiers}
        self._models = {name.lower(): name for name in (*config.presets, *self._dialects)}
        self.infos = _infos(config.mapping_version, release, config_hash, mode)
        self._define_counters()
        self._define_histograms()
        self._gauges = {name: Gauge(name, help, labels) for name, help, labels in _GAUGES}

    @property
    def counters(self) -> list[Counter]:
        return [value for value in vars(self).values() if isinstance(value, Counter)]

    @property
    def histograms(self) -> list[Histogram]:
        return [value for value in vars(self).values() if isinstance(value, Histogram)]

    @property
    def gauges(self) -> list[Gauge]:
        return list(self._gauges.values())

    def _define_counters(self) -> None:
        self.requests = Counter(
            "anvil_requests_total", "Requests with a decision record.", ("endpoint", "outcome", "work_class", "status")
        )
        self.refused = Counter("anvil_refused_total", "Requests refused before they got a record.", ("reason",))
        self.attempts = Counter(
            "anvil_attempts_total", "Tiers tried or skipped by walks.", ("tier", "outcome", "failure_class")
        )
        self.verify_failures = Counter(
            "anvil_verify_failures_total", "Answers that failed a check.", ("tier", "check", "work_class")
        )
        self.advisories = Counter("anvil_advisories_total", "Remarks that did not fail an answer.", ("tier", "name"))
        self.fallbacks = Counter("anvil_fallbacks_total", "Requests that fell back.", ("work_class",))
        self.stream_aborts = Counter(
            "anvil_stream_aborts_total", "Answers cut after their first byte had left.", ("tier", "failure_class")
        )
        self.lossy_steps = Counter("anvil_lossy_steps_total", "Named losses of translation.", ("name",))
        self.cost = Counter("anvil_cost_usd_total", "Cost of attempts in USD.", ("tier", "kind"))
        self.tokens = Counter("anvil_tokens_total", "Tokens of attempts.", ("tier", "type", "source"))
        self.breaker_opened = Counter("anvil_breaker_opened_total", "Times a breaker opened.", ("tier", "work_class"))
        self.client_gone = Counter("anvil_client_gone_total", "Callers that left early.", ("stage",))
        self.bad_events = Counter(
            "anvil_upstream_bad_events_total", "Stream events that could not be read and were skipped.", ("tier",)
        )
        self.bound_violations = Counter(
            "anvil_token_bound_violations_total", "Real prompt counts above the computed bound.", ("tier",)
        )
        self.decisions_dropped = Counter(
            "anvil_decisions_dropped_total", "Records that did not reach the durable store.", ("reason",)
        )
        self.store_errors = Counter(
            "anvil_decision_store_errors_total", "Failed operations on the durable store.", ("reason",)
        )
        self.reloads = Counter("anvil_config_reloads_total", "Configuration reloads.", ("result",))
        self.price_sync_failures = Counter("anvil_price_sync_failures_total", "Failed price look-ups at load.")
        self.observer_dropped = Counter("anvil_observer_dropped_total", "Records the observer did not get.")

        for counter, words in ((self.refused, REFUSALS), (self.client_gone, STAGES), (self.reloads, RELOADS)):
            for word in words:  # a series that starts at 0 shows its first increase
                counter.inc((word,), 0)

    def _define_histograms(self) -> None:
        self.overhead = Histogram(
            "anvil_overhead_seconds",
            "Request time minus time waiting for tiers and for the caller.",
            ("endpoint",),
            OVERHEAD,
        )
        self.commit_hold = Histogram(
            "anvil_commit_hold_seconds", "First upstream byte to commit.", ("tier", "verdict"), HOLD
        )
        self.verify_seconds = Histogram("anvil_verify_seconds", "One check chain on one answer.", ("chain",), CHECKS)
        self.server_duration = Histogram(
            "gen_ai_server_request_duration_seconds", "Whole request as the caller sees it.", _GEN_AI, LATENCY
        )
        self.server_first_token = Histogram(
            "gen_ai_server_time_to_first_token_seconds", "First content byte to the caller.", _GEN_AI, FIRST_TOKEN
        )
        self.server_per_token = Histogram(
            "gen_ai_server_time_per_output_token_seconds",
            "Per token after the first, live streams.",
            _GEN_AI,
            PER_TOKEN,
        )
        self.client_duration = Histogram(
            "gen_ai_client_operation_duration_seconds", "One attempt at one tier.", _GEN_AI, LATENCY
        )
        self.client_tokens = Histogram(
            "gen_ai_client_token_usage", "Tokens of one attempt as counted by the tier.", _USAGE, TOKENS
        )

    # ------------------------------------------------------------------------------------------- feeding

    def gauge(self, name: str, read: Callable[[], float | Samples]) -> None:
        """Register what a gauge of section 17 shows: a number, or (label values, number) pairs. KeyError: no such."""

        def samples() -> Samples:
            value = read()
            return [((), value)] if isinstance(value, int | float) else value

        self._gauges[name].read = samples

    def decision_dropped(self, reason: str, rows: int = 1) -> None:
        """Thread-safe."""
        with self._lock:
            self.decisions_dropped.inc((reason,), rows)

    def store_failed(self, reason: str) -> None:
        """Thread-safe."""
        with self._lock:
            self.store_errors.inc((reason,))

    def observer_lost(self) -> None:
        """Thread-safe."""
        with self._lock:
            self.observer_dropped.inc()

    def observe(self, decision: Decision) -> None:
        """Everything a record says, once per request."""
        work_class = decision.work_class or ""
        self.requests.inc((decision.endpoint, decision.outcome, work_class, decision.status))
        if decision.fell_back:
            self.fallbacks.inc((work_class,))
        for name in decision.lossy:
            self.lossy_steps.inc((_lossy_label(name),))
        model = self._request_model(decision)
        for attempt in decision.attempts:
            self._observe_attempt(attempt, decision, model, work_class)
        if decision.endpoint in _GENERATION:
            self._observe_answer(decision, model)

    def _observe_attempt(self, attempt: Attempt, decision: Decision, model: str, work_class: str) -> None:
        dialect = self._dialects.get(attempt.tier_id)
        tier = attempt.tier_id if dialect is not None else "other"
        error = attempt.failure_class or ""
        self.attempts.inc((tier, attempt.outcome, error))
        if attempt.outcome in UNCALLED_OUTCOMES:
            return
        upstream = attempt.model or ""
        self.client_duration.observe(("chat", dialect, model, upstream, error, tier), attempt.duration_ms / 1000)
        if attempt.verifier_passed is False:
            self.verify_failures.inc((tier, attempt.verify_reason.partition(" ")[0][:64], work_class))
        for name in attempt.advisories:
            self.advisories.inc((tier, name))
        if attempt.cost_usd:
            self.cost.inc((tier, "served" if attempt.tier_id == decision.served_tier else "wasted"), attempt.cost_usd)
        source = attempt.usage_source
        self.tokens.inc((tier, "input", source), attempt.prompt_tokens)
        self.tokens.inc((tier, "output", source), attempt.completion_tokens)
        if attempt.cached_tokens:
            self.tokens.inc((tier, "cached", source), attempt.cached_tokens)
        if source == "upstream":
            usage = self.client_tokens
            usage.observe(("chat", dialect, model, upstream, "input", tier), attempt.prompt_tokens)
            usage.observe(("chat", dialect, model, upstream, "output", tier), attempt.completion_tokens)

    def _observe_answer(self, decision: Decision, model: str) -> None:
        tier = decision.served_tier or ""
        error = ""
        if decision.outcome != "served" and decision.attempts:
            last = decision.attempts[-1]
            error = last.failure_class or ""
            if decision.outcome == "aborted_after_commit":
                self.stream_aborts.inc((last.tier_id, error))
        labels: Labels = ("chat", self._dialects.get(tier, ""), model, decision.served_model or "", error, tier)
        seconds = decision.duration_ms / 1000
        self.server_duration.observe(labels, seconds)
        if decision.ttft_ms is None:
            return
        first = decision.ttft_ms / 1000
        self.server_first_token.observe(labels, first)
        if not decision.stream:
            return
        served = decision.served_attempt
        if served is not None and served.verdict == "allow" and served.completion_tokens > 1:
            self.server_per_token.observe(labels, (seconds - first) / (served.completion_tokens - 1))

    def _request_model(self, decision: Decision) -> str:
        """A configured preset or tier id as configured, else "other": a caller's string never becomes a label."""
        asked = decision.caller_model
        if not asked:
            return "other"
        known = self._models.get(asked)
        if known is None:
            known = self._models.get(asked.strip().lower().removeprefix("anvil/").removeprefix("anvil:").strip())
        return known or "other"

    def render(self, accept: str = "") -> tuple[str, bytes]:
        """(content type, body) of a scrape. Safe in a thread, where the first call belongs: it imports for 0.1 s."""
        from anvil.router.exposition import render

        return render(self, openmetrics=OPENMETRICS in accept.lower())


_GENERATION: Final = frozenset({"chat", "messages", "responses"})


def _lossy_label(name: str) -> str:
    """The name without a caller's field in it (``unknown.<field>``, ``never_forwarded.<field>``)."""
    return name.partition(".")[0] if name.startswith(("unknown.", "never_forwarded.")) else name


_GAUGES: Final[tuple[tuple[str, str, tuple[str, ...]], ...]] = (
    ("anvil_breaker_state", "0 closed, 1 half-open, 2 open, 3 resting.", ("tier", "work_class")),
    ("anvil_tier_in_flight", "Requests at a tier.", ("tier",)),
    ("anvil_tier_waiting", "Requests waiting for a place at a tier.", ("tier",)),
    ("anvil_resident", "1 for the member that last answered.", ("swap_group", "tier")),
    ("anvil_in_flight", "Requests being served.", ("lane",)),
    ("anvil_slots", "Most requests served at a time.", ("lane",)),
    ("anvil_decision_queue_length", "Records waiting for the durable store.", ()),
    ("anvil_decision_followers", "Readers that follow the decisions.", ()),
    ("anvil_profile_stale_rows", "Profile rows whose fingerprint is not in force.", ()),
    ("anvil_buffer_bytes", "Bytes of held answers.", ()),
)


def _infos(
    mapping_version: str, release: str | None, config_hash: str | None, mode: str | None
) -> list[tuple[str, str, Mapping[str, str]]]:
    """(name without ``_info``, help, labels) of the constant gauges."""
    build = f"Version of the router. gen_ai_* follow OpenTelemetry semantic conventions {OTEL_SEMCONV} (development)."
    config = {
        "release": release or "",
        "config_hash": config_hash or "",
        "mapping_version": mapping_version,
        "mode": mode or "",
    }
    return [
        ("anvil_config", "The configuration in force.", config),
        ("anvil_build", build, {"version": __version__}),
    ]
