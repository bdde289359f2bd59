"""The decision record: one frozen value per finished request, metadata only (contract 16).

Built once at the end of a request from plain values; encoded to JSON only when somebody reads it. Every struct is
``gc=False`` (records never form cycles) so that a full ring costs the garbage collector nothing.
"""

from __future__ import annotations

import os
import random
import re
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Final, Literal, get_args

import msgspec
from msgspec import Struct

SCHEMA: Final = "anvil-serving.router.decision/v1"

Endpoint = Literal["chat", "messages", "responses", "count_tokens", "route"]
WorkClass = Literal["chat", "bounded-edit", "multi-file-refactor", "planning", "review", "long-context"]
Outcome = Literal[
    "served",
    "exhausted",
    "unbound",
    "gated",
    "constrained",
    "over_context",
    "invalid_request",
    "caller_error",
    "client_gone",
    "aborted_after_commit",
    "deadline",
    "internal_error",
    "advised",
    "counted",
]
AttemptOutcome = Literal[
    "served",
    "fallback",
    "error",
    "overflow",
    "rate-limited",
    "misconfigured",
    "over-context",
    "caller-error",
    "busy",
    "skipped-circuit",
    "resting",
    "model-unknown",
    "unknown-tier",
    "budget-stop",
    "cancelled",
]
FailureClass = Literal[
    "caller_error",
    "over_context",
    "tier_misconfigured",
    "rate_limited",
    "unavailable",
    "bad_answer",
    "router_fault",
]

ENDPOINTS: Final = frozenset(get_args(Endpoint))
WORK_CLASSES: Final = frozenset(get_args(WorkClass))
OUTCOMES: Final = frozenset(get_args(Outcome))
FAILURE_CLASSES: Final = frozenset(get_args(FailureClass))
# a failed attempt that counts as falling back (16.2 fell_back)
FELL_BACK_OUTCOMES: Final = frozenset(
    {"fallback", "error", "overflow", "rate-limited", "misconfigured", "over-context"}
)
# outcomes of attempts that never called the tier
UNCALLED_OUTCOMES: Final = frozenset(
    {"busy", "skipped-circuit", "resting", "model-unknown", "unknown-tier", "budget-stop"}
)


class IntentSignals(Struct, frozen=True, gc=False, kw_only=True):
    token_estimate: int = 0
    thinking_enabled: bool = False
    has_tools: bool = False
    matched_keywords: tuple[str, ...] = ()
    urgency: str | None = None


class IntentRecord(Struct, frozen=True, gc=False, kw_only=True):
    """``source`` is declared-preset, pinned or inferred (9.2); ``preset`` has the configured spelling."""

    source: str = "inferred"
    preset: str | None = None
    ambiguous: bool = False
    confidence: float = 0.0
    signals: IntentSignals = IntentSignals()


class Needs(Struct, frozen=True, gc=False, kw_only=True):
    """``context`` is the lower bound in words (10.1)."""

    context: int = 0
    tools: bool = False
    images: bool = False
    documents: bool = False
    audio: bool = False


class Dropped(Struct, frozen=True, gc=False, kw_only=True):
    """Tier ids that policy and binding took out, by the step that did it (10.2)."""

    missing: tuple[str, ...] = ()
    duplicate: tuple[str, ...] = ()
    context: tuple[str, ...] = ()
    constraint: tuple[str, ...] = ()
    metered: tuple[str, ...] = ()
    denied: tuple[str, ...] = ()
    unbound: tuple[str, ...] = ()


class Residency(Struct, frozen=True, gc=False):
    group: str
    resident: str | None


class Attempt(Struct, frozen=True, gc=False, kw_only=True):
    """One entry of the walk, called or skipped. Times in milliseconds, cost in USD."""

    tier_id: str
    outcome: AttemptOutcome
    model: str | None = None
    verdict: str | None = None
    failure_class: FailureClass | None = None
    verifier_passed: bool | None = None
    verify_reason: str = ""
    advisories: tuple[str, ...] = ()
    upstream_status: int | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int | None = None
    usage_source: Literal["upstream", "estimate"] = "estimate"
    cost_usd: float = 0.0
    wait_ms: float = 0.0
    ttft_ms: float | None = None
    duration_ms: float = 0.0


