"""OpenTelemetry traces of finished requests: ``observer = "anvil.router.traces:note"`` (needs the extra ``otel``).

One SERVER span per request, one CLIENT span per call of a tier, made from the decision record and so holding metadata
only, never a text. Attribute names are those of the GenAI semantic conventions where they have one, else ``anvil.*``.
Where spans go and how many are kept is said by OpenTelemetry's own variables (``OTEL_EXPORTER_OTLP_ENDPOINT``,
``OTEL_TRACES_SAMPLER``, ``OTEL_SERVICE_NAME``, ...).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

try:
    from opentelemetry import trace
    from opentelemetry.context import Context
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
    from opentelemetry.trace import Span, SpanKind, StatusCode
except ImportError as error:
    raise ImportError(f"{error}: traces need the extra otel, `pip install 'anvil-serving[otel]'`") from None

from anvil import __version__
from anvil.router.decisions.record import UNCALLED_OUTCOMES, Attempt, Decision, id_time

SERVICE: Final = "anvil-router"
GENERATIONS: Final = frozenset({"chat", "messages", "responses"})
_GOOD: Final = frozenset({"served", "advised", "counted"})
_MS: Final = 1_000_000  # nanoseconds

Values = Mapping[str, str | int | float | bool | None]


class CallersTrace(RandomIdGenerator):
    """Ids by chance, but for the trace a caller named in ``traceparent``: its spans are found beside the caller's own.

    The record keeps the trace's id and not the caller's span, so the request's span is a root within that trace.
    """

    def __init__(self) -> None:
        self.named: int | None = None

    def generate_trace_id(self) -> int:
        named, self.named = self.named, None
        return named or super().generate_trace_id()


class Traces:
    """Turns records into spans. Not thread-safe: the observer has one thread."""

    def __init__(self, provider: TracerProvider) -> None:
        self._ids = CallersTrace()
        provider.id_generator = self._ids
        self._tracer = provider.get_tracer("anvil.router", __version__)

    def __call__(self, decision: Decision) -> None:
        """One request with its attempts; a trace that is not sampled costs next to nothing."""
        self._ids.named = int(decision.trace_id, 16) if decision.trace_id else None
        begin = int(id_time(decision.id) * 1000) * _MS
        generates = decision.endpoint in GENERATIONS
        name = f"chat {_preset(decision)}" if generates else decision.endpoint
        span = self._tracer.start_span(name, kind=SpanKind.SERVER, start_time=begin, context=Context())
        if span.is_recording():
            _describe_request(span, decision, generates)
            self._attempts(span, decision, begin)
        span.end(begin + int(decision.duration_ms * _MS))

    def _attempts(self, parent: Span, decision: Decision, begin: int) -> None:
        """One after the other, as the walk went; a tier that was passed over is an event of the request."""
        context = trace.set_span_in_context(parent)
        at = begin + int(decision.received_ms * _MS)
        for attempt in decision.attempts:
            at += int(attempt.wait_ms * _MS)
            if attempt.outcome in UNCALLED_OUTCOMES:
                reasons = {"anvil.tier": attempt.tier_id, "anvil.outcome": attempt.outcome}
                parent.add_event("tier passed over", {**reasons, "anvil.reason": attempt.verify_reason}, at)
                continue
            span = self._tracer.start_span(
                f"chat {attempt.model or attempt.tier_id}", context, SpanKind.CLIENT, start_time=at
            )
            _describe_attempt(span, attempt)
            at += int(attempt.duration_ms * _MS)
            span.end(at)


class Export:
    """The observer: exports by OTLP over HTTP, in batches, from a thread of the SDK.

    That is made by the first record and so in the worker, which leaves without running exit handlers.
    """

    def __init__(self) -> None:
        self._provider: TracerProvider | None = None
        self._traces: Traces | None = None

    def __call__(self, decision: Decision) -> None:
        if self._traces is None:
            self._provider = _exporting()
            self._traces = Traces(self._provider)
        self._traces(decision)

    def close(self) -> None:
        """Send what waits. Records may come again, from the router's next configuration."""
        if self._provider is not None:
            self._provider.force_flush()


note = Export()


def _exporting() -> TracerProvider:
    provider = TracerProvider(resource=resource())
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider


def resource() -> Resource:
    """Who sends: the operator's OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES, else ``anvil-router``."""
    found = Resource.create({"service.version": __version__})
    if str(found.attributes["service.name"]).startswith("unknown_service"):
        found = found.merge(Resource({"service.name": SERVICE}))
    return found


def _preset(decision: Decision) -> str:
    """A configured name; what a caller wrote is an attribute and never part of a span's name."""
    return (decision.intent.preset if decision.intent is not None else None) or "other"


def _describe_request(span: Span, decision: Decision, generates: bool) -> None:
    intent = decision.intent
    _set(
        span,
        {
            "anvil.decision.id": decision.id,
            "anvil.endpoint": decision.endpoint,
            "anvil.outcome": decision.outcome,
            "anvil.preset": intent.preset if intent is not None else None,
            "anvil.intent.source": intent.source if intent is not None else None,
            "anvil.work_class": decision.work_class,
            "anvil.tier": decision.served_tier,
            "anvil.fell_back": decision.fell_back,
            "anvil.cost_usd": decision.cost_usd,
            "anvil.config_hash": decision.config_hash,
            "http.response.status_code": decision.status,
            "error.type": None if decision.outcome in _GOOD else decision.outcome,
        },
    )
    if generates:
        served = decision.served_attempt
        _set(
            span,
            {
                "gen_ai.operation.name": "chat",
                "gen_ai.provider.name": SERVICE,
                "gen_ai.request.model": decision.caller_model,
                "gen_ai.request.stream": decision.stream,
                "gen_ai.response.id": decision.id,
                "gen_ai.response.model": decision.served_model,
                "gen_ai.response.time_to_first_chunk": _seconds(decision.ttft_ms),
                **(_usage(served) if served is not None else {}),
            },
        )
    # a caller's own mistake or leaving is no error of the server, as with HTTP spans
    if decision.status >= 500 or decision.outcome == "aborted_after_commit":
        span.set_status(StatusCode.ERROR, decision.outcome)


def _describe_attempt(span: Span, attempt: Attempt) -> None:
    failed = attempt.outcome != "served"
    _set(
        span,
        {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": attempt.tier_id,
            "gen_ai.request.model": attempt.model,
            "gen_ai.response.time_to_first_chunk": _seconds(attempt.ttft_ms),
            **_usage(attempt),
            "anvil.tier": attempt.tier_id,
            "anvil.verdict": attempt.verdict,
            "anvil.outcome": attempt.outcome,
            "anvil.reason": attempt.verify_reason or None,
            "anvil.cost_usd": attempt.cost_usd,
            "http.response.status_code": attempt.upstream_status,
            "error.type": (attempt.failure_class or attempt.outcome) if failed else None,
        },
    )
    if failed and attempt.outcome != "cancelled":
        span.set_status(StatusCode.ERROR, attempt.verify_reason or attempt.outcome)


def _usage(attempt: Attempt) -> Values:
    """Counts of the tier; the router's own estimates are not passed off as such."""
    if attempt.usage_source != "upstream":
        return {}
    return {
        "gen_ai.usage.input_tokens": attempt.prompt_tokens,
        "gen_ai.usage.output_tokens": attempt.completion_tokens,
        "gen_ai.usage.cache_read.input_tokens": attempt.cached_tokens,
    }


def _seconds(ms: float | None) -> float | None:
    return None if ms is None else ms / 1000


def _set(span: Span, values: Values) -> None:
    span.set_attributes({name: value for name, value in values.items() if value is not None})
