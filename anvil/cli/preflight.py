"""``anvil preflight``: is one OpenAI-compatible endpoint fit for coding clients (lab contract 4.1)?"""

from __future__ import annotations

import difflib
from functools import partial
from pathlib import Path
from typing import Any

import click

from anvil.cli import endpoint_options as shared
from anvil.cli.ending import stop
from anvil.cli.exit_codes import FAILED, UNREACHABLE
from anvil.lab.endpoint import Refused
from anvil.lab.preflight.families import max_tokens
from anvil.lab.preflight.run import DEFAULT, TESTS, Report, Result, preflight
from anvil.lab.preflight.subject import Settings
from anvil.lab.writing import WriteRefused, check_target

NEEDLE_TOKENS = 128_000


@click.command("preflight")
@shared.endpoint_options
@click.option("--needle-tokens", type=click.IntRange(64), metavar="N", help="Default: the serve's, else 128000.")
@click.option("--tool-batch", type=click.IntRange(1), default=20, show_default=True, metavar="N")
@click.option("--allow-no-tool-call", is_flag=True, help="Text where a tool call was asked for passes, and is said.")
@click.option("--vision", is_flag=True, help="Also show it a red square.")
@click.option("--only", metavar="A,B", help=f"These tests only: {', '.join(TESTS)}.")
@click.option("--timeout", type=click.FloatRange(0, min_open=True), default=900, show_default=True, help="Per request.")
@click.option("--wait", type=click.FloatRange(0), default=0, show_default=True, help="Seconds for a loading engine.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout; the lines go to stderr.")
@click.option("--out", type=click.Path(path_type=Path), help="Write the JSON document to this file too.")
@shared.output_options
def command(out: Path | None, force: bool, mkdir: bool, as_json: bool, **options: Any) -> None:
    """Test an OpenAI-compatible endpoint: plain, JSON and streamed answers, tool calls, a fact deep in a long prompt.

    Exit 0: all tests passed. 1: one failed. 2: usage. 3: the endpoint is not reachable or still loading.
    """
    try:
        endpoint, family = shared.named_endpoint(options)
        names = chosen(options["only"], options["vision"])
        if out is not None:
            check_target(out, force=force, mkdir=mkdir)
    except (Refused, WriteRefused) as problem:
        raise stop(problem) from None
    settings = Settings(
        needle_tokens=options["needle_tokens"] or endpoint.facts.needle_tokens or NEEDLE_TOKENS,
        tool_batch=options["tool_batch"],
        max_tokens=max_tokens(family),
        timeout_s=options["timeout"],
        allow_text=options["allow_no_tool_call"],
    )
    say = partial(click.echo, err=as_json)
    work = preflight(endpoint, settings, names, wait_s=options["wait"], tell=lambda result: say(line(result)))
    report = shared.run(work)
    for note in report.notes:
        click.echo(f"note: {note}", err=True)
    say(verdict(report))
    if as_json:
        click.echo(shared.document(report), nl=False)
    if out is not None:
        shared.write(out, shared.document(report), force=force, mkdir=mkdir)
    raise SystemExit(UNREACHABLE if report.error else 0 if report.passed else FAILED)


def chosen(only: str | None, vision: bool) -> tuple[str, ...]:
    """The tests to run, in their fixed order. Raises Refused for an unknown name."""
    if only is None:
        return (*DEFAULT, "vision") if vision else DEFAULT
    asked = [name.strip() for name in only.split(",") if name.strip()]
    for name in asked:
        if name not in TESTS:
            near = difflib.get_close_matches(name, TESTS, n=1)
            raise Refused(f"--only: no test {name!r}; " + (f"did you mean {near[0]}?" if near else ", ".join(TESTS)))
    if not asked:
        raise Refused(f"--only names no test; known: {', '.join(TESTS)}")
    return tuple(name for name in TESTS if name in asked)


def line(result: Result) -> str:
    """`PASS name  1.2 s  detail`, with the failure class."""
    head = f"{'PASS' if result.passed else 'FAIL'} {result.name:<9} {result.elapsed_s:6.1f} s"
    thought = f" ({result.reasoning_tokens} reasoning tokens)" if result.reasoning_tokens else ""
    return f"{head}  {f'{result.class_}: ' if result.class_ else ''}{result.detail}{thought}"


def verdict(report: Report) -> str:
    """The last line."""
    if report.error:
        return f"RESULT not tested ({report.error.class_}): {report.error.detail}"
    good = sum(result.passed for result in report.tests)
    where = f"{report.model} at {report.base_url}"
    return f"RESULT {'PASS' if report.passed else 'FAIL'} {good}/{len(report.tests)}  {where}"
