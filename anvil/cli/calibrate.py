"""``anvil bootstrap`` and ``anvil calibrate``: quality profiles from old evaluations and from live tiers (lab 6)."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from anvil.cli.ending import failed, stop
from anvil.cli.exit_codes import FAILED, MISSING_PROGRAM, UNREACHABLE

if TYPE_CHECKING:
    from anvil.lab.calibrate.run import Generated, Report
    from anvil.lab.judge import Judge

CALIBRATE_SCHEMA = "anvil.calibrate/v1"
BOOTSTRAP_SCHEMA = "anvil.bootstrap/v1"


@click.command()
@click.option("--replay", "folder", required=True, type=click.Path(path_type=Path), help="folder of evaluations")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="the profile.json to write")
@click.option("--map", "mapped", multiple=True, metavar="LABEL=TIER", help="tier id of a label, instead of the default")
@click.option("--force", is_flag=True, help="write over an existing file of other content")
@click.option("--mkdir", is_flag=True, help="make the folder of --out")
@click.option("--json", "as_json", is_flag=True, help="one JSON document on stdout")
def bootstrap(folder: Path, out: Path, mapped: tuple[str, ...], force: bool, mkdir: bool, as_json: bool) -> None:
    """Write a quality profile from graded evaluations; contacts nothing, the same input gives the same bytes."""
    from anvil.lab import bootstrap as replaying
    from anvil.lab.evaluation import profile_file
    from anvil.lab.evaluation.folder import BadEvaluation
    from anvil.lab.writing import WriteFailed, WriteRefused, write_whole

    try:
        rows = replaying.rows(folder, {**replaying.TIERS, **pairs("--map", mapped)})
        data = profile_file.encode(rows, "replay")
        if not (out.is_file() and out.read_bytes() == data):
            write_whole(out, data, force=force, mkdir=mkdir)
    except WriteFailed as error:
        raise stop(error, FAILED) from None
    except (BadEvaluation, WriteRefused, BadPair, OSError) as error:
        raise stop(error) from None
    if as_json:
        found = [msgspec.to_builtins(row) for row in rows]
        click.echo(msgspec.json.encode({"schema": BOOTSTRAP_SCHEMA, "out": str(out), "rows": found}).decode())
        return
    for row in rows:
        click.echo(f"{row.tier_id}  {row.work_class}: {row.decision}  {row.quality_score:.2f}  n={row.sample_n}")
    click.echo(f"wrote {out}; next: anvil profile diff LIVE {out}")


class BadPair(ValueError):
    """An option that should read NAME=VALUE."""


def pairs(option: str, given: tuple[str, ...]) -> dict[str, str]:
    """{name: value} of repeated NAME=VALUE options. Raises BadPair for a malformed or doubled one."""
    found: dict[str, str] = {}
    for text in given:
        name, equals, value = (part.strip() for part in text.partition("="))
        if not (name and equals and value):
            raise BadPair(f"{option} {text}: wanted NAME=VALUE")
        if name in found:
            raise BadPair(f"{option} {name}: given twice")
        found[name] = value
    return found


# ---------------------------------------------------------------------------------------------- calibrate


def _calibrate_options(command: Callable[..., None]) -> Callable[..., None]:
    folder = click.Path(path_type=Path)
    for option in (
        click.option("--json", "as_json", is_flag=True, help="one JSON document on stdout"),
        click.option("--mkdir", is_flag=True, help="make missing parent folders"),
        click.option("--force", is_flag=True, help="write over an existing candidate"),
        click.option(
            "--from-outputs", type=folder, help="second half: grade a folder of --generate-only, call no tier"
        ),
        click.option("--generate-only", type=folder, help="first half: only collect answers in this folder"),
        click.option("--resume", is_flag=True, help="go on where an earlier run stopped"),
        click.option("--judge-key-env", metavar="NAME", help="variable with the key of a judge given by URL"),
        click.option("--judge-model", metavar="ID", help="the judge's model; needed for a URL"),
        click.option("--judge", default="claude", show_default=True, metavar="claude|URL", help="who grades"),
        click.option("--max-tokens", default=4096, show_default=True, help="cap of each answer, at least 4096"),
        click.option("--tiers", default="", metavar="A,B", help="only these local tiers"),
        click.option("--classes", default="", metavar="A,B", help="only these work classes"),
        click.option("--eval-data", type=folder, help="folder of prompts; default: those that come with anvil"),
        click.option("--i-understand-this-calls-real-tiers", "confirmed", is_flag=True, help="required to call tiers"),
        click.option("--endpoint", "endpoints", multiple=True, metavar="TIER=URL", help="confirms what is called"),
        click.option("--out", type=folder, help="the candidate profile to write"),
        click.option("--mode", help="take the configuration of this mode; excludes --config"),
        click.option("--config", help="the rendered router.toml"),
    ):
        command = option(command)
    return command


@click.command()
@_calibrate_options
def calibrate(
    judge: str,
    judge_model: str | None,
    judge_key_env: str | None,
    as_json: bool,
    endpoints: tuple[str, ...],
    **flags: Any,
) -> None:
    """Measure local tiers with an independent judge and write a candidate profile. Promotes nothing.

    Exit 0: done. 1: nothing could be graded, or the judge failed. 2: refused, nothing was called. 3: no tier answered.
    """
    from anvil.lab.calibrate import plan, run
    from anvil.lab.judge.choose import JudgeRefused, choose
    from anvil.lab.judge.claude import BinaryMissing
    from anvil.lab.writing import WriteRefused

    environ = dict(os.environ)
    around = run.Run(environ=environ, day=datetime.now(UTC).date().isoformat(), say=_say)
    try:
        lists: dict[str, Any] = {name: tuple(filter(None, flags.pop(name).split(","))) for name in ("tiers", "classes")}
        asked = plan.Asked(**flags, **lists, endpoints=pairs("--endpoint", endpoints))
        planned = plan.make(asked, environ)
        for warning in planned.warnings:
            _say(warning)
        if asked.generate_only is not None:
            raise SystemExit(_told_generated(run.generate(asked, planned, around), asked.generate_only, as_json))
        chosen = choose(judge, judge_model, judge_key_env, environ, planned.config)
        report = run.measure(asked, planned, chosen, around)
    except BinaryMissing as error:
        raise stop(error, MISSING_PROGRAM) from None
    except (plan.Refused, JudgeRefused, BadPair) as error:
        raise stop(error) from None
    except OSError as error:
        raise failed(error) from None
    except WriteRefused as error:  # checked before the run: somebody wrote there meanwhile
        raise stop(f"--out: {error}; --resume writes what is graded", FAILED) from None
    assert asked.out is not None  # plan.make refuses a run without
    raise SystemExit(_told(report, asked.out, chosen, as_json))


def _say(text: str) -> None:
    for line in text.splitlines():
        click.echo(f"anvil calibrate: {line}", err=True)


def _told_generated(found: Generated, folder: Path, as_json: bool) -> int:
    then = f"anvil calibrate --config FILE --out candidate.json --from-outputs {folder}"
    if as_json:
        told = {"schema": CALIBRATE_SCHEMA, "folder": str(folder), "next": then, **_json(found)}
        click.echo(msgspec.json.encode(told).decode())
    else:
        click.echo(f"{found.answers} answers in {folder}, {len(found.failures)} prompts without one")
        click.echo(f"next, where the judge lives: {then}")
    if found.answers:
        return 0
    return UNREACHABLE if found.unreachable else FAILED


def _json(found: Generated | Report) -> dict[str, object]:
    """All fields, prompts by name only."""
    document: dict[str, object] = msgspec.to_builtins(found)
    document["failures"] = [
        {"tier_id": row.tier_id, "work_class": row.case.work_class, "prd": row.case.prd, "why": row.why}
        for row in found.failures
    ]
    return document


def _told(report: Report, out: Path, judge: Judge, as_json: bool) -> int:
    from anvil.lab import profile_diff

    then = profile_diff.promotion(out)
    if as_json:
        written = str(out) if report.rows else None
        told = {"schema": CALIBRATE_SCHEMA, "out": written, "judge": judge.name, "next": then if report.rows else None}
        click.echo(msgspec.json.encode({**told, **_json(report)}).decode())
    elif report.difference is not None:
        kept = f", {report.kept} rows of the live profile kept" if report.kept else ""
        click.echo(f"{len(report.rows)} rows measured{kept}; judge {judge.name}; wrote {out}")
        for line in profile_diff.lines(report.difference):
            click.echo(line)
        click.echo(f"next: {then}")
    else:
        click.echo("nothing was graded; no candidate was written", err=True)
    if not report.rows and report.unreachable:
        return UNREACHABLE
    return 0 if report.rows and not report.judge_failures else FAILED
