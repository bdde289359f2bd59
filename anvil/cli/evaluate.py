"""``anvil eval``: grade evaluations on disk, or answer recorded requests again (lab contract 5)."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click
import msgspec

from anvil.cli.calibrate import BadPair, pairs
from anvil.cli.ending import stop
from anvil.cli.exit_codes import FAILED, MISSING_PROGRAM, UNREACHABLE, USAGE
from anvil.cli.listing import Group

if TYPE_CHECKING:
    from anvil.lab.evaluation.cases import Case

GRADE_SCHEMA = "anvil.eval-grade/v1"


@click.group(name="eval", cls=Group, invoke_without_command=True)
@click.pass_context
def evaluate(context: click.Context) -> None:
    """Evaluations: outputs of models for fixed prompts, graded by structure and by judges."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


@evaluate.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), help="where results go; default: the folder results beside DIR")
@click.option("--force", is_flag=True, help="write over results of other content")
@click.option("--json", "as_json", is_flag=True, help="one JSON document on stdout")
def grade(folder: Path, out: Path | None, force: bool, as_json: bool) -> None:
    """Grade one evaluation folder: structure of plans, averages and agreement of its judges. Calls no model."""
    from anvil.lab.evaluation.folder import BadEvaluation
    from anvil.lab.grading import results
    from anvil.lab.writing import WriteFailed, WriteRefused, check_target, write_whole

    folder = folder.resolve()
    target = out or folder.parent / "results"
    try:
        found = results.files(folder)
        new = {target / name: data for name, data in found.items() if not _same(target / name, data)}
        for file in new:
            check_target(file, force=force, mkdir=True)
        for file, data in new.items():
            write_whole(file, data, force=force, mkdir=True)
    except WriteFailed as error:
        raise stop(error, FAILED) from None
    except (BadEvaluation, WriteRefused, OSError) as error:
        raise stop(error) from None
    structures, totals = _summary(found)
    if as_json:
        told = {"schema": GRADE_SCHEMA, "out": str(target), "structural_score": structures, "judges": totals}
        click.echo(msgspec.json.encode(told).decode())
        return
    for label, score in sorted(structures.items()):
        click.echo(f"{label}: structure {score:.2f} of 1")
    for label, row in sorted(totals.items(), key=lambda item: -item[1]["avg"]):
        click.echo(f"{label}: judges {row['avg']:.2f} of 25, n={row['n']:.0f}")
    click.echo(f"wrote {', '.join(sorted(found))} in {target}")


def _same(file: Path, data: bytes) -> bool:
    return file.is_file() and file.read_bytes() == data


def _summary(found: dict[str, bytes]) -> tuple[dict[str, float], dict[str, dict[str, float]]]:
    """Mean structural score per label, and the judges' overall row per label."""
    scores: dict[str, list[float]] = {}
    for labels in msgspec.json.decode(found.get("grade_struct.json", b"{}")).values():
        for label, row in labels.items():
            scores.setdefault(label, []).append(row["structural_score"])
    means = {label: round(sum(values) / len(values), 4) for label, values in scores.items()}
    totals = msgspec.json.decode(found.get("aggregate.json", b'{"per_model_overall":{}}'))["per_model_overall"]
    return means, totals


def _live_options(command: Callable[..., None]) -> Callable[..., None]:
    for option in (
        click.option("--json", "as_json", is_flag=True, help="one JSON document on stdout"),
        click.option("--judge-key-env", metavar="NAME", help="variable with the key of a judge given by URL"),
        click.option("--judge-model", metavar="ID", help="the judge's model; needed for a URL"),
        click.option("--judge", metavar="claude|URL", help="also have every answer judged"),
        click.option("--mkdir", is_flag=True, help="make missing parent folders"),
        click.option("--resume", is_flag=True, help="go on where an earlier run stopped"),
        click.option("--tiers", default="", metavar="A,B", help="only these local tiers"),
        click.option("--i-understand-this-calls-real-tiers", "confirmed", is_flag=True, help="required to call tiers"),
        click.option("--endpoint", "endpoints", multiple=True, metavar="TIER=URL", help="confirms what is called"),
        click.option("--mode", help="take the configuration of this mode; excludes --config"),
        click.option("--config", help="the rendered router.toml"),
    ):
        command = option(command)
    return command


