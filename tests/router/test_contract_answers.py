"""Contract 2, 15.3 to 15.5, 17 on one running router: exact statuses, headers, shapes and numbers."""

from __future__ import annotations

import json
import re
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from tests.router import tier as t
from tests.router.conftest import Running, config_toml, start_router, tier_toml

Tiers = Callable[..., t.Tier]
Routers = Callable[..., Running]
HI = {"role": "user", "content": "hi"}
MODEL_KEYS = {"id", "object", "name", "description", "owned_by", "created", "context_window"}
TIER_KEYS = {
    "id",
    "privacy",
    "model",
    "bound",
    "model_known",
    "breaker",
    "resting_s",
    "in_flight",
    "waiting",
    "resident",
}
ROUTE_KEYS = {"tier", "model", "provider", "work_class", "reason", "confidence", "session_id"}


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Fast, heavy and a priced cloud tier; two rotating tokens; a custom preset with and one without a class."""
    upstream = t.Tier(t.auto()).start()
    text = config_toml(
        tier_toml("fast-local", upstream.url, context_limit=2000),
        tier_toml("heavy-local", upstream.url, model="heavy-model", context_limit=4000),
        tier_toml(
            "cloud", upstream.url.removesuffix("/v1"), privacy="cloud", dialect="anthropic", context_limit=9000,
            auth_env="PAID", model="paid-model",
        ),
        presets={
            "nightly_Run": ["fast-local"], "chat": ["fast-local", "heavy-local"], "planning": ["cloud"],
            "review": ["heavy-local", "cloud"], "quick-edit": ["fast-local"], "free": ["cloud"],
        },
        server='auth_env = ["ONE", "TWO"]',
        router='metered_cloud = ["planning"]\n[router.preset_classes]\nnightly_Run = "bounded-edit"',
    )  # fmt: skip
    env = {"ONE": "tok-one", "TWO": "tok-two", "PAID": "paid-key"}
    running = start_router(tmp_path_factory.mktemp("house"), text, env)
    running.client.headers["authorization"] = "Bearer tok-one"
    yield running
    running.stop(expect=None)
    upstream.stop()


def ask(router: Running, **body: Any) -> httpx.Response:
    return router.client.post("/v1/chat/completions", json={"model": "chat", "messages": [HI]} | body)


def route(router: Running, **body: Any) -> Any:
    answer = router.client.post("/v1/route", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def raw(router: Running, data: bytes, wait: float = 3.0) -> bytes:
    host, port = router.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=wait) as sock:
        sock.sendall(data)
        parts = []
        try:
            while part := sock.recv(65536):
                parts.append(part)
        except TimeoutError:
            pass
    return b"".join(parts)


def test_every_rotating_token_is_good_and_no_error_names_it(house: Running) -> None:
    for name, value in (("authorization", "bEaReR  tok-two"), ("x-api-key", "tok-two"), ("x-api-key", "tok-one")):
        assert httpx.get(f"{house.url}/v1/models", headers={name: value}, trust_env=False).status_code == 200
    bad = httpx.get(f"{house.url}/v1/models", headers={"authorization": "Bearer nope"}, trust_env=False)
    assert bad.status_code == 401
    assert bad.json() == {"error": {"type": "authentication_error", "message": bad.json()["error"]["message"]}}
    assert "www-authenticate" not in bad.headers
    assert not [name for name in bad.headers if name.startswith("x-anvil") or name in ("request-id", "x-request-id")]
    masked = httpx.get(
        f"{house.url}/v1/models", headers={"authorization": "Basic eA==", "x-api-key": "tok-one"}, trust_env=False
    )
    assert masked.status_code == 200
    assert httpx.get(f"{house.url}/v1/models", headers={"x-api-key": "x" * 4097}, trust_env=False).status_code == 401


def test_only_three_paths_are_open(house: Running) -> None:
    def bare(path: str) -> int:
        return httpx.get(house.url + path, trust_env=False).status_code

    assert [bare(path) for path in ("/healthz", "/readyz", "/", "/healthz/?x=1", "/?page.js")] == [200] * 5
    for path in ("/health", "/metrics", "/v1/models", "/nothing", "/web/page.js", "/api/hello", "/v1/harness"):
        assert bare(path) == 401, path


def test_healthz_has_exactly_its_seven_keys(house: Running) -> None:
    body = house.client.get("/healthz").json()
    assert list(body) == ["status", "dialects", "routes", "release", "config_hash", "mode", "uptime_s"]
    assert body["status"] == "ok"
    assert body["dialects"] == ["anthropic", "openai"]
    assert body["routes"] == [
        "/v1/chat/completions", "/v1/messages", "/v1/messages/count_tokens", "/v1/responses", "/v1/route",
    ]  # fmt: skip
    assert body["release"] is None
    assert body["mode"] is None
    assert re.fullmatch(r"[0-9a-f]{16}", body["config_hash"])
    assert type(body["uptime_s"]) is int
    assert house.client.get("/health").json().keys() == body.keys()


def test_readyz_short_and_long(house: Running) -> None:
    assert httpx.get(f"{house.url}/readyz?probe=1", trust_env=False).json() == {"status": "ready"}
    body = house.client.get("/readyz").json()
    assert body["status"] == "ready"
    assert [row["id"] for row in body["tiers"]] == ["fast-local", "heavy-local", "cloud"]
    assert all(row.keys() == TIER_KEYS for row in body["tiers"])
    assert body["tiers"][0]["breaker"] == "closed"
    probed = house.client.get("/readyz?probe=1").json()["tiers"]
    assert [row.get("reachable") for row in probed] == [True, True, None]


def test_head_answers_like_get_everywhere(house: Running) -> None:
    for path in ("/healthz", "/v1/models", "/metrics", "/readyz", "/", "/v1/harness/codex", "/v1/decisions"):
        got, head = house.client.get(path), house.client.head(path)
        assert head.status_code == got.status_code == 200, path
        assert head.content == b""
        assert head.headers["content-type"] == got.headers["content-type"]
        assert "content-length" in head.headers
    assert house.client.head("/v1/models/none").status_code == 404


def test_models_list_order_names_and_windows(house: Running) -> None:
    body = house.client.get("/v1/models/").json()
    assert body.keys() == {"object", "data"}
    assert [row["id"] for row in body["data"]] == [
        "planning", "quick-edit", "review", "chat", "nightly_Run", "fast-local", "heavy-local", "cloud",
    ]  # fmt: skip
    rows = {row["id"]: row for row in body["data"]}
    assert all(row.keys() == MODEL_KEYS for row in body["data"])
    assert {row["created"] for row in body["data"]} == {1700000000}
    assert {row["owned_by"] for row in body["data"]} == {"anvil-serving"}
    assert rows["quick-edit"]["name"] == "Quick Edit"
    assert rows["nightly_Run"]["name"] == "Nightly Run"
    assert rows["fast-local"]["name"] == "Fast Local"
    assert rows["chat"]["context_window"] == 4000
    assert rows["review"]["context_window"] == 4000
    assert rows["planning"]["context_window"] == 9000
    assert house.client.get("/v1/models?limit=1000").content == house.client.get("/v1/models").content


def test_one_model_by_any_spelling_and_shape(house: Running) -> None:
    for spelled in (
        "chat",
        "CHAT",
        "anvil/chat",
        "Anvil/Chat",
        "anvil:chat",
        "chat/",
        "anvil%2Fchat",
        "%61nvil%3aCHAT",
    ):
        assert house.client.get(f"/v1/models/{spelled}").json()["id"] == "chat", spelled
    shape = {"anthropic-version": "2023-06-01"}
    assert house.client.get("/v1/models/heavy-local", headers=shape).json() == {
        "type": "model", "id": "heavy-local", "display_name": "Heavy Local", "created_at": "2023-11-14T22:13:20Z",
    }  # fmt: skip
    listed = house.client.get("/v1/models?limit=2&after_id=x", headers=shape).json()
    assert (listed["has_more"], listed["first_id"], listed["last_id"]) == (False, "planning", "cloud")
    for unknown in ("free", "gpt-5", "long-context"):
        answer = house.client.get(f"/v1/models/{unknown}", headers=shape)
        assert answer.status_code == 404
        assert answer.json().keys() == {"error"}
        assert answer.json()["error"]["type"] == "not_found"


def test_route_has_seven_keys_and_says_how_sure_it_is(house: Running) -> None:
    empty = route(house)
    assert empty.keys() == ROUTE_KEYS
    assert (empty["work_class"], empty["confidence"]) == ("chat", 0.5)
    assert (empty["tier"], empty["provider"], empty["model"]) == ("local", "heavy-local", "heavy-model")
    assert empty["reason"].startswith("inferred")
    assert re.fullmatch(r"rte_[0-9a-f]{24}", empty["session_id"])
    declared = route(house, model="ANVIL:Chat", messages=[HI])
    assert (declared["provider"], declared["confidence"]) == ("fast-local", 1.0)
    assert declared["reason"].startswith("preset='chat'; quality gate: ")
    custom = route(house, model="anvil/NIGHTLY_run")
    assert custom["reason"].startswith("preset='nightly_Run'")
    assert custom["work_class"] == "bounded-edit"
    sure = route(house, messages=[{"role": "user", "content": "please fix it"}])
    assert (sure["work_class"], sure["confidence"], sure["provider"]) == ("bounded-edit", 0.8, "fast-local")
    paid = route(house, model="planning")
    assert (paid["tier"], paid["provider"], paid["model"]) == ("cloud", "cloud", "paid-model")


def test_route_pins_and_their_redirects(house: Running) -> None:
    pinned = route(house, model="FAST-local", messages=[HI])
    assert (pinned["provider"], pinned["confidence"]) == ("fast-local", 0.9)
    assert pinned["reason"].startswith("pinned; quality gate: ")
    moved = route(house, model="fast-local", messages=[{"role": "user", "content": "design a roadmap"}])
    assert (moved["provider"], moved["confidence"], moved["work_class"]) == ("cloud", 0.9, "planning")
    assert "redirect" in moved["reason"]


def test_route_signals(house: Running) -> None:
    hinted = route(house, model="chat", signals={"work_class": "multi-file-refactor", "urgency": "now"})
    assert (hinted["work_class"], hinted["provider"]) == ("multi-file-refactor", "heavy-local")
    assert house.last()["intent"]["signals"]["urgency"] == "now"
    assert house.last()["outcome"] == "advised"
    for ignored in ("x", 5, ["a"], {"token_estimate": True}, {"token_estimate": -1}, {"token_estimate": 3000.5}):
        assert route(house, model="chat", signals=ignored)["provider"] == "fast-local"
    assert route(house, model="chat", signals={"token_estimate": 3000})["provider"] == "heavy-local"
    record = house.last()  # what a replay needs to come to the same tier
    assert (record["needs"]["context"], record["intent"]["signals"]["token_estimate"]) == (3000, 3000)
    assert route(house, model="x", signals={"work_class": "planning-ish", "token_estimate": 0})["confidence"] == 0.5
    assert route(house, model="x", signals={"work_class": "quick-edit"})["reason"].startswith("preset='quick-edit'")
    too_large = house.client.post("/v1/route", json={"model": "chat", "signals": {"token_estimate": 5000}})
    assert too_large.status_code == 413
    assert too_large.json()["error"]["type"] == "payload_too_large"
    assert too_large.json()["error"]["code"] == "context_length_exceeded"
    none = house.client.post("/v1/route", json={"model": "free"})
    assert none.status_code == 503
    assert none.json()["error"]["type"] == "service_unavailable"
    for bad in (b"[]", b"{", b'{"messages": 5}', b'{"model": 5}', b'"x"'):
        answer = house.client.post("/v1/route", content=bad)
        assert (answer.status_code, answer.json()["error"]["type"]) == (400, "invalid_request"), bad


def test_a_shadowed_tier_is_not_listed_twice(tier: Tiers, router: Routers) -> None:
    text = config_toml(tier_toml("chat", tier().url), tier_toml("Big", tier().url), presets={"Chat": ["Big"]})
    listed = router(text).client.get("/v1/models").json()["data"]
    assert [row["id"] for row in listed] == ["Chat", "Big"]


def test_an_anthropic_system_counts_for_advice(house: Running) -> None:
    told = route(house, system=[{"type": "text", "text": "you review code"}], messages=[HI])
    assert told["work_class"] == "review"
    assert route(house, system="plan")["work_class"] == "planning"


def test_headers_of_served_answers(house: Running) -> None:
    answer = ask(house)
    assert re.fullmatch(r"dec_[0-9a-f]{24}", answer.headers["x-anvil-decision"])
    stamp = int(answer.headers["x-anvil-decision"][4:15], 16)
    assert abs(stamp - time.time() * 1000) < 5000
    assert answer.headers["x-request-id"] == answer.headers["x-anvil-decision"]
    assert answer.headers["x-anvil-tier"] == "fast-local"
    assert answer.headers["x-anvil-model"] == "upstream-model"
    assert answer.headers["x-anvil-work-class"] == "chat"
    assert answer.headers["x-anvil-attempts"] == "1"
    told = house.client.post("/v1/messages", json={"model": "planning", "max_tokens": 5, "messages": [HI]})
    assert told.headers["request-id"] == told.headers["x-anvil-decision"]
    assert "x-request-id" not in told.headers
    assert told.headers["x-anvil-tier"] == "cloud"
    bad = house.client.post("/v1/messages", json={"model": "planning", "messages": [HI]})
    assert bad.status_code == 400
    assert bad.json()["error"] == {"type": "invalid_request_error", "message": "max_tokens: field required"}
    assert bad.json()["type"] == "error"
    assert bad.headers["request-id"].startswith("dec_")


def test_threads_are_refused_with_details_the_sdk_understands(house: Running) -> None:
    body = {"model": "chat", "max_tokens": 5, "messages": [HI], "thread": {"type": "create"}}
    answer = house.client.post("/v1/messages", json=body)
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert error["type"] == "invalid_request_error"
    assert error["details"] == {"error_code": "thread_unsupported_request", "unsupported": ["thread"]}


def test_the_gates_hand_over_with_the_exhaustion_status(house: Running) -> None:
    answer = ask(house, model="free")
    assert answer.status_code == 503
    assert answer.json()["error"]["type"] == "service_unavailable"
    assert "cloud" not in answer.text
    assert "retry-after" not in answer.headers
    assert answer.headers["x-should-retry"] == "false"  # the SDKs would ask for minutes, and nothing would change
    record = house.last()
    assert (record["outcome"], record["dropped"]["metered"], record["attempts"]) == ("gated", ["cloud"], [])
    assert answer.headers["x-anvil-work-class"] == "-"
    assert "x-anvil-attempts" not in answer.headers


def test_an_ambiguous_request_starts_at_the_safer_end(house: Running) -> None:
    ask(house, model="gpt-4o")
    record = house.last()
    assert record["intent"]["source"] == "inferred"
    assert record["intent"]["ambiguous"] is True
    assert record["requested_tiers"] == ["heavy-local", "fast-local"]
    assert record["dropped"]["metered"] == ["cloud"]
    assert record["served_tier"] == "heavy-local"


def test_errors_keep_the_envelope_of_their_path(house: Running) -> None:
    wrong = house.client.get("/v1/messages")
    assert (wrong.status_code, wrong.headers["allow"]) == (405, "POST")
    assert wrong.json()["type"] == "error"
    assert wrong.json()["error"]["type"] == "method_not_allowed"
    for method in ("PUT", "DELETE", "PATCH", "OPTIONS"):
        answer = house.client.request(method, "/v1/models")
        assert answer.status_code == 405
        assert set(answer.headers["allow"].split(", ")) == {"GET", "HEAD"}
    lost = house.client.post("/v1/" + "x" * 300)
    assert lost.status_code == 404
    assert lost.json()["error"] == {"type": "not_found", "message": "no route /v1/" + "x" * 196}
    for path in ("/V1/models", "//v1/models", "/v1//models"):
        assert (
            raw(house, f"GET {path} HTTP/1.1\r\nhost: x\r\nx-api-key: tok-one\r\nconnection: close\r\n\r\n".encode())[
                9:12
            ]
            == b"404"
        ), path


def test_http_1_0_streams_end_with_the_connection(house: Running) -> None:
    body = json.dumps({"model": "chat", "messages": [HI], "stream": True}).encode()
    head = f"POST /v1/chat/completions HTTP/1.0\r\nx-api-key: tok-one\r\ncontent-length: {len(body)}\r\n\r\n".encode()
    data = raw(house, head + body)
    top, _, rest = data.partition(b"\r\n\r\n")
    assert top.startswith((b"HTTP/1.0 200", b"HTTP/1.1 200"))
    assert b"transfer-encoding" not in top.lower()
    assert b"connection: close" in top.lower()
    assert rest.startswith(b"data: ")
    assert rest.endswith(b"data: [DONE]\n\n")
    assert raw(house, b"GET /healthz HTTP/1.0\r\n\r\n")[9:12] == b"200"


def test_connection_close_is_honoured_and_echoed_on_streams(house: Running) -> None:
    body = json.dumps({"model": "chat", "messages": [HI], "stream": True}).encode()
    head = (
        "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nconnection: close\r\nx-api-key: tok-one\r\n"
        f"content-length: {len(body)}\r\n\r\n"
    ).encode()
    started = time.monotonic()
    data = raw(house, head + body)
    assert time.monotonic() - started < 2
    assert b"connection: close" in data.partition(b"\r\n\r\n")[0].lower()


@pytest.mark.parametrize(
    "extra",
    [
        "".join(f"x-h{i}: v\r\n" for i in range(110)),
        f"x-long: {'v' * 17_000}\r\n",
        "".join(f"x-h{i}: {'v' * 900}\r\n" for i in range(80)),
    ],
    ids=["count", "line", "total"],
)
def test_too_many_or_too_large_headers_are_431(house: Running, extra: str) -> None:
    data = raw(house, f"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{extra}\r\n".encode())
    assert data[9:12] == b"431"


def test_a_hundred_headers_are_fine(house: Running) -> None:
    extra = "".join(f"x-h{i}: v\r\n" for i in range(97))
    assert raw(house, f"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{extra}\r\n".encode())[9:12] == b"200"


def test_a_post_without_a_body_counts_as_an_empty_object(house: Running) -> None:
    data = raw(house, b"POST /v1/route HTTP/1.1\r\nhost: x\r\nx-api-key: tok-one\r\nconnection: close\r\n\r\n")
    assert data[9:12] == b"200"
    assert house.client.post("/v1/chat/completions", content=b"").status_code == 400


@pytest.mark.parametrize("digits", [30, 5000])
def test_lengths_with_more_digits_than_a_machine_holds(house: Running, digits: int) -> None:
    head = f"POST /v1/messages HTTP/1.1\r\nhost: x\r\nx-api-key: tok-one\r\ncontent-length: {'9' * digits}\r\n\r\n"
    assert raw(house, head.encode())[9:12] in (b"400", b"413")


def test_count_tokens_is_a_bound_without_a_tokenizer_and_needs_no_cap(house: Running) -> None:
    answer = house.client.post("/v1/messages/count_tokens", json={"model": "chat", "messages": [HI]})
    assert answer.status_code == 200
    assert answer.headers["x-anvil-token-count"] == "bound"
    assert answer.json() == {"input_tokens": 9}
    assert house.last()["outcome"] == "counted"
    long = {"model": "chat", "messages": [{"role": "user", "content": "word " * 9000}]}
    assert house.client.post("/v1/messages/count_tokens", json=long).status_code == 200
    assert house.client.post("/v1/messages/count_tokens", json={"model": "free", "messages": [HI]}).status_code == 200


@pytest.mark.parametrize(
    "query",
    ["limit=0", "limit=1001", "limit=x", "nope=1", "fell_back=yes", "before=x", "since=yesterday", "format=xml",
     "status=abc", "work_class=nope", "endpoint=nope", "outcome=nope", "failure_class=nope", "follow=2", "limit=1&limit=2"],
)  # fmt: skip
def test_unknown_decision_parameters_are_400(house: Running, query: str) -> None:
    answer = house.client.get(f"/v1/decisions?{query}")
    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "invalid_request"


def test_decisions_page_filter_and_look_up(house: Running) -> None:
    ids = [ask(house).headers["x-anvil-decision"] for _ in range(3)]
    ask(house, model="free")
    page = house.client.get("/v1/decisions?limit=2").json()
    assert page.keys() == {"object", "data", "has_more", "next"}
    assert page["object"] == "list"
    assert page["has_more"] is True
    assert page["next"] == page["data"][-1]["id"]
    older = house.client.get(f"/v1/decisions?limit=2&before={page['next']}").json()["data"]
    assert older[0]["id"] == ids[1]
    newer = house.client.get(f"/v1/decisions?after={ids[0]}&tier=fast-local&limit=2").json()["data"]
    assert [row["id"] for row in newer] == ids[1:]
    mixed = house.client.get("/v1/decisions?outcome=gated&outcome=served&status=503").json()["data"]
    assert {row["outcome"] for row in mixed} == {"gated"}
    assert house.client.get("/v1/decisions?caller_model=free&committed=false&fell_back=false").json()["data"]
    assert house.client.get(f"/v1/decisions?since={time.time() + 9:.0f}").json() == {
        "object": "list", "data": [], "has_more": False, "next": None,
    }  # fmt: skip
    assert house.client.get("/v1/decisions?since=2020-01-01T00:00:00Z&until=2030-01-01T00:00:00%2B02:00").json()["data"]
    lines = house.client.get("/v1/decisions?format=jsonl&limit=3").text.splitlines()
    assert len([json.loads(line)["schema"] for line in lines]) == 3
    one = house.client.get(f"/v1/decisions/{ids[0]}").json()
    assert one["id"] == ids[0]
    assert one["schema"] == "anvil-serving.router.decision/v1"
    assert house.client.get("/v1/decisions/dec_000000000000000000000000").status_code == 404
    assert house.client.get("/v1/decisions/nonsense").json()["error"]["type"] == "not_found"


def test_a_record_has_every_field_of_its_schema(house: Running) -> None:
    ask(house)
    record = house.last()
    assert record.keys() == {
        "schema", "id", "ts", "release", "config_hash", "mapping_version", "mode", "endpoint", "dialect", "stream",
        "pinged", "caller_model", "intent", "work_class", "needs", "requested_tiers", "dropped", "gate_note",
        "residency", "attempts", "served_tier", "served_model", "served_tier_privacy", "outcome", "status", "committed",
        "fell_back", "lossy", "total_prompt_tokens", "total_completion_tokens", "cost_usd", "wasted_cost_usd",
        "received_ms", "ttft_ms", "duration_ms", "trace_id",
    }  # fmt: skip
    assert record["attempts"][0].keys() == {
        "tier_id", "model", "verdict", "outcome", "failure_class", "verifier_passed", "verify_reason", "advisories",
        "upstream_status", "prompt_tokens", "completion_tokens", "cached_tokens", "usage_source", "cost_usd", "wait_ms",
        "ttft_ms", "duration_ms",
    }  # fmt: skip
    assert record["dropped"].keys() == {
        "missing", "duplicate", "context", "constraint", "metered", "denied", "unbound",
    }  # fmt: skip
    assert record["needs"].keys() == {"context", "tools", "images", "documents", "audio"}
    assert record["intent"].keys() == {"source", "preset", "ambiguous", "confidence", "signals"}
    assert record["intent"]["signals"].keys() == {
        "token_estimate", "thinking_enabled", "has_tools", "matched_keywords", "urgency",
    }  # fmt: skip
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", record["ts"])


def test_harness_catalogue_and_documents(house: Running) -> None:
    rows = house.client.get("/v1/harness").json()
    assert all(row.keys() == {"name", "format", "path"} for row in rows)
    assert [row["name"] for row in rows] == [
        "openclaw", "claude-code", "codex", "opencode", "pi", "aider", "cline", "continue", "openai", "anthropic",
    ]  # fmt: skip
    for row in rows:
        body = house.client.get(f"/v1/harness/{row['name']}").json()
        assert {"harness", "schema", "router", "env", "files", "models", "notes"} == body.keys()
        assert body["harness"] == row["name"]
        assert body["router"].keys() == {"base_url", "release", "config_hash"}
        assert body["router"]["base_url"] == house.url
        assert [model["id"] for model in body["models"]] == ["nightly_Run", "chat", "planning", "review", "quick-edit"]
        assert all(
            model.keys() == {"id", "name", "context_window", "max_output_tokens", "input"} for model in body["models"]
        )
        assert "tok-one" not in json.dumps(body)
        assert all(file.keys() >= {"path", "format", "merge", "content", "text"} for file in body["files"])
    assert house.client.get("/v1/harness/codex").json()["env"] == {"ONE": "${ONE}"}
    planning = body["models"][2]
    assert (planning["context_window"], planning["max_output_tokens"]) == (9000, 9000)
    assert planning["input"] == ["text", "image"]
    assert body["models"][1]["input"] == ["text"]
    for release, expected in (("2026.9", 200), ("2026.9.6", 200), ("2026.60", 400), ("2026", 400)):
        assert house.client.get(f"/v1/harness/openclaw?version={release}").status_code == expected, release
    other = house.client.get("/v1/harness/codex?base_url=https://gate.example/v1&token_env=MY_TOKEN").json()
    assert other["router"]["base_url"] == "https://gate.example"
    assert other["env"] == {"MY_TOKEN": "${MY_TOKEN}"}
    for bad in (
        "token_env=lower",
        "base_url=ftp://x",
        "base_url=http://[x",
        "version=0.0.0-none",
        "format=yaml",
        "nope=1",
    ):
        answer = house.client.get(f"/v1/harness/codex?{bad}")
        assert (answer.status_code, answer.json()["error"]["type"]) == (400, "invalid_request"), bad
    plain = house.client.get("/v1/harness/codex?format=raw")
    assert plain.text == house.client.get("/v1/harness/codex").json()["files"][0]["text"]
    assert house.client.get("/v1/harness/vim").json()["error"]["type"] == "not_found"


def test_page_is_one_constant_document_under_a_strict_policy(house: Running) -> None:
    page = httpx.get(house.url, trust_env=False)
    assert page.headers["content-security-policy"] == "default-src 'self'"
    assert page.headers["content-type"].startswith("text/html")
    assert "http" not in re.sub(r"http-equiv", "", page.text)
    assert httpx.get(f"{house.url}/?x=1", trust_env=False).text == page.text
    assert house.client.get("/healthz").headers["server"] == "anvil"
