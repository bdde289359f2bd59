"""What the door does before a body is read: framing, credentials, limits, methods (contract 2)."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from tests.router import tier as t
from tests.router.conftest import Running, config_toml, start_router, tier_toml

TOKEN = "tok-" + "x" * 40
BODY = json.dumps({"model": "chat", "messages": [{"role": "user", "content": "hi"}]}).encode()


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One router with a token, in front of a tier that answers; it serves every test of this file."""
    made = t.Tier(t.auto()).start()
    text = config_toml(
        tier_toml("fast-local", made.url),
        server='auth_env = ["TEST_TOKEN", "TEST_TOKEN_NEXT"]\nbody_deadline_s = 14\nmax_body_bytes = 100000',
    )
    folder: Path = tmp_path_factory.mktemp("door")
    running = start_router(folder, text, {"TEST_TOKEN": TOKEN, "TEST_TOKEN_NEXT": "next-" + "y" * 40})
    yield running
    running.stop()
    made.stop()


def raw(router: Running, data: bytes, *, wait: float = 3.0) -> bytes:
    """Send bytes, read until the peer closes or goes quiet."""
    port = int(router.url.rsplit(":", 1)[1])
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(data)
        connection.settimeout(wait)
        out = b""
        try:
            while part := connection.recv(65536):
                out += part
                if b"\r\n\r\n" in out and wait < 1:
                    connection.settimeout(0.3)
        except TimeoutError:
            pass
        return out


def request(
    method: str = "POST",
    path: str = "/v1/chat/completions",
    *headers: str,
    body: bytes = BODY,
    length: str | None = None,
) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "host: x", f"authorization: Bearer {TOKEN}", *headers]
    if length is None and method == "POST":
        length = str(len(body))
    if length is not None:
        lines.append(f"content-length: {length}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def status(data: bytes) -> int:
    return int(data.split(b" ", 2)[1])


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": f"Bearer {TOKEN}"},
        {"authorization": f"bearer   {TOKEN}"},
        {"x-api-key": TOKEN},
        {"x-api-key": "next-" + "y" * 40},
        {"authorization": "Basic abc", "x-api-key": TOKEN},
        {"authorization": "Bearer wrong", "x-api-key": TOKEN},
    ],
)
def test_any_valid_credential_lets_a_request_in(guarded: Running, headers: dict[str, str]) -> None:
    answer = httpx.post(f"{guarded.url}/v1/chat/completions", content=BODY, headers=headers)
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": "Bearer wrong"},
        {"authorization": TOKEN},
        {"authorization": ""},
        {"x-api-key": "a" * 5000},
        {"x-api-key": TOKEN[:-1]},
    ],
)
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages", "/nothing", "/metrics", "/health"])
def test_without_a_token_every_path_is_401_known_or_not(guarded: Running, headers: dict[str, str], path: str) -> None:
    answer = httpx.post(guarded.url + path, content=BODY, headers=headers)
    assert answer.status_code == 401
    assert answer.json()["error"]["type"] == "authentication_error"
    assert "www-authenticate" not in answer.headers
    assert not any(name.startswith("x-anvil") for name in answer.headers)


def test_the_same_credential_header_twice_is_401(guarded: Running) -> None:
    assert status(raw(guarded, request("POST", "/v1/chat/completions", f"authorization: Bearer {TOKEN}"))) == 401


def test_health_is_open_and_readyz_keeps_its_tier_list_for_token_holders(guarded: Running) -> None:
    assert httpx.get(f"{guarded.url}/healthz").json()["status"] == "ok"
    assert httpx.get(f"{guarded.url}/readyz").json() == {"status": "ready"}
    full = httpx.get(f"{guarded.url}/readyz", headers={"x-api-key": TOKEN}).json()
    assert full["tiers"][0]["id"] == "fast-local"


