"""One evaluation on disk, ``YYYY-MM-DD-<class>[-capability|-eval]/`` with prompts, outputs and grading (5.1)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from anvil.lab.evaluation.scores import BadScores, Scores, checked
from anvil.router.taxonomy import WORK_CLASSES

_NAME = re.compile(r"(\d{4}-\d{2}-\d{2})-([a-z0-9][a-z0-9-]*?)(?:-(?:capability|eval))?")
_OUTPUT = re.compile(r"out_(?P<prd>.+?)__(?P<label>.+)\.md")


class BadEvaluation(ValueError):
    """A folder that is not a readable evaluation; the sentence names the file and what is wrong."""


class JudgeRow(Struct, frozen=True):
    """One judge's scores for one model's output on one prompt, letters already resolved to labels."""

    prd: str
    judge: str
    label: str
    scores: Scores


class Output(Struct, frozen=True):
    """One generated text: prompt name, label of what wrote it, and the text itself."""

    prd: str
    label: str
    text: str


class Named(Struct, frozen=True):
    """What a folder's name says."""

    day: str
    work_class: str


def named(folder: Path) -> Named | None:
    """Date and class of a folder's name, None when it is not named like an evaluation.

    The class is the longest name of the taxonomy found in the slug, else the slug itself.
    """
    found = _NAME.fullmatch(folder.name)
    if found is None:
        return None
    try:
        day = date.fromisoformat(found[1]).isoformat()
    except ValueError:
        return None
    known = [name for name in WORK_CLASSES if name in found[2]]
    return Named(day, max(known, key=len) if known else found[2])


def evaluations(parent: Path) -> list[Path]:
    """The evaluation folders below ``parent``, or ``parent`` itself when it is one. Raises BadEvaluation for none."""
    if not parent.is_dir():
        raise BadEvaluation(f"{parent}: no such folder; give a folder of evaluations named YYYY-MM-DD-<class>")
    if named(parent) is not None:
        return [parent]
    found = sorted(child for child in parent.iterdir() if child.is_dir() and named(child) is not None)
    if not found:
        raise BadEvaluation(f"{parent}: holds no evaluation; its folders must be named YYYY-MM-DD-<class>")
    return found


def prompts(folder: Path) -> dict[str, str]:
    """Text of each prompt by name; ``prompt_<prd>.txt`` is named <prd>, any other file by its stem."""
    files = sorted((folder / "prompts").glob("*.txt"))
    return {file.stem.removeprefix("prompt_"): text_of(file) for file in files}


def outputs(folder: Path) -> list[Output]:
    """Every ``outputs/out_<prd>__<label>.md``, sorted. Raises BadEvaluation for a file named otherwise."""
    found = []
    for file in sorted((folder / "outputs").glob("*.md")):
        parts = _OUTPUT.fullmatch(file.name)
        if parts is None:
            raise BadEvaluation(f"{file}: name it out_<prd>__<label>.md")
        found.append(Output(parts["prd"], parts["label"], text_of(file)))
    return found


def judge_rows(folder: Path) -> list[JudgeRow]:
    """All judge rows of one evaluation, de-anonymised per prompt. Raises BadEvaluation."""
    letters = anon_map(folder)
    files = sorted((folder / "grading").glob("judge_*.json"))
    if not files:
        raise BadEvaluation(f"{folder / 'grading'}: no judge_<prd>_<n>.json; grade the outputs first")
    return [row for file in files for row in _rows_of(file, letters)]


def anon_map(folder: Path) -> dict[str, dict[str, str]]:
    """{prompt: {label: letter}}. Raises BadEvaluation when a letter stands for two labels."""
    file = folder / "grading" / "anon_map.json"
    try:
        found = msgspec.json.decode(_bytes_of(file), type=dict[str, dict[str, str]])
    except msgspec.MsgspecError as error:
        raise BadEvaluation(f"{file}: {error}; wanted {{prompt: {{label: letter}}}}") from None
    for prd, labels in found.items():
        if len(set(labels.values())) != len(labels):
            raise BadEvaluation(f"{file}: {prd}: one letter stands for two labels")
    return found


def _rows_of(file: Path, letters: Mapping[str, Mapping[str, str]]) -> list[JudgeRow]:
    document = json_of(file)
    prd, judge, candidates = (document.get(key) for key in ("prd", "judge", "candidates"))
    if not isinstance(prd, str) or not isinstance(judge, str) or not isinstance(candidates, dict) or not candidates:
        raise BadEvaluation(f"{file}: needs prd, judge and candidates")
    if prd not in letters:
        raise BadEvaluation(f"{file}: prompt {prd} is not in anon_map.json")
    labels = {letter: label for label, letter in letters[prd].items()}
    rows = []
    for letter, given in sorted(candidates.items()):
        if letter not in labels:
            raise BadEvaluation(f"{file}: candidates.{letter}: no label has this letter in anon_map.json")
        try:
            scores = (
                checked(given.get("scores"), given.get("total")) if isinstance(given, dict) else checked(None, None)
            )
        except BadScores as error:
            raise BadEvaluation(f"{file}: candidates.{letter}: {error}") from None
        rows.append(JudgeRow(prd, judge, labels[letter], scores))
    return rows


def json_of(file: Path) -> dict[str, Any]:
    """One JSON object. Raises BadEvaluation naming the file."""
    try:
        found = msgspec.json.decode(_bytes_of(file))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BadEvaluation(f"{file}: not JSON: {error}") from None
    if not isinstance(found, dict):
        raise BadEvaluation(f"{file}: not a JSON object")
    return found


def text_of(file: Path) -> str:
    try:
        return _bytes_of(file).decode()
    except UnicodeDecodeError:
        raise BadEvaluation(f"{file}: not UTF-8 text") from None


def _bytes_of(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise BadEvaluation(f"{file}: {error.strerror or error}") from None
