"""The run itself: generate, grade, write the candidate, say what it would change. Promotes nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from msgspec import Struct, structs

from anvil.lab import profile_diff
from anvil.lab.calibrate import candidate, outputs
from anvil.lab.calibrate.answers import Answer, Ask, Failure, Generation, Say
from anvil.lab.calibrate.grading import Grading, Progress
from anvil.lab.calibrate.plan import Asked, Plan, Refused
from anvil.lab.evaluation import profile_file
from anvil.lab.evaluation.ask import ask
from anvil.lab.evaluation.cases import Case
from anvil.lab.evaluation.folder import BadEvaluation
from anvil.lab.judge import Judge, family
from anvil.lab.judge.family import SelfJudgement
from anvil.lab.locking import Busy, alone
from anvil.lab.profile_diff import Difference
from anvil.lab.writing import write_whole
from anvil.router.config import TierConfig
from anvil.router.fingerprint import fingerprint
from anvil.router.profile import Row


class Run(Struct, frozen=True, kw_only=True):
    """What surrounds a run, injectable: environment, today's date, where remarks go, how a tier is asked."""

    environ: Mapping[str, str]
    day: str
    say: Say
    asking: Ask = ask


class Report(Struct, frozen=True, kw_only=True):
    """What was measured. ``rows`` are the measured ones; ``difference`` is to the live profile, None without rows."""

    rows: list[Row]
    kept: int
    failures: list[Failure]
    judge_failures: int
    refused: list[str]
    unreachable: list[str]
    difference: Difference | None


class Generated(Struct, frozen=True):
    """What ``--generate-only`` did: answers there are now, and failures."""

    answers: int
    failures: list[Failure]
    unreachable: list[str]


def generate(asked: Asked, plan: Plan, run: Run) -> Generated:
    """The first half: answers into a folder. Raises Refused when what the folder holds cannot be read; OSError."""
    assert asked.generate_only is not None
    asked.generate_only.mkdir(parents=True, exist_ok=True)
    try:
        with alone(asked.generate_only):
            return _generated(asked, asked.generate_only, plan, run)
    except Busy as error:
        raise Refused(str(error)) from None


def _generated(asked: Asked, folder: Path, plan: Plan, run: Run) -> Generated:
    try:
        kept = outputs.Outputs(folder, run.day)
    except BadEvaluation as error:
        raise Refused(f"--generate-only: {error}") from None
    generation = _generation(asked, plan, run)
    answers, failures = 0, []

    def done(tier: TierConfig, case: Case) -> bool:
        nonlocal answers
        has = kept.has(tier.id, case, fingerprint(tier, plan.mode), asked.max_tokens)
        answers += has
        return has

    for found in generation.run(done):
        kept.add(found)
        if isinstance(found, Failure):
            failures.append(found)
        else:
            answers += 1
            run.say(f"{found.tier_id} {found.case.work_class}/{found.case.prd}: {len(found.text)} characters")
    return Generated(answers, failures, sorted(generation.unreachable))


def measure(asked: Asked, plan: Plan, judge: Judge, run: Run) -> Report:
    """Grade live answers, or those of ``--from-outputs``. Raises Refused before anything is asked; OSError."""
    assert asked.out is not None
    if asked.mkdir:
        asked.out.parent.mkdir(parents=True, exist_ok=True)
    try:
        with Progress.held(asked.out, judge.name) as progress:
            _take_up(progress, asked)
            return _measured(asked, plan, judge, run, progress)
    except Busy as error:
        raise Refused(str(error)) from None


def _measured(asked: Asked, plan: Plan, judge: Judge, run: Run, progress: Progress) -> Report:
    grading = Grading(judge, progress, run.say)
    if asked.from_outputs is not None:
        grading.run(_read(asked.from_outputs))
        return _report(asked, plan, grading, progress, set())
    tiers = _independent(plan.tiers, judge, grading, run.say)
    generation = _generation(asked, structs.replace(plan, tiers=tiers), run)

    def done(tier: TierConfig, case: Case) -> bool:
        if tier.id in grading.refused:
            return True
        return grading.known(tier.id, case, fingerprint(tier, plan.mode), asked.max_tokens)

    grading.run(generation.run(done))
    return _report(asked, plan, grading, progress, generation.unreachable)


def _generation(asked: Asked, plan: Plan, run: Run) -> Generation:
    return Generation(plan, run.environ, max_tokens=asked.max_tokens, day=run.day, say=run.say, asking=run.asking)


def _take_up(progress: Progress, asked: Asked) -> None:
    if asked.resume:
        progress.load()
    elif progress.file.stat().st_size:
        raise Refused(f"{progress.file}: an earlier run stopped; go on with --resume, or remove the file")


def _read(folder: Path) -> list[Answer]:
    try:
        found = list(outputs.read(folder))
    except BadEvaluation as error:
        raise Refused(f"--from-outputs: {error}") from None
    if not found:
        raise Refused(f"--from-outputs: {folder}: holds no answer; make it with anvil calibrate --generate-only")
    return found


def _independent(tiers: Iterable[TierConfig], judge: Judge, grading: Grading, say: Say) -> list[TierConfig]:
    """The tiers the judge may grade, by what is known before they are asked. Raises Refused when there is none."""
    kept = []
    for tier in tiers:
        try:
            family.check(judge, family.of_tier(tier), tier.id)
            kept.append(tier)
        except SelfJudgement as error:
            grading.refused.add(tier.id)
            say(f"{error}; the tier is skipped")
    if not kept:
        raise Refused("no tier is left that this judge may grade; choose a judge of another family")
    return kept


def _report(asked: Asked, plan: Plan, grading: Grading, progress: Progress, unreachable: set[str]) -> Report:
    assert asked.out is not None
    rows = candidate.measured(grading.used)
    complete = not (grading.failures or grading.judge_failures or unreachable)
    difference, kept = None, 0
    if rows:
        everything = candidate.over(plan.live, rows) if plan.live_file is not None else rows
        kept = len(everything) - len(rows)
        write_whole(asked.out, profile_file.encode(everything, "live"), force=asked.force or asked.resume)
        difference = profile_diff.compare(plan.live, everything, plan.config, plan.mode)
    if complete and rows:
        progress.discard()
    return Report(
        rows=rows,
        kept=kept,
        failures=grading.failures,
        judge_failures=grading.judge_failures,
        refused=sorted(grading.refused),
        unreachable=sorted(unreachable),
        difference=difference,
    )
