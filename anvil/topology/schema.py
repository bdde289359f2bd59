"""inventory/topology.schema.json: what an editor checks while the topology is written. Generated; a test compares
it."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from anvil.topology.model import Topology

_TIERS = ("ServeTier", "LocalTier", "CloudTier")
_DIALECT = "https://json-schema.org/draft/2020-12/schema"
# Keys that ``expand`` may fill from the environment are checked after that, not by an editor.
_EXPANDED_ROOT = r"^([~/]|\$\{)"


def schema() -> dict[str, Any]:
    """msgspec's schema of Topology, with the loader's own `form` tag taken out of the tiers again."""
    made = msgspec.json.schema(Topology)
    definitions = made["$defs"]
    for name in _TIERS:
        tier = definitions[name]
        tier["properties"].pop("form")
        tier["required"] = [key for key in tier.get("required", []) if key != "form"]
    tiers = definitions["Topology"]["properties"]["tiers"]["additionalProperties"]
    tiers.pop("discriminator")
    definitions["CloudTier"]["properties"]["cloud"] = {"const": True}
    definitions["Machine"]["properties"]["root"]["pattern"] = _EXPANDED_ROOT
    return {"$schema": _DIALECT, "title": "anvil topology", **made}


def text() -> str:
    return json.dumps(schema(), indent=2, sort_keys=True) + "\n"
