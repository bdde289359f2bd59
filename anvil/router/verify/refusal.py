"""Does the answer begin like a refusal? Advisory only: words prove nothing (contract 12.3, Appendix C)."""

from __future__ import annotations

from anvil.router.verify.evidence import Evidence

PHRASES = (
    "i can't help with",
    "i cannot help with",
    "i can't assist with",
    "i cannot assist with",
    "i can't comply with",
    "i cannot comply with",
    "i'm unable to",
    "i am unable to",
    "i'm not able to",
    "i am not able to",
    "as an ai language model",
    "i'm sorry, but i can't",
    "i'm sorry, but i cannot",
)
_LONGEST = max(map(len, PHRASES))
_FIRST = frozenset([letter for phrase in PHRASES for letter in (phrase[0], phrase[0].upper())])


def refusal_marker(evidence: Evidence) -> bool:
    """Whether the advisory applies. Typographic apostrophes count as plain ones."""
    start = evidence.text.lstrip()[:_LONGEST]
    if start[:1] not in _FIRST:
        return False
    start = start.lower().replace("’", "'")
    return start.startswith(PHRASES)
