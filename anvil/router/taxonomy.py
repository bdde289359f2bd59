"""Presets, work classes, verdicts, and how a caller's spelling of a name is compared (contract 1.1, 9.1, 9.3)."""

from __future__ import annotations

from typing import Literal

Verdict = Literal["allow", "allow-with-verify", "deny"]

PRESET_CLASS = {
    "planning": "planning",
    "quick-edit": "bounded-edit",
    "review": "review",
    "chat": "chat",
    "long-context": "long-context",
}
CLASS_PRESET = {
    "chat": "chat",
    "bounded-edit": "quick-edit",
    "multi-file-refactor": "review",
    "planning": "planning",
    "review": "review",
    "long-context": "long-context",
}
CANONICAL_PRESETS = tuple(PRESET_CLASS)
WORK_CLASSES = tuple(CLASS_PRESET)


def normalise(token: str) -> str:
    """Lower case, trimmed, one leading ``anvil/`` or ``anvil:`` taken off (9.1)."""
    token = token.strip().lower()
    if token.startswith(("anvil/", "anvil:")):
        return token[6:].strip()
    return token
