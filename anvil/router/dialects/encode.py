"""What both tier dialects do the same way when they build a request (contract 6.1, 6.3, 6.5, README reconciliation 11).

A body under construction maps field names to ``Raw`` JSON or to plain values; ``splice`` turns it into bytes. Key
order is the caller's, new keys follow, nothing is random: equal requests give equal bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Raw

from anvil.router.reading import is_billing
from anvil.router.tokens import quick_bound
from anvil.router.turn import BadRequest

if TYPE_CHECKING:
    from anvil.router.config import TierConfig
    from anvil.router.turn import Tool, ToolChoice, Turn

Body = dict[str, Any]

NEVER_FORWARDED = (
    "logit_bias",
    "seed",
    "user",
    "metadata",
    "safety_identifier",
    "client_metadata",
    "store",
    "stream_options",
)
_KEPT_BACK = frozenset(NEVER_FORWARDED)
DEFAULT_SCHEMA = Raw(b'{"type":"object"}')
# a Responses freeform tool becomes a function with this one parameter (5.5)
CUSTOM_SCHEMA = Raw(b'{"type":"object","properties":{"input":{"type":"string"}},"required":["input"]}')
NULL = Raw(b"null")
MAX_UNKNOWN_NAMES = 20
# below this a cut answer is useless: the tier counts as too small instead (reconciliation 11)
USEFUL_CAP = 1024

splice: Callable[[object], bytes] = msgspec.json.Encoder().encode


class WindowTooSmall(Exception):
    """The prompt leaves too little of a local tier's window for an answer: treat like ``over_context``, no call."""


def absent(value: object) -> bool:
    """Whether a decoded field is missing or null, which mean the same everywhere in 5.2."""
    return value is None or value == NULL


def check_named(choice: ToolChoice | None, tools: list[Tool]) -> None:
    """Refuse a choice of a tool that is not among those declared: no answer could pass the checks (12.3).

    Raises BadRequest. Without any declared tool it is left to the tier.
    """
    if choice is None or choice.mode != "named" or not tools:
        return
    if not any([tool.name == choice.name for tool in tools]):
        raise BadRequest(f'tool_choice: no tool named "{choice.name[:256]}" is declared in tools')


def never_forwarded(body: Mapping[str, object]) -> list[str]:
    """Names for the record of every field of 6.3 that the caller sent."""
    if _KEPT_BACK.isdisjoint(body):
        return []
    return [f"never_forwarded.{name}" for name in NEVER_FORWARDED if name in body]


def unknown_names(fields: Iterable[str]) -> list[str]:
    """``unknown.<field>`` names, at most as many as one record takes (Appendix A)."""
    return [f"unknown.{name}" for name in fields][:MAX_UNKNOWN_NAMES]


def fit_cap(turn: Turn, tier: TierConfig, bound: Callable[[], int]) -> tuple[int | None, bool]:
    """The caller's cap as it may be sent to ``tier``, and whether it was lowered (``max_tokens.fitted``).

    ``bound`` gives the prompt's upper bound of 2.12 in tokens; it is only asked when the cheap one does not settle it.
    Raises WindowTooSmall when less than min(cap, 1024) tokens would remain.
    """
    cap = turn.cap
    if cap is None or not tier.local:
        return cap, False
    if quick_bound(turn, image_tokens=tier.image_tokens) + cap <= tier.context_limit:
        return cap, False
    left = tier.context_limit - bound()
    if left >= cap:
        return cap, False
    if left < min(cap, USEFUL_CAP):
        raise WindowTooSmall
    return left, True


def overlay(body: Body, tier: TierConfig, caps: tuple[str, ...]) -> None:
    """Merge the tier's own fields into ``body`` (6.1): defaults where absent, then overrides over anything.

    ``caps`` are the dialect's names of one and the same cap: whoever sets one of them sets the cap.
    """
    if tier.extra_body_defaults:
        capped = any(not absent(body.get(name)) for name in caps)
        for name, value in tier.extra_body_defaults.items():
            if absent(body.get(name)) and not (capped and name in caps):
                body[name] = value
    if tier.extra_body:
        if any(name in tier.extra_body for name in caps):
            for name in caps:
                body.pop(name, None)
        body.update(tier.extra_body)


def cap_in_force(cap: int | None, tier: TierConfig, caps: tuple[str, ...]) -> int | None:
    """The cap of 12.2: set by extra_body, else the caller's as sent; a default's cap does not count."""
    for name in caps if tier.extra_body else ():
        value = (tier.extra_body or {}).get(name)
        if type(value) is int:
            return value
    return cap


def without_nonce(text: str) -> str | None:
    """A system text without a client's rotating billing line (6.5); None when nothing else is in it."""
    if not is_billing(text):
        return text
    return text.partition("\n")[2] or None
