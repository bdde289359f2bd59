"""What each tier has been measured to do well: verdicts per (tier, work class) (contract 11). Never writes a file."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Iterable

import msgspec
from msgspec import Struct, structs

from anvil.router.config.model import ConfigError, RouterConfig, TierConfig
from anvil.router.fingerprint import fingerprint
from anvil.router.taxonomy import WORK_CLASSES, Verdict

SCHEMA_V1 = "anvil-serving.router.profile_bootstrap/v1"
SCHEMA_V2 = "anvil-serving.router.profile_bootstrap/v2"
EVAL_MAX = 25.0
UNMEASURED_SCORE = 0.5

# 11.2, by role; the scores follow from the verdict and the role's anchor
_SEED: dict[str, tuple[Verdict, Verdict, Verdict]] = {
    "planning": ("deny", "deny", "allow"),
    "multi-file-refactor": ("deny", "allow-with-verify", "allow"),
    "long-context": ("deny", "allow", "allow"),
    "review": ("allow-with-verify", "allow", "allow"),
    "bounded-edit": ("allow", "allow", "allow"),
    "chat": ("allow", "allow", "allow"),
}
_ANCHORS = {"fast": 0.65, "heavy": 0.80, "cloud": 0.95}
_HARD_CLASSES = ("planning", "multi-file-refactor")


class Row(Struct, frozen=True, kw_only=True):
    """One measured pair, as stored. work_class None is the class "none" of custom presets."""

    tier_id: str
    work_class: str | None
    decision: Verdict
    model_label: str = ""
    quality_score: float = UNMEASURED_SCORE
    sample_n: int = 1
    eval_total_avg: float | None = None
    eval_max: float = EVAL_MAX
    last_measured: str | None = None
    source_evals: list[str] = []
    fingerprint: str | None = None
    reasoning: object = None

    @property
    def key(self) -> Key:
        return self.tier_id.lower(), self.work_class


class _File(Struct):
    """``entries`` has no default: a file without them would quietly leave the seed profile in force (11.3)."""

    schema: str
    entries: list[msgspec.Raw]
    mode: str = "replay"
    eval_max: float = EVAL_MAX


Key = tuple[str, str | None]


class Profile:
    """Rows of a file over the seed profile. Reads never block; ``record_grade`` may be called from any thread."""

    def __init__(
        self, config: RouterConfig, rows: Iterable[Row] = (), *, kind: str = "replay", mode: str | None = None
    ):
        """rows: measured ones, adopted or found stale against the tiers of ``config`` under the active ``mode``."""
        self.kind = kind
        self._lock = threading.Lock()
        self._current = {tier.id.lower(): fingerprint(tier, mode) for tier in config.tiers}
        self._rows: dict[Key, Row] = {row.key: row for row in seed_rows(config)}
        self._rows |= {row.key: row for row in rows}
        for key, row in self._rows.items():
            if row.fingerprint is None:
                self._rows[key] = structs.replace(row, fingerprint=self._current.get(key[0]))

    @classmethod
    def seed(cls, config: RouterConfig, mode: str | None = None) -> Profile:
        """The profile used when profile_path is absent."""
        return cls(config, mode=mode)

    @classmethod
    def load(cls, data: bytes, config: RouterConfig, *, mode: str | None = None, name: str = "profile.json") -> Profile:
        """A profile.json of schema v1 or v2. Raises ConfigError with every problem, naming file, row and key."""
        kind, rows = read(data, name)
        return cls(config, rows, kind=kind, mode=mode)

    # -------------------------------------------------------------------------------------------- reading

    def verdict(self, tier: TierConfig, work_class: str | None) -> Verdict:
        """11.1."""
        row = self._rows.get((tier.id.lower(), work_class))
        if row is not None:
            return "allow-with-verify" if row.decision == "allow" and self._is_stale(row) else row.decision
        if work_class is None or not tier.local:
            return "allow"
        return "deny" if work_class in _HARD_CLASSES else "allow-with-verify"

    def score(self, tier: TierConfig, work_class: str | None) -> float:
        row = self._rows.get((tier.id.lower(), work_class))
        return UNMEASURED_SCORE if row is None else row.quality_score

    def fingerprint(self, tier_id: str) -> str | None:
        """The digest of what runs now, to be kept with a grade from the moment it is asked for."""
        return self._current.get(tier_id.lower())

    @property
    def rows(self) -> list[Row]:
        """Seed and measured rows together, sorted by (tier, class)."""
        return sorted(self._rows.values(), key=lambda row: (row.tier_id, row.work_class or ""))

    @property
    def stale_rows(self) -> list[tuple[str, str | None]]:
        """(tier id, work class) of rows whose tier is no longer what was measured."""
        return [(row.tier_id, row.work_class) for row in self.rows if self._is_stale(row)]

    def _is_stale(self, row: Row) -> bool:
        current = self._current.get(row.tier_id.lower())
        return current is not None and row.fingerprint != current

    # -------------------------------------------------------------------------------------------- grading

    def record_grade(
        self,
        tier: TierConfig,
        work_class: str | None,
        score: float,
        decision: Verdict | None = None,
        last_measured: str | None = None,
        weight: int = 1,
        submitted_fingerprint: str | None = None,
    ) -> Row:
        """Fold one grade into the pair's running mean (11.5) and give the new row.

        submitted_fingerprint: what ran when the answer was asked for; a grade of something older leaves the row stale.
        Raises ValueError for a score that is not a finite number.
        """
        if isinstance(score, bool) or not math.isfinite(score):
            raise ValueError(f"a score must be a finite number, not {score!r}")
        with self._lock:
            old = self._rows.get((tier.id.lower(), work_class)) or self._new_row(tier, work_class)
            row = _folded(old, score, max(0, weight))
            if decision is not None:
                row = structs.replace(row, decision=decision)
            if last_measured is not None:
                row = structs.replace(row, last_measured=last_measured)
            current = self._current.get(tier.id.lower())
            if submitted_fingerprint is None or submitted_fingerprint == current:
                row = structs.replace(row, fingerprint=current)
            self._rows = {**self._rows, row.key: row}
            return row

    def _new_row(self, tier: TierConfig, work_class: str | None) -> Row:
        if work_class is None:
            decision: Verdict = "allow"
        else:
            decision = "deny" if work_class in _HARD_CLASSES else "allow-with-verify"
        return Row(
            tier_id=tier.id,
            work_class=work_class,
            decision=decision,
            model_label=tier.model or tier.id,
            sample_n=0,
            fingerprint=self._current.get(tier.id.lower()),
            reasoning=tier.extra_body,
        )

    # -------------------------------------------------------------------------------------------- writing

    def dump(self) -> bytes:
        """The whole table as profile v2, with the fingerprints in force: indent 2, sorted keys, final newline."""
        return encode(self.rows, self.kind)


def encode(rows: Iterable[Row], kind: str) -> bytes:
    """Rows in the order given as a v2 file, its ``mode`` set to ``kind``: the same rows, the same bytes."""
    entries = [msgspec.to_builtins(row) for row in rows]
    document = {"schema": SCHEMA_V2, "mode": kind, "eval_max": EVAL_MAX, "entries": entries}
    return json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False).encode() + b"\n"


def _folded(old: Row, score: float, weight: int) -> Row:
    total = old.sample_n + weight
    mean = (old.quality_score * old.sample_n + score * weight) / total if total else score
    return structs.replace(old, quality_score=round(mean, 4), sample_n=max(1, total))


def seed_rows(config: RouterConfig) -> list[Row]:
    """11.2 for every tier that has a role."""
    return [
        Row(
            tier_id=tier.id,
            work_class=work_class,
            decision=decision,
            model_label=tier.model or tier.id,
            quality_score=seed_score(tier.role, decision),
            source_evals=["seed"],
            reasoning=tier.extra_body,
        )
        for tier in config.tiers
        if tier.role is not None
        for work_class in WORK_CLASSES
        for decision in (_SEED[work_class][("fast", "heavy", "cloud").index(tier.role)],)
    ]


def seed_score(role: str, decision: Verdict) -> float:
    if decision == "deny":
        return 0.20
    return round(_ANCHORS[role] - (0.10 if decision == "allow-with-verify" else 0.0), 2)


# ------------------------------------------------------------------------------------------------ file


def read(data: bytes, name: str) -> tuple[str, list[Row]]:
    """Mode ("replay" or "live") and rows of a profile file. Raises ConfigError naming file, row and key."""
    try:
        file = msgspec.json.decode(data, type=_File)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigError([f"{name}: not a profile: {error}"]) from None
    if file.schema not in (SCHEMA_V1, SCHEMA_V2):
        raise ConfigError([f'{name}: schema "{file.schema[:80]}" is not one this router reads; wanted {SCHEMA_V2}'])
    if file.mode not in ("replay", "live"):
        raise ConfigError([f'{name}: mode must be "replay" or "live", not "{file.mode[:40]}"'])
    problems: list[str] = []
    rows: dict[Key, Row] = {}
    for index, entry in enumerate(file.entries):
        try:
            row = _checked(msgspec.json.decode(entry, type=Row))
        except (ValueError, RecursionError) as error:
            problems.append(f"{name}: entries[{index}]: {error}")
            continue
        if row.key in rows:
            problems.append(f"{name}: entries[{index}]: a second row for {row.tier_id} and {row.work_class}")
        rows[row.key] = row
    if problems:
        raise ConfigError(problems)
    return file.mode, list(rows.values())


def _checked(row: Row) -> Row:
    if not row.tier_id.strip():
        raise ValueError("tier_id is empty")
    if not 0 <= row.quality_score <= 1:
        raise ValueError(f"quality_score must be from 0 to 1, not {row.quality_score:g}")
    if row.sample_n < 1:
        raise ValueError(f"sample_n must be at least 1, not {row.sample_n}")
    return row
