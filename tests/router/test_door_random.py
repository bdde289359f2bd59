"""Random requests, well and badly framed, one behind the other on one connection: each is answered as 2.2 to 2.8 say.

DOOR_EXAMPLES=N tries N connections nobody has seen before instead of the same few.
"""

from __future__ import annotations

import itertools
import json
import os
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from tests.router import tier as t
from tests.router.conftest import Running, config_toml, start_router, tier_toml

MANY = os.environ.get("DOOR_EXAMPLES")
TOKEN = "door-token"
CAP = 100_000  # max_body_bytes
DRAINED = 65_536  # what is read of a refused request
GOOD = json.dumps({"model": "chat", "messages": [{"role": "user", "content": "hi"}]}).encode()
STREAM = json.dumps({"model": "chat", "stream": True, "messages": [{"role": "user", "content": "hi"}]}).encode()
POSTS = ("/v1/chat/completions", "/v1/messages", "/v1/responses", "/v1/messages/count_tokens", "/v1/route")
GETS = (
    "/v1/models",
    "/v1/models/chat",
    "/v1/decisions",
    "/v1/harness",
    "/metrics",
    "/healthz",
    "/health",
    "/readyz",
    "/",
)
OPEN = ("/healthz", "/readyz", "/")
NOBODY = "/v1/models/nobody"
CREDENTIALS: dict[str, list[str]] = {
    "good": [f"Authorization: bearer   {TOKEN} "],
    "key": [f"X-API-Key:{TOKEN}", "authorization: Basic eA=="],
    "other": [f"x-api-key: {TOKEN}", "Authorization:"],
    "bad": ["authorization: Bearer no"],
    "none": [],
    "twice": [f"x-api-key: {TOKEN}"] * 2,
}


@dataclass(frozen=True)
class Case:
    """One request's bytes, and what must come: a status, and whether the connection ends with it."""

    data: bytes
    status: int
    closes: bool
    bodiless: bool


class Head(NamedTuple):
    """What was drawn of one head. ``bad``: the status its odd lines alone deserve, 0 for none."""

    method: str
    path: str
    version: str
    hosts: int
    tokens: str
    bad: int
    framing: list[str]
    body: bytes


@st.composite
def case(draw: st.DrawFn) -> Case:
    method = draw(st.sampled_from(["GET"] * 3 + ["POST"] * 3 + ["HEAD", "PUT", "OPTIONS", "DELETE", "get", "X-1"]))
    path = draw(st.sampled_from([*POSTS, *GETS, "/nope", "/v1//models", "/%68ealthz", "/V1/models", NOBODY, "*"]))
    version = draw(st.sampled_from(["1.1"] * 8 + ["1.0", "1.0", "2.0", "0.9"]))
    absolute = path if path == "*" else f"http://other:1{path}"
    target = draw(st.sampled_from([path, path, path, f"{path}?limit=3", f"{path}/", absolute]))
    hosts, tokens = draw(st.sampled_from([1] * 14 + [0, 2])), draw(st.sampled_from(list(CREDENTIALS)))
    odd, bad = draw(oddity())
    stays = draw(st.sampled_from(["", "", "", "close", "Keep-Alive", "x, Close", "keep-alive\r\nConnection: close"]))
    body, framing = draw(body_and_framing())
    lines = [f"{method} {target} HTTP/{version}", *["Host: x"] * hosts, *CREDENTIALS[tokens], *odd]
    lines += [f"Connection: {stays}"] if stays else []
    head = Head(method, path, version, hosts, tokens, bad, framing, body)
    status, closes = expected(head)
    closes |= "close" in stays.lower() or (version == "1.0" and "keep" not in stays.lower())
    lead = draw(st.sampled_from([b"", b"", b"", b"\r\n", b"\r\n\r\n"]))
    data = lead + "\r\n".join([*lines, *framing]).encode("latin-1") + b"\r\n\r\n" + body
    unread = bad == 400 or len(odd) > 100 or version in ("2.0", "0.9")  # not even the method counts
    return Case(data, status, closes, method == "HEAD" and not unread)


