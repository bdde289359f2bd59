"""``anvil usage``: how much a coding client asks of its models, from its own logs (lab contract 13)."""

from __future__ import annotations

from pathlib import Path

import click

from anvil.cli.ending import stop
from anvil.cli.endpoint_options import document, output_options, write
from anvil.cli.exit_codes import FAILED
from anvil.lab.usage.profile import Profile, profile
from anvil.lab.usage.reading import read
from anvil.lab.writing import WriteRefused, check_target


@click.command("usage")
@click.option(
    "--logs",
    type=click.Path(path_type=Path),
    envvar="ANVIL_CLAUDE_LOGS",
    default="~/.claude/projects",
    show_default=True,
    help="Folder of session logs (*.jsonl), or ANVIL_CLAUDE_LOGS.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
@click.option("--out", type=click.Path(path_type=Path), help="Write the JSON document to this file.")
@output_options
def command(logs: Path, as_json: bool, out: Path | None, force: bool, mkdir: bool) -> None:
    """Measure calls, contexts, concurrency and throughput in Claude Code's logs. Figures and names only, no text.

    Exit 0: measured. 1: the logs hold no calls. 2: usage, or no such folder.
    """
    folder = logs.expanduser()
    try:
        if out is not None:
            check_target(out, force=force, mkdir=mkdir)
    except WriteRefused as problem:
        raise stop(problem) from None
    if not folder.is_dir():
        raise stop(f"{folder}: no such folder; name the logs with --logs or ANVIL_CLAUDE_LOGS")
    found = profile(read(folder))
    click.echo(document(found).rstrip() if as_json else as_text(found))
    if found.totals.assistant_calls == 0:
        raise stop(f"{folder} holds no calls", FAILED)
    if out is not None:
        write(out, document(found), force=force, mkdir=mkdir)


def as_text(found: Profile) -> str:
    """The figures people ask for first."""
    window, totals, context = found.window, found.totals, found.context_size_per_call
    fits = ", ".join(f"{int(c) // 1024}k {share}%" for c, share in found.subagent_context_coverage_pct.items())
    lines = [
        f"{totals.assistant_calls} calls in {window.sessions_with_calls} sessions, {window.files} files,"
        f" {window.active_days} days ({window.first_day} to {window.last_day})",
        f"tokens       {totals.output_tokens} out, {totals.fresh_input_tokens} fresh in,"
        f" {totals.cache_creation_tokens} to the cache, {totals.cache_read_tokens} from it",
        f"context      p50 {context.p50}  p95 {context.p95}  max {context.max}",
        f"concurrency  at most {found.concurrency.peak_calls_per_min} calls a minute,"
        f" {found.concurrency.peak_parallel_sessions} sessions at once",
        f"throughput   at most {found.throughput.peak_output_tokens_per_hour} tokens an hour",
    ]
    if found.distribution_of == "subagent":
        lines.append(f"a window of this size holds so many subagent calls: {fits}")
    if window.bad_lines or window.unreadable_files:
        lines.append(f"skipped: {window.bad_lines} bad lines, {window.unreadable_files} unreadable files")
    return "\n".join(lines)
