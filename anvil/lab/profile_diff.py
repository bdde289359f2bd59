"""What a candidate profile would change before anybody promotes it (lab contract 6.3): verdicts, tiers, requests."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from msgspec import Struct

from anvil.router.config import RouterConfig, TierConfig
from anvil.router.decisions.record import Decision
from anvil.router.loading import Loaded
from anvil.router.profile import Profile, Row
from anvil.router.replay import Move, moves
from anvil.router.taxonomy import Verdict

Key = tuple[str, str | None]
SEED = ["seed"]  # source_evals of rows nobody measured


class Side(Struct, frozen=True):
    """A pair's row in one profile. ``applied``: the verdict the router gives the pair, None without a configuration."""

    decision: Verdict | None = None
    score: float | None = None
    applied: Verdict | None = None


class Change(Struct, frozen=True):
    """One (tier, class) whose row differs."""

    tier_id: str
    work_class: str | None
    live: Side
    candidate: Side


class Moved(Struct, frozen=True):
    """A recorded request whose order of tiers differs between the two profiles."""

    id: str
    preset: str | None
    work_class: str | None
    live: tuple[str, ...]
    candidate: tuple[str, ...]


class Replayed(Struct, frozen=True):
    """Recorded decisions under both profiles: how many were run, and those that differ."""

    requests: int
    moved: list[Moved]


class Difference(Struct, frozen=True):
    """stale and unknown_tiers speak of the candidate; both need a configuration and are None without one."""

    added: list[Change]
    removed: list[Change]
    changed: list[Change]
    unknown_tiers: list[str] | None
    stale: list[Key] | None
    replayed: Replayed | None = None

    @property
    def empty(self) -> bool:
        return not (self.added or self.removed or self.changed)


def compare(
    live: Iterable[Row], candidate: Iterable[Row], config: RouterConfig | None = None, mode: str | None = None
) -> Difference:
    """Rows that were added, removed or changed in verdict or score, by (tier, class) free of the id's case."""
    before, after = ({row.key: row for row in rows} for rows in (live, candidate))
    old, new = (Profile(config, rows.values(), mode=mode) if config else None for rows in (before, after))
    tiers = {tier.id.lower(): tier for tier in config.tiers} if config else {}
    changes = [
        Change(
            (after.get(key) or before[key]).tier_id,
            key[1],
            _side(before.get(key), old, tiers.get(key[0]), key[1]),
            _side(after.get(key), new, tiers.get(key[0]), key[1]),
        )
        for key in sorted({*before, *after}, key=lambda key: (key[0], key[1] or ""))
        if not _seeds_again(key, before, after, new)
    ]
    return Difference(
        added=[change for change in changes if change.live.decision is None],
        removed=[change for change in changes if change.candidate.decision is None],
        changed=[change for change in changes if _differs(change)],
        unknown_tiers=_unknown(after, tiers) if config else None,
        stale=_stale(after, new) if new else None,
    )


def _seeds_again(key: Key, before: Mapping[Key, Row], after: Mapping[Key, Row], candidate: Profile | None) -> bool:
    """A seed row that the candidate leaves out is not gone: the seed lies under every profile."""
    if candidate is None or key in after or before[key].source_evals != SEED:
        return False
    return any(row.key == key and row.decision == before[key].decision for row in candidate.rows)


def _side(row: Row | None, profile: Profile | None, tier: TierConfig | None, work_class: str | None) -> Side:
    applied = profile.verdict(tier, work_class) if profile is not None and tier is not None else None
    return Side(row.decision, row.quality_score, applied) if row is not None else Side(applied=applied)


def _differs(change: Change) -> bool:
    live, candidate = change.live, change.candidate
    return None not in (live.decision, candidate.decision) and live != candidate


def _unknown(rows: Mapping[Key, Row], tiers: Mapping[str, TierConfig]) -> list[str]:
    return sorted({row.tier_id for (tier, _), row in rows.items() if tier not in tiers})


def _stale(rows: Mapping[Key, Row], profile: Profile) -> list[Key]:
    return [(tier, work_class) for tier, work_class in profile.stale_rows if (tier.lower(), work_class) in rows]


def replay(records: Iterable[Decision], loaded: Loaded, live: Iterable[Row], candidate: Iterable[Row]) -> Replayed:
    """Which recorded requests the candidate would order differently, everything else being equal."""
    recorded = list(records)
    under_live, under_candidate = (
        list(moves(recorded, loaded, Profile(loaded.config, rows, mode=loaded.mode))) for rows in (live, candidate)
    )
    both: Iterator[tuple[Move, Move]] = zip(under_live, under_candidate, strict=True)
    moved = [
        Moved(old.id, old.preset, old.work_class, old.after, new.after) for old, new in both if old.after != new.after
    ]
    return Replayed(len(under_live), moved)


# ---------------------------------------------------------------------------------------------- for people


def lines(difference: Difference) -> Iterator[str]:
    """One line a fact: + added, - removed, ~ changed; then what makes rows useless; then the requests."""
    for mark, changes in (("+", difference.added), ("-", difference.removed), ("~", difference.changed)):
        for change in changes:
            yield f"{mark} {change.tier_id}/{change.work_class or 'none'}: {_told(change)}"
    if difference.empty:
        yield "no verdict and no score differs"
    for tier in difference.unknown_tiers or ():
        yield f"WARN {tier}: no tier of the configuration has this id; its rows have no effect"
    for tier, work_class in difference.stale or ():
        yield (
            f"WARN {tier}/{work_class or 'none'}: stale, the tier is no longer what was measured; "
            "an allow counts as allow-with-verify until it is measured again"
        )
    if difference.replayed is not None:
        yield from _requests(difference.replayed)


def _told(change: Change) -> str:
    shown = [_row(side) for side in (change.live, change.candidate) if side.decision is not None]
    text = " -> ".join(shown)
    before, after = change.live.applied, change.candidate.applied
    if before is None or after is None:
        return text
    return f"{text}  (the router applies {after})" if before == after else f"{text}  (the router: {before} -> {after})"


def _row(side: Side) -> str:
    return f"{side.decision} {side.score:.2f}" if side.score is not None else str(side.decision)


def _requests(replayed: Replayed) -> Iterator[str]:
    for move in replayed.moved:
        before, after = (" > ".join(order) or "nobody" for order in (move.live, move.candidate))
        yield f"{move.id}  {move.preset or 'inferred'} ({move.work_class or 'none'}): {before} -> {after}"
    yield f"{len(replayed.moved)} of {replayed.requests} recorded requests would be ordered differently"


def promotion(candidate: Path) -> str:
    """The command that shows, and without --dry makes, the candidate live."""
    return f"pyinfra inventory/hosts.py deploy/promote.py --data {shlex.quote(f'profile={candidate}')} --dry --diff"