class Decision(Struct, frozen=True, gc=False, kw_only=True):
    """The record of 16.2. Times in milliseconds, costs in USD, ``ts`` RFC 3339 UTC with milliseconds."""

    schema: str = SCHEMA
    id: str
    ts: str
    release: str | None = None
    config_hash: str | None = None
    mapping_version: str | None = None
    mode: str | None = None
    endpoint: Endpoint
    dialect: str
    stream: bool = False
    pinged: bool = False
    caller_model: str | None = None
    intent: IntentRecord | None = None
    work_class: str | None = None
    needs: Needs | None = None
    requested_tiers: tuple[str, ...] = ()
    dropped: Dropped = Dropped()
    gate_note: str = ""
    residency: Residency | None = None
    attempts: tuple[Attempt, ...] = ()
    served_tier: str | None = None
    served_model: str | None = None
    served_tier_privacy: Literal["local", "cloud"] | None = None
    outcome: Outcome
    status: int
    committed: bool = False
    fell_back: bool = False
    lossy: tuple[str, ...] = ()
    total_prompt_tokens: int = 0
    total_completion_tokens: int = 0
    cost_usd: float = 0.0
    wasted_cost_usd: float = 0.0
    received_ms: float = 0.0
    ttft_ms: float | None = None
    duration_ms: float = 0.0
    trace_id: str | None = None

    @property
    def served_attempt(self) -> Attempt | None:
        """The attempt whose answer the caller got, whole or in part."""
        if self.served_tier is None:
            return None
        for attempt in reversed(self.attempts):
            if attempt.tier_id == self.served_tier:
                return attempt
        return None


encode: Callable[[Decision], bytes] = msgspec.json.Encoder().encode
_decoder = msgspec.json.Decoder(Decision)


def decode(data: bytes | str) -> Decision:
    """A record from its JSON; fields added by later releases are ignored.

    Raises msgspec.DecodeError (ValidationError included) when it is not a decision record.
    """
    return _decoder.decode(data)


# white space, control characters and what could forge or reorder a log line on a terminal
_UNSAFE = re.compile(r"[\s>\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff]")


def sanitise(text: str, limit: int = 128) -> str:
    """Text from outside as one word: white space, control characters and ``>`` become ``_``, cut at ``limit``."""
    return _UNSAFE.sub("_", text[:limit])


MAX_UNKNOWN: Final = 20


def lossy_names(names: Iterable[str], word: Callable[[str], str] = sanitise) -> tuple[str, ...]:
    """The ``lossy`` of a record: sorted, distinct, fields a caller named made harmless by ``word`` and at most 20."""
    distinct = sorted({word(name) for name in names})
    unknown = [name for name in distinct if name.startswith("unknown.")][:MAX_UNKNOWN]
    return tuple(name for name in distinct if not name.startswith("unknown.") or name in unknown)


_second = -1
_second_text = ""


def timestamp(seconds: float) -> str:
    """Unix seconds as RFC 3339 UTC with milliseconds; the texts sort like the times."""
    global _second, _second_text
    whole, milliseconds = divmod(int(seconds * 1000 + 0.5), 1000)
    if whole != _second:  # one strftime a second is enough
        _second_text = datetime.fromtimestamp(whole, UTC).strftime("%Y-%m-%dT%H:%M:%S.")
        _second = whole
    return "%s%03dZ" % (_second_text, milliseconds)  # noqa: UP031 - half the cost of an f-string here


_TAIL_BITS = 52  # 24 hex digits less the 11 of the time
_random = random.Random()  # noqa: S311 - ids need to differ, not to be secret
_last_ms = 0
_tail = 0


def new_id(clock: Callable[[], float] = time.time) -> str:
    """``dec_`` + 24 hex, the first 11 the time in milliseconds. Strictly increasing within a process, also when the
    clock steps back. Call it from one thread (the event loop)."""
    global _last_ms, _tail
    now = int(clock() * 1000)
    if now > _last_ms:
        _last_ms = now
        _tail = _random.getrandbits(_TAIL_BITS - 1)  # a clear top bit leaves room to count up
    else:
        _tail += 1
    return f"dec_{_last_ms << _TAIL_BITS | _tail:024x}"


os.register_at_fork(after_in_child=_random.seed)

ID_PATTERN: Final = re.compile(r"dec_[0-9a-f]{24}")


def id_time(decision_id: str) -> float:
    """Unix seconds at which the id was given out."""
    return int(decision_id[4:15], 16) / 1000
