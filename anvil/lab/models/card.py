"""What a model card states, and only what it states: each figure keeps the line it was read from (lab contract 8)."""

from __future__ import annotations

import re
from collections.abc import Iterator

from msgspec import Struct

BENCHMARKS = {
    "SWE-bench Verified": r"swe[- ]?bench[- ]verified",
    "LiveCodeBench": r"live[- ]?code[- ]?bench(?:[- ]?v\d+)?",
    "HumanEval": r"human[- ]?eval(?![+\w])",
    "Aider-Polyglot": r"aider[- ]polyglot",
    "MMLU-Pro": r"mmlu[- ]pro",
    "GPQA Diamond": r"gpqa[- ]diamond",
    "RULER@128K": r"ruler\s?@?\s?128k",
    "Arena-Hard": r"arena[- ]hard(?:[- ]?v\d+)?",
}
CODING = ("SWE-bench Verified", "LiveCodeBench", "HumanEval", "Aider-Polyglot")

_NUMBER = re.compile(r"(?<![\w.@/-])\d+(?:\.\d+)?(?![\w@/]|[.-]\d|-\w)")
# Each in time linear in the text: anybody can publish a card.
_SCORE_CELL = re.compile(r"[*_~\s]*+(\d+(?:\.\d+)?)\s*+%?[*_~\s]*+")
_FRONT = re.compile(r"\A---[^\S\n]*\n(.*?)\n---\s*(?:\n|\Z)", re.DOTALL)
_THINKS = re.compile(r"(?:think|reason)\w{0,20}[^.\n]{0,60}\bby default|by default[^.\n]{0,60}(?:think|reason)", re.I)
_KEY = re.compile(r"([A-Za-z_]+):(.*)")
_ENTRY = re.compile(r"\s*-\s+(\S.*)")
_NOT = re.compile(r"\b(?:not|non|no|disabled?|off|without)\b", re.I)
_SAMPLING = re.compile(r"temperature\W{0,6}(?:of |to )?\d", re.I)
_CONTEXT = re.compile(r"context(?: length| window| size)?\D{0,40}(\d[\d,]*)\s?(k\b|tokens)?", re.I)
_HINT_LIMIT = 200


class Score(Struct, frozen=True, kw_only=True):
    value: float
    evidence: str


class Card(Struct, frozen=True, kw_only=True):
    license: str | None = None
    pipeline_tag: str | None = None
    base_model: str | None = None
    thinking_default: bool | None = None
    sampling_hint: str | None = None
    context_hint: str | None = None
    benchmarks: dict[str, Score] = {}


def card(text: str) -> Card:
    """Reads a README.md. What is ambiguous is left out."""
    text = text.replace("\r\n", "\n")
    front = _FRONT.match(text)
    told = _front(front[1]) if front else {}
    body = text[front.end() :] if front else text
    lines = [line.strip() for line in body.splitlines()]
    return Card(
        license=told.get("license"),
        pipeline_tag=told.get("pipeline_tag"),
        base_model=told.get("base_model"),
        thinking_default=_thinking(lines),
        sampling_hint=_first(lines, _SAMPLING),
        context_hint=_first(lines, _CONTEXT),
        benchmarks=dict(_scores(lines)),
    )


def _front(text: str) -> dict[str, str]:
    """`key: value` and the first entry of `key:` with a list below it; the rest of YAML is not needed."""
    found: dict[str, str] = {}
    open_key = ""
    for line in text.splitlines():
        if match := _KEY.fullmatch(line):
            open_key = match[1]
            if value := match[2].strip():
                found.setdefault(open_key, value.strip("'\"[] ").partition(",")[0].strip("'\" "))
        elif match := _ENTRY.fullmatch(line):
            found.setdefault(open_key, match[1].strip().strip("'\""))
    return found


def _thinking(lines: list[str]) -> bool | None:
    said = [not _NOT.search(line) for line in lines if _THINKS.search(line)]
    return said[0] if said and len(set(said)) == 1 else None


def _first(lines: list[str], pattern: re.Pattern[str]) -> str | None:
    return next((line[:_HINT_LIMIT] for line in lines if pattern.search(line)), None)


def _scores(lines: list[str]) -> Iterator[tuple[str, Score]]:
    for name, pattern in BENCHMARKS.items():
        expression = re.compile(rf"(?<!\w){pattern}", re.I)
        for line in lines:
            named = expression.search(line)
            value = _score(line, named) if named else None
            if value is not None:
                yield name, Score(value=value, evidence=line[:_HINT_LIMIT])
                break


def _score(line: str, named: re.Match[str]) -> float | None:
    """The only number of the row or sentence; a bare whole number in prose may be a year or a version."""
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    if len(cells) > 1:
        numeric = [match[1] for cell in cells if (match := _SCORE_CELL.fullmatch(cell))]
        return _in_range(numeric)
    rest = f"{line[: named.start()]} {line[named.end() :]}"
    numbers = [match[0] for match in _NUMBER.finditer(rest)]
    certain = len(numbers) == 1 and ("." in numbers[0] or f"{numbers[0]}%" in rest or f"{numbers[0]} %" in rest)
    return _in_range(numbers) if certain else None


def _in_range(numbers: list[str]) -> float | None:
    value = float(numbers[0]) if len(numbers) == 1 else -1.0
    return value if 0 <= value <= 100 else None
