"""Failure classes (contract 15.1, 15.2, 7.2)."""

from __future__ import annotations

import json
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anvil.router.failures import (
    TABLE,
    FailureClass,
    classify_response,
    classify_stream_error,
    read_error,
    retry_after,
)
from anvil.router.turn import Fault


def refusal(message: str, *, status: int = 400, **error: object) -> Fault:
    return classify_response(status, {}, json.dumps({"error": {"message": message, **error}}).encode())


def test_the_table_has_every_class_once() -> None:
    assert tuple(TABLE) == get_args(FailureClass)
    assert all(name == rule.name for name, rule in TABLE.items())


@pytest.mark.parametrize(
    ("name", "step", "breaker", "final"),
    [
        ("caller_error", "stop", "none", "tier"),
        ("over_context", "larger", "none", 413),
        ("tier_misconfigured", "next", "open", None),
        ("rate_limited", "next", "rest", None),
        ("unavailable", "next", "tier", None),
        ("bad_answer", "next", "class", None),
        ("router_fault", "next", "none", None),
    ],
)
def test_what_each_class_does(name: str, step: str, breaker: str, final: object) -> None:
    rule = TABLE[name]
    assert (rule.next_step, rule.breaker, rule.final_status) == (step, breaker, final)


@pytest.mark.parametrize(
    ("statuses", "name"),
    [
        ((400, 422), "caller_error"),
        ((413,), "over_context"),
        ((301, 302, 307, 308, 401, 402, 403, 404, 405, 406, 410, 415, 421, 426, 431, 451), "tier_misconfigured"),
        ((429, 529), "rate_limited"),
        ((100, 204, 408, 409, 418, 425, 499, 500, 501, 502, 503, 504, 599, 600), "unavailable"),
    ],
)
def test_statuses(statuses: tuple[int, ...], name: str) -> None:
    for status in statuses:
        fault = classify_response(status, {}, b'{"error":{"message":"no"}}')
        assert fault == Fault(name, f"http {status}", "no", status)


def test_503_asks_to_wait_only_with_retry_after() -> None:
    assert classify_response(503, {"retry-after": "7"}, b"").retry_after_s == 7
    assert classify_response(503, {"retry-after": "7"}, b"").failure_class == "rate_limited"
    soon = classify_response(503, {"retry-after": "soon"}, b"")
    assert (soon.failure_class, soon.retry_after_s) == ("rate_limited", None)
    assert classify_response(500, {"retry-after": "7"}, b"").retry_after_s is None


@pytest.mark.parametrize("status", [400, 422])
@pytest.mark.parametrize(
    "message",
    [
        "This model's maximum context length is 8192 tokens.",
        "the request exceeds the available CONTEXT WINDOW",
        "context_length is 4096",
        "max_model_len=4096",
        "exceed_context_size",
        "prompt is too long: 9 tokens > 8 maximum",
        "Input is too long for requested model",
        "too many tokens",
        "over the token limit",
        "is longer than the maximum model length",
    ],
)
def test_messages_about_size(status: int, message: str) -> None:
    assert refusal(message, status=status).failure_class == "over_context"


@pytest.mark.parametrize("key", ["type", "code"])
@pytest.mark.parametrize("word", ["context_length_exceeded", "exceed_context_size_error"])
def test_codes_about_size(key: str, word: str) -> None:
    assert refusal("no", **{key: word}).failure_class == "over_context"


@pytest.mark.parametrize(
    "message", ["The model `x-4.1` does not exist.", "model 'x' not found", "Model x is not available here"]
)
def test_an_unknown_model_is_never_the_callers_fault(message: str) -> None:
    assert refusal(message).failure_class == "tier_misconfigured"
    assert refusal("no", code="model_not_found").failure_class == "tier_misconfigured"


@pytest.mark.parametrize("message", ["file not found", "not found: model", "max_tokens must be at least 1", ""])
def test_other_refusals_are_the_callers(message: str) -> None:
    assert refusal(message) == Fault("caller_error", "http 400", message, 400)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"error": {"message": "a", "type": "t", "code": 400}}, "a"),
        ({"type": "error", "error": {"type": "invalid_request_error", "message": "b"}}, "b"),
        ({"error": "c"}, "c"),
        ({"object": "error", "message": "d", "code": 400}, "d"),
        ({"detail": "e"}, "e"),
        ({"detail": [{"loc": ["body"], "msg": "f"}, {"msg": "g"}, 1]}, "f; g"),
        ("h", "h"),
        ([1], ""),
        ({"error": {"message": None}}, ""),
    ],
)
def test_error_bodies_of_many_servers(body: object, message: str) -> None:
    assert read_error(json.dumps(body).encode()).message == message


def test_bodies_that_are_not_json_are_text() -> None:
    assert read_error(b" <h1>prompt is too long</h1>\xff ").message == "<h1>prompt is too long</h1>\ufffd"
    assert read_error(b"").message == ""
    assert read_error(b"[" * 5000).message.startswith("[[[")
    assert len(read_error(b"x" * 100_000).message) == 65_536


@given(st.binary(max_size=60), st.integers(100, 999))
def test_any_answer_has_a_class(body: bytes, status: int) -> None:
    assert classify_response(status, {}, body).failure_class in TABLE


@pytest.mark.parametrize(
    ("error", "name"),
    [
        ({"type": "overloaded_error", "message": "m"}, "rate_limited"),
        ({"type": "rate_limit_error"}, "rate_limited"),
        ({"code": 429}, "rate_limited"),
        ({"type": "invalid_request_error", "message": "bad field"}, "caller_error"),
        ({"type": "invalid_request_error", "message": "prompt is too long"}, "over_context"),
        ({"type": "invalid_request_error", "code": "model_not_found"}, "tier_misconfigured"),
        ({"type": "BadRequestError", "code": 400, "message": "maximum context length"}, "over_context"),
        ({"type": "exceed_context_size_error", "code": 400}, "over_context"),
        ({"type": "api_error", "message": "prompt is too long"}, "unavailable"),
        ({"message": "engine died"}, "unavailable"),
        ("boom", "unavailable"),
        (None, "unavailable"),
        ({"code": True}, "unavailable"),
    ],
)
def test_error_events(error: object, name: str) -> None:
    assert classify_stream_error("openai", error).failure_class == name
    assert classify_stream_error("anthropic", {"type": "error", "error": error}).failure_class == name


def test_event_faults_say_what_the_caller_sees_and_keep_words_out_of_labels() -> None:
    fault = classify_stream_error("openai", {"error": {"type": "secret-host-7", "message": "m"}})
    assert fault == Fault("unavailable", "backend error openai error event", "m")
    assert classify_stream_error("anthropic", {"type": "invalid_request_error", "message": "m"}).status == 400


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0.0),
        (" 12 ", 12.0),
        ("1.5", 1.5),
        ("Thu, 01 Jan 1970 00:01:40 GMT", 40.0),
        ("Thu, 01 Jan 1970 00:00:10 GMT", None),
        ("-3", None),
        ("nan", None),
        ("9" * 30, None),
        ("", None),
        ("soon", None),
        ("٣", None),
        (None, None),
    ],
)
def test_retry_after(value: str | None, seconds: float | None) -> None:
    assert retry_after(value, now=60.0) == seconds
