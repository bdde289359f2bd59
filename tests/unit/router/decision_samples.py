"""Records as the walk would build them, for the tests of this folder."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from anvil.router.config import DecisionsConfig, RouterConfig, TierConfig
from anvil.router.decisions.record import Attempt, Decision, IntentRecord, timestamp
from anvil.router.metrics import Metrics

START = 1_767_603_600.0


def tier(id: str, **changes: Any) -> TierConfig:
    values: dict[str, Any] = {
        "base_url": "http://10.1.2.3:8123/v1",
        "dialect": "openai",
        "context_limit": 32768,
        "privacy": "local",
        "tool_support": True,
        "auth_env": "SMALL_KEY",
    }
    return TierConfig(id=id, **(values | changes))


CONFIG = RouterConfig(
    mapping_version="2026-08-a",
    tiers=(tier("small"), tier("paid", privacy="cloud", dialect="anthropic")),
    presets={"chat": ("small",), "quick-edit": ("small", "paid")},
)


def metrics() -> Metrics:
    return Metrics(CONFIG, release="r-1", config_hash="0123456789abcdef", mode="agentic")


def id_at(number: int) -> str:
    """The id of the record that began ``number`` seconds after START."""
    return f"dec_{int((START + number) * 1000):011x}{number:013x}"


def attempt(tier_id: str = "small", outcome: Any = "served", **changes: Any) -> Attempt:
    values: dict[str, Any] = {"model": "tiny", "verdict": "allow", "prompt_tokens": 100, "completion_tokens": 21}
    if outcome == "served":
        values |= {"verifier_passed": True, "verify_reason": "passed", "usage_source": "upstream"}
    return Attempt(tier_id=tier_id, outcome=outcome, **(values | changes))


def decision(number: int = 0, **changes: Any) -> Decision:
    values: dict[str, Any] = {
        "id": id_at(number),
        "ts": timestamp(START + number),
        "endpoint": "chat",
        "dialect": "openai",
        "caller_model": "chat",
        "intent": IntentRecord(source="declared-preset", preset="chat", confidence=1.0),
        "work_class": "chat",
        "requested_tiers": ("small",),
        "attempts": (attempt(),),
        "served_tier": "small",
        "served_model": "tiny",
        "served_tier_privacy": "local",
        "outcome": "served",
        "status": 200,
        "committed": True,
        "total_prompt_tokens": 100,
        "total_completion_tokens": 21,
        "ttft_ms": 50.0,
        "duration_ms": 250.0,
    }
    return Decision(**(values | changes))


def fell_back(number: int = 0, **changes: Any) -> Decision:
    first = attempt("small", "fallback", failure_class="bad_answer", verifier_passed=False, verify_reason="code_parses")
    second = attempt("paid", model="frontier-x", cost_usd=0.25)
    values: dict[str, Any] = {
        "attempts": (first, second),
        "served_tier": "paid",
        "served_model": "frontier-x",
        "served_tier_privacy": "cloud",
        "fell_back": True,
        "cost_usd": 0.25,
    }
    return decision(number, **(values | changes))


class Counts:
    """Stands in for metrics and log where a test counts what the store reports."""

    def __init__(self) -> None:
        self.dropped: dict[str, int] = {}
        self.failed: dict[str, int] = {}
        self.warnings: list[str] = []

    def drop(self, reason: str, rows: int) -> None:
        self.dropped[reason] = self.dropped.get(reason, 0) + rows

    def fail(self, reason: str) -> None:
        self.failed[reason] = self.failed.get(reason, 0) + 1


class SilentLog:
    """A log nobody reads."""

    def __init__(self) -> None:
        self.decisions: list[Decision] = []
        self.warnings: list[str] = []
        self.decision: Callable[[Decision], None] = self.decisions.append
        self.warning: Callable[[str], None] = self.warnings.append


def in_store(path: object, **changes: Any) -> DecisionsConfig:
    return DecisionsConfig(store_path=str(path), **changes)
