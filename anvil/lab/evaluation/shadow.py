"""Recorded requests answered again by other tiers, and graded (lab contract 5.4).

The router keeps no text: prompts come from an export of the caller's own, joined to the records by decision id.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from string import ascii_uppercase

import msgspec
from msgspec import Struct

from anvil.lab.calibrate.outputs import ManifestRow, manifest
from anvil.lab.evaluation import folder as evaluation
from anvil.lab.evaluation.cases import Case
from anvil.lab.evaluation.folder import BadEvaluation
from anvil.lab.judge import Judge, JudgeFailed, Sample, family
from anvil.lab.judge.family import SelfJudgement
from anvil.lab.writing import write_whole
from anvil.router.decisions.record import Decision
from anvil.router.taxonomy import WORK_CLASSES


class _Message(Struct):
    role: str
    content: str


class _Transcript(Struct):
    """One line of the export: a decision id, and the request as one prompt or as messages of text."""

    id: str
    prompt: str = ""
    messages: list[_Message] = []

    @property
    def text(self) -> str:
        return self.prompt or "\n\n".join(f"{message.role}: {message.content}" for message in self.messages)


def transcripts(file: Path) -> dict[str, str]:
    """Text by decision id of a JSON Lines export. Raises BadEvaluation naming the line."""
    found: dict[str, str] = {}
    for number, line in enumerate(evaluation.text_of(file).splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = msgspec.json.decode(line, type=_Transcript)
        except msgspec.MsgspecError as error:
            raise BadEvaluation(f"{file}: line {number}: {error}; wanted id and prompt, or id and messages") from None
        found[row.id] = row.text
    return found


def cases(records: Iterable[Decision], texts: Mapping[str, str]) -> list[Case]:
    """A case for every record of a known class whose text was exported. Raises BadEvaluation when there is none."""
    found = [
        Case(record.work_class, record.id, texts[record.id])
        for record in records
        if record.work_class in WORK_CLASSES and texts.get(record.id, "").strip()
    ]
    if not found:
        raise BadEvaluation("no record has a transcript of its id; export the texts with the x-anvil-decision of each")
    return list({case.prd: case for case in found}.values())


def judged(folder: Path, judge: Judge | None, say: Callable[[str], None]) -> int:
    """Write the folder's anon_map.json and, with a judge, its judge files. Number of answers the judge failed on."""
    by_prd: dict[str, list[ManifestRow]] = {}
    for row in manifest(folder):
        if row.ok:
            by_prd.setdefault(row.prd, []).append(row)
    letters = {prd: _letters(prd, [row.model for row in rows]) for prd, rows in by_prd.items()}
    _write(folder / "grading" / "anon_map.json", letters)
    if judge is None:
        return 0
    return sum(_judge_prompt(folder, judge, say, prd, rows, letters[prd]) for prd, rows in by_prd.items())


def _judge_prompt(
    folder: Path,
    judge: Judge,
    say: Callable[[str], None],
    prd: str,
    rows: list[ManifestRow],
    letters: Mapping[str, str],
) -> int:
    prompt = evaluation.prompts(folder)[prd]
    candidates: dict[str, object] = {}
    failures = 0
    for row in rows:
        text = evaluation.text_of(folder / "outputs" / Path(row.file).name)
        try:
            family.check(judge, frozenset(row.families), row.tier_id)
            opinion = judge.opinion(Sample(row.work_class, prompt, text))
        except (SelfJudgement, JudgeFailed) as error:
            failures += isinstance(error, JudgeFailed)
            say(f"{row.tier_id} {row.work_class}/{prd}: not judged: {error}")
            continue
        candidates[letters[row.model]] = msgspec.to_builtins(opinion.scores)
    if candidates:
        document = {"prd": prd, "judge": judge.name, "candidates": candidates}
        _write(folder / "grading" / f"judge_{prd}_1.json", document)
    return failures


def _letters(prd: str, labels: list[str]) -> dict[str, str]:
    """label -> letter, shuffled by a draw that is the same for the same prompt."""
    if len(labels) > len(ascii_uppercase):
        raise BadEvaluation(f"{prd}: more than {len(ascii_uppercase)} candidates")
    letters = list(ascii_uppercase[: len(labels)])
    random.Random(prd).shuffle(letters)  # noqa: S311 - repeatable, not secret
    return dict(zip(sorted(labels), letters, strict=True))


def _write(file: Path, document: object) -> None:
    write_whole(file, json.dumps(document, indent=2, sort_keys=True).encode() + b"\n", force=True)
