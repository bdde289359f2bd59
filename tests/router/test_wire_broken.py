"""Whatever nonsense a tier sends, a caller gets a whole answer, a prefix with one error event, or its own mistake."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, note
from hypothesis import strategies as st

from tests.fuzz.bodies import ODD, changed
from tests.router import tier as t
from tests.router.faults import BACKUP, DIALECTS, PATHS
from tests.router.test_wire import quick
from tests.router.wire import callers, meaning, sdk, tiers
from tests.router.wire.house import House, Told, request
from tests.router.wire.house import house as open_house

# a tier's own words, which only its 400 or 422 may tell a caller, and what in them nobody may read
SECRET = "tier-secret-7f3a"
NAMES = "upstream-model at 127.0.0.1 with sk-abcdefghij0123456789ABCDEFGHIJ"


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with open_house(tmp_path_factory.mktemp("broken")) as made:
        yield made


@st.composite
def broken_json(draw: st.DrawFn, text: bytes) -> bytes:
    """A JSON text with some of its parts exchanged, and sometimes some of its bytes."""
    try:
        value: Any = json.loads(text)
    except ValueError:
        return text
    for _ in range(draw(st.integers(0, 2))):
        value = draw(changed(value))
    return json.dumps(value, ensure_ascii=draw(st.booleans())).encode("utf-8", "surrogatepass")


@st.composite
def broken_bytes(draw: st.DrawFn, data: bytes) -> bytes:
    for _ in range(draw(st.sampled_from((0, 0, 1, 2)))):
        at = draw(st.integers(0, len(data)))
        junk = st.sampled_from([b"", b"\n", b"\n\n", b"\r", b"\x00", b"\xff", b"{", b'"', b"[DONE]", b"data: ", b"0"])
        data = data[:at] + draw(junk) + data[at + draw(st.integers(0, 3)) :]
    return data


ERRORS = st.one_of(
    st.builds(lambda word: {"error": {"type": word, "message": f"{SECRET} {word} {NAMES}"}}, st.sampled_from(
        ["overloaded_error", "rate_limit_error", "api_error", "invalid_request_error", "", "context_length_exceeded"])),
    st.builds(lambda value: {"type": "error", "error": value}, ODD),
    st.builds(lambda value: {"error": value}, ODD),
)  # fmt: skip


@st.composite
def events(draw: st.DrawFn, dialect: str) -> list[bytes]:
    """A stream's events, some broken, lost, doubled, out of order, or followed by an error."""
    said = draw(meaning.said(dialect))
    found = draw(tiers.openai_stream(said) if dialect == "openai" else tiers.anthropic_stream(said))
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(found) - 1)) if found else 0
        how = draw(st.sampled_from(("break", "break", "lose", "double", "swap", "error", "end")))
        if how == "error":
            found.insert(at, json.dumps(draw(ERRORS)).encode())
        elif not found:
            continue
        elif how == "break":
            found[at] = draw(broken_json(found[at]))
        elif how == "lose":
            del found[at]
        elif how == "double":
            found.insert(at, found[at])
        elif how == "swap":
            found.append(found.pop(at))
        else:
            del found[at:]
    return found


STATUSES = st.sampled_from([200] * 12 + [201, 204, 206, 300, 301, 307, 304, 400, 401, 403, 404, 408, 409, 413, 418, 421,
                                        422, 429, 431, 451, 500, 502, 503, 504, 529, 599, 999])  # fmt: skip
HEADERS = st.sampled_from(["", "", "", "", "content-encoding: gzip\r\n", "content-encoding: br, zstd\r\n",
                           "content-encoding: identity\r\n", "retry-after: 0\r\n", "retry-after: soon\r\n",
                           "location: http://127.0.0.1:1/\r\n", "x-odd: \x80\xff\r\n", "connection: close\r\n",
                           "content-type: text/plain\r\n", "set-cookie: a=b\r\n", "x-long: " + "y" * 9000 + "\r\n"])  # fmt: skip


