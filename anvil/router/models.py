"""What the router offers by name: presets that can be served, then bound tiers (contract 2.10, 10.6)."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import unquote

import msgspec
from msgspec import Struct

from anvil.harness.model import title
from anvil.router.taxonomy import CANONICAL_PRESETS, normalise

if TYPE_CHECKING:
    from anvil.router.config import RouterConfig
    from anvil.router.policy import Policy

# A fixed creation time keeps the list byte-stable between calls and restarts.
CREATED = 1_700_000_000
CREATED_AT = "2023-11-14T22:13:20Z"


class Offer(Struct, frozen=True):
    """One entry of the list. ``context_window`` in tokens: the largest among the tiers it may really use."""

    id: str
    name: str
    description: str
    context_window: int


def offers(config: RouterConfig, policy: Policy) -> list[Offer]:
    """Servable presets in canonical order, then custom ones, then bound tier ids unless pins are off."""
    found: list[Offer] = []
    for preset in preset_order(config):
        tiers = policy.usable(preset)
        if tiers:
            window = max(tier.context_limit for tier in tiers)
            found.append(Offer(preset, title(preset), f"anvil preset: {title(preset).lower()}", window))
    if config.pins:
        shadowed = {name.lower() for name in config.presets}  # asking for these ids gives the preset
        found += [
            Offer(tier.id, title(tier.id), f"anvil {tier.privacy} tier", tier.context_limit)
            for tier in config.tiers
            if policy.is_bound(tier.id) and tier.id.lower() not in shadowed
        ]
    return found


def preset_order(config: RouterConfig) -> list[str]:
    known = {name.lower(): name for name in config.presets}
    canonical = [known[name] for name in CANONICAL_PRESETS if name in known]
    return canonical + [name for name in config.presets if name not in canonical]


def find(all_offers: list[Offer], wanted: str) -> Offer | None:
    """An offer by id: any letter case, with or without ``anvil/`` (or ``anvil:``, as in a request's model).

    The route is matched as it came (2.2), but the SDKs escape an id's slash, and preset names may hold anything.
    """
    token = normalise(unquote(wanted))
    return next((offer for offer in all_offers if offer.id.lower() == token), None)


def openai_row(offer: Offer) -> dict[str, object]:
    return {
        "id": offer.id,
        "object": "model",
        "name": offer.name,
        "description": offer.description,
        "owned_by": "anvil-serving",
        "created": CREATED,
        "context_window": offer.context_window,
    }


def anthropic_row(offer: Offer) -> dict[str, object]:
    return {"type": "model", "id": offer.id, "display_name": offer.name, "created_at": CREATED_AT}


def openai_list(all_offers: list[Offer]) -> bytes:
    return msgspec.json.encode({"object": "list", "data": [openai_row(offer) for offer in all_offers]})


def anthropic_list(all_offers: list[Offer]) -> bytes:
    ids = [offer.id for offer in all_offers]
    return msgspec.json.encode(
        {
            "data": [anthropic_row(offer) for offer in all_offers],
            "has_more": False,
            "first_id": ids[0] if ids else None,
            "last_id": ids[-1] if ids else None,
        }
    )
