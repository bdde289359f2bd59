"""Who asked for what: a preset, a pinned tier, or the classifier's reading of the request (contract 9.1 to 9.3)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from msgspec import Struct

from anvil.router.classify import Classified, Classifier
from anvil.router.config.check import preset_class
from anvil.router.config.model import RouterConfig
from anvil.router.taxonomy import CLASS_PRESET, WORK_CLASSES, normalise
from anvil.router.turn import Signals, Turn

Source = Literal["declared-preset", "pinned", "inferred"]


class Intent(Struct, frozen=True):
    """preset, pinned: configured spelling, or None. pool: tier ids in the order they are wished for.

    work_class is None only for a custom preset without class. confident is the classifier's own word; ambiguous
    includes that the class's preset is not configured. token_estimate: words, or a larger /v1/route estimate.
    """

    source: Source
    work_class: str | None
    pool: tuple[str, ...]
    preset: str | None = None
    pinned: str | None = None
    ambiguous: bool = False
    confident: bool = True
    confidence: float = 1.0
    token_estimate: int = 0
    thinking_enabled: bool = False
    has_tools: bool = False
    matched_keywords: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """The source label of a /v1/route reason (2.11)."""
        if self.source == "declared-preset":
            return f"preset='{self.preset}'"
        if self.source == "pinned":
            return "pinned"
        return "inferred, ambiguous: safer tier first" if self.ambiguous else "inferred"


class Hints(Struct, frozen=True):
    """The ``signals`` of a /v1/route request (2.11): ``model`` is an unknown work class, to be tried as a name."""

    work_class: str | None = None
    model: str | None = None
    token_estimate: int = 0
    urgency: str | None = None


NO_HINTS = Hints()


def read_hints(value: object) -> Hints:
    """Whatever cannot be used is ignored."""
    if not isinstance(value, dict):
        return NO_HINTS
    asked, estimate, urgency = value.get("work_class"), value.get("token_estimate"), value.get("urgency")
    known = asked if isinstance(asked, str) and asked in WORK_CLASSES else None
    return Hints(
        known,
        asked if known is None and isinstance(asked, str) else None,
        estimate if type(estimate) is int and estimate >= 0 else 0,
        urgency if isinstance(urgency, str) else None,
    )


class _Named(Struct, frozen=True):
    source: Source
    name: str
    work_class: str | None
    pool: tuple[str, ...]


class Intents:
    """Names of one configuration, looked up in constant time. Never raises; texts are read only for the classifier."""

    def __init__(self, config: RouterConfig, classifier: Classifier | None = None) -> None:
        self._classify = (classifier or Classifier()).classify
        self._presets = {name.lower(): name for name in config.presets}
        self._pools = config.presets
        # the last configured tier is the safest
        self._safer = tuple([tier.id for tier in reversed(config.tiers)])
        self._names: dict[str, _Named] = {}
        if config.pins:
            for tier in config.tiers:
                self._names[tier.id.lower()] = _Named("pinned", tier.id, None, (tier.id,))
        for name, pool in config.presets.items():
            work_class = preset_class(config, name)
            self._names[name.lower()] = _Named("declared-preset", name, work_class, pool)

    def resolve(self, turn: Turn) -> Intent:
        return self._resolve(turn.model, turn.signals, self._classify)

    def advise(self, turn: Turn, hints: Hints) -> Intent:
        """The same for /v1/route: a known work class wins over the model, then an unknown one tried as a name."""
        if hints.work_class is not None:
            return self._of_class(Classified(hints.work_class, True), turn.signals, hints.token_estimate, declared=True)
        name = hints.model if self._find(hints.model) else turn.model
        return self._resolve(name, turn.signals, self._classify, hints.token_estimate)

    def replay(self, model: str | None, work_class: str | None, ambiguous: bool, signals: Signals) -> Intent:
        """The intent of a recorded request, whose texts are gone: the record's class stands for the classifier's."""
        recorded = Classified(work_class or "chat", not ambiguous)
        return self._resolve(model, signals, lambda _: recorded)

    def _find(self, model: str | None) -> _Named | None:
        if not model:
            return None
        return self._names.get(model) or self._names.get(normalise(model))

    def _resolve(
        self,
        model: str | None,
        signals: Signals,
        classify: Callable[[Signals], Classified],
        estimate: int = 0,
    ) -> Intent:
        named = self._find(model)
        if named is None:
            return self._of_class(classify(signals), signals, estimate)
        words = max(signals.words, estimate)
        if named.source == "declared-preset":
            return Intent(
                "declared-preset",
                named.work_class,
                named.pool,
                named.name,
                token_estimate=words,
                thinking_enabled=signals.thinking,
                has_tools=signals.has_tools,
            )
        found = classify(signals)
        return Intent(
            "pinned",
            found.work_class,
            named.pool,
            pinned=named.name,
            confident=found.confident,
            confidence=0.9,
            token_estimate=words,
            thinking_enabled=signals.thinking,
            has_tools=signals.has_tools,
            matched_keywords=found.keywords,
        )

    def _of_class(self, found: Classified, signals: Signals, estimate: int, *, declared: bool = False) -> Intent:
        """By class alone (9.2 step 3): its preset's pool, or every tier, the safer ones first."""
        preset = self._presets.get(CLASS_PRESET[found.work_class])
        ambiguous = preset is None or not found.confident
        source: Source = "declared-preset" if declared and not ambiguous else "inferred"
        return Intent(
            source,
            found.work_class,
            self._safer if ambiguous or preset is None else self._pools[preset],
            None if ambiguous else preset,
            ambiguous=ambiguous,
            confident=found.confident,
            confidence=0.5 if ambiguous else 1.0 if declared else 0.8,
            token_estimate=max(signals.words, estimate),
            thinking_enabled=signals.thinking,
            has_tools=signals.has_tools,
            matched_keywords=found.keywords,
        )
