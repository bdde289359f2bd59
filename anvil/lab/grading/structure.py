"""Thirteen yes/no questions about a plan, answered without a model (lab contract 5.2)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from graphlib import CycleError, TopologicalSorter

from msgspec import Struct

PRIORITIES = ("low", "medium", "high", "critical")
CHECKS = (
    "has_tasks",
    "ids_zero_padded",
    "ids_unique",
    "ids_sequential",
    "feature_known",
    "priority_valid",
    "likely_files",
    "acceptance_bullets",
    "verification_command",
    "dependencies_exist",
    "dependencies_not_self",
    "dependencies_acyclic",
    "features_covered",
)

_FENCE = re.compile(r"\s*(`{3,}+|~{3,}+)[^\n]*\n(.*)\n\1\s*", re.DOTALL)
_HEADING = re.compile(r"### +(T\d{1,6})\b")
_OTHER_HEADING = re.compile(r"#{1,3} ")
_LABELS = "Feature|Priority|Likely files|Acceptance criteria|Verification|Dependencies"
_FIELD = re.compile(rf"\s*(?:[-*] +)?(?:\*\*|__)?({_LABELS})(?:\*\*|__)?\s*:(?:\*\*|__)?\s*(.*)", re.IGNORECASE)
_BULLET = re.compile(r"\s*(?:[-*+]|\d+[.)]) +(\S.*)")
_FEATURE_LINE = re.compile(r"\s*(?:[-*+] +|#{1,6} +)?(?:\*\*|__)?([A-Z]{1,4}-?\d{1,4})(?:\*\*|__)?\s*[:.\u2013\u2014-]")
_FEATURE = re.compile(r"\b[A-Z]{1,4}-?\d{1,4}\b")
_TASK_ID = re.compile(r"\bT\d{1,6}\b")
_COMMAND = re.compile(r"`[^\S\n]*[^`\s][^`\n]*`")  # in time linear in the line, which a model wrote


class Task(Struct, frozen=True):
    """One ``### Tnnn`` section: values behind labels, and bullets below them."""

    id: str
    values: Mapping[str, str]
    bullets: Mapping[str, Sequence[str]]

    @property
    def number(self) -> int:
        return int(self.id[1:])

    @property
    def features(self) -> set[str]:
        return set(_FEATURE.findall(self.values.get("feature", "")))

    @property
    def dependencies(self) -> set[int]:
        """Numbers of the tasks this one names, on the label's line or in bullets below it."""
        text = " ".join([self.values.get("dependencies", ""), *self.bullets.get("dependencies", ())])
        return {int(name[1:]) for name in _TASK_ID.findall(text)}


class Structure(Struct, frozen=True):
    """The answers, and their share of yes rounded to four places."""

    tasks: int
    checks: dict[str, bool]

    @property
    def score(self) -> float:
        return round(sum(self.checks.values()) / len(CHECKS), 4)


def features_of(prompt: str) -> set[str]:
    """The identifiers a prompt's lines begin with (``- F1: ...``); empty when it names none."""
    return {found[1] for line in prompt.splitlines() if (found := _FEATURE_LINE.match(line))}


def grade(plan: str, features: set[str]) -> Structure:
    """Answer all thirteen for a plan. ``features``: what its prompt asks for. A plan without tasks fails them all."""
    tasks = read(plan)
    if not tasks:
        return Structure(0, dict.fromkeys(CHECKS, False))
    answers = [True, *_ids(tasks), *_fields(tasks, features), *_edges(tasks), _covered(tasks, features)]
    return Structure(len(tasks), dict(zip(CHECKS, answers, strict=True)))


def read(plan: str) -> list[Task]:
    """The task sections in order; a fence around the whole plan is taken off."""
    enclosed = _FENCE.fullmatch(plan)
    sections: list[tuple[str, list[str]]] = []
    inside = False
    for line in (enclosed[2] if enclosed else plan).splitlines():
        if heading := _HEADING.match(line):
            sections.append((heading[1], []))
            inside = True
        elif _OTHER_HEADING.match(line):
            inside = False
        elif inside:
            sections[-1][1].append(line)
    return [_task(id, lines) for id, lines in sections]


def _task(id: str, lines: Sequence[str]) -> Task:
    values: dict[str, str] = {}
    bullets: dict[str, list[str]] = {}
    label = ""
    for line in lines:
        if field := _FIELD.match(line):
            label = field[1].lower()
            values[label] = field[2].strip()
        elif label and (bullet := _BULLET.match(line)):
            bullets.setdefault(label, []).append(bullet[1])
    return Task(id, values, bullets)


def _ids(tasks: Sequence[Task]) -> tuple[bool, bool, bool]:
    """Zero padded to three digits; unique; T001, T002 and so on without gaps."""
    numbers = [task.number for task in tasks]
    return (
        all(task.id == f"T{task.number:03d}" for task in tasks),
        len(set(numbers)) == len(numbers),
        numbers == list(range(1, len(numbers) + 1)),
    )


def _fields(tasks: Sequence[Task], features: set[str]) -> tuple[bool, bool, bool, bool, bool]:
    return (
        all(_feature_known(task, features) for task in tasks),
        all(task.values.get("priority", "").strip("*_` .").lower() in PRIORITIES for task in tasks),
        all(task.values.get("likely files") or task.bullets.get("likely files") for task in tasks),
        all(task.bullets.get("acceptance criteria") for task in tasks),
        all(any(_COMMAND.search(line) for line in task.bullets.get("verification", ())) for task in tasks),
    )


def _feature_known(task: Task, features: set[str]) -> bool:
    if not features:
        return bool(task.values.get("feature"))
    return bool(task.features) and task.features <= features


def _edges(tasks: Sequence[Task]) -> tuple[bool, bool, bool]:
    """No edge to a task that is not there, none to itself, no cycle (of two or more)."""
    numbers = {task.number for task in tasks}
    graph = {task.number: task.dependencies - {task.number} for task in tasks}
    try:
        TopologicalSorter(graph).prepare()
        acyclic = True
    except CycleError:
        acyclic = False
    return (
        all(task.dependencies <= numbers for task in tasks),
        all(task.number not in task.dependencies for task in tasks),
        acyclic,
    )


def _covered(tasks: Sequence[Task], features: set[str]) -> bool:
    return features <= {feature for task in tasks for feature in task.features}
