"""A head that two servers could read differently is refused; every other one is read to the letter."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anvil.router.http_head import BadHead, parse


def head(*lines: str, first: str = "POST /v1/messages?beta=true HTTP/1.1") -> bytes:
    return "\r\n".join([first, "Host: x", *lines]).encode("latin-1")


def test_a_usual_head_is_read_with_lower_case_names() -> None:
    parsed = parse(head("Content-Length: 12", "X-API-Key:  secret \t"))
    assert (parsed.method, parsed.target, parsed.query, parsed.version) == ("POST", "/v1/messages", "beta=true", "1.1")
    assert parsed.head.values == {"host": "x", "content-length": "12", "x-api-key": "secret"}
    assert (parsed.length, parsed.keep_alive) == (12, True)


def test_escapes_are_not_decoded_and_the_absolute_form_is_a_path() -> None:
    assert parse(head(first="GET /v1/%6dodels HTTP/1.1")).target == "/v1/%6dodels"
    assert parse(head(first="GET http://x:1/v1/models HTTP/1.1")).target == "/v1/models"
    assert parse(head(first="GET http://x HTTP/1.1")).target == "/"


@pytest.mark.parametrize(
    "lines",
    [
        [" folded: x"],
        ["\tfolded"],
        ["name : x"],
        ["na me: x"],
        [": x"],
        ["no colon"],
        ["a: b\x00c"],
        ["a: b\rc"],
        ["a: b\nc: d"],
        ["a: \x7f"],
        ["näme: x"],
    ],
)
def test_header_lines_that_cannot_be_trusted_are_400(lines: list[str]) -> None:
    with pytest.raises(BadHead) as bad:
        parse(head(*lines))
    assert bad.value.status == 400


@pytest.mark.parametrize(
    "first",
    [
        "GET /v1/models",
        "GET  /v1/models HTTP/1.1",
        "GET /a b HTTP/1.1",
        "GET /v1/models HTTP/2.0",
        "GET /v1/models http/1.1",
        "G\x00T / HTTP/1.1",
        "GET /\x01 HTTP/1.1",
        "PRI * HTTP/2.0",
        "",
    ],
)
def test_request_lines_that_are_not_http_1_are_400(first: str) -> None:
    with pytest.raises(BadHead) as bad:
        parse(head(first=first))
    assert bad.value.status == 400


def test_more_than_a_hundred_headers_are_431_and_a_hundred_are_not() -> None:
    assert len(parse(head(*[f"h{n}: x" for n in range(99)])).head.values) == 100
    with pytest.raises(BadHead) as bad:
        parse(head(*[f"h{n}: x" for n in range(100)]))
    assert bad.value.status == 431


@pytest.mark.parametrize(
    ("lines", "length"),
    [
        ([], 0),
        (["content-length: 007"], 7),
        (["content-length: +5"], None),
        (["content-length: 5", "content-length: 5"], None),
        (["content-length: 5", "transfer-encoding: chunked"], None),
        (["transfer-encoding: chunked"], None),
        (["content-length: ²"], None),
        (["content-length: " + "9" * 5000], None),
    ],
)
def test_a_length_is_known_only_when_it_cannot_be_read_differently(lines: list[str], length: int | None) -> None:
    assert parse(head(*lines)).length == length


@pytest.mark.parametrize(
    ("version", "wish", "keeps"),
    [
        ("1.1", None, True),
        ("1.1", "close", False),
        ("1.1", "Keep-Alive, CLOSE", False),
        ("1.1", "upgrade", True),
        ("1.0", None, False),
        ("1.0", "keep-alive", True),
    ],
)
def test_who_wants_the_connection_kept(version: str, wish: str | None, keeps: bool) -> None:
    lines = [] if wish is None else [f"connection: {wish}"]
    assert parse(head(*lines, first=f"GET / HTTP/{version}")).keep_alive is keeps


def test_a_line_of_more_than_16_kib_is_noted_for_the_door() -> None:
    assert parse(head("a: " + "x" * 16_384)).head.size_error
    assert not parse(head("a: " + "x" * 16_000)).head.size_error


@given(st.binary(max_size=300))
def test_no_bytes_at_all_make_it_fail_otherwise(data: bytes) -> None:
    try:
        parsed = parse(data)
    except BadHead:
        return
    for name, value in parsed.head.values.items():
        assert name == name.lower()
        assert not set(name + value) & set("\r\n\x00")
