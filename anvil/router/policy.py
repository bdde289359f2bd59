"""Who may serve a request, in which order, under which verdict (contract 10).

What depends on configuration and profile alone is worked out once per (pool, work class); most requests get that
shared, immutable Decision back.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Literal

from msgspec import Struct, structs

from anvil.router.config.check import preset_class, usable_tiers
from anvil.router.config.model import RouterConfig, TierConfig
from anvil.router.decisions.record import Dropped, Residency
from anvil.router.intent import Intent
from anvil.router.profile import Profile
from anvil.router.residency import Residencies
from anvil.router.taxonomy import CLASS_PRESET, Verdict
from anvil.router.turn import Signals

__all__ = ["Decision", "Policy", "Residencies", "TableRow"]

Kind = Literal["over_context", "unbound", "gated", "constrained", "exhausted"]

GATE_ON = "on"
GATE_OFF = "off: the preset has no work class"
GATE_ERROR = "error"
_NOTHING_DROPPED = Dropped()


class Decision(Struct, frozen=True, kw_only=True):
    """tiers: bound candidates in order, each with its own verdict. requested: ids after policy, unbound ones included.

    kind: why no tier is left (15.5), None while one is. work_class: the class whose gates were applied.
    """

    tiers: tuple[tuple[TierConfig, Verdict], ...] = ()
    requested: tuple[str, ...] = ()
    dropped: Dropped = _NOTHING_DROPPED
    gate_note: str = GATE_ON
    residency: Residency | None = None
    kind: Kind | None = None
    work_class: str | None = None

    @property
    def why(self) -> str:
        """For the operator: which step closed which tiers, and for which class."""
        steps = {
            "unknown": self.dropped.missing,
            "window too small": self.dropped.context,
            "lacks what the request needs": self.dropped.constraint,
            "metered gate": self.dropped.metered,
            "deny gate": self.dropped.denied,
            "not bound": self.dropped.unbound,
        }
        told = [f"{step}: {', '.join(ids)}" for step, ids in steps.items() if ids]
        return f"work class {self.work_class or 'none'}; {'; '.join(told) or 'the pool is empty'}"


class TableRow(Struct, frozen=True):
    """One cell of the preset x tier table. gate: "" when the tier may serve, else metered, denied or unbound."""

    tier_id: str
    verdict: Verdict
    gate: str


class _Entry(Struct, frozen=True):
    tier: TierConfig
    verdict: Verdict
    metered: bool
    denied: bool
    bound: bool

    @property
    def passes(self) -> bool:
        return self.bound and not self.metered and not self.denied


class _Plan(Struct, frozen=True):
    """A pool under a class. ``clean`` answers every request that no constraint of 10.2 c touches."""

    entries: tuple[_Entry, ...]
    missing: tuple[str, ...]
    duplicate: tuple[str, ...]
    gate_note: str
    work_class: str | None
    window: int
    tools: bool
    grouped: bool
    clean: Decision


class Policy:
    """One configuration under one profile, which does not change while it runs (21.3).

    bound: ids of tiers with a usable backend.
    """

    def __init__(
        self, config: RouterConfig, profile: Profile, bound: Collection[str], residencies: Residencies | None = None
    ) -> None:
        self._config = config
        self._profile = profile
        self._bound = frozenset(bound)
        self._residencies = residencies or Residencies(config)
        self._tiers = {tier.id: tier for tier in config.tiers}
        self._presets = {name.lower(): pool for name, pool in config.presets.items()}
        self._plans: dict[tuple[tuple[str, ...], str | None, str], _Plan] = {}

    # ------------------------------------------------------------------------------------- per request

    def decide(self, intent: Intent, signals: Signals) -> Decision:
        """Never raises: a defect gives an empty decision with the gate note "error"."""
        try:
            return self._decide(intent, signals)
        except Exception:  # contract 10.2: the request ends in exhaustion, the record says why
            return Decision(gate_note=GATE_ERROR, kind="exhausted", work_class=intent.work_class)

    def _decide(self, intent: Intent, signals: Signals) -> Decision:
        pool, note = intent.pool, ""
        if intent.pinned is not None:
            pool, note = self._redirected(intent)
        key = (pool, intent.work_class, note)
        plan = self._plans.get(key)
        if plan is None:
            plan = self._plans[key] = self._plan(*key)
        words = max(intent.token_estimate, signals.words)
        plain = not (signals.images or signals.documents or signals.audio)
        if plain and words <= plan.window and (plan.tools or not signals.tool_artifacts):
            decision = plan.clean
        else:
            decision = _constrained(plan, words, signals)
        return self._settled(decision) if plan.grouped else decision

    def _redirected(self, intent: Intent) -> tuple[tuple[str, ...], str]:
        """A pin is a wish inside the gate: where the pinned tier is denied, the class's preset serves (10.2 a)."""
        pinned, work_class = self._tiers.get(intent.pinned or ""), intent.work_class
        if pinned is None or work_class is None or self._profile.verdict(pinned, work_class) != "deny":
            return intent.pool, ""
        return self._presets.get(CLASS_PRESET[work_class], ()), f"pin denied for {work_class}, redirected"

    def _settled(self, decision: Decision) -> Decision:
        """Residency inside swap groups (10.4)."""
        tiers, told = self._residencies.order(decision.tiers, lambda pair: pair[0])
        if told is None:
            return decision
        known = [self._tiers[tier_id] for tier_id in decision.requested]
        requested, _ = self._residencies.order(known, lambda tier: tier)
        return structs.replace(
            decision, tiers=tuple(tiers), requested=tuple([tier.id for tier in requested]), residency=told
        )

    # ------------------------------------------------------------------------------------- per configuration

    def _plan(self, pool: tuple[str, ...], work_class: str | None, note: str) -> _Plan:
        unique = tuple(dict.fromkeys(pool))
        entries = tuple([self._entry(self._tiers[i], work_class) for i in unique if i in self._tiers])
        plan = _Plan(
            entries=entries,
            missing=tuple([tier_id for tier_id in unique if tier_id not in self._tiers]),
            duplicate=tuple([tier_id for at, tier_id in enumerate(pool) if tier_id in pool[:at]]),
            gate_note=note or (GATE_OFF if work_class is None else GATE_ON),
            work_class=work_class,
            window=min([entry.tier.context_limit for entry in entries], default=0),
            tools=all(entry.tier.tool_support for entry in entries),
            grouped=len([entry for entry in entries if entry.tier.swap_group is not None]) > 1,
            clean=Decision(),
        )
        return structs.replace(plan, clean=_gated(plan, entries))

    def _entry(self, tier: TierConfig, work_class: str | None) -> _Entry:
        verdict = self._profile.verdict(tier, work_class)
        if work_class is None and verdict == "deny":
            verdict = "allow-with-verify"  # without a class there is no deny gate, but nothing denied goes unchecked
        return _Entry(
            tier,
            verdict,
            metered=not tier.local and work_class not in self._config.metered_cloud,
            denied=verdict == "deny",
            bound=tier.id in self._bound,
        )

    # ------------------------------------------------------------------------------------- servable presets

    def is_bound(self, tier_id: str) -> bool:
        return tier_id in self._bound

    def usable(self, preset: str) -> list[TierConfig]:
        """The bound tiers a configured preset may really use (10.6, reconciliation 8); none: it is not servable."""
        return [tier for tier in usable_tiers(self._config, self._profile, preset) if tier.id in self._bound]

    def table(self, preset: str) -> list[TableRow]:
        """Verdict and gate of every tier of a configured preset, in its order."""
        work_class = preset_class(self._config, preset)
        entries = [self._entry(self._tiers[tier_id], work_class) for tier_id in self._config.presets[preset]]
        return [TableRow(entry.tier.id, entry.verdict, _gate(entry)) for entry in entries]


