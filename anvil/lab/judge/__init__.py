"""An independent model's opinion of an answer: what a judge is, and what it may be asked (lab contract 6.3)."""

from __future__ import annotations

from typing import Protocol

from msgspec import Struct

from anvil.lab.evaluation.scores import Scores


class Sample(Struct, frozen=True):
    """What is judged: a request of a work class and the answer to it."""

    work_class: str | None
    request: str
    answer: str


class Opinion(Struct, frozen=True):
    """Points per dimension, their total, and the judge's words."""

    scores: Scores
    notes: str = ""


class JudgeFailed(Exception):
    """The judge could not be asked: it is missing, failed, or took too long."""


class ProtocolError(JudgeFailed):
    """The judge's reply is not the one JSON object that was asked for; never repaired."""


class Judge(Protocol):
    """``name`` for people; ``families`` of the model that judges, empty when they cannot be told."""

    @property
    def name(self) -> str: ...
    @property
    def families(self) -> frozenset[str]: ...
    def opinion(self, sample: Sample) -> Opinion:
        """Raises JudgeFailed."""
        ...