@st.composite
def scripts(draw: st.DrawFn, dialect: str) -> t.Script:
    """An HTTP answer near a real one."""
    streams = draw(st.booleans())
    if streams:
        body = draw(tiers.sse(draw(events(dialect)), named=draw(st.booleans())))
    elif draw(st.integers(0, 4)) == 0:
        body = json.dumps(draw(ERRORS)).encode("utf-8", "surrogatepass")
    else:
        said = draw(meaning.said(dialect))
        body = draw(broken_json(draw(tiers.openai_whole(said) if dialect == "openai" else tiers.anthropic_whole(said))))
    body = draw(broken_bytes(body))
    kind = "text/event-stream" if streams is not (draw(st.integers(0, 9)) == 0) else "application/json"
    status = draw(STATUSES)
    head = f"HTTP/1.1 {status} {draw(st.sampled_from(['OK', '', 'Not OK']))}\r\ncontent-type: {kind}\r\n{draw(HEADERS)}".encode(
        "latin-1"
    )
    framing = draw(
        st.sampled_from(["length", "length", "chunked", "chunked", "close", "short", "long", "cut chunk", "bad chunk"])
    )
    close = framing not in ("length", "chunked")
    at = draw(st.integers(0, len(body)))
    if "chunk" in framing:
        pieces = [b"%x\r\n%s\r\n" % (len(part), part) for part in (body[:at], body[at:]) if part]
        last = {"chunked": b"0\r\n\r\n", "cut chunk": b"5\r\nab", "bad chunk": b"zz\r\n\r\n"}[framing]
        steps = [head + b"transfer-encoding: chunked\r\n\r\n", *pieces, last]
    else:
        length = {"length": len(body), "short": len(body) + 7, "long": max(0, len(body) - 3)}.get(framing)
        told = b"" if length is None else b"content-length: %d\r\n" % length
        steps = [head + told + b"\r\n", body[:at], body[at:]]
    if status in (204, 304):
        close = True
    return t.Script(list(steps), close=close, reset=close and draw(st.booleans()))


@quick
@given(st.data())
def test_nonsense_of_a_tier_is_a_fallback_or_a_truthful_end(house: House, data: st.DataObject) -> None:
    draw = data.draw
    dialect, path, stream = draw(st.sampled_from(DIALECTS)), draw(st.sampled_from(PATHS)), draw(st.booleans())
    script = draw(scripts(dialect))
    house.tiers[dialect].behaviour = lambda _: script
    backed = draw(st.booleans())
    preset = f"{dialect}-{draw(st.sampled_from(['allow', 'verify']))}{'-backed' if backed else ''}"
    told = house.ask(path, request(path, preset, stream=stream, include_usage=draw(st.booleans())))
    record = house.running.last()
    note(f"{told}\n{json.dumps(record)}")
    assert record["id"] == told.headers["x-anvil-decision"]
    assert record["status"] == told.status
    assert not [a for a in record["attempts"] if a["failure_class"] == "router_fault"], house.running.logged()[-3000:]
    assert "Traceback" not in house.running.logged()
    assert not [word for word in NAMES.split() if len(word) > 4 and word.encode() in told.body]
    if told.status == 200:
        check(told, record, path, dialect, stream=stream)
        return
    error = json.loads(told.body)["error"]
    if record["outcome"] == "caller_error":
        assert told.status in (400, 422)
        assert told.headers["x-anvil-tier"] == dialect
        return
    assert not backed
    assert SECRET.encode() not in told.body
    assert (told.status, record["outcome"]) in [(503, "exhausted"), (413, "over_context")]
    assert error["type"] == ("service_unavailable" if told.status == 503 else "payload_too_large")


def check(told: Told, record: dict[str, Any], path: str, dialect: str, *, stream: bool) -> None:
    got = callers.READERS[path][stream](told.body)
    tier = told.headers["x-anvil-tier"]
    assert record["served_tier"] == tier
    assert SECRET.encode() not in told.body
    if got.errors:
        assert (record["outcome"], tier) == ("aborted_after_commit", dialect)
        return
    assert record["outcome"] == "served"
    if tier == "backup":
        assert got.text == BACKUP
        assert record["fell_back"] is True
    else:
        assert record["fell_back"] is False
        assert len(record["attempts"]) == 1
    if not (stream and got.finish in ("length", "content_filter", "incomplete")):
        heard = sdk.read(path, told.body, stream=stream)
        assert (heard.text, heard.calls, heard.finish) == (got.text, got.calls, got.finish)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_defect_behind_a_good_call_of_a_plain_answer_is_a_fallback(house: House, dialect: str, path: str) -> None:
    """Nothing had left yet, however far the gate was open; an error event without a head before it was no HTTP."""
    good = {"id": "a", "type": "function", "function": {"name": "read", "arguments": "{}"}}
    use = {"type": "tool_use", "id": "a", "name": "read", "input": {}}
    script = (
        t.chat(None, tool_calls=[good, None]) if dialect == "openai" else t.messages(content=[use, use | {"name": "?"}])
    )
    house.tiers[dialect].behaviour = lambda _: script
    told = house.ask(path, request(path, f"{dialect}-allow-backed", stream=True, include_usage=False))
    assert (told.status, told.headers["x-anvil-tier"]) == (200, "backup")
    assert callers.READERS[path][1](told.body).text == BACKUP
    assert [a["failure_class"] for a in house.running.last()["attempts"]] == ["bad_answer", None]
