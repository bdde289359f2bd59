"""``anvil metrics --replay``: the promotion gate over recorded decisions (contract 18)."""

from __future__ import annotations

from pathlib import Path

import click
import msgspec

from anvil.cli.ending import stop
from anvil.router.promotion import DEFAULT_THRESHOLD, OVERALL, BadRecord, Summary, Tally, evaluate

BREACH = 1


@click.command()
@click.option(
    "--replay",
    "file",
    required=True,
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="JSONL of decision records, each with ground_truth (pass, fail or null).",
)
@click.option(
    "--silent-failure-threshold",
    "threshold",
    type=click.FloatRange(0, 1),
    default=DEFAULT_THRESHOLD,
    show_default=True,
    metavar="R",
    help="A rate at or above this breaches the gate.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
def metrics(file: Path, threshold: float, as_json: bool) -> None:
    """Tell from recorded, graded decisions whether local serving may be promoted.

    Exit 0: gate passed. 1: breach. 2: usage, unreadable file or a bad line.
    """
    try:
        with file.open(encoding="utf-8") as lines:
            summary = evaluate(lines, threshold)
    except OSError as error:
        raise stop(f"{file}: {error.strerror}; give a readable JSONL file") from None
    except UnicodeDecodeError:
        raise stop(f"{file}: not UTF-8; give JSONL as /v1/decisions?format=jsonl writes it") from None
    except BadRecord as error:
        raise stop(f"{file}: {error}") from None
    if summary.overall.accepted_local and not summary.overall.graded_local:
        click.echo("note: nothing served locally has a ground_truth: the gate had nothing to judge", err=True)
    click.echo(msgspec.json.format(msgspec.json.encode(summary)).decode() if as_json else as_text(summary))
    if not summary.gate_passed:
        raise SystemExit(BREACH)


def as_text(summary: Summary) -> str:
    """The summary for people, one line per class."""
    rows = [*summary.classes.items(), (OVERALL, summary.overall)]
    width = max(len(name) for name, _ in rows)
    lines = [f"{summary.total_records} records, modes: {', '.join(summary.modes) or 'none'}"]
    lines += [_row(name.ljust(width), tally, name in summary.breaches) for name, tally in rows]
    verdict = "passed" if summary.gate_passed else f"BREACHED by {', '.join(summary.breaches)}"
    return "\n".join([*lines, f"gate {verdict} (silent failure rate must stay below {summary.threshold:g})"])


def _row(name: str, tally: Tally, breach: bool) -> str:
    return (
        f"{name}  {tally.accepted_local}/{tally.total} local ({tally.accept_rate:.2%})"
        f"  {tally.graded_local} graded  silent failures {tally.silent_failures} ({tally.silent_failure_rate:.2%})"
        f"  cloud tokens saved {tally.cloud_tokens_saved}  cost ${tally.cost_usd:.4f}{'  BREACH' if breach else ''}"
    )