@pytest.mark.parametrize(
    ("method", "path", "expected", "allow"),
    [
        ("GET", "/v1/chat/completions", 405, "POST"),
        ("DELETE", "/v1/messages", 405, "POST"),
        ("POST", "/v1/models", 405, "GET, HEAD"),
        ("GET", "/v1/nothing", 404, None),
        ("GET", "//v1/models", 404, None),
        ("GET", "/V1/models", 404, None),
        ("GET", "/v1/models?limit=1000", 200, None),
        ("GET", "/v1/models/", 200, None),
        ("GET", "/v1/models/CHAT", 200, None),
        ("GET", "/v1/models/anvil/chat", 200, None),
        ("GET", "/v1/models/nope", 404, None),
    ],
)
def test_paths_and_methods(guarded: Running, method: str, path: str, expected: int, allow: str | None) -> None:
    answer = httpx.request(method, guarded.url + path, headers={"x-api-key": TOKEN})
    assert answer.status_code == expected
    assert answer.headers.get("allow") == allow


def test_escaped_paths_are_other_paths(guarded: Running) -> None:
    for path in ("/v1/%6dodels", "/%68ealthz", "/healthz%2f..%2fv1%2fmodels"):
        assert status(raw(guarded, f"GET {path} HTTP/1.1\r\nhost: x\r\n\r\n".encode(), wait=0.5)) == 401
        assert status(raw(guarded, request("GET", path, body=b""), wait=0.5)) == 404


def test_head_answers_like_get_without_a_body(guarded: Running) -> None:
    for path in ("/healthz", "/api/hello"):
        answer = httpx.head(guarded.url + path, headers={"x-api-key": TOKEN})
        assert answer.status_code == 200
        assert answer.content == b""


def test_models_speak_the_shape_of_the_caller(guarded: Running) -> None:
    headers = {"x-api-key": TOKEN}
    assert httpx.get(f"{guarded.url}/v1/models", headers=headers).json()["object"] == "list"
    other = httpx.get(f"{guarded.url}/v1/models", headers=headers | {"anthropic-version": "2023-06-01"}).json()
    assert other["data"][0]["type"] == "model"
    assert other["has_more"] is False


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (request(length="+5"), 400),
        (request(length="5x"), 400),
        (request(length="9" * 5000), 413),
        (request(length="100001"), 413),
        (
            b"POST /v1/chat/completions HTTP/1.1\r\nx-api-key: " + TOKEN.encode() + b"\r\ncontent-length: 2\r\n\r\n{}",
            400,
        ),
    ],
)
def test_framing_that_cannot_be_trusted_is_refused_and_closed(guarded: Running, data: bytes, expected: int) -> None:
    answer = raw(guarded, data)
    assert status(answer) == expected
    assert b"connection: close" in answer
    assert answer.count(b"HTTP/1.1") == 1


def test_transfer_encoding_alone_is_411(guarded: Running) -> None:
    head = f"POST /v1/messages HTTP/1.1\r\nhost: x\r\nx-api-key: {TOKEN}\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"
    answer = raw(guarded, head.encode())
    assert status(answer) == 411
    assert b"invalid_request" in answer
    assert b'"type":"error"' in answer


def test_smuggled_second_requests_are_never_interpreted(guarded: Running) -> None:
    hidden = b"GET /v1/models HTTP/1.1\r\nhost: x\r\n\r\n"
    both = (
        f"POST /v1/messages HTTP/1.1\r\nhost: x\r\nx-api-key: {TOKEN}\r\ncontent-length: {len(hidden)}\r\n"
        "transfer-encoding: chunked\r\n\r\n0\r\n\r\n"
    ).encode() + hidden
    answer = raw(guarded, both)
    assert status(answer) == 400
    assert answer.count(b"HTTP/1.1 ") == 1


def test_a_refused_request_leaves_the_connection_usable_for_the_pipelined_next(guarded: Running) -> None:
    answer = raw(guarded, request("POST", "/nothing") + request(), wait=1.5)
    assert answer.startswith(b"HTTP/1.1 404")
    assert b"HTTP/1.1 200" in answer


