"""Is fenced code complete, and does it parse where a parser is at hand? (contract 12.3, 12.6)"""

from __future__ import annotations

from anvil.router.verify import fences, json_reading, python_reading
from anvil.router.verify.evidence import Evidence

# Longer texts are skipped and pass (12.1); everything below must stay within 100 ms.
MAX_TEXT = 262_144
_PYTHON = frozenset({"python", "py", "python3"})
_JSON = frozenset({"json"})


def code_parses(evidence: Evidence) -> bool:
    """No unterminated fence, no Python or JSON block that every tolerant reading rejects."""
    text = evidence.text
    if len(text) > MAX_TEXT:
        return True
    layout = evidence.layout
    if layout.unterminated and not evidence.open_ended:
        return evidence.continues_prefill()
    return _blocks_parse(text, layout) or evidence.continues_prefill()


def _blocks_parse(text: str, layout: fences.Layout) -> bool:
    budget = python_reading.Budget()
    for block in layout.tagged(_PYTHON | _JSON):
        if not block.terminated:
            continue
        body = block.body(text)
        if not (json_reading.parses(body) if block.tag in _JSON else python_reading.parses(body, budget)):
            return False
    return True
