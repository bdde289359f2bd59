"""Answers to grades, each written down at once, so that ``--resume`` asks neither tier nor judge twice."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
from msgspec import Struct

from anvil.lab.calibrate.answers import Answer, Failure, Say
from anvil.lab.calibrate.plan import progress_of
from anvil.lab.evaluation.cases import Case
from anvil.lab.judge import Judge, JudgeFailed, Sample, family
from anvil.lab.judge.family import SelfJudgement
from anvil.lab.locking import alone
from anvil.lab.writing import naming

# A judge that fails this often in a row is down: more calls would only cost time.
GIVE_UP_AFTER = 3


class Graded(Struct, frozen=True, kw_only=True):
    """One answer's grade and all that its profile row and a later run need."""

    tier_id: str
    work_class: str
    prd: str
    prompt_sha256: str
    max_tokens: int
    judge: str
    model: str | None
    fingerprint: str
    reasoning: dict[str, object] | None
    day: str
    scores: dict[str, int]
    total: int
    notes: str

    @property
    def key(self) -> tuple[str, str, str]:
        return self.tier_id, self.work_class, self.prd


class Progress:
    """Grades so far, in memory and as JSON Lines beside the candidate."""

    @classmethod
    @contextmanager
    def held(cls, out: Path, judge: str) -> Iterator[Progress]:
        """The progress of ``out``, for this run alone. Raises Busy when another one writes it, OSError."""
        found = cls(out, judge)
        with naming(found.file):
            found.file.touch()
        with alone(found.file):
            try:
                yield found
            finally:
                if found.file.is_file() and not found.file.stat().st_size:
                    found.discard()

    def __init__(self, out: Path, judge: str) -> None:
        self.file = progress_of(out)
        self._judge = judge
        self.grades: dict[tuple[str, str, str], Graded] = {}

    def load(self) -> None:
        """What an earlier run graded by the same judge. A line cut by a crash is passed over."""
        for line in self.file.read_bytes().splitlines() if self.file.is_file() else ():
            try:
                grade = msgspec.json.decode(line, type=Graded)
            except (msgspec.MsgspecError, UnicodeDecodeError):
                continue
            if grade.judge == self._judge:
                self.grades[grade.key] = grade

    def has(self, tier_id: str, case: Case, fingerprint: str, max_tokens: int) -> bool:
        """Whether the same tier's answer to the same prompt is graded already."""
        grade = self.grades.get((tier_id, case.work_class, case.prd))
        wanted = (fingerprint, case.digest, max_tokens)
        return grade is not None and (grade.fingerprint, grade.prompt_sha256, grade.max_tokens) == wanted

    def add(self, grade: Graded) -> None:
        self.grades[grade.key] = grade
        with naming(self.file), self.file.open("ab") as file:
            file.write(b"\n" + msgspec.json.encode(grade) if _torn(self.file) else msgspec.json.encode(grade))
            file.write(b"\n")
            file.flush()
            os.fsync(file.fileno())

    def discard(self) -> None:
        self.file.unlink(missing_ok=True)


def _torn(file: Path) -> bool:
    data = file.read_bytes()
    return bool(data) and not data.endswith(b"\n")


class Grading:
    """Grades answers; ``refused``: tiers whose family the judge shares; ``judge_failures``: answers left ungraded."""

    def __init__(self, judge: Judge, progress: Progress, say: Say) -> None:
        self._judge = judge
        self._progress = progress
        self._say = say
        self.used: list[Graded] = []
        self.refused: set[str] = set()
        self.failures: list[Failure] = []
        self.judge_failures = 0

    def run(self, answers: Iterable[Answer | Failure]) -> None:
        in_a_row = 0
        for answer in answers:
            if isinstance(answer, Failure):
                self.failures.append(answer)
                continue
            if answer.tier_id in self.refused:
                continue
            before = self.judge_failures
            self._one(answer)
            in_a_row = in_a_row + 1 if self.judge_failures > before else 0
            if in_a_row == GIVE_UP_AFTER:
                self._say(f"the judge failed {GIVE_UP_AFTER} times in a row; stopped, go on later with --resume")
                return

    def known(self, tier_id: str, case: Case, fingerprint: str, max_tokens: int, day: str | None = None) -> bool:
        """Take the grade an earlier run gave the same tier on the same prompt (on ``day``), if there is one."""
        if not self._progress.has(tier_id, case, fingerprint, max_tokens):
            return False
        grade = self._progress.grades[tier_id, case.work_class, case.prd]
        if day is not None and grade.day != day:
            return False
        self.used.append(grade)
        return True

    def _one(self, answer: Answer) -> None:
        case = answer.case
        if self.known(answer.tier_id, case, answer.fingerprint, answer.max_tokens, answer.day):
            return
        try:
            family.check(self._judge, answer.families, answer.tier_id)
            opinion = self._judge.opinion(Sample(case.work_class, case.prompt, answer.text))
        except SelfJudgement as error:
            self.refused.add(answer.tier_id)
            self._say(f"{error}; the tier is skipped")
            return
        except JudgeFailed as error:
            self.judge_failures += 1
            self._say(f"{answer.tier_id} {case.work_class}/{case.prd}: not graded, skipped: {error}")
            return
        grade = Graded(
            tier_id=answer.tier_id,
            work_class=case.work_class,
            prd=case.prd,
            prompt_sha256=case.digest,
            max_tokens=answer.max_tokens,
            judge=self._judge.name,
            model=answer.model,
            fingerprint=answer.fingerprint,
            reasoning=answer.reasoning,
            day=answer.day,
            scores=opinion.scores.scores,
            total=opinion.scores.total,
            notes=opinion.notes,
        )
        self._progress.add(grade)
        self.used.append(grade)
        self._say(f"{answer.tier_id} {case.work_class}/{case.prd}: {grade.total}/25")
