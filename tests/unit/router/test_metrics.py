"""Names, labels, values and formats of the live metrics (contract 17)."""

from __future__ import annotations

import timeit
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families

from anvil.router import metrics as module
from anvil.router.config import DecisionsConfig
from anvil.router.decisions import Recorder
from anvil.router.metrics import Metrics
from tests.unit.router.decision_samples import CONFIG, SilentLog, attempt, decision, fell_back, metrics

COUNTERS = {
    "anvil_requests_total": ("endpoint", "outcome", "work_class", "status"),
    "anvil_refused_total": ("reason",),
    "anvil_attempts_total": ("tier", "outcome", "failure_class"),
    "anvil_verify_failures_total": ("tier", "check", "work_class"),
    "anvil_advisories_total": ("tier", "name"),
    "anvil_fallbacks_total": ("work_class",),
    "anvil_stream_aborts_total": ("tier", "failure_class"),
    "anvil_lossy_steps_total": ("name",),
    "anvil_cost_usd_total": ("tier", "kind"),
    "anvil_tokens_total": ("tier", "type", "source"),
    "anvil_breaker_opened_total": ("tier", "work_class"),
    "anvil_client_gone_total": ("stage",),
    "anvil_upstream_bad_events_total": ("tier",),
    "anvil_token_bound_violations_total": ("tier",),
    "anvil_decisions_dropped_total": ("reason",),
    "anvil_decision_store_errors_total": ("reason",),
    "anvil_config_reloads_total": ("result",),
    "anvil_price_sync_failures_total": (),
    "anvil_observer_dropped_total": (),
}
GAUGES = {
    "anvil_breaker_state": ("tier", "work_class"),
    "anvil_tier_in_flight": ("tier",),
    "anvil_tier_waiting": ("tier",),
    "anvil_resident": ("swap_group", "tier"),
    "anvil_in_flight": ("lane",),
    "anvil_slots": ("lane",),
    "anvil_decision_queue_length": (),
    "anvil_decision_followers": (),
    "anvil_profile_stale_rows": (),
    "anvil_buffer_bytes": (),
}
_SERVER = (
    "gen_ai_operation_name",
    "gen_ai_provider_name",
    "gen_ai_request_model",
    "gen_ai_response_model",
    "error_type",
    "anvil_tier",
)
LATENCY = [0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92]
HISTOGRAMS: dict[str, list[float] | None] = {
    "anvil_overhead_seconds": None,
    "anvil_commit_hold_seconds": None,
    "anvil_verify_seconds": None,
    "gen_ai_server_request_duration_seconds": LATENCY,
    "gen_ai_server_time_to_first_token_seconds": [
        *(0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)
    ],
    "gen_ai_server_time_per_output_token_seconds": [
        *(0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5)
    ],
    "gen_ai_client_operation_duration_seconds": LATENCY,
    "gen_ai_client_token_usage": [4.0**step for step in range(14)],
}


def samples(metrics: Metrics, accept: str = "") -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    _, body = metrics.render(accept)
    parse = parse_openmetrics if "openmetrics" in accept else text_string_to_metric_families
    found = {}
    for family in parse(body.decode()):
        for sample in family.samples:
            key = (sample.name, tuple(sorted(sample.labels.items())))
            assert key not in found, f"{key} twice"
            found[key] = sample.value
    return found


def value(metrics: Metrics, name: str, /, **labels: str) -> float | None:
    return samples(metrics).get((name, tuple(sorted(labels.items()))))


def test_every_name_and_label_of_the_contract() -> None:
    made = metrics()
    assert {counter.name: counter.labels for counter in made.counters} == COUNTERS
    assert {gauge.name: gauge.labels for gauge in made.gauges} == GAUGES
    for histogram in made.histograms:
        expected = HISTOGRAMS[histogram.name]
        assert expected is None or histogram.bounds == pytest.approx(expected)
    assert {histogram.name for histogram in made.histograms} == set(HISTOGRAMS)
    by_name = {histogram.name: histogram.labels for histogram in made.histograms}
    assert by_name["anvil_overhead_seconds"] == ("endpoint",)
    assert by_name["anvil_commit_hold_seconds"] == ("tier", "verdict")
    assert by_name["anvil_verify_seconds"] == ("chain",)
    assert by_name["gen_ai_server_request_duration_seconds"] == _SERVER
    assert by_name["gen_ai_client_token_usage"] == (*_SERVER[:4], "gen_ai_token_type", "anvil_tier")


