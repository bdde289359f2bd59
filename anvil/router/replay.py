"""Recorded requests against a candidate configuration: which would have gone elsewhere (contract 3.1 replay).

Only metadata is read: the recorded intent, needs and class go through intent and policy again. No model is called,
so what a tier would have answered is not known; "first" is the tier the walk would have begun with.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec
from msgspec import Struct

from anvil.router import loading
from anvil.router.decisions.record import Decision, Needs, decode
from anvil.router.intent import Intents
from anvil.router.policy import Policy
from anvil.router.profile import Profile
from anvil.router.turn import Signals


class Move(Struct, frozen=True):
    """One request and where it would go: ids of the candidates in order, then and now, and why they differ."""

    id: str
    preset: str | None
    work_class: str | None
    before: tuple[str, ...]
    after: tuple[str, ...]
    why: str

    @property
    def moved(self) -> bool:
        return self.before[:1] != self.after[:1]


class BadDecisions(ValueError):
    """The file of decisions cannot be read; the text names the line."""


def read(path: Path) -> Iterator[Decision]:
    """Records of a JSON Lines file, or of one GET /v1/decisions answer. Raises BadDecisions, OSError."""
    data = path.read_bytes()
    rows = _rows_of_answer(data)
    lines: Iterable[bytes] = rows if rows is not None else data.splitlines()
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            yield decode(line)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise BadDecisions(f"{path}: line {number}: not a decision record: {error}") from None


def _rows_of_answer(data: bytes) -> list[bytes] | None:
    class Page(Struct):
        data: list[msgspec.Raw]

    try:
        return [bytes(row) for row in msgspec.json.decode(data, type=Page).data]
    except msgspec.MsgspecError:
        return None


def moves(records: Iterable[Decision], candidate: loading.Loaded, profile: Profile | None = None) -> Iterator[Move]:
    """What the candidate would have decided, request by request; refused and malformed ones are passed over."""
    config = candidate.config
    intents = Intents(config)
    policy = Policy(config, profile or candidate.profile, bound=frozenset(tier.id for tier in config.tiers))
    for record in records:
        if record.intent is None or record.endpoint in ("count_tokens", "route"):
            continue
        signals = _signals(record)
        intent = intents.replay(_asked(record), record.work_class, record.intent.ambiguous, signals)
        decision = policy.decide(intent, signals)
        after = tuple([tier.id for tier, _ in decision.tiers])
        yield Move(
            id=record.id,
            preset=record.intent.preset,
            work_class=record.work_class,
            before=tuple([tier for tier in record.requested_tiers if tier not in record.dropped.unbound]),
            after=after,
            why=decision.why if not after else decision.gate_note,
        )


def _asked(record: Decision) -> str | None:
    """The name that was meant; a record's caller_model has lost the blanks a preset's name may hold."""
    intent = record.intent
    if intent is not None and intent.source == "declared-preset":
        return intent.preset
    return record.caller_model


def _signals(record: Decision) -> Signals:
    needs = record.needs or Needs()
    asked = record.intent.signals if record.intent is not None else None
    return Signals(
        words=needs.context,
        thinking=bool(asked and asked.thinking_enabled),
        has_tools=bool(asked and asked.has_tools),
        tool_artifacts=needs.tools,
        images=int(needs.images),
        documents=int(needs.documents),
        audio=needs.audio,
    )
