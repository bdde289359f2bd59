"""placeholder"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from anvil.topology.finding import Finding, Rule
from anvil.topology.model import Topology

RULES: tuple[Rule, ...] = ()


def secrets_present(topology: Topology, present: Collection[str]) -> Iterator[Finding]:
    return iter(())
