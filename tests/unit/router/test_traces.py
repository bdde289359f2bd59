"""Spans of OpenTelemetry made from decision records."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.semconv._incubating.attributes import gen_ai_attributes
from opentelemetry.trace import SpanKind, StatusCode

from anvil.router.decisions.record import Decision, id_time
from anvil.router.observer import find
from anvil.router.traces import SERVICE, Traces, note, resource
from tests.unit.router.decision_samples import attempt, decision

TRACE = "0af7651916cd43dd8448eb211c80319c"
MS = 1_000_000


def spans(*records: Decision) -> list[ReadableSpan]:
    """In the order in which they ended: attempts before their request."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    traces = Traces(provider)
    for record in records:
        traces(record)
    provider.shutdown()
    return list(exporter.get_finished_spans())


def fallback() -> Decision:
    """The first tier rests, the second answers badly, the third serves."""
    tried = (
        attempt("resting", "resting", verify_reason="resting 5s", model=None),
        attempt(
            "small",
            "fallback",
            failure_class="bad_answer",
            verify_reason="not_truncated",
            wait_ms=10.0,
            duration_ms=200.0,
        ),
        attempt("paid", cached_tokens=64, ttft_ms=50.0, duration_ms=300.0, upstream_status=200, model="big-1"),
    )
    return decision(
        attempts=tried, served_tier="paid", served_model="big-1", fell_back=True, trace_id=TRACE, stream=True,
        received_ms=5.0, ttft_ms=270.0, duration_ms=520.0, outcome="served", status=200,
    )  # fmt: skip


def attributes(span: ReadableSpan) -> Mapping[str, Any]:
    assert span.attributes is not None
    return span.attributes


def test_a_request_is_a_span_with_its_calls_below_it() -> None:
    record = fallback()
    bad, good, request = spans(record)
    assert request.kind is SpanKind.SERVER
    assert (bad.kind, good.kind) == (SpanKind.CLIENT, SpanKind.CLIENT)
    assert [bad.name, good.name, request.name] == ["chat tiny", "chat big-1", "chat chat"]
    for call in (bad, good):
        assert call.parent is not None
        assert call.parent.span_id == request.context.span_id
        assert call.context.trace_id == request.context.trace_id


def test_spans_lie_where_the_record_says() -> None:
    record = fallback()
    bad, good, request = spans(record)
    begin = round(id_time(record.id) * 1000) * MS
    assert (request.start_time, request.end_time) == (begin, begin + 520 * MS)
    assert (bad.start_time, bad.end_time) == (begin + 15 * MS, begin + 215 * MS)
    assert (good.start_time, good.end_time) == (begin + 215 * MS, begin + 515 * MS)


def test_the_callers_trace_goes_on_and_only_its_own() -> None:
    *_, first, _, second = spans(fallback(), decision(1))
    assert f"{spans(fallback())[0].context.trace_id:032x}" == TRACE
    assert f"{first.context.trace_id:032x}" == TRACE
    assert f"{second.context.trace_id:032x}" != TRACE
    assert second.parent is None


def test_values_have_the_names_of_the_conventions() -> None:
    _, good, request = spans(fallback())
    assert dict(attributes(request)) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": SERVICE,
        "gen_ai.request.model": "chat",
        "gen_ai.request.stream": True,
        "gen_ai.response.id": fallback().id,
        "gen_ai.response.model": "big-1",
        "gen_ai.response.time_to_first_chunk": 0.27,
        "gen_ai.usage.input_tokens": 100,
        "gen_ai.usage.output_tokens": 21,
        "gen_ai.usage.cache_read.input_tokens": 64,
        "http.response.status_code": 200,
        "anvil.decision.id": fallback().id,
        "anvil.endpoint": "chat",
        "anvil.outcome": "served",
        "anvil.preset": "chat",
        "anvil.intent.source": "declared-preset",
        "anvil.work_class": "chat",
        "anvil.tier": "paid",
        "anvil.fell_back": True,
        "anvil.cost_usd": fallback().cost_usd,
        **({"anvil.config_hash": fallback().config_hash} if fallback().config_hash else {}),
    }
    assert attributes(good)["gen_ai.provider.name"] == "paid"
    assert attributes(good)["anvil.verdict"] == "allow"
    assert attributes(good)["gen_ai.response.time_to_first_chunk"] == 0.05
    known = {value for name, value in vars(gen_ai_attributes).items() if name.startswith("GEN_AI_")}
    for span in spans(fallback()):
        assert {name for name in attributes(span) if name.startswith("gen_ai.")} <= known


