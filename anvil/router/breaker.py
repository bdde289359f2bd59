"""When a tier is left alone: circuits per tier and per (tier, work class), and rests it asked for (contract 15.4).

All times in seconds of an injectable monotonic clock. One set per worker, used on its event loop only.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Literal

from msgspec import Struct

from anvil.router.config.model import BreakerConfig
from anvil.router.decisions.record import AttemptOutcome
from anvil.router.failures import TABLE
from anvil.router.turn import Fault

State = Literal["closed", "half-open", "open", "resting"]
Key = tuple[str, str]

CALLER_ERRORS_NOTED = 10
# class label of a tier's own circuit, and of requests without a work class
TIER, NO_CLASS = "", "-"


class Grant(Struct, frozen=True):
    """Whether a tier may be called now. ``probes``: half-open circuits this request is the test of.

    When not usable: the attempt outcome and label of the record, and the seconds after which asking again may help.
    """

    usable: bool
    outcome: AttemptOutcome = "skipped-circuit"
    label: str = ""
    retry_after_s: float = 0.0
    probes: tuple[tuple[Key, int], ...] = ()


class TierState(Struct, frozen=True):
    state: State
    resting_s: float = 0.0


class Effect(Struct, frozen=True):
    """What a failure did. opened: the (tier, class label) whose circuit opened with it.

    suspicious: ten caller errors came without a success; say so once (a wrong extra_body looks like this).
    """

    opened: Key | None = None
    suspicious: bool = False


class _Circuit:
    """``open_until`` None is closed; past it is half-open. A probe is out while ``probe_until`` lies ahead."""

    __slots__ = ("count", "open_until", "probe", "probe_until")

    def __init__(self) -> None:
        self.count = 0
        self.open_until: float | None = None
        self.probe = 0
        self.probe_until = -math.inf

    def state(self, now: float) -> State:
        if self.open_until is None:
            return "closed"
        return "open" if now < self.open_until else "half-open"

    def wait(self, now: float) -> float:
        """Seconds until a request may pass; 0 when one may."""
        if self.open_until is None:
            return 0.0
        return max(0.0, self.open_until - now, self.probe_until - now)

    def close(self) -> None:
        self.count, self.open_until, self.probe_until = 0, None, -math.inf


_FREE = Grant(True)
_NO_EFFECT = Effect()


class Breakers:
    """Ask before a call, then report its end: ``served``, ``failed`` or ``give_back``, with the grant of the ask."""

    def __init__(self, config: BreakerConfig, clock: Callable[[], float] = time.monotonic) -> None:
        self._config = config
        self._clock = clock
        self._circuits: dict[Key, _Circuit] = {}
        self._rests: dict[str, float] = {}
        self._caller_errors: dict[str, int] = {}
        self._noted_until: dict[str, float] = {}

    # ---------------------------------------------------------------------------------------------- asking

    def ask(self, tier_id: str, work_class: str | None) -> Grant:
        """May this request call the tier? Takes the probe of each half-open circuit in its way, or none of them."""
        if not self._circuits and not self._rests:
            return _FREE
        now = self._clock()
        refusal = self._refusal(tier_id, work_class, now)
        if refusal is not None:
            return refusal
        probes = []
        for key in _keys(tier_id, work_class):
            circuit = self._circuits.get(key)
            if circuit is not None and circuit.open_until is not None:
                circuit.probe += 1
                circuit.probe_until = now + self._config.cooldown_s
                probes.append((key, circuit.probe))
        return Grant(True, probes=tuple(probes)) if probes else _FREE

    def peek(self, tier_id: str, work_class: str | None) -> Grant:
        """The same without taking a probe, for advice."""
        return self._refusal(tier_id, work_class, self._clock()) or _FREE

    def _refusal(self, tier_id: str, work_class: str | None, now: float) -> Grant | None:
        circuits = [found for key in _keys(tier_id, work_class) if (found := self._circuits.get(key)) is not None]
        waits = [(circuit.wait(now), circuit.count) for circuit in circuits]
        shut, count = max(waits, default=(0.0, 0))
        rest = self._resting_s(tier_id, now)
        if shut > 0:
            return Grant(False, "skipped-circuit", f"circuit open {count}", max(shut, rest))
        if rest > 0:
            return Grant(False, "resting", f"resting {math.ceil(rest)}s", rest)
        return None

    def _resting_s(self, tier_id: str, now: float) -> float:
        until = self._rests.get(tier_id)
        if until is None:
            return 0.0
        if until <= now:
            del self._rests[tier_id]
            return 0.0
        return until - now

    # ------------------------------------------------------------------------------------------- reporting

    def served(self, tier_id: str, work_class: str | None) -> None:
        """An answer was delivered: both circuits close."""
        self._caller_errors.pop(tier_id, None)
        for key in _keys(tier_id, work_class):
            circuit = self._circuits.get(key)
            if circuit is not None:
                circuit.close()

    def failed(self, tier_id: str, work_class: str | None, fault: Fault, grant: Grant | None = None) -> Effect:
        """Apply the breaker column of 15.1. Probes this failure says nothing about are given back."""
        effect = TABLE[fault.failure_class].breaker
        tier_key, class_key = _keys(tier_id, work_class)
        opened = None
        if effect == "tier":
            opened = self._count(tier_key, self._config.threshold)
        elif effect == "class":
            opened = self._count(class_key, self._config.threshold)
        elif effect == "open":
            opened = self._count(tier_key, 1)
        elif effect == "rest":
            self._rest(tier_id, fault.retry_after_s)
        self.give_back(tier_id, work_class, grant)
        suspicious = fault.failure_class == "caller_error" and self._many_caller_errors(tier_id)
        return Effect(opened, suspicious) if opened or suspicious else _NO_EFFECT

    def give_back(self, tier_id: str, work_class: str | None, grant: Grant | None = None) -> None:
        """The request ended without telling anything about the tier: the next one may probe.

        Without the grant whichever probe is out is given back.
        """
        if not self._circuits:
            return
        held = dict(grant.probes) if grant is not None else None
        for key in _keys(tier_id, work_class):
            circuit = self._circuits.get(key)
            if circuit is not None and (held is None or held.get(key) == circuit.probe):
                circuit.probe_until = -math.inf

    def _count(self, key: Key, threshold: int) -> Key | None:
        now = self._clock()
        circuit = self._circuits.setdefault(key, _Circuit())
        before = circuit.state(now)
        circuit.count += 1
        if before == "closed" and circuit.count < threshold:
            return None
        circuit.open_until = now + self._config.cooldown_s
        circuit.probe_until = -math.inf
        return key if before != "open" else None

    def _rest(self, tier_id: str, asked_s: float | None) -> None:
        config = self._config
        seconds = config.retry_after_default_s if asked_s is None else min(asked_s, config.retry_after_cap_s)
        self._rests[tier_id] = max(self._clock() + seconds, self._rests.get(tier_id, 0.0))

    def _many_caller_errors(self, tier_id: str) -> bool:
        count = self._caller_errors[tier_id] = self._caller_errors.get(tier_id, 0) + 1
        now = self._clock()
        if count < CALLER_ERRORS_NOTED or now < self._noted_until.get(tier_id, -math.inf):
            return False
        self._noted_until[tier_id] = now + self._config.cooldown_s
        return True

    # --------------------------------------------------------------------------------------------- looking

    def state(self, tier_id: str) -> TierState:
        """Of the tier as a whole; its class circuits do not show here."""
        now = self._clock()
        circuit = self._circuits.get((tier_id, TIER))
        found: State = "closed" if circuit is None else circuit.state(now)
        rest = self._resting_s(tier_id, now)
        return TierState("resting", rest) if rest > 0 and found != "open" else TierState(found, rest)

    def states(self) -> dict[Key, State]:
        """(tier, class label) -> state of every circuit that ever counted a failure and every resting tier."""
        now = self._clock()
        found = {key: circuit.state(now) for key, circuit in self._circuits.items()}
        for tier_id in list(self._rests):
            if self._resting_s(tier_id, now) > 0:
                found[tier_id, TIER] = self.state(tier_id).state
        return found


def _keys(tier_id: str, work_class: str | None) -> tuple[Key, Key]:
    return (tier_id, TIER), (tier_id, work_class or NO_CLASS)
