"""Which recipes of a registry fit the cards, and in which order they are told."""

from __future__ import annotations

import pytest

from anvil.lab.onboarding.recommending import recommended
from anvil.lab.recipes.model import Hardware, Recipe, ServeRecipe
from tests.unit.lab.onboarding.test_choosing import PRO, SMALL


def recipe(model: str, status: str = "verified", **hardware: object) -> Recipe:
    return Recipe(
        model=model,
        status=status,  # type: ignore[arg-type] # any of the three
        serve=ServeRecipe(engine="vllm"),
        hardware=Hardware(**hardware),  # type: ignore[arg-type] # fields by name
    )


@pytest.mark.parametrize(
    ("hardware", "card"),
    [
        ({"vram_weights_gb": 20}, SMALL),  # 27 GB with what it needs beside its weights
        ({"vram_weights_gb": 24.3}, SMALL),  # just under 32 GB
        ({"vram_weights_gb": 24.4}, PRO),
        ({"vram_weights_gb": 79}, PRO),
        ({"vram_weights_gb": 81}, None),
        ({"vram_total_gb": 32}, SMALL),
        ({"vram_total_gb": 96}, PRO),
        ({"vram_total_gb": 97}, None),
        ({"gpu": "rtx_5090_32gb"}, SMALL),
        ({"gpu": "rtx_pro_6000_blackwell_96gb", "vram_weights_gb": 10}, PRO),  # the card it was measured on
        ({}, None),  # nothing says how much it needs
        ({"gpu": "something else"}, None),
    ],
)
def test_by_memory(hardware: dict[str, object], card: object) -> None:
    found = recommended([recipe("a/m", **hardware)], [PRO, SMALL])
    assert [each.card for each in found] == ([] if card is None else [card])


def test_the_order_they_are_told_in() -> None:
    recipes = [
        recipe("a/parked", "parked", vram_total_gb=24),
        recipe("a/unverified", "unverified", vram_total_gb=32, gpu="rtx_5090_32gb"),
        recipe("a/small", vram_total_gb=16),
        recipe("a/large", vram_total_gb=24),
        recipe("a/same", vram_total_gb=32, gpu="RTX 5090"),
    ]
    found = recommended(recipes, [SMALL])
    assert [each.recipe.model for each in found] == ["a/same", "a/large", "a/small", "a/unverified"]
    assert found[0].sentence == "a/same (NVIDIA GeForce RTX 5090, 32 GB): recipe verified on this card"
    assert "on another card" in found[1].sentence
    assert recommended(recipes, []) == []
