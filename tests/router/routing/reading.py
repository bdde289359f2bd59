"""What contract 9, 10, 11 and 15 say must happen, read straight from their text; shares no code with the router."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from tests.router.routing.world import CLASSES, WORDS, Asked, TierSpec, World

OF_PRESET = {"planning": "planning", "quick-edit": "bounded-edit", "review": "review", "chat": "chat", "long-context": "long-context"}  # fmt: skip
OF_CLASS = {"chat": "chat", "bounded-edit": "quick-edit", "multi-file-refactor": "review", "planning": "planning",
            "review": "review", "long-context": "long-context"}  # fmt: skip
SEED = {
    "planning": ("deny", "deny", "allow"), "multi-file-refactor": ("deny", "allow-with-verify", "allow"),
    "long-context": ("deny", "allow", "allow"), "review": ("allow-with-verify", "allow", "allow"),
    "bounded-edit": ("allow", "allow", "allow"), "chat": ("allow", "allow", "allow"),
}  # fmt: skip
TABLE = {"500": ("error", "unavailable"), "401": ("misconfigured", "tier_misconfigured"), "429": ("rate-limited", "rate_limited"),
         "400": ("caller-error", "caller_error"), "size": ("over-context", "over_context"), "blank": ("fallback", "bad_answer"),
         "cut": ("error", "unavailable")}  # fmt: skip


@dataclass
class Intent:
    source: str
    work_class: str | None
    pool: list[str]
    ambiguous: bool
    confidence: float
    preset: str | None = None
    pinned: str | None = None


@dataclass
class Chosen:
    order: list[tuple[TierSpec, str]]
    requested: list[str]
    dropped: dict[str, list[str]]
    note: str
    kind: str | None


@dataclass
class Expected:
    status: int
    outcome: str
    attempts: list[tuple[str, str]] = field(default_factory=list)
    served: str | None = None
    retry: bool = False


@dataclass
class Memory:
    """What a worker remembers: in a house that forgets, an open circuit is half-open when the next request comes."""

    world: World
    counts: dict[tuple[str, str], int] = field(default_factory=dict)
    open: set[tuple[str, str]] = field(default_factory=set)
    resting: set[str] = field(default_factory=set)
    resident: dict[str, str] = field(default_factory=dict)

    def blocked(self, tier_id: str, work_class: str | None) -> str | None:
        if self.world.forgets:
            return None
        if (tier_id, "") in self.open or (tier_id, work_class or "-") in self.open:
            return "skipped-circuit"
        return "resting" if tier_id in self.resting else None

    def note(self, tier: TierSpec, work_class: str | None, behaviour: str) -> None:
        own, of_class = (tier.id, ""), (tier.id, work_class or "-")
        if behaviour == "ok":
            self.counts[own] = self.counts[of_class] = 0
            self.open -= {own, of_class}
            if tier.group:
                self.resident[tier.group] = tier.id
        elif behaviour in ("500", "cut"):
            self._count(own)
        elif behaviour == "blank":
            self._count(of_class)
        elif behaviour == "401":
            self.open.add(own)
        elif behaviour == "429":
            self.resting.add(tier.id)

    def _count(self, key: tuple[str, str]) -> None:
        self.counts[key] = self.counts.get(key, 0) + 1
        if self.counts[key] >= self.world.threshold:
            self.open.add(key)


# ------------------------------------------------------------------------------------------------ intent


def word_count(asked: Asked) -> int:
    return sum(len(text.split()) for text in (asked.system, asked.text, later(asked)))


def later(asked: Asked) -> str:
    return {"": "", "result": "fix the review", "noise": "<<<BEGIN_OPENCLAW_INTERNAL_CONTEXT>>> plan fix"}[asked.later]


def classified(asked: Asked) -> tuple[str, bool]:
    if word_count(asked) > 4000:
        return "long-context", True
    short = asked.system if len(asked.system.split()) <= 150 else ""
    haystack = f"{short} {asked.text}".lower()
    found = [name for name, words in WORDS.items() if any(re.search(rf"\b{re.escape(w)}\b", haystack) for w in words)]
    if found:
        return found[0], len(found) == 1
    if asked.thinking == "enabled":
        return "planning", True
    return ("bounded-edit", True) if asked.tools else ("chat", False)


def class_of(world: World, preset: str) -> str | None:
    return OF_PRESET.get(preset.lower(), world.preset_classes.get(preset))


def intent(world: World, asked: Asked) -> Intent:
    signals = asked.signals if isinstance(asked.signals, dict) else {}
    hinted = signals.get("work_class")
    if hinted in CLASSES:
        return by_class(world, hinted, True, declared=True)
    if hinted is not None and (known := named(world, asked, hinted)):
        return known
    return named(world, asked, asked.model) or by_class(world, *classified(asked), declared=False)


def named(world: World, asked: Asked, model: str | None) -> Intent | None:
    name = (model or "").strip().lower()
    name = re.sub(r"^anvil[/:]", "", name).strip()
    for preset, pool in world.presets.items():
        if preset.lower() == name:
            return Intent("declared-preset", class_of(world, preset), pool, False, 1.0, preset)
    for tier in world.tiers if world.pins else ():
        if tier.id.lower() == name:
            return Intent("pinned", classified(asked)[0], [tier.id], False, 0.9, pinned=tier.id)
    return None


def by_class(world: World, work_class: str, confident: bool, *, declared: bool) -> Intent:
    preset = next((name for name in world.presets if name.lower() == OF_CLASS[work_class]), None)
    if preset is None or not confident:
        return Intent("inferred", work_class, [tier.id for tier in reversed(world.tiers)], True, 0.5)
    source = "declared-preset" if declared else "inferred"
    return Intent(source, work_class, world.presets[preset], False, 1.0 if declared else 0.8, preset)


# ------------------------------------------------------------------------------------------------ policy


def verdict(world: World, tier: TierSpec, work_class: str | None) -> str:
    if (tier.id, work_class) in world.rows:
        decision, stale = world.rows[tier.id, work_class]
        return "allow-with-verify" if stale and decision == "allow" else decision
    if tier.role is not None and work_class is not None:
        return SEED[work_class][("fast", "heavy", "cloud").index(tier.role)]
    if work_class is None or not tier.local:
        return "allow"
    return "deny" if work_class in ("planning", "multi-file-refactor") else "allow-with-verify"


def chosen(world: World, asked: Asked, wish: Intent, memory: Memory) -> Chosen:
    pool, note, work_class = wish.pool, "on", wish.work_class
    if wish.pinned and verdict(world, world.tier(wish.pinned), work_class) == "deny":
        assert work_class is not None
        pool = next((tiers for name, tiers in world.presets.items() if name.lower() == OF_CLASS[work_class]), [])
        note = "pin"
    elif work_class is None:
        note = "off"
    dropped: dict[str, list[str]] = {name: [] for name in ("context", "constraint", "metered", "denied", "unbound")}
    words = max(word_count(asked), estimate(asked))
    kept = []
    for tier in [world.tier(tier_id) for tier_id in pool]:
        if words > tier.limit:
            dropped["context"].append(tier.id)
        elif not takes(tier, asked):
            dropped["constraint"].append(tier.id)
        else:
            kept.append(tier)
    if asked.image and any(tier.sees and gate(world, tier, work_class) == "" and tier.bound for tier in kept):
        dropped["constraint"] += [tier.id for tier in kept if not tier.sees]
        kept = [tier for tier in kept if tier.sees]
    left = []
    for tier in kept:
        closed = gate(world, tier, work_class)
        if closed:
            dropped[closed].append(tier.id)
        else:
            left.append(tier)
    left = settled(left, memory)
    dropped["unbound"] = [tier.id for tier in left if not tier.bound]
    order = [(tier, strictness(world, tier, work_class)) for tier in left if tier.bound]
    return Chosen(order, [tier.id for tier in left], dropped, note, None if order else kind(left, dropped))


def estimate(asked: Asked) -> int:
    value = asked.signals.get("token_estimate") if isinstance(asked.signals, dict) else 0
    return value if type(value) is int and value >= 0 else 0


def takes(tier: TierSpec, asked: Asked) -> bool:
    return (
        (tier.tools or not (asked.tools or asked.later == "result"))
        and (tier.sees is not False or not asked.image)
        and (tier.reads or not asked.document)
        and (tier.dialect == "openai" or not asked.audio)
    )


def gate(world: World, tier: TierSpec, work_class: str | None) -> str:
    if not tier.local and work_class not in world.metered:
        return "metered"
    return "denied" if work_class is not None and verdict(world, tier, work_class) == "deny" else ""


def strictness(world: World, tier: TierSpec, work_class: str | None) -> str:
    found = verdict(world, tier, work_class)
    return "allow-with-verify" if found == "deny" else found  # only where there is no class, and so no deny gate


def settled(tiers: list[TierSpec], memory: Memory) -> list[TierSpec]:
    """10.4: the group keeps its places, the resident takes the first of them."""
    out = list(tiers)
    for group, resident in memory.resident.items():
        at = [place for place, tier in enumerate(out) if tier.group == group]
        members = sorted((out[place] for place in at), key=lambda tier: tier.id != resident)
        for place, tier in zip(at, members, strict=True):
            out[place] = tier
    return out


def kind(left: list[TierSpec], dropped: dict[str, list[str]]) -> str:
    if left:
        return "unbound"
    if dropped["metered"] or dropped["denied"]:
        return "gated"
    if dropped["constraint"]:
        return "constrained"
    return "over_context" if dropped["context"] else "gated"


# -------------------------------------------------------------------------------------------------- walk


def walked(world: World, asked: Asked, wish: Intent, choice: Chosen, memory: Memory) -> Expected:
    if choice.kind:
        return Expected(413 if choice.kind == "over_context" else world.status, choice.kind)
    made = Expected(world.status, "exhausted")
    calls, too_small, resting = 0, 0, 0
    for tier, strict in choice.order:
        if calls == world.max_attempts:
            break
        if tier.limit <= too_small:
            continue
        blocked = memory.blocked(tier.id, wish.work_class)
        if blocked:
            made.attempts.append((tier.id, blocked))
            resting += 1
            continue
        calls += 1
        behaviour = asked.behaviours[tier.id]
        memory.note(tier, wish.work_class, behaviour)
        if behaviour == "ok":
            made.attempts.append((tier.id, "served"))
            made.status, made.outcome, made.served = 200, "served", tier.id
            return made
        made.attempts.append((tier.id, TABLE[behaviour][0]))
        if behaviour == "cut" and asked.stream and strict == "allow":
            made.status, made.outcome, made.served = 200, "aborted_after_commit", tier.id
            return made
        if behaviour == "400":
            made.status, made.outcome = 400, "caller_error"
            return made
        if behaviour == "size":
            too_small = max(too_small, tier.limit)
        resting += behaviour == "429"
    if too_small and max(tier.limit for tier, _ in choice.order) <= too_small:
        made.status, made.outcome = 413, "over_context"
    made.retry = made.outcome == "exhausted" and resting == len(choice.order) and not world.forgets
    return made


def advised(world: World, wish: Intent, choice: Chosen, memory: Memory) -> Expected:
    if choice.kind:
        return Expected(413 if choice.kind == "over_context" else 503, choice.kind)
    usable = [tier.id for tier, _ in choice.order if memory.blocked(tier.id, wish.work_class) is None]
    if not usable:
        return Expected(503, "exhausted", retry=True)
    return Expected(200, "advised", served=usable[0])
