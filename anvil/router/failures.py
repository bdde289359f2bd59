"""The published failure classes (contract 15.1) and how a tier's words are read into one of them (15.2).

``TABLE`` is the one source for the walk, the breaker, the metrics and the documentation. ``classify_response`` reads an
HTTP answer, ``classify_stream_error`` an error object inside a 200 or a stream; both give a ``Fault`` whose ``message``
is the tier's raw text (scrub it before it leaves) and whose ``label`` holds no word of the tier.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Literal

import msgspec
from msgspec import Struct

from anvil.router.decisions.record import AttemptOutcome
from anvil.router.turn import Answer, Fault, Reasoning, Text

FailureClass = Literal[
    "caller_error", "over_context", "tier_misconfigured", "rate_limited", "unavailable", "bad_answer", "router_fault"
]
NextStep = Literal["stop", "larger", "next"]
BreakerEffect = Literal["none", "open", "rest", "tier", "class"]

MAX_ERROR_BYTES = 65_536
CALLER_STATUS = 400


class FailureRule(Struct, frozen=True):
    """One row of 15.1.

    next_step: "stop" the walk, go on to tiers with a "larger" window only, or to the "next" tier.
    breaker: "none" not counted, "open" the tier at once, let the tier "rest", count for the "tier", or count for
    (tier, work "class") only. outcome: the attempt's outcome in the record (overflow is told apart by its label).
    final_status: what the caller gets when this ends the request; None stands for the configured exhaustion status,
    "tier" for the tier's own status.
    """

    name: FailureClass
    recognised_by: str
    next_step: NextStep
    breaker: BreakerEffect
    outcome: AttemptOutcome
    final_status: int | Literal["tier"] | None


TABLE: dict[str, FailureRule] = {
    rule.name: rule
    for rule in (
        FailureRule("caller_error", "400, 422 whose message is not about size", "stop", "none", "caller-error", "tier"),
        FailureRule(
            "over_context",
            "413; 400 or 422 whose message is about size; model_context_window_exceeded with no content",
            "larger",
            "none",
            "over-context",
            413,
        ),
        FailureRule(
            "tier_misconfigured",
            "400 that says the model is unknown, 3xx, 401, 402, 403, 404, 405, 406, 410, 415, 421, 426, 431, 451",
            "next",
            "open",
            "misconfigured",
            None,
        ),
        FailureRule(
            "rate_limited",
            "429, 529, 503 with Retry-After; overload and rate-limit error events",
            "next",
            "rest",
            "rate-limited",
            None,
        ),
        FailureRule(
            "unavailable",
            "connect, DNS, TLS, reset, silence limit, 408, 409, 425, other 5xx, malformed or over-long answer, "
            "wrong encoding, end without terminator, error events, other statuses",
            "next",
            "tier",
            "error",
            None,
        ),
        FailureRule("bad_answer", "a check failed; overflow of the buffer cap", "next", "class", "fallback", None),
        FailureRule(
            "router_fault",
            "verifier_timeout, <check>_error, internal defect in an attempt",
            "next",
            "none",
            "error",
            None,
        ),
    )
}

_MISCONFIGURED = frozenset({401, 402, 403, 404, 405, 406, 410, 415, 421, 426, 431, 451})
_ABOUT_SIZE = re.compile(
    r"context length|context window|context_length|maximum context|max_model_len|exceed_context_size"
    r"|prompt is too long|input is too long|too many tokens|token limit|longer than the maximum"
    # older llama-server, and Anthropic when prompt plus max_tokens is too much
    r"|exceeds the available context size|exceed context limit",
    re.IGNORECASE,
)
_SIZE_CODES = frozenset({"context_length_exceeded", "exceed_context_size_error"})
_MODEL_UNKNOWN = re.compile(r"model[^\n]{0,200}?(?:not found|does not exist|is not available)", re.IGNORECASE)
_OVERLOAD = frozenset({"overloaded_error", "rate_limit_error", "rate_limit_exceeded", "overloaded"})
_INVALID = frozenset({"invalid_request_error", "BadRequestError"})
# types that may stand in a label; any other word of a tier stays out of records
_NAMED = _OVERLOAD | _INVALID | _SIZE_CODES | {"api_error", "server_error", "timeout_error", "authentication_error"}


class TierWords(Struct, frozen=True):
    """What an error body says: ``message`` as text, ``kind`` its type, ``code`` its code ("" or None when absent)."""

    message: str = ""
    kind: str = ""
    code: str | int | None = None

    @property
    def about_size(self) -> bool:
        return self.kind in _SIZE_CODES or self.code in _SIZE_CODES or bool(_ABOUT_SIZE.search(self.message))

    @property
    def model_unknown(self) -> bool:
        return self.code == "model_not_found" or bool(_MODEL_UNKNOWN.search(self.message))


def classify_response(status: int, headers: Mapping[str, str], body: bytes, *, now: float | None = None) -> Fault:
    """The fault of an HTTP answer that is not a success.

    headers: lower-case names (or any case-insensitive mapping). body: at most MAX_ERROR_BYTES of it are read.
    now: unix seconds, for a Retry-After date.
    """
    words = read_error(body)
    wait = headers.get("retry-after")
    name = _class_of_status(status, words, wait is not None)
    seconds = retry_after(wait, now=now) if name == "rate_limited" else None
    return Fault(name, f"http {status}", words.message, status, seconds)


def _class_of_status(status: int, words: TierWords, asks_to_wait: bool) -> FailureClass:
    if status in (400, 422):
        return _class_of_refusal(words)
    if status == 413:
        return "over_context"
    if 300 <= status < 400 or status in _MISCONFIGURED:
        return "tier_misconfigured"
    if status in (429, 529) or (status == 503 and asks_to_wait):
        return "rate_limited"
    return "unavailable"


def _class_of_refusal(words: TierWords) -> FailureClass:
    if words.about_size:
        return "over_context"
    return "tier_misconfigured" if words.model_unknown else "caller_error"


def window_full(answer: Answer) -> Fault | None:
    """The fault of an answer that ended before its first word because the prompt filled the window (15.1)."""
    if answer.finish is None or answer.finish.reason != "context_window" or answer.text.strip():
        return None
    if not all([isinstance(block, Text | Reasoning) for block in answer.blocks]):
        return None
    return Fault("over_context", "backend error model_context_window_exceeded")


def classify_stream_error(dialect: str, error: object) -> Fault:
    """The fault of an error object in a stream or under a 200 (7.1, 7.2).

    dialect: the tier's. error: the decoded event, or its ``error`` value alone. ``status`` is set for a caller_error
    only, to what the caller is to see.
    """
    words = _words_of(error)
    name = _class_of_event(words)
    word = words.kind if words.kind in _NAMED else f"{dialect} error event"
    return Fault(name, f"backend error {word}", words.message, CALLER_STATUS if name == "caller_error" else None)


def _class_of_event(words: TierWords) -> FailureClass:
    if words.kind in _OVERLOAD or words.code in _OVERLOAD or words.code in (429, 529):
        return "rate_limited"
    if words.kind in _INVALID or words.kind in _SIZE_CODES or words.code in _SIZE_CODES or words.code in (400, 422):
        return _class_of_refusal(words)
    return "unavailable"


def read_error(body: bytes) -> TierWords:
    """Message, type and code of an error body in any of the shapes servers use; a body that is not JSON is its text."""
    data = body[:MAX_ERROR_BYTES]
    try:
        value = msgspec.json.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return TierWords(data.decode("utf-8", "replace").strip())
    return _words_of(value)


def _words_of(value: object) -> TierWords:
    if isinstance(value, str):
        return TierWords(value)
    if not isinstance(value, dict):
        return TierWords()
    inner = value.get("error")
    if isinstance(inner, dict | str):
        return _words_of(inner)
    kind, code = value.get("type"), value.get("code")
    return TierWords(
        _message_of(value),
        kind if isinstance(kind, str) else "",
        code if isinstance(code, str) or type(code) is int else None,
    )


def _message_of(value: dict[str, object]) -> str:
    """``message`` (OpenAI, Anthropic, vLLM), else ``detail`` (FastAPI: a string or a list of ``msg``)."""
    message = value.get("message")
    if isinstance(message, str):
        return message
    detail = value.get("detail")
    if isinstance(detail, str):
        return detail
    if not isinstance(detail, list):
        return ""
    found = [item.get("msg") for item in detail if isinstance(item, dict)]
    return "; ".join([text for text in found if isinstance(text, str)])


_SECONDS = re.compile(r"\d{1,9}(?:\.\d{1,9})?", re.ASCII)


def retry_after(value: str | None, *, now: float | None = None) -> float | None:
    """Seconds to rest from a Retry-After value (seconds or HTTP date), None when unusable.

    A date that has passed is unusable: the two clocks disagree.
    """
    text = (value or "").strip()
    if _SECONDS.fullmatch(text):
        return float(text)
    try:
        moment = parsedate_to_datetime(text).timestamp()
    except (ValueError, OverflowError, TypeError):
        return None
    left = moment - (time.time() if now is None else now)
    return left if left > 0 else None
