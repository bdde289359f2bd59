"""Model families, so that no model grades its own kin (router contract 21.5). By names only; contacts nothing."""

from __future__ import annotations

import re
from collections.abc import Iterable

from anvil.lab.judge import Judge
from anvil.router.config import TierConfig

CLAUDE = "claude"
LOCAL = "local"

_FAMILIES: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (family, re.compile(rf"(?:{pattern})", re.IGNORECASE))
    for family, pattern in (
        (CLAUDE, r"claude|anthropic"),
        ("openai", r"gpt|openai|codex|(?<![a-z0-9])o[1345](?![a-z0-9])"),
        ("google", r"gemini|gemma"),
        ("meta", r"llama(?![.-]?(?:cpp|server))"),
        ("qwen", r"qwen|qwq"),
        ("mistral", r"mi[sx]tral|devstral|codestral|magistral|ministral"),
        ("deepseek", r"deepseek"),
        ("glm", r"(?<![a-z])glm|chatglm|zai-org"),
        ("kimi", r"kimi|moonshot"),
        ("minimax", r"minimax"),
        ("nemotron", r"nemotron"),
        ("phi", r"(?<![a-z])phi(?![a-z])"),
        ("granite", r"granite"),
        ("smollm", r"smollm"),
        ("cohere", r"command-[ar]|cohere"),
        ("grok", r"grok"),
        ("olmo", r"olmo"),
        ("exaone", r"exaone"),
        ("step", r"(?<![a-z])step-?\d"),
        ("seed", r"(?<![a-z])seed-"),
    )
)


class SelfJudgement(Exception):
    """The judge and what it would grade are, or may be, of one family. Nothing was asked."""


def families(names: Iterable[str | None], *, dialect: str = "openai", local: bool = False) -> frozenset[str]:
    """Every family that the names hint at: a distilled model has two. Empty when it cannot be told.

    The Anthropic dialect is a hint; a local tier without any hint is of the independent family "local".
    """
    found = {family for name in names if name for family, pattern in _FAMILIES if pattern.search(name)}
    if dialect == "anthropic":
        found.add(CLAUDE)
    return frozenset(found or ({LOCAL} if local else ()))


def of_tier(tier: TierConfig, model: str | None = None) -> frozenset[str]:
    """Families of a tier by its model id (``model``: as discovered), its id and its dialect."""
    return families((tier.model, model, tier.id), dialect=tier.dialect, local=tier.local)


def check(judge: Judge, graded: frozenset[str], who: str) -> None:
    """Raises SelfJudgement when judge and graded share a family, or either family cannot be told."""
    if not judge.families:
        raise SelfJudgement(f"the family of the judge {judge.name} cannot be told; name its model")
    if not graded:
        raise SelfJudgement(f"{who}: its model family cannot be told, so a judge of its own kin cannot be ruled out")
    if shared := sorted(judge.families & graded):
        raise SelfJudgement(f"{who}: the judge {judge.name} is of the same family ({', '.join(shared)})")
