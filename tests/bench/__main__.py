"""scripts/bench: the router beside its peers in one run, or its hot path alone (--hot)."""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import msgspec
from rich.console import Console

from tests.bench import hot, lanes, scenarios, tables, tools
from tests.bench.figures import Figures, Start, targets
from tests.bench.lanes import LANES, Lane
from tests.bench.rounds import DIRECT, Bench, BenchFailed
from tests.bench.scenarios import CHUNK_DELAY_MS, Plan


def main(arguments: list[str] | None = None) -> int:
    """Exit code: 0, or 1 when a lane fails or, with --assert, a target is missed; 2 for wrong usage."""
    options = _parser().parse_args(arguments)
    if options.hot is not None:
        return hot.main(options.hot, profile=options.profile, save=options.json, against=options.against)
    # Wide enough for the tables where the output is a file or a CI log.
    console = Console(width=None if sys.stdout.isatty() else 150)
    chosen = scenarios.plan(
        quick=options.quick, rounds=options.rounds, seconds=options.seconds, only=options.only or ""
    )
    if not chosen.scenarios:
        print(f"--only {options.only}: no scenario of that name", file=sys.stderr)
        return 2
    try:
        figures = run(chosen, store=options.store)
    except (BenchFailed, tools.Missing, RuntimeError) as error:
        print(f"bench failed: {error}", file=sys.stderr)
        return 1
    found = targets(figures)
    tables.show(figures, found, console)
    if options.json:
        options.json.write_bytes(msgspec.json.format(msgspec.json.encode(tables.document(figures, found))))
    missed = [target.name for target in found if target.binding and not target.met]
    if options.check and missed:
        print(f"targets missed or not measured: {'; '.join(missed)}", file=sys.stderr)
        return 1
    return 0


def run(plan: Plan, *, store: bool) -> Figures:
    """Start the upstream and every lane twice (before its instant and its paced port), measure, stop all."""
    with tempfile.TemporaryDirectory(prefix="anvil-bench-") as name, ExitStack() as stack:
        folder = Path(name)
        instant, paced = stack.enter_context(_upstream(plan))
        starts: list[Start] = []
        groups: list[dict[str, Lane]] = []
        for port, used in ((instant, _any(plan, stream=False)), (paced, _any(plan, stream=True))):
            group = {DIRECT: Lane(DIRECT, port, 0, 0.0)}
            for lane in _start(stack, folder / str(port), port, store) if used else ():
                group[lane.name] = lane
                starts.append(Start(lane.name, lane.started_s, lane.rss_mib(), lane.pss_mib()))
            groups.append(group)
        samples = Bench(plan, folder, *groups).run(_say)
    return Figures(plan.scenarios, samples, starts)


def _any(plan: Plan, *, stream: bool) -> bool:
    return any(scenario.stream is stream for scenario in plan.scenarios)


def _start(stack: ExitStack, folder: Path, upstream: int, store: bool) -> Iterator[Lane]:
    for name in LANES:
        own = folder / name
        own.mkdir(parents=True)
        port = lanes.free_port()
        try:
            command = lanes.command(name, port, upstream, own, store=store)
        except tools.Missing as lack:
            print(f"WARNING: {lack}", file=sys.stderr)
            continue
        yield stack.enter_context(lanes.running(name, command, port, own))


@contextmanager
def _upstream(plan: Plan) -> Iterator[tuple[int, int]]:
    """Ports of the upstream: without delay, and with 20 ms between chunks."""
    program = tools.build("upstream")
    instant, paced = lanes.free_port(), lanes.free_port()
    argv = [str(program), f"{instant}:0:{plan.chunks}", f"{paced}:{CHUNK_DELAY_MS}:{plan.chunks}"]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        if process.stdout.readline() != b"ready\n":
            raise RuntimeError("the upstream did not start")
        # It ends when its standard input is closed, which leaving this block does.
        yield instant, paced


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="the main scenarios in about half a minute")
    parser.add_argument("--rounds", type=int, help="rounds of all lanes (3; quick 2)")
    parser.add_argument("--seconds", type=float, help="length of one load (1.5; quick 0.5)")
    parser.add_argument("--only", metavar="TEXT", help="scenarios whose key contains TEXT, e.g. chat-16, stream")
    parser.add_argument("--store", action="store_true", help="with the durable decision store on")
    parser.add_argument("--assert", dest="check", action="store_true", help="exit 1 when a starred target is missed")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write every sample")
    hot_help = "in-process profile of the hot path, no network; CASE: " + ", ".join(hot.CASES)
    parser.add_argument("--hot", nargs="?", const="", metavar="CASE", help=hot_help)
    parser.add_argument("--profile", action="store_true", help="with --hot: where the time goes, by function")
    parser.add_argument("--against", type=Path, metavar="FILE", help="with --hot: compare with an earlier --json FILE")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