def expected(head: Head) -> tuple[int, bool]:
    """Status, and whether the connection ends, in the order of 2.8."""
    if head.version not in ("1.1", "1.0") or head.bad:
        return head.bad if head.bad and head.version in ("1.1", "1.0") else 400, True
    if head.hosts == 2 or (not head.hosts and head.version == "1.1"):
        return 400, True
    length = declared(head.framing)
    status = routed(head) or (framed(head.framing, length) if head.method == "POST" else 0)
    if length is None or status == 413:
        return status or 200, True
    taken = head.method == "POST" and not status
    return status or (judged(head.path, head.body) if taken else 200), length > DRAINED and not taken


def routed(head: Head) -> int:
    if head.path not in OPEN and head.tokens in ("bad", "none", "twice"):
        return 401
    if head.path not in (*GETS, *POSTS, NOBODY):
        return 404
    if head.method not in (("POST",) if head.path in POSTS else ("GET", "HEAD")):
        return 405
    return 404 if head.path == NOBODY else 0


def framed(framing: list[str], length: int | None) -> int:
    kinds = [line.split(":")[0].lower() for line in framing]
    if "transfer-encoding" in kinds:
        return 400 if "content-length" in kinds else 411
    if length is None:
        return 413 if len(framing) == 1 and framing[0].split(":")[1].strip().isdigit() else 400
    return 413 if length > CAP else 0


@st.composite
def oddity(draw: st.DrawFn) -> tuple[list[str], int]:
    """Header lines, and the status they alone deserve."""
    found: tuple[list[str], int] = draw(st.sampled_from([
        *[([], 0)] * 12, (["X-Obs: \xe9\xff"], 0), (["X-Empty:"], 0), (["x-tab: a\tb"], 0), (["Expect: 100-continue"], 0),
        (["X: y"] * 5, 0), (["x-long: " + "y" * 16_000], 0), (["x-long: " + "y" * 16_400], 431), (["h: 1"] * 120, 431),
        (["X-Space : y"], 400), (["X-First: y", " folded"], 400), (["x-nul: a\x00b"], 400), (["x-lf: a\nb: c"], 400), (["x-cr: a\rb"], 400),
        (["no colon"], 400), ([": nameless"], 400), (["x(y): z"], 400),
    ]))  # fmt: skip
    return found


@st.composite
def body_and_framing(draw: st.DrawFn) -> tuple[bytes, list[str]]:
    body = draw(
        st.sampled_from(
            [
                b"",
                b"",
                b"{}",
                GOOD,
                GOOD,
                STREAM,
                b"[",
                b"\xff",
                b"GET /v1/models HTTP/1.1\r\n\r\n",
                b" " * 70_000,
                GOOD + b" " * 65_536,
            ]
        )
    )
    size = len(body)
    how = draw(
        st.sampled_from(
            ["length"] * 12
            + ["zeros", "none", "twice", "plus", "list", "hex", "big", "huge", "chunked", "both", "empty"]
        )
    )
    if how == "none":
        return b"", []
    if how in ("big", "huge"):
        return b"", [f"Content-Length: {CAP + 1 if how == 'big' else '9' * 400}"]
    if how == "chunked":
        return b"%x;x=y\r\n%s\r\n0\r\nx: y\r\n\r\n" % (size, body) if body else b"0\r\n\r\n", [
            "Transfer-Encoding: chunked"
        ]
    lines = {
        "length": [f"Content-Length: {size}"], "zeros": [f"content-length:   000{size}\t"], "twice": [f"Content-Length: {size}"] * 2,
        "plus": [f"Content-Length: +{size}"], "list": [f"Content-Length: {size}, {size}"], "hex": ["Content-Length: 0x5"],
        "both": ["Transfer-Encoding: chunked", f"Content-Length: {size}"], "empty": ["Content-Length:"],
    }[how]  # fmt: skip
    return body, lines


def declared(framing: list[str]) -> int | None:
    """The length of the body, None where the framing cannot be trusted."""
    if not framing:
        return 0
    value = framing[0].split(":")[1].strip()
    if len(framing) > 1 or not value.isdigit() or len(value) > 100:
        return None
    return int(value)


def judged(path: str, body: bytes) -> int:
    try:
        value: Any = json.loads(body.decode() or "{}")
    except ValueError:
        return 400
    if not isinstance(value, dict):
        return 400
    if path == "/v1/route":
        return 200
    named = "messages" in value and path != "/v1/responses"
    return 200 if named and path != "/v1/messages" else 400  # a Messages caller must name a cap, Responses reads input


