"""``anvil bench``: how one OpenAI-compatible endpoint bears load (lab contract 4.2)."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from anvil.cli import endpoint_options as shared
from anvil.cli.ending import stop
from anvil.cli.exit_codes import FAILED, UNREACHABLE
from anvil.lab.bench import distribution, picture, recipe
from anvil.lab.bench.measure import Plan, Stated, bench
from anvil.lab.bench.report import SCHEMA, Level, Report, enough
from anvil.lab.endpoint import Endpoint, Refused
from anvil.lab.reach import Unreachable
from anvil.lab.writing import WriteRefused, check_target

MAX_LEVELS = 12
_File = click.Path(path_type=Path)
_Count = click.IntRange(1)
_Size = click.IntRange(0)


def _levels(_ctx: click.Context, _param: click.Parameter, value: str | None) -> tuple[int, ...]:
    if value is None:
        return ()
    words = [word.strip() for word in value.split(",")]
    if not all(word.isdecimal() and int(word) > 0 for word in words) or len(words) > MAX_LEVELS:
        raise click.BadParameter(f"give at most {MAX_LEVELS} positive whole numbers, such as 1,2,4,8")
    return tuple(dict.fromkeys(map(int, words)))


@click.command("bench")
@shared.endpoint_options
@click.option("--requests", type=_Count, default=60, show_default=True, help="Per level of concurrency.")
@click.option("--concurrency", type=_Count, default=20, show_default=True, help="Requests at once.")
@click.option("--sweep", callback=_levels, metavar="1,2,4", help="Several levels of concurrency, one after another.")
@click.option("--burst", type=_Count, metavar="N", help="N equal requests, all at once.")
@click.option("--shared-prefix-tokens", "shared_tokens", type=_Size, default=8000, show_default=True)
@click.option("--ctx-tokens", "context_tokens", type=_Size, default=0, help="Prompt size; 0 draws from measured ones.")
@click.option("--max-tokens", type=_Count, default=64, show_default=True, help="Of an answer.")
@click.option("--max-model-len", "window", type=_Size, default=0, help="The window; 0 asks the endpoint.")
@click.option("--margin", type=_Size, default=1024, show_default=True, help="Tokens of the window left free.")
@click.option(
    "--distribution",
    default=distribution.BUILTIN_NAME,
    show_default=True,
    metavar="FILE",
    help="Sizes: a usage profile.",
)
@click.option("--draw", type=int, default=1, show_default=True, help="The same number draws the same sizes.")
@click.option("--warmup", type=_Size, default=1, show_default=True, help="Requests before the clock starts.")
@click.option(
    "--timeout",
    "timeout_s",
    type=click.FloatRange(0, min_open=True),
    default=900,
    show_default=True,
    help="Per request.",
)
@click.option("--allow-failures", "allowed", type=click.FloatRange(0, 1), default=0, show_default=True, help="Share.")
@click.option("--engine", help="What serves it, where neither topology nor endpoint says.")
@click.option("--engine-version", help="Its version.")
@click.option("--quantization", help="Of the weights.")
@click.option("--gpu-model", help="The card.")
@click.option("--gpu-count", type=_Count, help="How many of it.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout; the report goes to stderr.")
@click.option("--json-out", type=_File, help="Write the JSON document to this file too.")
@click.option("--svg-out", type=_File, help="Draw latency and throughput against concurrency.")
@click.option(
    "--recipe-out", type=click.Path(allow_dash=True, path_type=Path), help="The recipe's measured table; - prints."
)
@shared.output_options
def command(
    json_out: Path | None, svg_out: Path | None, recipe_out: Path | None, force: bool, mkdir: bool, **options: Any
) -> None:
    """Load an OpenAI-compatible endpoint and time it: first token, whole answer, throughput, prefix cache.

    Exit 0: enough requests completed. 1: too few. 2: usage. 3: the endpoint is not reachable.
    """
    as_json, allowed, sweep = options.pop("as_json"), options.pop("allowed"), options.pop("sweep")
    no_thinking = options["no_thinking"]
    files = {path: kind for path, kind in ((json_out, "json"), (svg_out, "svg"), (recipe_out, "recipe")) if path}
    printed = files.pop(Path("-"), None)
    try:
        endpoint, _ = shared.named_endpoint(options)
        _compatible(options, sweep, as_json and printed is not None)
        options["steps"] = distribution.read(options.pop("distribution"))
        for path in files:
            check_target(path, force=force, mkdir=mkdir)
    except (Refused, WriteRefused) as problem:
        raise stop(problem) from None
    stated = Stated(**{name: options.pop(name) for name in Stated.__dataclass_fields__})
    report = _measured(endpoint, _plan(options, sweep, no_thinking), stated, as_json)
    contents = {"json": shared.document(report), "svg": picture.svg(report).encode()}
    contents["recipe"] = recipe.measured(report).encode()
    click.echo(as_text(report), err=as_json or printed is not None)
    if as_json or printed:
        click.echo(contents["json" if as_json else "recipe"], nl=False)
    for path, kind in files.items():
        shared.write(path, contents[kind], force=force, mkdir=mkdir)
    if not all(enough(found, allowed) for found in report.levels):
        raise SystemExit(FAILED)


def _compatible(options: dict[str, Any], sweep: tuple[int, ...], both_print: bool) -> None:
    """Raises Refused."""
    if both_print:
        raise Refused("--json and --recipe-out - both want stdout; name a file for one")
    if options["burst"] and sweep:
        raise Refused("--burst is one level of its own; leave out --sweep")


def _plan(options: dict[str, Any], sweep: tuple[int, ...], no_thinking: bool) -> Plan:
    burst, concurrency = options.pop("burst"), options.pop("concurrency")
    if burst:
        return Plan(**options | {"requests": burst}, levels=(burst,), burst=True, no_thinking=no_thinking)
    return Plan(**options, levels=sweep or (concurrency,), no_thinking=no_thinking)


def _measured(endpoint: Endpoint, plan: Plan, stated: Stated, as_json: bool) -> Report:
    def tell(concurrency: int, done: int) -> None:
        if not sys.stderr.isatty():
            return
        end = "\n" if done == plan.requests else ""
        print(f"\r{concurrency} at once: {done}/{plan.requests}", end=end, file=sys.stderr, flush=True)

    try:
        return shared.run(bench(endpoint, plan, stated, tell=tell))
    except Unreachable as trouble:
        if as_json:
            error = {"class": trouble.kind, "detail": str(trouble)}
            click.echo(shared.document({"schema": SCHEMA, "base_url": endpoint.base_url, "error": error}), nl=False)
        raise stop(trouble, UNREACHABLE) from None


def as_text(report: Report) -> str:
    """The report for people."""
    lines = [f"{report.model} at {report.base_url}" + (f", {report.engine}" if report.engine else "")]
    lines += [text for found in report.levels for text in _level(found)]
    lines += [f"note: {note}" for note in report.notes]
    if report.metrics.prefix_cache_hit_avg is not None:
        lines.append("note: run it twice to see what the prefix cache does for prompts it has met")
    return "\n".join(lines)


def _level(found: Level) -> list[str]:
    m = found.metrics
    failed = ", ".join(f"{count} {kind}" for kind, count in found.failures.items())
    label = "single stream" if found.concurrency == 1 else f"of {found.concurrency} streams"
    hit = m.prefix_cache_hit_avg
    return [
        f"{found.concurrency} at once: {found.completed}/{found.requests} completed in {found.wall_s:.1f} s"
        + (f"; failed: {failed}" if failed else ""),
        f"  first token   p50 {_ms(m.ttft_p50_ms)}  p95 {_ms(m.ttft_p95_ms)}  p99 {_ms(m.ttft_p99_ms)}"
        f"  (without reasoning p50 {_ms(m.ttft_content_p50_ms)})",
        f"  whole answer  p50 {_ms(m.e2e_p50_ms)}  p95 {_ms(m.e2e_p95_ms)}  p99 {_ms(m.e2e_p99_ms)}",
        f"  tokens/s      {_plain(m.throughput_tok_s)} {label}, {_plain(m.decode_tok_s)} while one decodes"
        + (" (estimated)" if m.output_tokens_estimated else ""),
        f"  prefix cache  {'not reported' if hit is None else f'{hit:.1%} of prompt tokens'}",
    ]


def _ms(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value / 1000:.2f} s" if value >= 1000 else f"{value:.0f} ms"


def _plain(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"
