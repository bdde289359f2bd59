"""Which work class a request belongs to, from its words alone (contract 9.4, 9.5). Pure and deterministic."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

from msgspec import Struct

from anvil.router.taxonomy import CLASS_PRESET
from anvil.router.turn import Signals

LONG_CONTEXT_WORDS = 4000
VOCABULARY_FILE = Path(__file__).with_name("vocabulary.json")

# mirror of vocabulary.json, used when the file cannot be read; a test keeps the two equal
BUILT_IN: dict[str, list[str]] = {
    "review": ["review", "critique", "feedback", "audit"],
    "planning": [
        *("plan", "plans", "planning", "design", "architect", "decompose"),
        *("break down", "step by step", "roadmap"),
    ],
    "multi-file-refactor": ["refactor", "rename across", "across the codebase", "migrate the"],
    "bounded-edit": ["edit", "fix", "change", "add a", "update the", "implement", "patch"],
}


class Classified(Struct, frozen=True):
    """keywords: the vocabulary words found, in vocabulary order; never free text."""

    work_class: str
    confident: bool
    keywords: tuple[str, ...] = ()


FALLBACK = Classified("chat", False)


def load_vocabulary(file: Path = VOCABULARY_FILE) -> dict[str, list[str]]:
    """Work class -> words, in order of priority; the built-in mirror when the file is unreadable or malformed."""
    try:
        return _checked(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, RecursionError):
        return BUILT_IN


def _checked(value: object) -> dict[str, list[str]]:
    if not isinstance(value, dict):
        raise ValueError("not an object")
    words = {name: listed for name, listed in value.items() if not name.startswith("_")}
    if not words or not words.keys() <= CLASS_PRESET.keys() or not all(isinstance(li, list) for li in words.values()):
        raise ValueError("no lists of words for work classes")
    if not all(isinstance(word, str) and word for listed in words.values() for word in listed):
        raise ValueError("not words")
    return words


class Classifier:
    """A vocabulary, compiled once."""

    def __init__(self, vocabulary: Mapping[str, list[str]] | None = None) -> None:
        chosen = load_vocabulary() if vocabulary is None else vocabulary
        # "word in text" is far cheaper than a pattern, so the pattern only confirms the boundaries of a hit
        self._words = [
            (name, word, re.compile(rf"\b{re.escape(word)}\b").search)
            for name, listed in chosen.items()
            for word in listed
        ]

    def classify(self, signals: Signals) -> Classified:
        """Never raises: anything unexpected is ``chat``, not confident."""
        try:
            return self._classify(signals)
        except Exception:  # contract 9.5: whatever goes wrong, the request is chat
            return FALLBACK

    def _classify(self, signals: Signals) -> Classified:
        if signals.words > LONG_CONTEXT_WORDS:
            return Classified("long-context", True)
        text = f"{signals.system_text} {signals.user_text}".lower()
        hits = [(name, word) for name, word, confirm in self._words if word in text and confirm(text)]
        keywords = tuple([word for _, word in hits])
        if hits:
            first = hits[0][0]
            return Classified(first, all(name == first for name, _ in hits), keywords)
        if signals.thinking:
            return Classified("planning", True)
        if signals.has_tools:
            return Classified("bounded-edit", True)
        return FALLBACK
