"""Traces end to end: the real router sends spans to a collector by OTLP, the last ones when it stops."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.router import tier as t
from tests.router.conftest import Running, config_toml, tier_toml

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
Exported = list[ExportTraceServiceRequest]


@pytest.fixture
def collector() -> Iterator[tuple[str, Exported]]:
    """(endpoint, what was sent to it so far)."""
    got: Exported = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            from gzip import decompress

            body = self.rfile.read(int(self.headers["content-length"]))
            got.append(ExportTraceServiceRequest.FromString(decompress(body) if body[:2] == b"\x1f\x8b" else body))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Silent."""

    server = HTTPServer(("127.0.0.1", 0), Collector)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", got
    server.shutdown()
    thread.join(5)
    server.server_close()


def test_a_request_arrives_at_the_collector_in_its_callers_trace(
    tier: Callable[..., t.Tier], router: Callable[..., Running], collector: tuple[str, Exported]
) -> None:
    endpoint, got = collector
    text = config_toml(tier_toml("fast-local", tier().url), router='observer = "anvil.router.traces:note"')
    running = router(text, {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, "OTEL_SERVICE_NAME": "edge"})
    answer = running.client.post(
        "/v1/chat/completions",
        json={"model": "chat", "messages": [{"role": "user", "content": "hi there"}]},
        headers={"traceparent": f"00-{TRACE}-{PARENT}-01"},
    )
    assert answer.status_code == 200
    decision = running.last()["id"]
    running.stop()  # spans wait up to five seconds for company; the end of the process sends them

    resources = [resource for request in got for resource in request.resource_spans]
    spans = [span for resource in resources for scope in resource.scope_spans for span in scope.spans]
    names = {pair.key: pair.value.string_value for resource in resources for pair in resource.resource.attributes}
    assert names["service.name"] == "edge"
    by_name = {span.name: span for span in spans}
    request, call = by_name["chat chat"], by_name["chat upstream-model"]
    assert request.trace_id.hex() == call.trace_id.hex() == TRACE
    assert call.parent_span_id == request.span_id
    values = {pair.key: pair.value for pair in request.attributes}
    assert values["anvil.decision.id"].string_value == decision
    assert values["gen_ai.usage.input_tokens"].int_value == 5
    assert "hi there" not in str(got)


def test_a_collector_that_is_not_there_costs_no_request_and_no_slow_stop(
    tier: Callable[..., t.Tier], router: Callable[..., Running]
) -> None:
    text = config_toml(tier_toml("fast-local", tier().url), router='observer = "anvil.router.traces:note"')
    running = router(text, {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_BSP_SCHEDULE_DELAY": "50"})
    for _ in range(5):
        body = {"model": "chat", "messages": [{"role": "user", "content": "hi"}]}
        assert running.client.post("/v1/chat/completions", json=body).status_code == 200
    time.sleep(0.2)
    began = time.monotonic()
    running.stop()
    assert time.monotonic() - began < 4
