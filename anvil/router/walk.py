"""Try tiers in policy order until one serves (contract 15.3). The only loop of a request."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from anvil.router import exhaustion
from anvil.router.attempt import AbortedAfterCommit, Attempt, AttemptFailed
from anvil.router.backends import Backend, Busy
from anvil.router.breaker import Grant
from anvil.router.config import TierConfig
from anvil.router.cost import attempt_cost
from anvil.router.decisions.record import AttemptOutcome
from anvil.router.exchange import CallerGone, DeadlineReached, Exchange, Plain, Try
from anvil.router.failures import TABLE
from anvil.router.turn import Fault

if TYPE_CHECKING:
    from anvil.router.runtime import Runtime


class Walk:
    """State of one walk: what may still be tried, and why nothing did it."""

    def __init__(self, runtime: Runtime, exchange: Exchange) -> None:
        self.runtime = runtime
        self.exchange = exchange
        self.tokens = 0
        self.over_context = False
        self.smallest_allowed = 0
        self.retry_at: list[float] = []
        self.grant = Grant(True)

    async def run(self) -> Plain | None:
        """The answer, or None when it was streamed. Never raises for a tier's failure."""
        policy = self.exchange.policy
        assert policy is not None  # the door decides before it walks
        for tier, verdict in policy.tiers:
            if self._must_stop(tier):
                break
            if tier.context_limit <= self.smallest_allowed:
                continue
            try:
                served, plain = await self._try(tier, verdict)
            except DeadlineReached:
                return exhaustion.deadline(self.runtime, self.exchange)
            except _CallerError as refused:
                return refused.plain
            if served:
                return plain
        return self._exhausted()

    # ---------------------------------------------------------------------------------------- one tier

    async def _try(self, tier: TierConfig, verdict: str) -> tuple[bool, Plain | None]:
        runtime, exchange = self.runtime, self.exchange
        entry = Try(tier_id=tier.id, verdict=verdict)
        exchange.attempts.append(entry)
        backend = runtime.backends.get(tier.id)
        if backend is None:
            return self._skip(entry, "unknown-tier", "unknown tier")
        if backend.model is None and await backend.known_model() is None:
            return self._skip(entry, "model-unknown", "model unknown")
        entry.model = backend.model
        grant = runtime.breakers.ask(tier.id, self._work_class)
        if not grant.usable:
            self.retry_at.append(grant.retry_after_s)
            return self._skip(entry, grant.outcome, grant.label)
        self.grant = grant
        if not backend.places.take_free() and not await self._waited(backend, entry):
            return False, None
        try:
            return await self._call(backend, verdict, entry)
        except BaseException:
            runtime.breakers.give_back(tier.id, self._work_class, grant)
            raise
        finally:
            backend.places.release()

    async def _waited(self, backend: Backend, entry: Try) -> bool:
        """Wait for a place at the tier; False when none came free in time."""
        started = time.perf_counter()
        try:
            await backend.places.take(self.exchange.left(self.runtime.config.limits.queue_timeout_s))
        except Busy:
            self.runtime.breakers.give_back(backend.id, self._work_class, self.grant)
            self._skip(entry, "busy", "queue timeout")
            return False
        except BaseException:
            self.runtime.breakers.give_back(backend.id, self._work_class, self.grant)
            raise
        finally:
            entry.wait_ms = (time.perf_counter() - started) * 1000
            self.exchange.tier_wait_s += entry.wait_ms / 1000
        return True

    async def _call(self, backend: Backend, verdict: str, entry: Try) -> tuple[bool, Plain | None]:
        entry.real = True
        started = time.perf_counter()
        try:
            plain = await Attempt(self.runtime, self.exchange, backend, verdict, entry).run()
        except AttemptFailed as failed:
            self._failed(backend, entry, failed.fault)
            return False, None
        except AbortedAfterCommit as aborted:
            self._note(entry, aborted.fault)
            self.exchange.aborted = True
            self.exchange.served = entry
            self._count(backend, aborted.fault)
            return True, None
        except (DeadlineReached, CallerGone):
            raise
        except Exception as error:
            self.runtime.defect(error)
            if self.exchange.committed:
                raise
            self._failed(backend, entry, Fault("router_fault", "internal defect"))
            return False, None
        else:
            entry.outcome = "served"
            self.exchange.served = entry
            self.runtime.served(backend.tier, self._work_class)
            return True, plain
        finally:
            entry.duration_ms = (time.perf_counter() - started) * 1000
            entry.cost_usd = attempt_cost(backend.tier, entry.prompt_tokens, entry.completion_tokens)
            if entry.real and not entry.prompt_tokens:  # charged to the request (15.3), but nobody bills for a refusal
                entry.prompt_tokens = self._prompt_words
            self.tokens += self._prompt_words + entry.completion_tokens

    # ----------------------------------------------------------------------------------------- failures

    def _failed(self, backend: Backend, entry: Try, fault: Fault) -> None:
        self._note(entry, fault)
        self._count(backend, fault)
        rule = TABLE[fault.failure_class]
        if rule.next_step == "stop":
            raise _CallerError(exhaustion.caller_error(self.runtime, self.exchange, backend, entry, fault))
        if fault.failure_class == "rate_limited":
            self.retry_at.append(self.runtime.breakers.peek(backend.id, self._work_class).retry_after_s)
        if rule.next_step == "larger":
            self.over_context = True
            self.smallest_allowed = max(self.smallest_allowed, backend.tier.context_limit)

    def _note(self, entry: Try, fault: Fault) -> None:
        rule = TABLE[fault.failure_class]
        entry.failure_class = rule.name
        entry.outcome = rule.outcome
        entry.verify_reason = fault.label
        if fault.label.startswith("buffer cap"):
            entry.outcome = "overflow"
        elif fault.failure_class in ("bad_answer", "router_fault"):
            entry.verifier_passed = False

    def _count(self, backend: Backend, fault: Fault) -> None:
        effect = self.runtime.breakers.failed(backend.id, self._work_class, fault, self.grant)
        if effect.opened is not None:
            self.runtime.metrics.breaker_opened.inc(effect.opened)
        if effect.suspicious:
            self.runtime.log.warning("tier refuses request after request; look at its extra_body", tier=backend.id)
        if fault.failure_class == "tier_misconfigured":
            self.runtime.log.error("tier is misconfigured", tier=backend.id, status=fault.status or fault.label)

    def _skip(self, entry: Try, outcome: AttemptOutcome, label: str) -> tuple[bool, None]:
        entry.outcome = outcome
        entry.verify_reason = label
        return False, None

    # --------------------------------------------------------------------------------------------- ends

    def _must_stop(self, tier: TierConfig) -> bool:
        limits = self.runtime.config.limits
        if self.exchange.real_attempts >= limits.max_attempts:
            return True
        if limits.token_ceiling and self.tokens + self._prompt_words >= limits.token_ceiling:
            entry = Try(tier_id=tier.id)
            self._skip(entry, "budget-stop", "token budget")
            self.exchange.attempts.append(entry)
            return True
        return False

    def _exhausted(self) -> Plain:
        policy = self.exchange.policy
        largest = max((tier.context_limit for tier, _ in policy.tiers), default=0) if policy is not None else 0
        # size decides when nothing larger was left, however smaller tiers failed (15.1)
        if self.over_context and largest <= self.smallest_allowed:
            return exhaustion.over_context(self.runtime, self.exchange)
        resting = [at for at in self.retry_at if at > 0]
        only_resting = policy is not None and len(resting) == len(policy.tiers)
        return exhaustion.exhausted(self.runtime, self.exchange, min(resting) if only_resting else None)

    @property
    def _work_class(self) -> str | None:
        intent = self.exchange.intent
        return intent.work_class if intent is not None else None

    @property
    def _prompt_words(self) -> int:
        return self.exchange.turn.signals.words if self.exchange.turn is not None else 0


class _CallerError(Exception):
    def __init__(self, plain: Plain) -> None:
        super().__init__("caller error")
        self.plain = plain
