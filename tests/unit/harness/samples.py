"""Routers as their clients see them."""

from __future__ import annotations

from anvil.harness.model import Model, Router, max_output, title

WINDOW = 131_072
PRESETS = ("chat", "quick-edit", "review", "planning", "long-context")


def model(preset: str, window: int = WINDOW, images: bool = False) -> Model:
    return Model(preset, title(preset), window, max_output(preset, window), ("text", "image") if images else ("text",))


def router(*presets: str, window: int = WINDOW) -> Router:
    return Router("http://100.64.0.10:8000", "ANVIL_ROUTER_TOKEN", tuple(model(preset, window) for preset in presets))


FIVE = router(*PRESETS)
