"""A pick per size and role, within one benchmark at a time: numbers of different benchmarks are never compared."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import get_args

from msgspec import Struct

from anvil.lab.score.candidates import Candidate, Size

ROLES: Mapping[str, tuple[str, ...]] = {
    "coding": ("SWE-bench Verified", "LiveCodeBench"),
    "research": ("MMLU-Pro", "RULER@128K"),
    "writing": ("Arena-Hard", "MT-Bench", "AlpacaEval"),
}
UNVERIFIED = "unverified: entered by hand; open the page before a decision rests on the number."
SIZES: tuple[Size, ...] = get_args(Size)


class Score(Struct, frozen=True, kw_only=True):
    """A published value with the benchmark it is of and where it stands; an unverified one is a claim to look up."""

    value: float
    basis: str
    citation: str
    setting: str | None = None
    verified: bool = False


class Pick(Struct, frozen=True, kw_only=True):
    """``model`` is None when nothing can be compared; ``reason`` says why, or within what."""

    size: Size
    role: str
    model: str | None
    score: Score | None
    reason: str


class Excluded(Struct, frozen=True, kw_only=True):
    model: str
    role: str
    reason: str


class Scored(Struct, frozen=True, kw_only=True):
    model: str
    size: Size | None
    local: bool
    scores: dict[str, Score | None]


class Mixture(Struct, frozen=True, kw_only=True):
    candidates: tuple[Scored, ...]
    mixture: tuple[Pick, ...]
    excluded: tuple[Excluded, ...]


def score(candidate: Candidate, role: str) -> Score | None:
    """The first available benchmark of the role, in its order; a value outside 0..100 is unknown, not repaired."""
    for basis in ROLES[role]:
        found = candidate.published.get(basis)
        if found is not None:
            if not (math.isfinite(found.value) and 0 <= found.value <= 100):
                return None
            return Score(
                value=found.value,
                basis=basis,
                citation=found.citation,
                setting=found.setting,
                verified=bool(found.verified),
            )
    return None


def mixture(candidates: Iterable[Candidate]) -> Mixture:
    rows = sorted(candidates, key=lambda each: each.model.lower())
    picks: list[Pick] = []
    excluded = [
        Excluded(model=each.model, role=role, reason="its size is unknown")
        for each in rows
        if each.size is None
        for role in ROLES
    ]
    for size in SIZES:
        for role in ROLES:
            pick, left_out = _pick(size, role, [each for each in rows if each.size == size])
            picks.append(pick)
            excluded += left_out
    scored = tuple(
        Scored(model=each.model, size=each.size, local=each.local, scores={role: score(each, role) for role in ROLES})
        for each in rows
    )
    return Mixture(candidates=scored, mixture=tuple(picks), excluded=tuple(excluded))


def _pick(size: Size, role: str, rows: Sequence[Candidate]) -> tuple[Pick, list[Excluded]]:
    scores = {each.model: score(each, role) for each in rows}
    known = {model: found for model, found in scores.items() if found is not None}
    basis = next((name for name in ROLES[role] if any(found.basis == name for found in known.values())), None)
    excluded = [
        Excluded(model=model, role=role, reason=_left_out(found, basis, role))
        for model, found in scores.items()
        if found is None or found.basis != basis
    ]
    if basis is None:
        reason = f"no {size} candidate has a published {' or '.join(ROLES[role])}"
        return Pick(size=size, role=role, model=None, score=None, reason=reason), excluded
    compared = {model: found for model, found in known.items() if found.basis == basis}
    best = min(compared, key=lambda model: (-compared[model].value, model.lower()))
    claims = sum(not found.verified for found in compared.values())
    reason = f"highest {basis} of {len(compared)}" + (f", {claims} unverified" if claims else "")
    return Pick(size=size, role=role, model=best, score=compared[best], reason=reason), excluded


def _left_out(found: Score | None, basis: str | None, role: str) -> str:
    if found is None:
        return f"no published {' or '.join(ROLES[role])} in range"
    return f"only {found.basis}, which does not compare with {basis}"


def markdown(made: Mixture) -> str:
    """For people: the picks, then every candidate's numbers with where they stand."""
    lines = ["| size | role | pick | score | basis | why |", "|---" * 6 + "|"]
    for pick in made.mixture:
        value, basis = (f"{pick.score.value:g}", pick.score.basis) if pick.score else ("-", "-")
        lines.append(_line(pick.size, pick.role, pick.model or "none", value, basis, pick.reason))
    lines += ["", "| candidate | size | local | role | score | basis | source |", "|---" * 7 + "|"]
    for each in made.candidates:
        for role, found in each.scores.items():
            figures = (f"{found.value:g}", found.basis, _source(found)) if found else ("unknown", "-", "-")
            lines.append(_line(each.model, each.size or "unknown", "yes" if each.local else "no", role, *figures))
    if any(found and not found.verified for each in made.candidates for found in each.scores.values()):
        lines += ["", UNVERIFIED]
    return "\n".join(lines) + "\n"


def _source(found: Score) -> str:
    told = f"{found.citation} ({found.setting})" if found.setting else found.citation
    return told if found.verified else f"{told}, unverified"


def _line(*cells: str) -> str:
    return "| " + " | ".join(" ".join(cell.split()).replace("|", "\\|") for cell in cells) + " |"
