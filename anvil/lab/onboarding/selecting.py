"""The card an operator means by a name, a UUID or an index; indexes move, so only the UUID is ever written."""

from __future__ import annotations

from collections.abc import Sequence

from anvil.lab.onboarding import naming
from anvil.lab.onboarding.facts import Card


class NoSuchCard(Exception):
    """The sentence lists the cards there are."""


def card(wanted: str, cards: Sequence[Card]) -> Card:
    """Raises NoSuchCard, also when several cards have the name."""
    found = [each for each in cards if _is(wanted, each)]
    if len(found) == 1:
        return found[0]
    listed = "; ".join(f"{each.index}: {each.name} ({each.uuid})" for each in cards) or "none"
    why = f"no card is {wanted!r}" if not found else f"{wanted!r} is several cards"
    raise NoSuchCard(f"--gpu: {why}; there are: {listed}")


def _is(wanted: str, each: Card) -> bool:
    if wanted.isdigit() and len(wanted) < 3:  # 5090 is a name.
        return each.index == int(wanted)
    if wanted.upper().startswith("GPU-"):
        return each.uuid.lower() == wanted.lower()
    model = naming.gpu_model(each.name, each.total_mib)
    return wanted.lower() in each.name.lower() or naming.table_name(wanted) in (model, naming.table_name(model))