def test_a_token_beyond_ascii_is_compared_by_its_utf8_bytes(tmp_path: Path) -> None:
    token = "töken-voilà"  # its last byte, A0, is a blank in latin-1
    made = t.Tier(t.auto()).start()
    text = config_toml(tier_toml("fast-local", made.url), server='auth_env = "TEST_TOKEN"')
    running = start_router(tmp_path, text, {"TEST_TOKEN": f" {token} "})
    try:
        for sent, expected in ((token, 200), (f" {token} ", 200), ("töken-voilÃ", 401), ("token-voila", 401)):
            for header in (f"authorization: Bearer {sent}", f"x-api-key: {sent}"):
                data = f"GET /v1/models HTTP/1.1\r\nhost: x\r\n{header}\r\n\r\n".encode()
                assert status(raw(running, data, wait=0.5)) == expected, header
    finally:
        running.stop()
        made.stop()


def test_a_head_of_a_stream_of_decisions_has_no_body_and_an_end(guarded: Running) -> None:
    head = request("HEAD", "/v1/decisions?follow=1", body=b"")
    answer = raw(guarded, head + request("GET", "/healthz", body=b""), wait=0.5)
    first, second = answer.split(b"\r\n\r\n", 1)
    assert b"content-type: text/event-stream" in first
    assert second.startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize(("method", "path", "expected"), [("POST", "/nope", 404), ("GET", "/healthz", 200)])
def test_a_large_body_nobody_takes_ends_the_connection_however_fast_it_came(
    guarded: Running, method: str, path: str, expected: int
) -> None:
    for size, kept in ((65_536, True), (65_537, False)):
        first = request(method, path, body=b"x" * size, length=str(size))
        answer = raw(guarded, first + request("GET", "/healthz", body=b""), wait=0.5)
        assert status(answer) == expected
        assert answer.count(b"HTTP/1.1 ") == (2 if kept else 1)
        assert (b"connection: close" in answer) is not kept


def test_a_413_reaches_the_client_that_is_still_sending(guarded: Running) -> None:
    answer = httpx.post(
        f"{guarded.url}/v1/chat/completions", content=b"x" * 3_000_000, headers={"x-api-key": TOKEN}, timeout=5
    )
    assert answer.status_code == 413
    assert answer.json()["error"]["type"] == "payload_too_large"


@pytest.mark.parametrize(
    "body", [b"[", b"nonsense", b"[1]", b'"x"', b'{"a":NaN}', b"\xff\xfe", b"[" * 1_000_000, b'{"a":"\\ud800"}']
)
@pytest.mark.parametrize(
    "path", ["/v1/chat/completions", "/v1/messages", "/v1/responses", "/v1/messages/count_tokens", "/v1/route"]
)
def test_bad_json_is_400_in_the_dialects_envelope(
    tier: Callable[..., t.Tier], guarded: Running, path: str, body: bytes
) -> None:
    if len(body) > 100_000:
        body = body[:99_000]
    answer = httpx.post(guarded.url + path, content=body, headers={"x-api-key": TOKEN})
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["type"].startswith("invalid_request")
    assert ("type" in answer.json()) == path.startswith("/v1/messages")


def test_framing_is_told_only_to_who_may_ask(guarded: Running) -> None:
    two = b"POST /v1/messages HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ncontent-length: 1\r\n\r\n"
    assert status(raw(guarded, two)) == 401


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("a : b", 400),
        (" folded", 400),
        ("a: b\x00", 400),
        ("a: " + "x" * 17_000, 431),
        ("\r\n".join(f"h{n}: 1" for n in range(100)), 431),
        ("a: " + "x" * 70_000, 431),
    ],
)
def test_heads_that_are_refused_close_the_connection(guarded: Running, line: str, expected: int) -> None:
    answer = raw(guarded, request("GET", "/v1/models", line, body=b""))
    assert status(answer) == expected
    assert b"connection: close" in answer
    assert json.loads(answer.split(b"\r\n\r\n", 1)[1])["error"]["type"] == "invalid_request"


