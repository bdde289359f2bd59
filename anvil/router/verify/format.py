"""Is the answer the JSON the caller asked for? (contract 12.3)"""

from __future__ import annotations

from anvil.router.verify import schema, strict_json
from anvil.router.verify.code import MAX_TEXT
from anvil.router.verify.evidence import Evidence


def format_well_formed(evidence: Evidence) -> bool:
    """The text, or the sole fence that spans it, is strict JSON and does not violate the given schema.

    Text beside a tool call is not the final answer, and text the caller's own cap ended is cut by request: both pass.
    """
    wanted, text = evidence.response_format, evidence.text
    if wanted is None or evidence.calls or evidence.opaque or len(text) > MAX_TEXT or evidence.open_ended:
        return True
    try:
        value = strict_json.decode(_payload(evidence))
    except strict_json.NotJson:
        return evidence.continues_prefill()
    return wanted.schema is None or schema.conforms(value, wanted.schema)


def _payload(evidence: Evidence) -> str:
    block = evidence.layout.spanning(evidence.text)
    return evidence.text if block is None else block.body(evidence.text)