def test_the_two_formats() -> None:
    made = metrics()
    made.observe(fell_back())
    plain_type, plain = made.render("text/plain")
    assert plain_type == "text/plain; version=0.0.4; charset=utf-8"
    assert b"# TYPE anvil_requests_total counter\n" in plain
    assert b"# TYPE anvil_config_info gauge\n" in plain
    open_type, opened = made.render("application/openmetrics-text;version=1.0.0,text/plain;q=0.5")
    assert open_type.startswith("application/openmetrics-text; version=1.0.0")
    assert opened.endswith(b"# EOF\n")
    assert samples(made)
    assert samples(made, "application/openmetrics-text")


def test_constant_gauges_and_process_metrics() -> None:
    found = samples(metrics())
    labels = {name: dict(labels) for name, labels in found}
    assert labels["anvil_config_info"] == {
        "release": "r-1",
        "config_hash": "0123456789abcdef",
        "mapping_version": "2026-08-a",
        "mode": "agentic",
    }
    assert labels["anvil_build_info"].keys() == {"version"}
    assert {"process_cpu_seconds_total", "process_resident_memory_bytes", "process_open_fds"} <= labels.keys()
    assert b"conventions 1." in metrics().render()[1]


def test_fixed_vocabularies_start_at_zero() -> None:
    made = metrics()
    assert value(made, "anvil_refused_total", reason="slow_body") == 0
    assert value(made, "anvil_config_reloads_total", result="refused") == 0
    assert value(made, "anvil_client_gone_total", stage="live") == 0


def test_a_served_request() -> None:
    made = metrics()
    made.observe(decision(stream=True))
    labels = {
        "gen_ai_operation_name": "chat",
        "gen_ai_provider_name": "openai",
        "gen_ai_request_model": "chat",
        "gen_ai_response_model": "tiny",
        "error_type": "",
        "anvil_tier": "small",
    }
    assert value(made, "anvil_requests_total", endpoint="chat", outcome="served", work_class="chat", status="200") == 1
    assert value(made, "anvil_attempts_total", tier="small", outcome="served", failure_class="") == 1
    assert value(made, "anvil_tokens_total", tier="small", type="input", source="upstream") == 100
    assert value(made, "anvil_tokens_total", tier="small", type="output", source="upstream") == 21
    assert value(made, "gen_ai_server_request_duration_seconds_sum", **labels) == 0.25
    assert value(made, "gen_ai_server_request_duration_seconds_bucket", **labels, le="0.16") == 0
    assert value(made, "gen_ai_server_request_duration_seconds_bucket", **labels, le="0.32") == 1
    assert value(made, "gen_ai_server_request_duration_seconds_bucket", **labels, le="+Inf") == 1
    assert value(made, "gen_ai_server_time_to_first_token_seconds_sum", **labels) == 0.05
    assert value(made, "gen_ai_server_time_per_output_token_seconds_sum", **labels) == pytest.approx(0.2 / 20)
    usage = {name: text for name, text in labels.items() if name != "error_type"}
    assert value(made, "gen_ai_client_token_usage_sum", **usage, gen_ai_token_type="input") == 100
    assert value(made, "gen_ai_client_token_usage_sum", **usage, gen_ai_token_type="output") == 21


def test_a_fallback() -> None:
    made = metrics()
    made.observe(fell_back(lossy=("top_k", "unknown.secret_field", "never_forwarded.seed")))
    assert value(made, "anvil_fallbacks_total", work_class="chat") == 1
    assert value(made, "anvil_verify_failures_total", tier="small", check="code_parses", work_class="chat") == 1
    assert value(made, "anvil_attempts_total", tier="small", outcome="fallback", failure_class="bad_answer") == 1
    assert value(made, "anvil_cost_usd_total", tier="paid", kind="served") == 0.25
    assert {labels[0] for labels in made.lossy_steps.values} == {"top_k", "unknown", "never_forwarded"}
    assert not any(labels[5] == "small" and labels[4] == "input" for labels in made.client_tokens.values)


def test_wasted_cost_advisories_and_cut_streams() -> None:
    made = metrics()
    cut = attempt("paid", "error", failure_class="unavailable", cost_usd=0.5, advisories=("refusal",))
    made.observe(decision(outcome="aborted_after_commit", served_tier="paid", attempts=(cut,)))
    made.observe(decision(outcome="exhausted", status=503, served_tier=None, attempts=(cut,), ttft_ms=None))
    assert value(made, "anvil_cost_usd_total", tier="paid", kind="wasted") == 0.5
    assert value(made, "anvil_cost_usd_total", tier="paid", kind="served") == 0.5
    assert value(made, "anvil_advisories_total", tier="paid", name="refusal") == 2
    assert value(made, "anvil_stream_aborts_total", tier="paid", failure_class="unavailable") == 1
    assert made.server_duration.values.keys() >= {("chat", "", "chat", "tiny", "unavailable", "")}


