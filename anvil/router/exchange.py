"""One request in flight: what the door knows of it, what the walk adds, what the record will say. Server-agnostic."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Literal, Protocol

from msgspec import Struct

from anvil.router.decisions.record import AttemptOutcome, Endpoint, FailureClass, Outcome, new_id
from anvil.router.turn import Turn

if TYPE_CHECKING:
    from anvil.router.door import Head
    from anvil.router.intent import Intent
    from anvil.router.policy import Decision as PolicyDecision
    from anvil.router.upstream import Connection

JSON_TYPE = "application/json"


class CallerGone(Exception):
    """The caller closed its connection; the tier's work must stop."""


class DeadlineReached(Exception):
    """request_deadline_s is over."""


class Outlet(Protocol):
    """The caller's side of a streamed answer."""

    async def start(self, headers: list[tuple[str, str]]) -> None: ...

    async def send(self, data: bytes) -> None:
        """Raises CallerGone."""


class Plain(Struct):
    """A complete answer with a Content-Length."""

    status: int
    body: bytes
    headers: list[tuple[str, str]] = []
    content_type: str = JSON_TYPE


class Try(Struct):
    """One line of the walk, as the record tells it (contract 16.2). Times in milliseconds."""

    tier_id: str
    model: str | None = None
    verdict: str = ""
    outcome: AttemptOutcome = "cancelled"
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
    real: bool = False


class Exchange:
    """Mutable story of one request. Times are ``time.perf_counter`` seconds."""

    __slots__ = (
        "aborted",
        "attempts",
        "caller_model",
        "caller_wait_s",
        "committed",
        "connection",
        "deadline",
        "decision_id",
        "endpoint",
        "finished_at",
        "first_byte_at",
        "inbound",
        "intent",
        "lossy",
        "outcome",
        "outlet",
        "pinged",
        "policy",
        "received_at",
        "said",
        "sent_at",
        "served",
        "started_at",
        "started_stream",
        "status",
        "tier_wait_s",
        "trace_id",
        "turn",
        "urgency",
    )

    def __init__(self, endpoint: Endpoint, decision_id: str, outlet: Outlet, inbound: dict[str, str]) -> None:
        self.endpoint = endpoint
        self.decision_id = decision_id
        self.outlet = outlet
        self.inbound = inbound
        self.started_at = time.perf_counter()
        self.received_at = self.started_at
        self.deadline = 0.0
        self.turn: Turn | None = None
        self.intent: Intent | None = None
        self.policy: PolicyDecision | None = None
        self.attempts: list[Try] = []
        self.lossy: set[str] = set()
        self.committed = False
        self.started_stream = False
        self.pinged = False
        self.aborted = False
        self.served: Try | None = None
        self.outcome: Outcome | None = None
        self.status = 0
        self.first_byte_at: float | None = None
        self.tier_wait_s = 0.0
        self.caller_wait_s = 0.0
        self.trace_id: str | None = None
        self.caller_model: str | None = None
        self.urgency: str | None = None
        self.sent_at = 0.0  # perf_counter of the last frames of a stream
        self.finished_at = 0.0
        self.connection: Connection | None = None
        # text of the answer so far, kept only for an observer that wants it (21.4)
        self.said: list[str] | None = None

    @classmethod
    def begin(cls, endpoint: Endpoint, outlet: Outlet, head: Head) -> Exchange:
        """A fresh exchange with its decision id; the body has just been read."""
        exchange = cls(endpoint, new_id(), outlet, head.values)
        exchange.started_at = head.arrived
        return exchange

    def left(self, limit: float) -> float:
        """``limit`` seconds, or what the request's deadline leaves of it. Raises DeadlineReached."""
        rest = self.deadline - time.perf_counter()
        if rest <= 0:
            raise DeadlineReached
        return limit if limit < rest else rest

    @property
    def real_attempts(self) -> int:
        return sum(1 for entry in self.attempts if entry.real)