def test_a_failed_call_is_an_error_and_the_request_it_did_not_hurt_is_none() -> None:
    bad, good, request = spans(fallback())
    assert bad.status.status_code is StatusCode.ERROR
    assert attributes(bad)["error.type"] == "bad_answer"
    assert attributes(bad)["anvil.reason"] == "not_truncated"
    assert good.status.status_code is StatusCode.UNSET
    assert request.status.status_code is StatusCode.UNSET
    assert "error.type" not in attributes(request)


def test_a_tier_that_was_passed_over_is_an_event_and_no_call() -> None:
    *_, request = spans(fallback())
    (event,) = request.events
    assert event.name == "tier passed over"
    assert event.attributes == {"anvil.tier": "resting", "anvil.outcome": "resting", "anvil.reason": "resting 5s"}


@pytest.mark.parametrize(
    ("outcome", "status", "error"),
    [("exhausted", 503, True), ("aborted_after_commit", 200, True), ("caller_error", 400, False), ("client_gone", 499, False)],
)  # fmt: skip
def test_only_what_the_server_did_wrong_is_an_error(outcome: Any, status: int, error: bool) -> None:
    *_, request = spans(decision(outcome=outcome, status=status))
    assert (request.status.status_code is StatusCode.ERROR) is error
    assert attributes(request)["error.type"] == outcome


def test_estimates_are_not_passed_off_as_usage() -> None:
    call, _ = spans(decision(attempts=(attempt(usage_source="estimate"),)))
    assert not [name for name in attributes(call) if name.startswith("gen_ai.usage")]


def test_advice_is_no_generation() -> None:
    (span,) = spans(decision(endpoint="route", outcome="advised", attempts=(), served_tier=None))
    assert span.name == "route"
    assert not [name for name in attributes(span) if name.startswith("gen_ai.")]


def test_a_callers_words_are_no_part_of_a_name() -> None:
    *_, request = spans(decision(caller_model="sk-secret-looking", intent=None))
    assert request.name == "chat other"


def test_what_is_not_sampled_is_not_made_and_leaves_no_trace_id_behind() -> None:
    exporter = InMemorySpanExporter()
    provider = TracerProvider(sampler=ALWAYS_OFF, shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    Traces(provider)(fallback())
    assert not exporter.get_finished_spans()


def test_the_operators_name_of_the_service_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    assert resource().attributes["service.name"] == SERVICE
    monkeypatch.setenv("OTEL_SERVICE_NAME", "edge-router")
    assert resource().attributes["service.name"] == "edge-router"


def test_the_router_does_without_the_library_and_says_what_is_missing() -> None:
    hide = "import sys; sys.modules['opentelemetry'] = None\n"
    ask = (
        "import anvil.router.server, anvil.router.runtime\nfrom anvil.router import observer\n"
        "from anvil.router.config import ConfigError\n"
        "try:\n    observer.find('anvil.router.traces:note')\nexcept ConfigError as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", hide + ask], capture_output=True, text=True, check=True)
    assert "pip install 'anvil-serving[otel]'" in done.stdout


def test_the_page_names_what_is_sent_and_how_to_switch_it_on() -> None:
    page = (Path(__file__).parents[3] / "docs" / "observability.md").read_text()
    sent = {name for span in spans(fallback(), decision(status=503, outcome="exhausted")) for name in attributes(span)}
    named = set(re.findall(r"`((?:gen_ai|anvil)\.[a-z_.]+)`", page))
    assert named <= sent
    assert {name for name in sent if name.startswith("gen_ai.usage")} <= named
    (toml,) = re.findall(r"```toml\n(.*?)```", page, re.S)
    assert find(tomllib.loads(toml)["router"]["observer"]) is note
