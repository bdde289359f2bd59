"""What a rule reports."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple

from anvil.topology.model import Topology


class Finding(NamedTuple):
    """``table`` is where the operator looks, ``sentence`` says what is wrong and what to do."""

    code: str
    level: Literal["error", "warn", "info"]
    table: str
    sentence: str


Rule = Callable[[Topology], Iterator[Finding]]


def error(code: str, table: str, sentence: str) -> Finding:
    return Finding(code, "error", table, sentence)


def warn(code: str, table: str, sentence: str) -> Finding:
    return Finding(code, "warn", table, sentence)