def test_what_was_never_called_has_no_duration() -> None:
    made = metrics()
    made.observe(decision(attempts=(attempt("small", "skipped-circuit"), attempt("paid"))))
    assert {labels[5] for labels in made.client_duration.values} == {"paid"}


def test_advice_and_counting_are_no_generation() -> None:
    made = metrics()
    made.observe(decision(endpoint="route", outcome="advised", attempts=()))
    made.observe(decision(endpoint="count_tokens", outcome="counted", attempts=()))
    assert not made.server_duration.values
    assert len(made.requests.values) == 2


@pytest.mark.parametrize(
    ("asked", "label"),
    [
        ("chat", "chat"),
        ("anvil/Quick-Edit", "quick-edit"),
        ("anvil:_small", "other"),
        ("SMALL", "small"),
        ("gpt-4o", "other"),
        (None, "other"),
        ("sk-canary", "other"),
    ],
)
def test_an_unknown_model_is_other(asked: str | None, label: str) -> None:
    made = metrics()
    made.observe(decision(caller_model=asked))
    assert {labels[2] for labels in made.server_duration.values} == {label}


@given(st.text(max_size=40), st.text(max_size=40))
def test_caller_strings_never_become_labels(model: str, field: str) -> None:
    made = metrics()
    made.observe(decision(caller_model="canary" + model, lossy=("unknown.canary" + field,)))
    assert b"canary" not in made.render()[1]


@given(st.text(max_size=30))
def test_label_values_are_escaped(text: str) -> None:
    made = metrics()
    made.refused.inc((text,))
    if "\r" not in text:  # the reference parser splits lines there, the format does not
        assert value(made, "anvil_refused_total", reason=text) == 1


def test_gauges_are_read_at_scrape_and_a_broken_one_is_left_out() -> None:
    made = metrics()
    made.gauge("anvil_buffer_bytes", lambda: 7)
    made.gauge("anvil_breaker_state", lambda: [(("small", ""), 2), (("small", "chat"), 0)])
    made.gauge("anvil_slots", lambda: 1 // 0)
    found = samples(made)
    assert found[("anvil_buffer_bytes", ())] == 7
    assert found[("anvil_breaker_state", (("tier", "small"), ("work_class", "")))] == 2
    assert not any(name == "anvil_slots" for name, _ in found)
    with pytest.raises(KeyError):
        made.gauge("anvil_invented", lambda: 1)


def test_the_recorder_registers_its_gauges() -> None:
    made = metrics()
    Recorder(DecisionsConfig(), made, SilentLog())
    found = samples(made)
    assert found[("anvil_decision_queue_length", ())] == 0
    assert found[("anvil_decision_followers", ())] == 0


def test_series_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_SERIES", 3)
    made = metrics()
    for number in range(10):
        made.fallbacks.inc((str(number),))
        made.overhead.observe((str(number),), 1)
    assert len(made.fallbacks.values) == len(made.overhead.values) == 3


@given(st.lists(st.floats(0, 200), max_size=30))
def test_histograms_are_cumulative(values: list[float]) -> None:
    made = metrics()
    for number in values:
        made.verify_seconds.observe(("full",), number)
    found: dict[Any, float] = samples(made)
    for bound in made.verify_seconds.bounds:
        count = found.get(("anvil_verify_seconds_bucket", (("chain", "full"), ("le", str(float(bound))))), 0)
        assert count == sum(number <= bound for number in values)


def test_counting_is_cheap() -> None:
    made = metrics()
    labels = ("chat", "served", "chat", 200)

    def best(call: Any) -> float:
        return min(timeit.repeat(call, number=2000, repeat=20)) / 2000

    # 0.15, 0.3 and 5 us on a quiet machine; the bounds only catch a change of kind
    assert best(lambda: made.requests.inc(labels)) < 1e-6
    assert best(lambda: made.overhead.observe(("chat",), 0.003)) < 2e-6
    record = decision()
    assert best(lambda: made.observe(record)) < 20e-6


def test_prometheus_client_is_not_imported_before_the_first_scrape() -> None:
    import subprocess
    import sys

    code = "import sys, anvil.router.metrics, anvil.router.decisions; print('prometheus_client' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"


def test_configured_names_only() -> None:
    made = metrics()
    made.observe(decision(attempts=(attempt("ghost", "unknown-tier"),), served_tier=None))
    assert list(made.attempts.values) == [("other", "unknown-tier", "")]
    assert {tier.id for tier in CONFIG.tiers} == {"small", "paid"}
