"""A random configuration with its profile, and random requests to it."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

CLASSES = ("chat", "bounded-edit", "multi-file-refactor", "planning", "review", "long-context")
CANONICAL = ("planning", "quick-edit", "review", "chat", "long-context")
CUSTOM = ("nightly", "Bare", "team-x")
WORDS = {
    "review": ("review", "critique", "feedback", "audit"),
    "planning": ("plan", "plans", "planning", "design", "architect", "decompose", "break down", "step by step", "roadmap"),
    "multi-file-refactor": ("refactor", "rename across", "across the codebase", "migrate the"),
    "bounded-edit": ("edit", "fix", "change", "add a", "update the", "implement", "patch"),
}  # fmt: skip
# near misses: no keyword within on word boundaries
FILLER = ("exchange", "planes", "redesigned", "prefix", "hello", "zz", "reviewer", "unplanned", "x1", "edited")
LIMITS = (300, 2000, 20000)
# a Messages caller names a cap, which must fit behind an upper bound of the prompt: its prompts stay clear of the edges
CLEAR = (3, 3, 3, 3, 3000, 25000)
LENGTHS = (3, 3, 3, 3, 40, 300, 301, 1200, 2000, 3500, 4500, 25000)
BEHAVIOURS = ("ok",) * 8 + ("500", "401", "429", "400", "size", "blank", "cut")


@dataclass(frozen=True)
class TierSpec:
    id: str
    privacy: str
    dialect: str
    limit: int
    tools: bool
    role: str | None
    group: str | None
    vision: bool | None
    documents: bool | None
    bound: bool

    @property
    def local(self) -> bool:
        return self.privacy == "local"

    @property
    def sees(self) -> bool | None:
        return self.vision if self.vision is not None or self.local else True

    @property
    def reads(self) -> bool:
        return self.documents if self.documents is not None else (not self.local and self.dialect == "anthropic")


@dataclass
class World:
    tiers: list[TierSpec]
    presets: dict[str, list[str]]
    preset_classes: dict[str, str]
    metered: list[str]
    rows: dict[tuple[str, str | None], tuple[str, bool]]  # (tier, class) -> (decision, stale)
    pins: bool
    max_attempts: int
    status: int
    threshold: int
    forgets: bool  # circuits half-open and rests end before the next request; else neither happens at all

    def tier(self, tier_id: str) -> TierSpec:
        return next(tier for tier in self.tiers if tier.id == tier_id)


@dataclass
class Asked:
    """One request. ``words`` of filler and keywords in the newest user message; ``system`` words before it."""

    path: str
    model: str | None
    text: str
    system: str = ""
    later: str = ""  # "" or what follows the user's words: a tool result, or a client's own message
    tools: bool = False
    image: bool = False
    document: bool = False
    audio: bool = False
    thinking: str = ""
    signals: Any = None
    stream: bool = False
    behaviours: dict[str, str] = field(default_factory=dict)


def world(rng: random.Random) -> World:
    tiers = [_tier(rng, f"{rng.choice(('t', 'Tier-'))}{n}") for n in range(rng.randint(2, 5))]
    if not any(tier.bound for tier in tiers):
        tiers[0] = TierSpec(**{**tiers[0].__dict__, "bound": True})
    ids = [tier.id for tier in tiers]
    names = [name for name in (*CANONICAL, *CUSTOM) if rng.random() < 0.7] or ["chat"]
    presets = {name: rng.sample(ids, rng.randint(1, len(ids))) for name in names}
    classes = {name: rng.choice(CLASSES) for name in names if name in CUSTOM and rng.random() < 0.6}
    rows = {}
    for tier in tiers:
        for work_class in (*CLASSES, None):
            if rng.random() < 0.25:
                rows[tier.id, work_class] = (rng.choice(("allow", "allow-with-verify", "deny")), rng.random() < 0.3)
    return World(
        tiers, presets, classes, [name for name in CLASSES if rng.random() < 0.5], rows, rng.random() < 0.8,
        rng.randint(1, 4), rng.choice((503, 503, 529, 418, 599)), rng.randint(1, 3), rng.random() < 0.4,
    )  # fmt: skip


def _tier(rng: random.Random, tier_id: str) -> TierSpec:
    privacy = rng.choice(("local", "local", "cloud"))
    local = privacy == "local"
    return TierSpec(
        tier_id, privacy, rng.choice(("openai", "anthropic")), rng.choice(LIMITS), rng.random() < 0.8,
        rng.choice((None, "fast", "heavy")) if local else rng.choice((None, "cloud")),
        rng.choice((None, "g1", "g1", "g2")) if local else None,
        rng.choice((None, None, True, False)), rng.choice((None, None, True, False)), local or rng.random() < 0.8,
    )  # fmt: skip


def asked(rng: random.Random, made: World) -> Asked:
    path = rng.choice(("/v1/chat/completions", "/v1/chat/completions", "/v1/messages", "/v1/responses", "/v1/route"))
    names = [*made.presets, *[tier.id for tier in made.tiers], "gpt-9", *CANONICAL]
    model = rng.choice([*names, None, "", " "])
    if model:
        model = rng.choice((model, model.upper(), f"anvil/{model}", f" Anvil:{model} "))
    capped = path == "/v1/messages"
    request = Asked(path, model, _text(rng, rng.choice(CLEAR if capped else LENGTHS)))
    if rng.random() < 0.3:
        request.system = _text(rng, 3 if capped else rng.choice((3, 149, 150, 151, 400)))
    request.tools = rng.random() < 0.3
    chat = path in ("/v1/chat/completions", "/v1/route")
    if rng.random() < 0.15:
        request.later = rng.choice(("result", "noise")) if chat else ""
    if chat and rng.random() < 0.3:
        setattr(request, rng.choice(("image", "image", "document", "audio")), True)
    if capped:
        request.thinking = rng.choice(("", "", "enabled", "disabled", "adaptive"))
    if path == "/v1/route":
        request.signals = rng.choice((None, None, 7, {}, {"work_class": rng.choice(CLASSES)}, {"work_class": rng.choice(names)},
                                      {"token_estimate": rng.choice((-1, 0, 299, 301, 2001, 10**9, True, "9"))}, {"urgency": "high"}))  # fmt: skip
    request.stream = path != "/v1/route" and rng.random() < 0.4
    request.behaviours = {tier.id: rng.choice(BEHAVIOURS) for tier in made.tiers}
    return request


def _text(rng: random.Random, count: int) -> str:
    words = [rng.choice(FILLER) for _ in range(max(0, count - 6))]
    for _ in range(rng.choice((0, 0, 1, 1, 2))):
        words.append(rng.choice(WORDS[rng.choice(list(WORDS))]))
    size = sum(len(word.split()) for word in words)
    return " ".join(words + ["zz"] * (count - size))
