"""Which recipes of a registry a machine's cards have the memory for (contract lab.md 2, 7). Advice, never imposed."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from msgspec import Struct

from anvil.lab.onboarding import naming
from anvil.lab.onboarding.choosing import need_gb
from anvil.lab.onboarding.facts import Card
from anvil.lab.recipes.model import Hardware, Recipe

_SIZE = re.compile(r"_(\d+)gb$")  # of a card's key such as rtx_5090_32gb
_RANKS = {"verified": 0, "unverified": 1}  # A parked recipe is not advised.


class Recommendation(Struct, frozen=True):
    """``same_card``: it was measured on this model of card, not only on one of no more memory."""

    recipe: Recipe
    card: Card
    need_gb: float
    same_card: bool

    @property
    def sentence(self) -> str:
        where = "on this card" if self.same_card else f"on {self.recipe.hardware.gpu or 'another card'}"
        size = f"{self.card.name}, {round(self.card.total_mib / 1024)} GB"
        return f"{self.recipe.model} ({size}): recipe {self.recipe.status} {where}"


def recommended(recipes: Sequence[Recipe], cards: Sequence[Card]) -> list[Recommendation]:
    """The smallest card that holds each; verified before unverified, same card before others, then the largest."""
    found = [next(_fits(recipe, cards), None) for recipe in recipes if recipe.status in _RANKS]
    return sorted(
        (each for each in found if each is not None),
        key=lambda each: (_RANKS[each.recipe.status], not each.same_card, -each.need_gb, each.recipe.model),
    )


def _fits(recipe: Recipe, cards: Sequence[Card]) -> Iterator[Recommendation]:
    need = _need(recipe.hardware)
    if need is None:
        return
    mine = recipe.hardware.gpu
    rows = [
        Recommendation(recipe, card, need, mine is not None and _key(mine, card) == _key(card.name, card))
        for card in cards
        if need <= round(card.total_mib / 1024)
    ]
    yield from sorted(rows, key=lambda row: (not row.same_card, row.card.total_mib))


def _need(hardware: Hardware) -> float | None:
    """In GB: what its weights need, else the card it ran on; None where the recipe says neither."""
    if hardware.vram_weights_gb is not None:
        return need_gb(hardware.vram_weights_gb)
    if hardware.vram_total_gb is not None:
        return hardware.vram_total_gb
    found = _SIZE.search(hardware.gpu or "")
    return float(found[1]) if found else None


def _key(name: str, card: Card) -> str:
    return naming.gpu_model(name, card.total_mib)
