"""Which checks an answer must pass, and in which order (contract 12.4)."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from msgspec import Struct

from anvil.router.turn import ToolCall, Turn
from anvil.router.verify.code import code_parses
from anvil.router.verify.content import non_empty_content
from anvil.router.verify.diff import diff_well_formed
from anvil.router.verify.evidence import Evidence, declared_tools
from anvil.router.verify.format import format_well_formed
from anvil.router.verify.refusal import refusal_marker
from anvil.router.verify.tools import call_is_valid, tool_call_json_valid, tool_choice_honoured
from anvil.router.verify.truncation import not_truncated

Check = Callable[[Evidence], bool]


class Outcome(Struct, frozen=True):
    """``failed`` is the name of the first failed check and nothing else: reasons may quote the answer (12.1)."""

    passed: bool
    failed: str | None = None
    advisories: tuple[str, ...] = ()


class Chain:
    """Checks in order; the first that fails decides. An empty chain is the full one, never "no checks"."""

    _checks: tuple[tuple[str, Check], ...]
    _advisories: tuple[tuple[str, Check], ...]
    _safe: Check

    def __init__(self, name: str, checks: Iterable[Check] = (), advisories: Iterable[tuple[str, Check]] = ()) -> None:
        self.name = name
        self._checks = tuple((check.__name__, check) for check in checks)
        self._advisories = tuple(advisories)
        if not self._checks:
            self._checks, self._advisories = FULL._checks, FULL._advisories
        self._safe = _safe(frozenset([check for _, check in self._checks]))

    @property
    def checks(self) -> tuple[str, ...]:
        """Names of the checks, in order."""
        return tuple(name for name, _ in self._checks)

    def run(self, evidence: Evidence) -> Outcome:
        """Judge one answer. Never raises: a check that does, or answers neither True nor False, has failed."""
        failed = None if self._safe(evidence) else self._first_failure(evidence)
        if not self._advisories and failed is None:
            return PASSED
        raised = tuple([label for label, advisory in self._advisories if _holds(advisory, evidence)])
        return PASSED if failed is None and not raised else Outcome(failed is None, failed, raised)

    def _first_failure(self, evidence: Evidence) -> str | None:
        for name, check in self._checks:
            failed = _failure(name, check, evidence)
            if failed is not None:
                return failed
        return None

    def verify_call(self, call: ToolCall, turn: Turn) -> str | None:
        """Judge one complete tool block of a live stream: the name of the failed check, or None (13.3)."""
        return verify_call(call, turn)


PASSED = Outcome(True)


def _safe(checks: frozenset[Check]) -> Check:
    """Tells evidence that none of ``checks`` can find fault with, as nearly all is, from evidence that needs them."""
    if checks.issubset(_MINIMAL):
        return _is_unremarkable
    return _is_plain if checks.issubset(_FULL) else _is_never


def _is_unremarkable(evidence: Evidence) -> bool:
    return evidence.unremarkable


def _is_plain(evidence: Evidence) -> bool:
    return evidence.unremarkable and evidence.unmarked


def _is_never(evidence: Evidence) -> bool:
    return False


def verify_call(call: ToolCall, turn: Turn) -> str | None:
    """The name of the check that one complete call fails, or None. Every chain judges calls alike."""
    try:
        return None if call_is_valid(call, declared_tools(turn, [call])) else tool_call_json_valid.__name__
    except Exception:
        return f"{tool_call_json_valid.__name__}_error"


def truncated(evidence: Evidence) -> bool:
    """Whether a live stream that has already left deserves the advisory ``not_truncated`` (12.4)."""
    return not not_truncated(evidence)


def _failure(name: str, check: Check, evidence: Evidence) -> str | None:
    try:
        verdict: object = check(evidence)
    except Exception:
        return f"{name}_error"
    if verdict is True:
        return None
    return name if verdict is False else f"{name}_error"


def _holds(advisory: Check, evidence: Evidence) -> bool:
    try:
        return advisory(evidence) is True
    except Exception:
        return False


_TOOL_CHECKS: tuple[Check, ...] = (tool_call_json_valid, tool_choice_honoured)
_MINIMAL: tuple[Check, ...] = (non_empty_content, not_truncated, *_TOOL_CHECKS)
_FULL: tuple[Check, ...] = (*_MINIMAL, code_parses, diff_well_formed, format_well_formed)
_REFUSAL: tuple[tuple[str, Check], ...] = (("refusal", refusal_marker),)

FULL = Chain("full", _FULL, _REFUSAL)
MINIMAL = Chain("minimal", _MINIMAL)
TOOLS = Chain("tools", _TOOL_CHECKS)
CLOUD = Chain("cloud", (non_empty_content, *_TOOL_CHECKS))


def chain(verdict: str, local: bool, verify_local_min: bool) -> Chain:
    """The chain for one tier of a walk, by its own verdict. Anything but a plain allow gets the full chain."""
    if verdict != "allow":
        return FULL
    if not local:
        return CLOUD
    return MINIMAL if verify_local_min else TOOLS