@evaluate.command()
@click.option("--records", required=True, type=click.Path(path_type=Path), help="recorded decisions, JSONL")
@click.option(
    "--transcripts", required=True, type=click.Path(path_type=Path), help="JSONL of id and prompt or messages"
)
@click.option("--out", required=True, type=click.Path(path_type=Path), help="folder of the evaluations to write")
@_live_options
def shadow(records: Path, transcripts: Path, out: Path, **flags: Any) -> None:
    """Answer recorded requests again on named tiers, from texts you exported yourself, and grade the answers.

    Exit 0: done. 1: nothing was answered, or the judge failed. 2: refused, nothing was called. 3: no tier answered.
    """
    from anvil.lab.evaluation import shadow as shadowing
    from anvil.router import replay

    def cases() -> list[Case]:
        texts = shadowing.transcripts(transcripts)
        found = shadowing.cases(replay.read(records), texts)
        if unused := len(texts) - len(found):
            _say(f"{unused} of {len(texts)} texts are left out: empty, or no record of a work class has their id")
        return found

    _live("shadow", out, cases, **flags)


@evaluate.command()
@click.option(
    "--dir", "folder", type=click.Path(path_type=Path), help="the evaluation folder; with --live to be written"
)
@click.option("--live", is_flag=True, help="have the tiers answer the prompts now")
@click.option("--prompts", type=click.Path(path_type=Path), help="folder of prompts; default: those of anvil")
@_live_options
@click.pass_context
def planning(context: click.Context, /, folder: Path | None, live: bool, prompts: Path | None, **flags: Any) -> None:
    """Grade plans: those in --dir, or with --live those the tiers write now into folders below --dir.

    Exit 0: done. 1: nothing was answered, or the judge failed. 2: refused, nothing was called. 3: no tier answered.
    """
    from anvil.lab.evaluation import cases

    if folder is None:
        if live:
            raise stop("--dir DIR is missing: the evaluation is written there")
        click.echo(context.get_help())
        return
    if live:
        _live("planning", folder, lambda: cases.read(prompts or cases.BUILTIN, ("planning",)), **flags)
    context.invoke(grade, folder=folder, out=None, force=False, as_json=flags["as_json"])


def _live(
    command: str,
    out: Path,
    cases: Callable[[], list[Case]],
    *,
    judge: str | None,
    judge_model: str | None,
    judge_key_env: str | None,
    as_json: bool,
    endpoints: tuple[str, ...],
    tiers: str,
    **flags: Any,
) -> NoReturn:
    """Generate, anonymise, judge if asked, add up; then exit. Refusals come before anything is called."""
    from anvil.lab.calibrate import plan, run
    from anvil.lab.evaluation import shadow as shadowing
    from anvil.lab.evaluation.folder import BadEvaluation, evaluations
    from anvil.lab.grading import results
    from anvil.lab.judge.choose import JudgeRefused, choose
    from anvil.lab.judge.claude import BinaryMissing
    from anvil.lab.writing import write_whole
    from anvil.router.replay import BadDecisions

    environ = dict(os.environ)
    called = False
    around = run.Run(environ=environ, day=datetime.now(UTC).date().isoformat(), say=_say)
    try:
        named = tuple(filter(None, tiers.split(",")))
        asked = plan.Asked(**flags, tiers=named, generate_only=out, endpoints=pairs("--endpoint", endpoints))
        planned = plan.make(asked, environ)
        found = cases()
        chosen = choose(judge, judge_model, judge_key_env, environ, planned.config) if judge else None
        called = True
        generated = run.generate(asked, msgspec.structs.replace(planned, cases=found), around)
        failures = 0
        for folder in evaluations(out) if generated.answers else ():
            failures += shadowing.judged(folder, chosen, _say)
            for name, data in results.files(folder).items():
                write_whole(out / "results" / folder.name / name, data, force=True, mkdir=True)
    except BinaryMissing as error:
        raise stop(error, MISSING_PROGRAM) from None
    except (plan.Refused, JudgeRefused, BadPair, BadEvaluation, BadDecisions) as error:
        raise stop(error) from None
    except OSError as error:
        raise stop(f"{error.filename or out}: {error.strerror or error}", FAILED if called else USAGE) from None
    told = {"requests": len(found), "answers": generated.answers, "not_judged": failures, "out": str(out)}
    if as_json:
        click.echo(msgspec.json.encode({"schema": f"anvil.eval-{command}/v1", **told}).decode())
    else:
        click.echo(f"{generated.answers} answers to {len(found)} prompts in {out}, {failures} not judged")
    if not generated.answers and generated.unreachable:
        raise stop("bring the serves up: pyinfra inventory/hosts.py deploy/serves.py", UNREACHABLE)
    raise SystemExit(FAILED if failures or not generated.answers else 0)


def _say(text: str) -> None:
    for line in text.splitlines():
        click.echo(f"anvil eval: {line}", err=True)
