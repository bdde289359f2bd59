"""Streams that are cut, mangled or lie: the caller gets another tier's whole answer or a prefix and one error (13.7).

Every cut point of every transcript runs with FAULTS_EVERY_BYTE=1; by default a sample that differs per combination.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.router import tier as t
from tests.router.conftest import config_toml, start_router, tier_toml
from tests.router.faults import BACKUP, CUTS, DIALECTS, PATHS, PATIENT, Lab, Told, cut, lab

STEP = 1 if os.environ.get("FAULTS_EVERY_BYTE") else 23
TEXT = ("Grüße ", "aus ☕ Rom", " 𝄞 fine")
ARGUMENTS = '{"city":"Zürich 🏔","days":3}'
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with lab(tmp_path_factory.mktemp("streams")) as made:
        yield made


# ------------------------------------------------------------------------------------------ transcripts


def openai_events(*, call: bool = True) -> list[bytes]:
    """Reasoning, text and one tool call as vLLM and llama-server send them."""
    events = [t.chunk({"role": "assistant", "content": ""}), t.chunk({"reasoning_content": "hm ß"})]
    events += [raw_chunk({"content": text}) for text in TEXT]
    if call:
        function = {"name": "get_weather", "arguments": ARGUMENTS[:1]}
        events.append(t.chunk({"tool_calls": [{"index": 0, "id": "c1", "type": "function", "function": function}]}))
        for piece in (ARGUMENTS[1:13], ARGUMENTS[13:]):
            events.append(raw_chunk({"tool_calls": [{"index": 0, "function": {"arguments": piece}}]}))
    finish = t.chunk({}, "tool_calls" if call else "stop")
    usage = b'data: {"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":3,"total_tokens":10}}\n\n'
    return [*events, finish, usage, t.DONE]


def raw_chunk(delta: dict[str, Any]) -> bytes:
    """As an engine writes it that does not escape non-ASCII text."""
    body = {"id": "u", "object": "chat.completion.chunk", "choices": [{"index": 0, "delta": delta}]}
    return f"data: {json.dumps(body, ensure_ascii=False)}\n\n".encode()


def anthropic_events(*, call: bool = True) -> list[bytes]:
    def delta(index: int, **fields: Any) -> bytes:
        body = {"type": "content_block_delta", "index": index, "delta": fields}
        return f"event: content_block_delta\ndata: {json.dumps(body, ensure_ascii=False)}\n\n".encode()

    def block(index: int, start: dict[str, Any], *deltas: bytes) -> list[bytes]:
        return [
            t.event("content_block_start", index=index, content_block=start),
            *deltas,
            t.event("content_block_stop", index=index),
        ]

    message: dict[str, Any] = {"id": "m", "type": "message", "role": "assistant", "model": "u", "content": []}
    message |= {"stop_reason": None, "stop_sequence": None, "usage": {"input_tokens": 7, "output_tokens": 0}}
    events = [t.event("message_start", message=message), t.event("ping")]
    thinking = {"type": "thinking", "thinking": "", "signature": ""}
    events += block(0, thinking, delta(0, type="thinking_delta", thinking="hm ß"))
    texts = [delta(1, type="text_delta", text=text) for text in TEXT]
    events += block(1, {"type": "text", "text": ""}, *texts)
    if call:
        use = {"type": "tool_use", "id": "toolu_1", "name": "get_weather", "input": {}}
        pieces = [delta(2, type="input_json_delta", partial_json=p) for p in ("", ARGUMENTS[:13], ARGUMENTS[13:])]
        events += block(2, use, *pieces)
    reason = {"stop_reason": "tool_use" if call else "end_turn", "stop_sequence": None}
    events.append(t.event("message_delta", delta=reason, usage={"output_tokens": 3}))
    return [*events, t.event("message_stop")]


def transcript(dialect: str, *, call: bool = True) -> list[bytes]:
    return openai_events(call=call) if dialect == "openai" else anthropic_events(call=call)


def terminator(dialect: str, data: bytes) -> tuple[int, int]:
    """(the byte count from which the answer may count as complete, the one from which it must)."""
    mark = b'"finish_reason": "' if dialect == "openai" else b'"type": "message_delta"'
    end = data.index(b"\n\n", data.index(mark))
    return end, end + 2


def whole(path: str, bench: Lab, dialect: str, *, call: bool = True) -> Told:
    bench.play(dialect, cut(b"".join(transcript(dialect, call=call)), "chunk"))
    told = bench.ask(path, dialect, stream=True)
    assert (told.status, told.tier, told.errors, told.ends) == (200, f"one-{dialect}", 0, 1)
    return told


# -------------------------------------------------------------------------------------------------- cuts


@pytest.mark.timeout(600)
@pytest.mark.parametrize("call", [False, True], ids=["text", "tool"])
@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("dialect", DIALECTS)
def test_cut_after_every_byte(bench: Lab, dialect: str, path: str, call: bool) -> None:
    expected = whole(path, bench, dialect, call=call)
    data = b"".join(transcript(dialect, call=call))
    first = (DIALECTS.index(dialect) * 6 + PATHS.index(path) * 2 + call) * 5 % STEP
    for count, k in enumerate(range(first, len(data), STEP)):
        mode = CUTS[count % 4]
        bench.play(dialect, cut(data[:k], mode))
        told = bench.ask(path, dialect, stream=True)
        check_guarantee(told, expected, dialect, data, k, mode)


def check_guarantee(told: Told, expected: Told, dialect: str, data: bytes, k: int, mode: str) -> None:
    may, must = terminator(dialect, data)
    where = f"k={k} {mode} {data[max(0, k - 30) : k]!r}: {told.body[-300:]!r}"
    assert told.status == 200, where
    if told.tier == "backup":
        assert (told.text, told.calls, told.errors, told.ends) == (BACKUP, [], 0, 1), where
        assert k < must or mode == "reset", where
        return
    assert BACKUP not in told.body.decode(), where
    assert expected.text.startswith(told.text), where
    assert expected.reasoning.startswith(told.reasoning), where
    assert told.calls == expected.calls[: len(told.calls)], where
    assert told.errors + told.ends == 1, where
    if told.ends:
        assert k >= may, where
        assert (told.text, told.calls) == (expected.text, expected.calls), where
    if k >= must and mode != "reset":
        assert told.ends == 1, where


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("dialect", DIALECTS)
def test_cut_without_a_backup_is_a_status_or_one_error_event(bench: Lab, dialect: str, path: str) -> None:
    events = transcript(dialect)
    for count in range(len(events)):
        data = b"".join(events[:count])
        bench.play(dialect, cut(data, CUTS[count % 4]))
        told = bench.ask(path, f"{dialect}-alone", stream=True)
        if told.status == 503:
            assert b"Gr" not in told.body
            continue
        assert told.status == 200
        assert told.errors + told.ends == 1
        assert told.ends == 0 or count >= len(events) - (2 if dialect == "openai" else 1)


# ----------------------------------------------------------------------------------------- odd but legal


def pieces(data: bytes, size: int) -> t.Script:
    steps = [b"%x\r\n%s\r\n" % (len(part), part) for part in (data[i : i + size] for i in range(0, len(data), size))]
    return t.Script([HEAD, *steps, b"0\r\n\r\n"])


def odd(name: str, data: bytes) -> t.Script:
    """The same events in another legal form."""
    match name:
        case "cr":
            return cut(data.replace(b"\n", b"\r"), "chunk")
        case "crlf":
            return cut(data.replace(b"\n", b"\r\n"), "chunk")
        case "mixed":
            lines = data.split(b"\n")
            ends = (b"\n", b"\r\n", b"\r")
            # a CR followed by LF would be one end of line, so after a CR comes no bare LF
            return cut(
                b"".join([line + ends[(i // 2) % 2 * 2 if line else 1] for i, line in enumerate(lines)]), "chunk"
            )
        case "comments":
            return cut(b": hi\n\n" + data.replace(b"\n\n", b"\n: c\n\n:\n\n"), "chunk")
        case "no space":
            return cut(data.replace(b"data: ", b"data:").replace(b"event: ", b"event:"), "chunk")
        case "multi-line":
            return cut(data.replace(b'data: {"', b'data: {\ndata: "'), "chunk")
        case "other fields":
            return cut(data.replace(b"data: ", b"id: 7\nretry: 10\nfoo: bar\ndata: "), "chunk")
        case "bom":
            return cut(b"\xef\xbb\xbf" + data, "chunk")
        case "crlf bytes":
            return pieces(data.replace(b"\n", b"\r\n"), 1)
        case "no blank line":
            return cut(data.removesuffix(b"\n\n"), "chunk")
    return pieces(data, int(name))


ODD = ("cr", "crlf", "mixed", "comments", "no space", "multi-line", "other fields", "bom", "crlf bytes", "no blank line",
       "1", "2", "3", "7", "1000")  # fmt: skip


@pytest.mark.parametrize("form", ODD)
@pytest.mark.parametrize("dialect", DIALECTS)
def test_every_legal_form_of_a_stream_says_the_same(bench: Lab, dialect: str, form: str) -> None:
    for path in PATHS:
        expected = whole(path, bench, dialect)
        bench.play(dialect, odd(form, b"".join(transcript(dialect))))
        told = bench.ask(path, dialect, stream=True)
        assert (told.tier, told.ends, told.text, told.reasoning, told.calls) == (
            f"one-{dialect}", 1, "".join(TEXT), expected.reasoning, expected.calls,
        )  # fmt: skip
        assert expected.reasoning == "hm ß" or path != PATHS[0]
        assert json.loads(told.calls[0][1]) == json.loads(ARGUMENTS)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_split_inside_every_byte_of_a_character_or_line_end(bench: Lab, dialect: str) -> None:
    """Two reads that part at k, for every k of the tool transcript with CRLF ends: what is said is the same."""
    data = b"".join(transcript(dialect)).replace(b"\n", b"\r\n")
    for k in range(1, len(data), STEP):
        first, rest = data[:k], data[k:]
        steps: list[t.Step] = [HEAD + b"%x\r\n%s\r\n" % (len(first), first), 0.002]
        bench.play(dialect, t.Script([*steps, b"%x\r\n%s\r\n0\r\n\r\n" % (len(rest), rest)]))
        told = bench.ask("/v1/messages", dialect, stream=True)
        assert (told.ends, told.text, len(told.calls)) == (1, "".join(TEXT), 1)
        assert json.loads(told.calls[0][1]) == json.loads(ARGUMENTS)


# ------------------------------------------------------------------------------------------- broken forms


def failing(bench: Lab, dialect: str, data: bytes | t.Script, **body: Any) -> None:
    """Before commit: the backup answers, for every caller."""
    bench.play(dialect, data if isinstance(data, t.Script) else cut(data, "chunk"))
    for path in PATHS:
        told = bench.ask(path, dialect, stream=True, **body)
        assert (told.status, told.tier, told.text, told.ends) == (200, "backup", BACKUP, 1), told.body


def aborting(bench: Lab, dialect: str, head: bytes, tail: bytes, text: str = "") -> list[Told]:
    """After commit: what was sent, then one error event, for every caller."""
    bench.play(dialect, parted(head, tail))
    found = []
    for path in PATHS:
        told = bench.ask(path, dialect, stream=True)
        assert (told.status, told.tier, told.errors, told.ends) == (200, f"one-{dialect}", 1, 0), told.body
        assert told.text == (text or "".join(TEXT))
        found.append(told)
    return found


def head_of(dialect: str) -> bytes:
    """Everything up to and with the last text delta."""
    events = transcript(dialect)
    return b"".join(events[:5] if dialect == "openai" else events[:9])


def parted(head: bytes, tail: bytes, pause: float = 0.03) -> t.Script:
    """Two reads of one stream, the second of which may be empty."""
    steps: list[t.Step] = [HEAD, b"%x\r\n%s\r\n" % (len(head), head), pause]
    return t.Script([*steps, *([b"%x\r\n%s\r\n" % (len(tail), tail)] if tail else []), b"0\r\n\r\n"])


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_line_above_1_mib(bench: Lab, dialect: str) -> None:
    long = b"data: " + b"x" * 1_100_000
    failing(bench, dialect, long + b"\n\n")
    failing(bench, dialect, b":" + long)  # no end of line ever
    failing(bench, dialect, b"data: {\n" + b"data: " + b" " * 600_000 + b"\ndata: " + b" " * 600_000 + b"\n\n")
    aborting(bench, dialect, head_of(dialect), long + b"\n\n")


@pytest.mark.parametrize("bad", [b"data: {nope\n\n", b"data: 7\n\n", b"data: \xff\xfe\n\n", b"data: [1,2\n\n"])
@pytest.mark.parametrize("dialect", DIALECTS)
def test_undecodable_events_are_skipped_and_ten_of_them_are_a_defect(bench: Lab, dialect: str, bad: bytes) -> None:
    events = transcript(dialect)
    bench.play(dialect, cut(bad * 9 + b"".join(events), "chunk"))
    told = bench.ask(PATHS[0], dialect, stream=True)
    assert (told.tier, told.ends, told.text) == (f"one-{dialect}", 1, "".join(TEXT))
    failing(bench, dialect, bad * 10 + b"".join(events))
    aborting(bench, dialect, head_of(dialect), bad * 10)
    assert f'anvil_upstream_bad_events_total{{tier="one-{dialect}"}}' in bench.running.client.get("/metrics").text


def test_repeated_and_reordered_anthropic_events(bench: Lab) -> None:
    events = anthropic_events()
    start = events[0]
    data = b"".join([start, start, *events[1:]])
    bench.play("anthropic", cut(data, "chunk"))
    for path in PATHS:
        told = bench.ask(path, "anthropic", stream=True)
        assert (told.ends, told.text) == (1, "".join(TEXT))
        assert told.body.count(b"event: message_start") == (1 if path == "/v1/messages" else 0)
    # the stop of the message before its blocks: nothing that follows is read as more answer
    bench.play("anthropic", cut(b"".join([start, events[-2], *events[2:-2], events[-1]]), "chunk"))
    assert bench.ask(PATHS[1], "anthropic", stream=True).tier == "backup"
    # no message_start at all
    bench.play("anthropic", cut(b"".join(events[2:]), "chunk"))
    assert bench.ask(PATHS[1], "anthropic", stream=True).text == "".join(TEXT)


@pytest.mark.parametrize("index", [1_000_000, 2**62, 5])
def test_a_wild_block_index_is_delivered_densely(bench: Lab, index: int) -> None:
    fragment = {"index": index, "id": "c", "function": {"name": "get_weather", "arguments": ARGUMENTS}}
    bench.play("openai", cut(t.chunk({"tool_calls": [fragment]}) + t.chunk({}, "tool_calls") + t.DONE, "chunk"))
    for path in PATHS:
        told = bench.ask(path, "openai", stream=True)
        assert [name for name, _ in told.calls] == ["get_weather"]
    data = b"".join(anthropic_events()).replace(b'"index": 2', b'"index": %d' % index)
    bench.play("anthropic", cut(data, "chunk"))
    for path in PATHS:
        told = bench.ask(path, "anthropic", stream=True)
        assert [name for name, _ in told.calls] == ["get_weather"]


def test_more_than_1024_blocks_are_a_defect(bench: Lab) -> None:
    call = {"id": "c", "function": {"name": "get_weather", "arguments": ARGUMENTS}}
    failing(bench, "openai", b"".join([t.chunk({"tool_calls": [{"index": n, **call}]}) for n in range(1025)]))
    block = {"type": "text", "text": ""}
    blocks = [
        t.event("content_block_start", index=n, content_block=block) + t.event("content_block_stop", index=n)
        for n in range(1025)
    ]
    failing(bench, "anthropic", anthropic_events()[0] + b"".join(blocks))


# ------------------------------------------------------------------------------------------- error events

ERRORS = [
    ("overloaded_error", "Overloaded", "rate_limited"),
    ("rate_limit_error", "slow down", "rate_limited"),
    ("api_error", "Internal server error", "unavailable"),
    ("timeout_error", "took too long", "unavailable"),
    ("authentication_error", "bad key", "unavailable"),
    ("permission_error", "no", "unavailable"),
    ("invalid_request_error", "prompt is too long: 9 tokens > 8 maximum", "over_context"),
    ("not_a_known_type", "?", "unavailable"),
]


def error_event(dialect: str, kind: str, message: str) -> bytes:
    if dialect == "anthropic":
        return t.event("error", error={"type": kind, "message": message})
    return b"data: " + json.dumps({"error": {"type": kind, "message": message, "code": None}}).encode() + b"\n\n"


@pytest.mark.parametrize(("kind", "message", "failure"), ERRORS)
@pytest.mark.parametrize("dialect", DIALECTS)
def test_error_events_before_and_after_commit(bench: Lab, dialect: str, kind: str, message: str, failure: str) -> None:
    event = error_event(dialect, kind, message)
    failing(bench, dialect, event + t.DONE)
    assert bench.running.last()["attempts"][0]["failure_class"] == failure
    chat, messages, responses = aborting(bench, dialect, head_of(dialect), event)
    assert bench.running.last()["outcome"] == "aborted_after_commit"
    assert bench.running.last()["attempts"][0]["failure_class"] == failure
    assert b'"code":503' in chat.body
    assert (b"overloaded_error" in messages.body) == (failure == "rate_limited")
    assert (b"rate_limit_exceeded" in responses.body) == (failure == "rate_limited")
    assert all(message.encode() not in told.body or len(message) < 3 for told in (chat, messages, responses))


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_callers_mistake_told_in_a_stream_is_a_400(bench: Lab, dialect: str) -> None:
    bench.play(dialect, cut(error_event(dialect, "invalid_request_error", "temperature must be below 2"), "chunk"))
    for path in PATHS:
        told = bench.ask(path, dialect, stream=True)
        assert told.status == 400
        assert "temperature must be below 2" in told.json["error"]["message"]
    aborting(bench, dialect, head_of(dialect), error_event(dialect, "invalid_request_error", "temperature"))


@pytest.mark.parametrize("ending", [[t.DONE], []])
def test_done_without_a_finish_reason_counts_a_clean_close_does_not(bench: Lab, ending: list[bytes]) -> None:
    if not ending:
        aborting(bench, "openai", head_of("openai"), b"")
        return
    bench.play("openai", cut(b"".join([head_of("openai"), *ending]), "chunk"))
    told = bench.ask(PATHS[0], "openai", stream=True)
    assert (told.ends, told.text) == (1, "".join(TEXT))
    assert "finish.assumed" in bench.running.last()["lossy"]


def test_done_alone_and_an_empty_stream_are_no_answer(bench: Lab) -> None:
    failing(bench, "openai", t.DONE)
    failing(bench, "openai", t.chunk({"role": "assistant"}) + t.DONE)
    for dialect in DIALECTS:
        failing(bench, dialect, b"")
        failing(bench, dialect, b": comment\n\n" * 100)


# --------------------------------------------------------------------------------------------- tool calls


def openai_call(*fragments: dict[str, Any]) -> bytes:
    events = [raw_chunk({"tool_calls": [fragment]}) for fragment in fragments]
    return b"".join([*events, t.chunk({}, "tool_calls"), t.DONE])


def fragment(arguments: str, *, index: int = 0, name: str | None = "get_weather") -> dict[str, Any]:
    function = {"arguments": arguments} | ({"name": name} if name is not None else {})
    return {"index": index, "function": function} | ({"id": f"c{index}", "type": "function"} if name else {})


def anthropic_call(arguments: str, *, name: str = "get_weather") -> bytes:
    """A tool block at index 2 and the end of its message."""
    use = {"type": "tool_use", "id": "toolu_1", "name": name, "input": {}}
    return b"".join([
        t.event("content_block_start", index=2, content_block=use),
        t.event("content_block_delta", index=2, delta={"type": "input_json_delta", "partial_json": arguments}),
        t.event("content_block_stop", index=2),
        *anthropic_events()[-2:],
    ])  # fmt: skip


def test_arguments_only_in_the_final_event(bench: Lab) -> None:
    last = {"tool_calls": [fragment(ARGUMENTS, name=None)]}
    data = t.chunk({"tool_calls": [fragment("")]}) + t.chunk(last, "tool_calls") + t.DONE
    bench.play("openai", cut(data, "chunk"))
    for path in PATHS:
        told = bench.ask(path, "openai", stream=True)
        assert [(name, json.loads(text)) for name, text in told.calls] == [("get_weather", json.loads(ARGUMENTS))]


def test_arguments_split_at_every_character(bench: Lab) -> None:
    for k in range(len(ARGUMENTS)):
        data = openai_call(fragment(ARGUMENTS[:k]), fragment(ARGUMENTS[k:], name=None))
        bench.play("openai", cut(data, "chunk"))
        told = bench.ask(PATHS[k % 3], "openai", stream=True)
        assert [(name, json.loads(text)) for name, text in told.calls] == [("get_weather", json.loads(ARGUMENTS))]
    data = openai_call(fragment(""), *[fragment(char, name=None) for char in ARGUMENTS])
    bench.play("openai", cut(data, "chunk"))
    assert json.loads(bench.ask(PATHS[1], "openai", stream=True).calls[0][1]) == json.loads(ARGUMENTS)


BAD_ARGUMENTS = {
    "cut": '{"city":"Ro',
    "not json": "city=Rome",
    "list": '["Rome"]',
    "wrong type": '{"city":5}',
    "required missing": '{"days":1}',
    "leaked tag": '{"city":"Rome</parameter"',
    "trailing": '{"city":"Rome"}}',
    "twice": '{"city":"Rome"}{"city":"Rome"}',
    "nan": '{"city":"Rome","days":NaN}',
}


@pytest.mark.parametrize("arguments", BAD_ARGUMENTS.values(), ids=BAD_ARGUMENTS.keys())
def test_a_defective_call_never_reaches_a_caller(bench: Lab, arguments: str) -> None:
    failing(bench, "openai", openai_call(fragment(arguments)))
    assert bench.running.last()["attempts"][0]["failure_class"] == "bad_answer"
    failing(bench, "anthropic", anthropic_call(arguments))
    assert bench.running.last()["attempts"][0]["failure_class"] == "bad_answer"
    for told in aborting(bench, "openai", head_of("openai"), openai_call(fragment(arguments))):
        assert not told.calls
    aborting(bench, "anthropic", head_of("anthropic"), anthropic_call(arguments))


def test_an_unknown_tool_is_a_defect(bench: Lab) -> None:
    failing(bench, "openai", openai_call(fragment(ARGUMENTS, name="rm_rf")))
    failing(bench, "anthropic", anthropic_call(ARGUMENTS, name="rm_rf"))
    failing(bench, "openai", openai_call(fragment(ARGUMENTS, name="")))


def test_two_parallel_calls_interleaved(bench: Lab) -> None:
    other = '{"city":"Oslo"}'
    data = openai_call(
        fragment("", index=0),
        fragment("", index=1),
        *[
            fragment(text[at : at + 3], index=index, name=None)
            for at in range(0, len(ARGUMENTS), 3)
            for index, text in ((1, other), (0, ARGUMENTS))
            if text[at : at + 3]
        ],
    )
    bench.play("openai", cut(data, "chunk"))
    for path in PATHS:
        told = bench.ask(path, "openai", stream=True)
        assert [json.loads(text) for _, text in told.calls] == [json.loads(ARGUMENTS), json.loads(other)]


def test_one_defective_call_of_two_lets_neither_pass_before_commit(bench: Lab) -> None:
    failing(bench, "openai", openai_call(fragment('{"city":1}', index=0), fragment(ARGUMENTS, index=1)))


def test_a_call_inside_thinking_is_thought_not_called(bench: Lab) -> None:
    thought = '<tool_call>{"name":"get_weather","arguments":{"city":"Rome"}}</tool_call>'
    data = t.chunk({"reasoning_content": thought}) + t.chunk({"content": "done"}) + t.chunk({}, "stop") + t.DONE
    bench.play("openai", cut(data, "chunk"))
    for path in PATHS:
        told = bench.ask(path, "openai", stream=True)
        assert (told.calls, told.text, told.ends) == ([], "done", 1)


# ------------------------------------------------------------------------------------------------ silence


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_tier_that_stops_in_mid_stream_is_given_up_after_its_silence_limit(dialect: str, tmp_path: Path) -> None:
    limits = "relay_timeout = 0.4\nhead_timeout_s = 0.6\nanswer_timeout_s = 0.6\n[router.breaker]\nthreshold = 1000\n"
    tier = t.Tier(t.auto()).start()
    table = tier_toml("one", tier.url, dialect=dialect)
    running = start_router(tmp_path, config_toml(table, presets={dialect: ["one"]}, router=limits))
    bench = Lab(running, {dialect: tier}, tier)
    try:
        for script, stream, status, least in (
            (parted(head_of(dialect), b"", 10.0), True, 200, 0.3),
            (t.Script([HEAD, 10.0]), True, 503, 0.5),
            (t.Script([10.0]), True, 503, 0.5),
            (t.Script([b"HTTP/1.1 200 OK\r\n", 10.0]), False, 503, 0.5),
            (t.Script([b"HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n{", 10.0]), False, 503, 0.5),
        ):
            bench.play(dialect, script)
            started = time.monotonic()
            told = bench.ask(PATHS[0], dialect, stream=stream)
            assert (told.status, told.errors) == (status, 1 if status == 200 else 0)
            assert least < time.monotonic() - started < 1.5
    finally:
        bench.close()
        running.stop(expect=None)
        tier.stop()


# --------------------------------------------------------------------------------------------- our own fault


def test_a_defect_of_the_router_costs_no_answer_and_never_ends_a_stream_silently(tmp_path: Path) -> None:
    with lab(tmp_path, router=f'observer = "tests.router.saboteur:note"\n{PATIENT}') as bench:
        sabotage = t.chunk({"content": "SABOTAGE"})
        failing(bench, "openai", sabotage)
        record = bench.running.last()
        assert (record["attempts"][0]["failure_class"], record["outcome"]) == ("router_fault", "served")
        for told in aborting(bench, "openai", head_of("openai"), sabotage):
            assert b"secret-of-the-router" not in told.body
        assert bench.running.last()["outcome"] == "aborted_after_commit"
        assert bench.ask(PATHS[0], "openai-alone", stream=True).status == 200
        bench.play("openai", cut(sabotage, "chunk"))
        assert bench.ask(PATHS[0], "openai-alone", stream=True).status == 503
        for path in PATHS:
            told = bench.ask(path, "sabotage")
            assert (told.status, told.json["error"]["type"]) == (500, "internal_error")
            assert b"secret-of-the-router" not in told.body
