"""Answers of tiers to prompts: asked for now, one at a time; a silent tier costs one wait, not one per prompt."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from msgspec import Struct

from anvil.lab.calibrate.plan import Plan
from anvil.lab.evaluation.ask import Asked, AskFailed, ask
from anvil.lab.evaluation.cases import Case
from anvil.lab.judge.family import of_tier
from anvil.router.config import RouterConfig, TierConfig
from anvil.router.fingerprint import fingerprint

Ask = Callable[[RouterConfig, TierConfig, str | None, str, int], Asked]
Say = Callable[[str], None]


class Answer(Struct, frozen=True, kw_only=True):
    """One answer and what gave it. ``fingerprint`` is the tier's when it was asked; ``day`` is YYYY-MM-DD."""

    tier_id: str
    case: Case
    text: str
    model: str | None
    families: frozenset[str]
    fingerprint: str
    reasoning: dict[str, object] | None
    max_tokens: int
    day: str
    elapsed_s: float = 0.0
    completion_tokens: int | None = None


class Failure(Struct, frozen=True):
    """A prompt that got no answer, and why."""

    tier_id: str
    case: Case
    why: str


class Generation:
    """Iterates over answers and failures of a plan; ``unreachable`` fills with the tiers that did not answer at all."""

    def __init__(
        self, plan: Plan, environ: Mapping[str, str], *, max_tokens: int, day: str, say: Say, asking: Ask = ask
    ) -> None:
        self._plan = plan
        self._environ = environ
        self._max_tokens = max_tokens
        self._day = day
        self._say = say
        self._ask = asking
        self.unreachable: set[str] = set()

    def run(self, done: Callable[[TierConfig, Case], bool]) -> Iterator[Answer | Failure]:
        """Every (tier, case) that is not ``done``, tier by tier: a swap group swaps once per tier."""
        for tier in self._plan.tiers:
            for case in self._plan.cases:
                if done(tier, case):
                    continue
                found = self._one(tier, case)
                yield found
                if tier.id in self.unreachable:
                    self._say(f"{tier.id}: not reachable at {tier.base_url}; skipped. Is its serve up?")
                    break

    def _one(self, tier: TierConfig, case: Case) -> Answer | Failure:
        key = self._environ.get(tier.auth_env, "").strip() or None
        try:
            asked = self._ask(self._plan.config, tier, key, case.prompt, self._max_tokens)
        except AskFailed as error:
            if not error.reachable:
                self.unreachable.add(tier.id)
            self._say(f"{tier.id} {case.work_class}/{case.prd}: no answer, skipped: {error}")
            return Failure(tier.id, case, str(error))
        return Answer(
            tier_id=tier.id,
            case=case,
            text=asked.text,
            model=asked.model,
            families=of_tier(tier, asked.model),
            fingerprint=fingerprint(tier, self._plan.mode),
            reasoning=tier.extra_body,
            max_tokens=self._max_tokens,
            day=self._day,
            elapsed_s=asked.elapsed_s,
            completion_tokens=asked.completion_tokens,
        )
