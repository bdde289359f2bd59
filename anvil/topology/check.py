"""Every cross-table rule (contract operations.md 4). Pure; runs while the inventory loads, before any connection."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from anvil.topology import rules_models, rules_places, rules_routing, rules_runtime, rules_values
from anvil.topology.finding import Finding, Rule
from anvil.topology.model import Topology

RULES: tuple[Rule, ...] = (
    *rules_places.RULES,
    *rules_runtime.RULES,
    *rules_models.RULES,
    *rules_routing.RULES,
    *rules_values.RULES,
)


def check(topology: Topology, present: Collection[str] | None = None) -> list[Finding]:
    """All findings, errors first, each set in the order of the rules.

    ``present`` holds the secret names that have a value on the controller; None leaves T16 out (rendering needs no
    secret).
    """
    found = [finding for rule in RULES for finding in rule(topology)]
    if present is not None:
        found += rules_values.secrets_present(topology, present)
    return sorted(found, key=lambda finding: ("error", "warn", "info").index(finding.level))


def lines(findings: Collection[Finding], file: str) -> Iterator[str]:
    """`inventory/topology.toml: serves.fast: sentence (T05)`, one a finding."""
    return (f"{file}: {each.table}: {each.sentence} ({each.code})" for each in findings)
