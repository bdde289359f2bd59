"""``anvil decisions`` and ``anvil explain`` against a small HTTP server that answers like the router."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from anvil.cli import decisions as module
from anvil.cli.decisions import decisions, events, explain
from anvil.lab import whole_answer
from anvil.router.decisions.record import (
    Attempt,
    Decision,
    Dropped,
    IntentRecord,
    IntentSignals,
    Needs,
    Residency,
    encode,
)

ID = "dec_1a20c15f56e1d39191c9bc84"
SERVED = Decision(
    id=ID,
    ts="2026-11-24T05:37:39.184Z",
    endpoint="messages",
    dialect="anthropic",
    stream=True,
    caller_model="quick-edit",
    intent=IntentRecord(
        source="declared-preset",
        preset="quick-edit",
        confidence=1.0,
        signals=IntentSignals(token_estimate=120, has_tools=True, matched_keywords=("edit", "fix")),
    ),
    work_class="bounded-edit",
    needs=Needs(context=120, tools=True),
    requested_tiers=("small", "spare", "paid"),
    dropped=Dropped(denied=("heavy",), metered=("gold", "silver")),
    gate_note="on",
    residency=Residency("gpu", "small"),
    attempts=(
        Attempt(
            tier_id="small",
            model="tiny",
            outcome="fallback",
            verdict="allow-with-verify",
            failure_class="bad_answer",
            verifier_passed=False,
            verify_reason="code_parses",
            upstream_status=200,
            prompt_tokens=340,
            completion_tokens=90,
            cached_tokens=300,
            usage_source="upstream",
            wait_ms=20,
            duration_ms=812,
        ),
        Attempt(tier_id="spare", outcome="skipped-circuit", verify_reason="circuit open 2"),
        Attempt(
            tier_id="paid",
            model="frontier-x",
            outcome="served",
            verdict="allow",
            verifier_passed=True,
            verify_reason="passed",
            advisories=("refusal",),
            prompt_tokens=350,
            completion_tokens=100,
            usage_source="estimate",
            cost_usd=0.00255,
            duration_ms=1500,
        ),
    ),
    served_tier="paid",
    served_model="frontier-x",
    served_tier_privacy="cloud",
    outcome="served",
    status=200,
    committed=True,
    fell_back=True,
    lossy=("cache_control", "top_k"),
    total_prompt_tokens=690,
    total_completion_tokens=190,
    cost_usd=0.00255,
    ttft_ms=900,
    duration_ms=2412,
)


class Router:
    def __init__(self) -> None:
        self.answers: dict[str, tuple[int, bytes]] = {}
        self.requests: list[tuple[str, dict[str, str]]] = []
        router = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                router.requests.append((self.path, {k.lower(): v for k, v in self.headers.items()}))
                status, body = router.answers.get(self.path.partition("?")[0], (404, b"{}"))
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.send_header("Content-Type", "text/event-stream" if b"\nid: " in body else "application/json")
                self.send_header("Location", "/elsewhere")
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def list(self, *records: Decision) -> None:
        body = b'{"object":"list","data":[%s],"has_more":false,"next":null}' % b",".join(map(encode, records))
        self.answers["/v1/decisions"] = (200, body)


@pytest.fixture
def router() -> Iterator[Router]:
    router = Router()
    yield router
    router.close()


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ANVIL_ROUTER_TOKEN", "ANVIL_ROUTER_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")


def run(command: click.Command, *arguments: str, **environment: str) -> Result:
    return CliRunner().invoke(command, arguments, env=environment, catch_exceptions=False)


def test_a_table_line(router: Router) -> None:
    router.list(SERVED)
    result = run(decisions, "--url", router.url)
    assert result.exit_code == 0
    assert result.stdout.split() == [
        *(ID, "05:37:39.184", "quick-edit", "bounded-edit", "paid", "served", "200"),
        *("small:fallback,spare:skipped-circuit", "690+190", "2412", "$0.0026"),
    ]
    assert router.requests[0][0] == "/v1/decisions?limit=20"
    assert "authorization" not in router.requests[0][1]


def test_a_table_on_a_terminal(router: Router, monkeypatch: pytest.MonkeyPatch) -> None:
    router.list(SERVED)
    monkeypatch.setattr(
        module, "Console", lambda: __import__("rich.console").console.Console(force_terminal=True, width=250)
    )
    result = run(decisions, "--url", router.url)
    assert "served by" in result.stdout
    assert ID in result.stdout


def test_nothing_matches(router: Router) -> None:
    router.list()
    assert run(decisions, "--url", router.url).stdout == "no decisions match\n"


def test_filters_become_parameters(router: Router) -> None:
    router.list()
    arguments = ["--tier", "a", "--tier", "b", "--not-fell-back", "--since", "2026-01-05T09:00:00+02:00", "-n", "5"]
    assert run(decisions, "--url", router.url + "/v1/", *arguments).exit_code == 0
    path = router.requests[0][0]
    assert sorted(path.partition("?")[2].split("&")) == [
        "fell_back=false",
        "limit=5",
        "since=2026-01-05T09%3A00%3A00%2B02%3A00",
        "tier=a",
        "tier=b",
    ]


def test_json_is_one_document(router: Router) -> None:
    router.list(SERVED)
    document = json.loads(run(decisions, "--url", router.url, "--json").stdout)
    assert document["schema"] == "anvil.decisions/v1"
    assert document["data"][0]["id"] == ID


def test_url_and_token_come_from_the_environment(router: Router) -> None:
    router.list()
    assert run(decisions, ANVIL_ROUTER_URL=router.url, ANVIL_ROUTER_TOKEN=" t0ken ").exit_code == 0
    assert run(decisions, "--token-env", "OTHER", ANVIL_ROUTER_URL=router.url, OTHER="second").exit_code == 0
    assert [headers["authorization"] for _, headers in router.requests] == ["Bearer t0ken", "Bearer second"]


def test_localhost_is_read_as_127_0_0_1(router: Router) -> None:
    router.list()
    result = run(decisions, "--url", router.url.replace("127.0.0.1", "localhost"))
    assert result.exit_code == 0
    assert "127.0.0.1" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--outcome", "fine"], "outcome must be one of"),
        (["--before", "x"], "before must be a decision id"),
        (["--since", "noon"], "since must be an RFC 3339 time"),
        (["--follow", "--before", ID], "do not go with follow"),
        (["--url", "ftp://x"], "not an http or https URL"),
        (["--url", "http://"], "not an http or https URL"),
        (["-n", "0"], "0 is not in the range"),
    ],
)
def test_usage_errors_exit_2(arguments: list[str], problem: str) -> None:
    result = run(decisions, *arguments)
    assert result.exit_code == 2
    assert problem in result.stderr


@pytest.mark.parametrize(
    ("status", "body", "problem"),
    [
        (401, b"{}", "set ANVIL_ROUTER_TOKEN"),
        (503, b'{"error":{"message":"draining"}}', "503: draining"),
        (307, b"", "a redirect (307)"),
        (500, b'{"error":{"message":"\\u001b[2Jgone"}}', "answered 500: [2Jgone"),
        (200, b"<html>", "not a list of decisions"),
    ],
)
def test_refusals_exit_1(router: Router, status: int, body: bytes, problem: str) -> None:
    router.answers["/v1/decisions"] = (status, body)
    result = run(decisions, "--url", router.url)
    assert result.exit_code == 1
    assert problem in result.stderr
    assert len(router.requests) == 1


@pytest.mark.parametrize(("command", "arguments"), [(decisions, []), (decisions, ["-f"]), (explain, [ID])])
def test_nobody_there_exits_3(command: click.Command, arguments: list[str]) -> None:
    result = run(command, *arguments, "--url", "http://127.0.0.1:9")
    assert result.exit_code == 3
    assert "no router answers" in result.stderr


# -------------------------------------------------------------------------------------------------- follow


def test_following_what_is_no_stream_ends(router: Router) -> None:
    router.answers["/v1/decisions"] = (200, b"<html>Welcome</html>")
    result = run(decisions, "-f", "--url", router.url)
    assert (result.exit_code, "is --url an anvil router?" in result.stderr) == (1, True)


def test_an_answer_without_end_is_no_router(router: Router, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(whole_answer, "CAP", 1000)
    router.answers["/v1/decisions"] = (200, b"x" * 2000)
    result = run(decisions, "--url", router.url)
    assert (result.exit_code, "an answer larger than" in result.stderr) == (3, True)


@pytest.mark.parametrize("as_json", [False, True])
def test_follow_resumes_where_it_broke(router: Router, monkeypatch: pytest.MonkeyPatch, as_json: bool) -> None:
    event = b": anvil\n\nevent: decision\nid: %s\ndata: %s\n\n" % (ID.encode(), encode(SERVED))
    router.answers["/v1/decisions"] = (200, event + b'event: gap\ndata: {"missed":3}\n\n')
    pauses: list[float] = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(module.time, "sleep", pause)
    result = run(decisions, "-f", "--url", router.url, *(["--json"] if as_json else []))
    assert result.exit_code == 1  # click's answer to an interrupt; the anvil command makes it 130
    first, second = router.requests
    assert first[0] == "/v1/decisions?follow=1"
    assert "last-event-id" not in first[1]
    assert second[1]["last-event-id"] == ID
    lines = result.stdout.strip().splitlines()
    assert len(lines) == 2
    assert (json.loads(lines[0])["id"] if as_json else lines[0].split()[0]) == ID
    assert 'missed: {"missed":3}' in result.stderr


def test_follow_stops_when_refused(router: Router) -> None:
    router.answers["/v1/decisions"] = (503, b'{"error":{"message":"too many followers"}}')
    result = run(decisions, "-f", "--url", router.url)
    assert result.exit_code == 1
    assert "too many followers" in result.stderr


def test_event_parsing() -> None:
    text = ": hi\n\nevent: a\nid: 1\ndata: x\ndata:y\n\ndata: z\n\nevent: empty\n\nid: 9\ndata: cut off"
    assert list(events(iter(text.split("\n")))) == [("a", "1", "x\ny"), ("message", "", "z")]


# ------------------------------------------------------------------------------------------------- explain


def test_the_story(router: Router) -> None:
    router.answers[f"/v1/decisions/{ID}"] = (200, encode(SERVED))
    result = run(explain, ID, "--url", router.url)
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        f"{ID}  2026-11-24T05:37:39.184Z  messages in anthropic, streamed",
        "Intent: model 'quick-edit' -> preset quick-edit, work class bounded-edit (the caller named this preset;"
        " confidence 1).",
        "Evidence: 120 words; thinking off; tools offered; matched words: edit, fix.",
        "Needs: a window of at least 120 tokens, tools.",
        "Candidates, in order: small, spare, paid.",
        "  dropped gold, silver: costs money, and this work class is not in metered_cloud.",
        "  dropped heavy: its quality verdict for this work class is deny.",
        "Quality gate: on.",
        "Swap group gpu: resident is small.",
        "Attempts:",
        "  1. small (tiny), verdict allow-with-verify: its answer was not good enough; failure class bad_answer;"
        " failed check code_parses; tier answered 200; 340 (300 cached) + 90 tokens counted by the tier,"
        " 812 ms after waiting 20 ms, $0.",
        "  2. spare: not called: its breaker was open; circuit open 2.",
        "  3. paid (frontier-x), verdict allow: its answer was delivered; checks passed; remarks: refusal;"
        " 350 + 100 tokens estimated, 1.5 s, $0.00255.",
        "Outcome: Served by paid (cloud, frontier-x), after falling back. HTTP 200, first content after 900 ms,"
        " 2.4 s in all.",
        "Lost or repaired on the way: cache_control, top_k.",
        "Cost: $0.00255, and $0 spent on attempts not served.",
    ]


def test_a_request_that_was_refused_has_a_story(router: Router) -> None:
    record = Decision(id=ID, ts="t", endpoint="chat", dialect="openai", outcome="invalid_request", status=400)
    router.answers[f"/v1/decisions/{ID}"] = (200, encode(record))
    result = run(explain, ID, "--url", router.url)
    assert "Intent: never resolved." in result.stdout
    assert "Refused: the request was not valid. HTTP 400" in result.stdout


def test_every_outcome_has_words() -> None:
    from typing import get_args

    from anvil.router.decisions import record as schema
    from anvil.router.decisions.story import tell

    for outcome in get_args(schema.Outcome):
        for tried in get_args(schema.AttemptOutcome):
            record = Decision(
                id=ID,
                ts="t",
                endpoint="chat",
                dialect="openai",
                outcome=outcome,
                status=200,
                attempts=(Attempt(tier_id="a", outcome=tried),),
            )
            assert tell(record)


def test_explain_as_json(router: Router) -> None:
    router.answers[f"/v1/decisions/{ID}"] = (200, encode(SERVED))
    document: dict[str, Any] = json.loads(run(explain, ID, "--json", "--url", router.url).stdout)
    assert document["schema"] == "anvil.explain/v1"
    assert document["record"] == json.loads(encode(SERVED))
    assert document["story"][0].startswith(ID)


def test_an_unknown_id_exits_1(router: Router) -> None:
    router.answers[f"/v1/decisions/{ID}"] = (404, b'{"error":{"message":"no such decision"}}')
    result = run(explain, ID, "--url", router.url)
    assert result.exit_code == 1
    assert "no such decision" in result.stderr


def test_what_is_no_id_exits_2() -> None:
    result = run(explain, "req_123")
    assert result.exit_code == 2
    assert "not a decision id" in result.stderr


def test_a_router_that_hangs_is_told_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ANSWER_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        results = [
            CliRunner().invoke(decisions, ["--url", url]),
            CliRunner().invoke(explain, [ID, "--url", url]),
        ]
    assert [result.exit_code for result in results] == [3, 3]
    assert all("no router answers" in result.stderr for result in results)
