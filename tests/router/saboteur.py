"""An "observer" whose import breaks the router on purpose: a defect of ours wherever a tier's bytes hold a word."""

from __future__ import annotations

from typing import Any

from anvil.router.dialects import openai_chat_reader
from anvil.router.intent import Intents

_feed = openai_chat_reader.StreamReader.feed
_resolve = Intents.resolve


def feed(self: openai_chat_reader.StreamReader, data: bytes) -> Any:
    if b"SABOTAGE" in data:
        raise ZeroDivisionError("secret-of-the-router")
    return _feed(self, data)


def resolve(self: Intents, turn: Any) -> Any:
    if turn.model == "sabotage":
        raise ZeroDivisionError("secret-of-the-router")
    return _resolve(self, turn)


openai_chat_reader.StreamReader.feed = feed  # type: ignore[method-assign]  # sabotage is the point
Intents.resolve = resolve  # type: ignore[method-assign]  # sabotage is the point


def note(_: object) -> None:
    """Nothing to note."""
