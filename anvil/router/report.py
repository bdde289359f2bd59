"""What ``anvil check`` prints: tiers, the preset x tier table, warnings (contract 3.1)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from anvil.router.models import preset_order
from anvil.router.policy import Policy, Residencies

if TYPE_CHECKING:
    from anvil.router.config import TierConfig
    from anvil.router.loading import Loaded

SCHEMA = "anvil.check/v1"


def describe(loaded: Loaded) -> dict[str, object]:
    """The whole configuration in force, without a single secret."""
    config = loaded.config
    policy = Policy(config, loaded.profile, bound=frozenset(loaded.binding.keys), residencies=Residencies(config))
    return {
        "schema": SCHEMA,
        "config_hash": loaded.config_hash,
        "mapping_version": config.mapping_version,
        "mode": loaded.mode,
        "release": loaded.release,
        "tiers": [_tier(tier, loaded) for tier in config.tiers],
        "presets": {preset: _preset(policy, preset) for preset in preset_order(config)},
        "unservable": [preset for preset in preset_order(config) if not policy.usable(preset)],
        "warnings": loaded.notes,
    }


def _tier(tier: TierConfig, loaded: Loaded) -> dict[str, object]:
    return {
        "id": tier.id,
        "privacy": tier.privacy,
        "dialect": tier.dialect,
        "model": tier.model,
        "role": tier.role,
        "context_limit": tier.context_limit,
        "bound": tier.id in loaded.binding.keys,
    }


def _preset(policy: Policy, preset: str) -> list[dict[str, object]]:
    return [{"tier": row.tier_id, "verdict": row.verdict, "gate": row.gate} for row in policy.table(preset)]


def as_json(loaded: Loaded) -> bytes:
    return msgspec.json.encode(describe(loaded))


def as_text(loaded: Loaded, path: Path) -> str:
    """For people: hash, tiers, one line per preset and tier, unservable presets by name."""
    found = describe(loaded)
    lines = [f"{path}: ok", f"configuration {loaded.config_hash}, mapping {loaded.config.mapping_version}"]
    for tier in loaded.config.tiers:
        bound = "bound" if tier.id in loaded.binding.keys else f"not bound: set {tier.auth_env}"
        lines.append(f"tier {tier.id}: {tier.privacy} {tier.dialect}, window {tier.context_limit}, {bound}")
    presets = found["presets"]
    assert isinstance(presets, dict)
    for preset, rows in presets.items():
        cells = ", ".join(f"{row['tier']} {row['verdict']}{_gate(row['gate'])}" for row in rows)
        lines.append(f"preset {preset}: {cells}")
    unservable = found["unservable"]
    assert isinstance(unservable, list)
    lines += [f"preset {preset} is not servable here: it ends in the hand-off status" for preset in unservable]
    lines += [f"warning: {note}" for note in loaded.notes]
    return "\n".join(lines)


def _gate(gate: object) -> str:
    return f" ({gate})" if gate else ""
