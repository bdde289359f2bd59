"""Builders for tests of intent, profile and policy."""

from __future__ import annotations

from anvil.router.config import RouterConfig, TierConfig
from anvil.router.turn import Signals, Turn


def local(tier_id: str, **fields: object) -> TierConfig:
    values = {
        "id": tier_id,
        "base_url": "http://127.0.0.1:7001/v1",
        "dialect": "openai",
        "context_limit": 32768,
        "privacy": "local",
        "tool_support": True,
        "auth_env": "KEY",
        "model": f"{tier_id}-model",
    }
    return TierConfig(**{**values, **fields})  # type: ignore[arg-type]  # a builder of keyword values


def cloud(tier_id: str, **fields: object) -> TierConfig:
    values = {"privacy": "cloud", "dialect": "anthropic", "context_limit": 200_000, "vision": True, "documents": True}
    return local(tier_id, **{**values, "base_url": "https://api.example.com", **fields})


def config(*tiers: TierConfig, **fields: object) -> RouterConfig:
    return RouterConfig(mapping_version="v1", tiers=tiers, **fields)  # type: ignore[arg-type]  # a builder


def turn(model: str | None = None, text: str = "", **signals: object) -> Turn:
    read = Signals(user_text=text, words=len(text.split()))
    for name, value in signals.items():
        setattr(read, name, value)
    return Turn("openai", {}, read, model=model)
