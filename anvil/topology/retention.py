"""Which cached models stay, and what could go: one truth for a folder here and a docker volume elsewhere (lab
contract 10). Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from typing import Literal

import msgspec
from msgspec import Struct

from anvil.topology.model import Custom, LlamaCpp, Topology
from anvil.topology.repositories import stands_in

Reason = Literal["incomplete", "incompatible-format", "unreferenced"]

REASONS: tuple[Reason, ...] = ("incomplete", "incompatible-format", "unreferenced")
STALE_SECONDS = 7 * 24 * 3600.0
_OPEN = re.compile(r"models--([A-Za-z0-9_.-]+?)--([A-Za-z0-9_.-]+?)(?=/|$)")


class Candidate(Struct, frozen=True, kw_only=True):
    """One cached model. Sizes in bytes, times in epoch seconds.

    ``path`` is the whole models-- folder. ``whole``: its snapshot has every file that it names. ``real``: it passed
    the index's gate for real models. ``incomplete_since``: the last write to an interrupted download of it.
    """

    repo: str
    path: str
    size_bytes: int
    format: str = "?"
    whole: bool = True
    real: bool = True
    incomplete_since: float | None = None
    hazards: tuple[str, ...] = ()


class Item(Struct, frozen=True, kw_only=True):
    """A candidate that nothing protects. ``delete``: this run would remove it."""

    repo: str
    path: str
    size_bytes: int
    reason: Reason
    delete: bool
    hazards: tuple[str, ...] = ()


class Total(Struct, frozen=True):
    models: int
    size_bytes: int


class Plan(Struct, frozen=True, kw_only=True):
    """``items`` by size, biggest first, then by name; ``totals`` by reason; ``protected`` are the kept repositories."""

    items: tuple[Item, ...]
    totals: dict[str, Total]
    protected: tuple[str, ...]

    def doomed(self) -> tuple[Item, ...]:
        return tuple(item for item in self.items if item.delete)


class UnknownProtection(Exception):
    """An id to protect is in no cache: it may be misspelt, so nothing may be deleted."""


def plan(
    candidates: Iterable[Candidate],
    protected: Collection[str],
    *,
    now: float,
    gguf_taken: bool = True,
    include_servable: bool = False,
) -> Plan:
    """What nothing protects, with its reason. Names compare without case.

    ``gguf_taken``: some engine of the topology loads GGUF, or there is no topology to tell. Hazards are carried along
    and never decide.
    """
    rows = tuple(candidates)
    keep = {repo.lower() for repo in protected}
    items = []
    for row in rows:
        reason = None if row.repo.lower() in keep else _reason(row, now, gguf_taken)
        if reason is not None:
            items.append(_item(row, reason, include_servable or reason == "incomplete"))
    items.sort(key=lambda item: (-item.size_bytes, item.repo, item.path))
    totals: dict[str, Total] = {reason: _total(item for item in items if item.reason == reason) for reason in REASONS}
    kept = tuple(sorted({row.repo for row in rows if row.repo.lower() in keep}))
    return Plan(items=tuple(items), totals=totals, protected=kept)


def check_protection(asked: Iterable[str], candidates: Iterable[Candidate]) -> None:
    """Raises UnknownProtection, naming every id that is not in the scan."""
    known = {row.repo.lower() for row in candidates}
    unknown = [repo for repo in asked if repo.lower() not in known]
    if unknown:
        raise UnknownProtection(f"not in the scan: {', '.join(unknown)}; give ids as the plan writes them")


def topology_texts(topology: Topology) -> list[str]:
    """Every word of serves and tiers, whatever mode or state: a draft model in an extra argument counts too."""
    return [msgspec.json.encode([topology.serves, topology.tiers]).decode()]


def takes_gguf(topology: Topology) -> bool:
    return any(isinstance(serve, LlamaCpp | Custom) for serve in topology.serves.values())


def named_in(texts: Iterable[str], repos: Collection[str]) -> set[str]:
    """The repositories that any of the texts names, as OWNER/REPO or as a cache folder: serves, command lines,
    open files."""
    whole = "\n".join(texts).lower()
    folders = {f"{owner}/{name}" for owner, name in _OPEN.findall(whole)}
    return {repo for repo in repos if repo.lower() in folders or stands_in(repo.lower(), whole)}


def _reason(row: Candidate, now: float, gguf_taken: bool) -> Reason | None:
    """A finished model with a left-over of another download is not incomplete."""
    if row.incomplete_since is not None and not row.whole:
        return "incomplete" if now - row.incomplete_since > STALE_SECONDS else None
    if not row.real:
        return None
    return "incompatible-format" if row.format == "GGUF" and not gguf_taken else "unreferenced"


def _item(row: Candidate, reason: Reason, delete: bool) -> Item:
    return Item(
        repo=row.repo, path=row.path, size_bytes=row.size_bytes, reason=reason, delete=delete, hazards=row.hazards
    )


def _total(items: Iterable[Item]) -> Total:
    sizes = [item.size_bytes for item in items]
    return Total(len(sizes), sum(sizes))
