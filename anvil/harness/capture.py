"""What a client really sent, judged: the form of its model names and how often its hook fired (operations.md 15)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from msgspec import Struct

# The router's canonical presets; `anvil harness validate` holds them against the router itself.
PRESETS = ("planning", "quick-edit", "review", "chat", "long-context")
WIRE = re.compile(rf"(anvil/)?({'|'.join(PRESETS)})")
_MODEL_KEYS = ("model", "modelOverride")


class Entry(Struct, frozen=True):
    """One value of a capture; ``where`` names it for people."""

    where: str
    value: Any


class Capture(Struct, frozen=True):
    """The values that could be read, and a sentence for each line that could not."""

    entries: tuple[Entry, ...]
    problems: tuple[str, ...] = ()


class Verdict(Struct, frozen=True):
    """``violations`` fail the check; ``findings`` are worth knowing; ``judged`` counts what was looked at."""

    judged: int
    violations: tuple[str, ...] = ()
    findings: tuple[str, ...] = ()


def read(text: str) -> Capture:
    """A JSON object, array or string, or JSON lines. Never raises: what cannot be read is a problem with its number."""
    try:
        whole = json.loads(text)
    except (ValueError, RecursionError):
        return _lines(text)
    if isinstance(whole, list):
        return Capture(tuple(Entry(f"item {number}", value) for number, value in enumerate(whole, 1)))
    return Capture((Entry("line 1", whole),))


def _lines(text: str) -> Capture:
    entries, problems = [], []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            entries.append(Entry(f"line {number}", json.loads(line)))
        except (ValueError, RecursionError) as error:
            problems.append(f"line {number}: not JSON: {error}")
    return Capture(tuple(entries), tuple(problems))


def wire(capture: Capture) -> Verdict:
    """Every model name is a canonical preset, bare or after ``anvil/``."""
    named = [(where, name) for entry in capture.entries for where, name in _models(entry)]
    wrong = [f"{where}: {_shown(name)} is no preset of anvil" for where, name in named if not _is_preset(name)]
    nothing = [] if named or capture.problems else ["the capture holds no model name"]
    return Verdict(len(named), (*capture.problems, *nothing, *wrong))


def _is_preset(name: Any) -> bool:
    return isinstance(name, str) and WIRE.fullmatch(name) is not None


def _models(entry: Entry) -> Iterator[tuple[str, Any]]:
    if isinstance(entry.value, str):
        yield entry.where, entry.value
    if isinstance(entry.value, dict):
        for key in _MODEL_KEYS:
            if entry.value.get(key) is not None:
                yield f"{entry.where}: {key}", entry.value[key]


def cadence(capture: Capture) -> Verdict:
    """Once per message of a session is the rule. Other cadences are findings: fallback candidates fire again."""
    problems = list(capture.problems)
    problems += [
        f"{entry.where}: needs sessionKey or runId, and userMessageIndex or userMessageId"
        for entry in capture.entries
        if _call(entry.value) is None
    ]
    fired = fires(capture)
    if not capture.entries and not problems:
        problems.append("the capture is empty")
    findings = [
        f"session {_shown(session)}: {len(messages)} fires for {len(set(messages))} messages"
        for session, messages in fired.items()
        if len(messages) != len(set(messages))
    ]
    return Verdict(len(fired), tuple(problems), tuple(findings))


def fires(capture: Capture) -> dict[str, list[str]]:
    """Session -> its messages, once for every call of the hook; what cannot be placed is left out."""
    found: dict[str, list[str]] = {}
    for call in (_call(entry.value) for entry in capture.entries):
        if call is not None:
            found.setdefault(call[0], []).append(call[1])
    return found


def _call(value: Any) -> tuple[str, str] | None:
    session, message = _first(value, "sessionKey", "runId"), _first(value, "userMessageIndex", "userMessageId")
    return None if session is None or message is None else (str(session), str(message))


def _first(value: Any, *keys: str) -> Any:
    if not isinstance(value, dict):
        return None
    found = (value.get(key) for key in keys)
    return next((each for each in found if isinstance(each, str | int) and each != ""), None)


def _shown(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)[:80]