# ---------------------------------------------------------------------------------------------- the door


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    made = t.Tier(t.auto()).start()
    server = f'auth_env = "TEST_TOKEN"\nmax_body_bytes = {CAP}\n'
    text = config_toml(tier_toml("fast-local", made.url), server=server)
    running = start_router(tmp_path_factory.mktemp("door"), text, {"TEST_TOKEN": TOKEN})
    yield running
    running.stop()
    made.stop()


def talk(running: Running, data: bytes, cuts: list[int]) -> bytes:
    """Everything the router says, the data sent in pieces."""
    host, port = running.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=20) as caller:
        caller.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        edges = [0, *sorted(cuts), len(data)]
        try:
            for start, end in itertools.pairwise(edges):
                caller.sendall(data[start:end])
                time.sleep(0.001)
        except (BrokenPipeError, ConnectionResetError):
            pass  # it has closed already; what it said is still to be read
        said = b""
        while piece := caller.recv(1 << 20):
            said += piece
        return said


def answers(said: bytes, cases: list[Case]) -> Iterator[tuple[int, dict[str, str], bytes]]:
    """The answers one by one; fails on bytes that are no answer."""
    at = 0
    while said:
        head, end, said = said.partition(b"\r\n\r\n")
        assert end, head
        first, *lines = head.decode("latin-1").split("\r\n")
        assert first.startswith("HTTP/1.1 "), first
        status = int(first.split(" ")[1])
        if status == 100:
            continue
        headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
        assert len(headers) == len(lines), head
        bodiless = at < len(cases) and cases[at].bodiless
        body = b""
        if "content-length" in headers and not bodiless:
            size = int(headers["content-length"])
            assert len(said) >= size, "cut short"
            body, said = said[:size], said[size:]
        elif headers.get("transfer-encoding") == "chunked":
            body, end, said = said.partition(b"0\r\n\r\n")
            assert end, "no last chunk"
        elif not bodiless:  # HTTP/1.0: to the end of the connection
            body, said = said, b""
        yield status, headers, body
        at += 1


@settings(
    max_examples=int(MANY or 150), deadline=None, derandomize=not MANY, database=None,
    suppress_health_check=list(HealthCheck),
)  # fmt: skip
@given(st.data())
def test_every_request_on_a_connection_gets_its_own_answer(guarded: Running, data: st.DataObject) -> None:
    cases = data.draw(st.lists(case(), min_size=1, max_size=4))
    last = b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
    whole = b"".join(each.data for each in cases) + last
    cuts = data.draw(st.lists(st.integers(0, len(whole)), max_size=4))
    said = talk(guarded, whole, cuts)
    note(f"{said!r}"[:5000])
    told = list(answers(said, cases))
    due: list[tuple[int, bool]] = []
    for each in cases:
        due.append((each.status, each.closes))
        if each.closes:
            break
    else:
        due.append((200, True))
    assert [(status, headers.get("connection") == "close") for status, headers, _ in told] == due
    for (status, headers, body), each in zip(told, cases, strict=False):
        assert headers["server"] == "anvil"
        assert "date" in headers
        assert not (each.bodiless and body)
        if status == 401:
            assert not [name for name in headers if name.startswith("x-anvil") or name == "www-authenticate"]
        if status >= 400 and not each.bodiless:
            assert headers["content-type"] == "application/json"
            assert json.loads(body)["error"].keys() >= {"type", "message"}
            assert TOKEN.encode() not in body


@pytest.mark.parametrize(
    ("head", "statuses"),
    [
        ("GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: keep-alive\r\nConnection: Close", [200]),
        ("GET /healthz HTTP/1.1\r\nhost: x\r\nhost: y", [400]),
        (f"POST /v1/route HTTP/1.0\r\nx-api-key: {TOKEN}\r\nexpect: 100-continue\r\ncontent-length: 2", [200]),
    ],
)
def test_lines_that_come_twice_and_interim_answers(guarded: Running, head: str, statuses: list[int]) -> None:
    """RFC 9110 5.3, 9112 3.2, 9110 10.1.1: lists are joined, a second host is refused, HTTP/1.0 gets no 100."""
    data = head.encode() + b"\r\n\r\n"
    said = talk(guarded, data + (b"{}" if b"POST" in data else data), [len(data)])
    assert [int(part[:3]) for part in said.split(b"HTTP/1.1 ")[1:]] == statuses