def _gate(entry: _Entry) -> str:
    if entry.metered:
        return "metered"
    if entry.denied:
        return "denied"
    return "" if entry.bound else "unbound"


def _constrained(plan: _Plan, words: int, signals: Signals) -> Decision:
    """10.2 c: context first, then tools, images, documents and audio."""
    context, constraint, kept = [], [], []
    for entry in plan.entries:
        if words > entry.tier.context_limit:
            context.append(entry)
        elif not _takes(entry.tier, signals):
            constraint.append(entry)
        else:
            kept.append(entry)
    # only a tier that the gates leave can stand in for those that do not say whether they see
    if signals.images and any(entry.tier.vision and entry.passes for entry in kept):
        constraint += [entry for entry in kept if not entry.tier.vision]
        kept = [entry for entry in kept if entry.tier.vision]
    return _gated(plan, kept, context, constraint)


def _takes(tier: TierConfig, signals: Signals) -> bool:
    return (
        (tier.tool_support or not signals.tool_artifacts)
        and (tier.vision is not False or not signals.images)
        and (tier.documents or not signals.documents)
        and (tier.dialect == "anthropic" or not signals.linked_documents)
        and (tier.dialect == "openai" or not signals.audio)
    )


def _gated(
    plan: _Plan, entries: Iterable[_Entry], context: Iterable[_Entry] = (), constraint: Iterable[_Entry] = ()
) -> Decision:
    """10.2 d, e, then the bound tiers of what is left."""
    affordable = [entry for entry in entries if not entry.metered]
    allowed = [entry for entry in affordable if not entry.denied]
    dropped = Dropped(
        missing=plan.missing,
        duplicate=plan.duplicate,
        context=_ids(context),
        constraint=_ids(constraint),
        metered=_ids([entry for entry in entries if entry.metered]),
        denied=_ids([entry for entry in affordable if entry.denied]),
        unbound=_ids([entry for entry in allowed if not entry.bound]),
    )
    tiers = tuple([(entry.tier, entry.verdict) for entry in allowed if entry.bound])
    return Decision(
        tiers=tiers,
        requested=_ids(allowed),
        dropped=dropped,
        gate_note=plan.gate_note,
        kind=None if tiers else _kind(allowed, dropped),
        work_class=plan.work_class,
    )


def _ids(entries: Iterable[_Entry]) -> tuple[str, ...]:
    return tuple([entry.tier.id for entry in entries])


def _kind(allowed: list[_Entry], dropped: Dropped) -> Kind:
    """10.3: size alone is 413; anything a gate took part in is the gate's."""
    if allowed:
        return "unbound"
    if dropped.metered or dropped.denied:
        return "gated"
    if dropped.constraint:
        return "constrained"
    return "over_context" if dropped.context else "gated"
