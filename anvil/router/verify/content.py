"""Is there anything in the answer? (contract 12.3)"""

from __future__ import annotations

from anvil.router.verify.evidence import Evidence


def non_empty_content(evidence: Evidence) -> bool:
    """Blank text passes only beside a tool call or a server tool block; reasoning alone is not content."""
    text: object = evidence.text
    if not isinstance(text, str):
        return False
    return bool(text and not text.isspace()) or bool(evidence.calls or evidence.opaque)