def test_a_caller_that_waits_for_100_continue_gets_it(guarded: Running) -> None:
    port = int(guarded.url.rsplit(":", 1)[1])
    with socket.create_connection(("127.0.0.1", port)) as caller:
        caller.settimeout(5)
        caller.sendall(request("POST", "/v1/chat/completions", "expect: 100-continue", body=b"", length=str(len(BODY))))
        assert caller.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        caller.sendall(BODY)
        assert status(caller.recv(65536)) == 200


def test_http_1_0_streams_without_chunks_and_ends_with_the_connection(guarded: Running) -> None:
    body = json.dumps({"model": "chat", "stream": True, "messages": [{"role": "user", "content": "hi"}]}).encode()
    answer = raw(guarded, request(body=body).replace(b"HTTP/1.1", b"HTTP/1.0", 1))
    head, _, events = answer.partition(b"\r\n\r\n")
    assert status(head) == 200
    assert b"transfer-encoding" not in head
    assert b"connection: close" in head
    assert events.startswith(b"data: ")
    assert events.endswith(b"data: [DONE]\n\n")


def test_pipelined_requests_are_answered_in_order(guarded: Running) -> None:
    answer = raw(
        guarded, request() + request("GET", "/healthz", body=b"") + request("GET", "/nothing", body=b""), wait=1
    )
    seen = [int(part[:3]) for part in answer.split(b"HTTP/1.1 ")[1:]]
    assert seen == [200, 200, 404]


def test_a_get_with_a_body_is_answered_and_its_body_is_never_a_request(guarded: Running) -> None:
    hidden = b"GET /nothing HTTP/1.1\r\nhost: x\r\n\r\n"
    first = request("GET", "/healthz", body=hidden, length=str(len(hidden)))
    answer = raw(guarded, first + request("GET", "/healthz", body=b""), wait=1)
    assert [int(part[:3]) for part in answer.split(b"HTTP/1.1 ")[1:]] == [200, 200]


def test_a_kept_connection_survives_bytes_that_come_one_by_one(guarded: Running) -> None:
    port = int(guarded.url.rsplit(":", 1)[1])
    with socket.create_connection(("127.0.0.1", port)) as caller:
        caller.settimeout(5)
        for _ in range(2):
            for byte in request():
                caller.sendall(bytes([byte]))
            assert status(caller.recv(65536)) == 200


def test_a_slow_body_is_408_and_a_busy_router_answers_health_meanwhile(guarded: Running) -> None:
    port = int(guarded.url.rsplit(":", 1)[1])
    with socket.create_connection(("127.0.0.1", port)) as caller:
        caller.sendall(request(body=b"", length="50000"))
        started = time.monotonic()
        stop = threading.Event()

        def drip() -> None:
            while not stop.wait(0.2):
                try:
                    caller.sendall(b" ")
                except OSError:
                    return

        thread = threading.Thread(target=drip)
        thread.start()
        assert httpx.get(f"{guarded.url}/healthz").status_code == 200
        caller.settimeout(20)
        answer = caller.recv(65536)
        stop.set()
        thread.join()
    assert status(answer) == 408
    assert 9 < time.monotonic() - started < 14


def test_unauthenticated_senders_hold_no_slot(guarded: Running) -> None:
    port = int(guarded.url.rsplit(":", 1)[1])
    held = []
    for _ in range(70):
        connection = socket.create_connection(("127.0.0.1", port))
        connection.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 50000\r\n\r\n{")
        held.append(connection)
    answer = httpx.post(f"{guarded.url}/v1/chat/completions", content=BODY, headers={"x-api-key": TOKEN})
    assert answer.status_code == 200
    for connection in held:
        connection.close()
