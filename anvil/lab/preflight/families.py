"""What a model family changes in a preflight or bench: the room for reasoning, the switch that stops it."""

from __future__ import annotations

from dataclasses import replace

from anvil.lab.endpoint import Endpoint, Refused
from anvil.topology import derived, families

ANSWER_TOKENS = 256
REASONING_TOKENS = 1024


def reasons(name: str | None) -> bool:
    """Whether models of the family think before they answer."""
    known = families.family(name)
    parsed = any(parsers.reasoning for parsers in known.parsers.values())
    return bool(known.thinking_off or known.effort or parsed)


def max_tokens(name: str | None) -> int:
    return REASONING_TOKENS if reasons(name) else ANSWER_TOKENS


def without_thinking(endpoint: Endpoint, name: str | None) -> Endpoint:
    """The endpoint with the family's switch in every request; a family whose knob is another gets a note.

    Raises Refused when the family is not known to have any.
    """
    known = families.family(name)
    if known.thinking_off:
        return replace(endpoint, extra_body=derived.merged(known.thinking_off, endpoint.extra_body))
    if known.effort:
        note = f"{name} has no switch that turns thinking off; its knob is {known.effort}"
        return replace(endpoint, notes=(*endpoint.notes, note))
    switchable = ", ".join(key for key, family in families.FAMILIES.items() if family.thinking_off)
    raise Refused(f"--no-thinking: family {name or 'none'} has no switch; give --family, one of {switchable}")
