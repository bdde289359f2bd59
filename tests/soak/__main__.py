"""``scripts/soak``: figures 9, 10 and 11 of contract 24 against the real router. Exit 1 when one is missed."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable

import click

from anvil.lab.fetch import Unavailable
from tests.soak import flapping, prefix, storm
from tests.soak.flapping import Flapping
from tests.soak.storm import Storm

QUICK_S, WHOLE_S = 4.0, 60.0
QUICK_RUNS, WHOLE_RUNS = 100, 1000
# name, series, tables of the router, whether the figure is asked of it: the last series hardly ever fails twice in a row,
# and failures in a row are what the breaker counts (contract 15.4)
VARIANTS: tuple[tuple[str, Callable[[], flapping.Flap], str, bool], ...] = (
    ("coin, default breaker", flapping.coin, "", True),
    ("coin, cooldown 1 s", flapping.coin, "[router.breaker]\ncooldown_s = 1\n", True),
    ("1 s down, 1 s up, cooldown 1 s", lambda: flapping.waves(2), "[router.breaker]\ncooldown_s = 1\n", True),
    ("every second answer, told only", flapping.alternating, "", False),
)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--quick", is_flag=True, help="About 30 s: 4 s of flapping each, 100 callers a stage.")
@click.option("--only", type=click.Choice(["flapping", "storm"]), help="One of the two.")
@click.option("--prefix", "prefixes", is_flag=True, help="Only this: what stable prefixes are worth on a real engine.")
def main(quick: bool, only: str | None, prefixes: bool) -> None:
    """Flapping tiers and storms of callers that leave, against the real router with tiers on loopback."""
    if prefixes:
        sys.exit(_prefix())
    missed = 0
    if only != "storm":
        missed += sum([not reached for reached in _flapping(QUICK_S if quick else WHOLE_S)])
    if only != "flapping":
        missed += sum([not reached for reached in _storms(QUICK_RUNS if quick else WHOLE_RUNS)])
    print("soak: every figure reached" if not missed else f"soak: {missed} figures missed")
    sys.exit(1 if missed else 0)


def _prefix() -> int:
    print(f"A conversation of {prefix.TURNS} turns as Claude Code sends it, its billing line new in every request")
    print("  tier: llama.cpp's llama-server with SmolLM2-135M-Instruct, one slot")
    shares = []
    try:
        for stable in (True, False):
            turns = prefix.run(stable=stable)
            print(f"  stable_prefix = {str(stable).lower()}")
            for number, turn in enumerate(turns, 1):
                print(f"    turn {number}: {turn.cached} of {turn.prompt} prompt tokens cached, {turn.seconds:.1f} s")
            shares.append(sum(turn.cached for turn in turns[1:]) / sum(turn.prompt for turn in turns[1:]))
    except Unavailable as why:
        print(f"scripts/soak: {why}", file=sys.stderr)
        return 1
    print(f"  cached from the second turn on: {shares[0]:.1%} with it, {shares[1]:.1%} without (figure: >= 90 % with)")
    return 0 if shares[0] >= 0.9 else 1


def _flapping(seconds: float) -> list[bool]:
    print(f"\nOne tier fails half of the time, one is healthy: {flapping.CALLERS} callers for {seconds:.0f} s each")
    print("  (figure: success >= 99.9 %, attempts per request <= 1.2)")
    found = []
    for name, series, tables, asked in VARIANTS:
        result = flapping.run(name, series(), seconds, router=tables)
        _say_flapping(result, asked)
        found.append(result.reached or not asked)
    return found


def _say_flapping(result: Flapping, asked: bool) -> None:
    mark = ("ok    " if result.reached else "MISSED") if asked else "      "
    failed = f", failed: {dict(result.failed)}" if result.failed else ""
    print(
        f"  {mark} {result.name}: {result.requests} requests, success {result.success:.3%}, attempts "
        f"{result.attempts:.3f} a request (calls: {dict(result.calls)}), breaker opened {result.opened:.0f} x{failed}",
        flush=True,
    )


def _storms(runs: int) -> list[bool]:
    print(f"\n{runs} callers leave at each stage, {storm.AT_ONCE} at once, every second one by a reset")
    print(f"  (figure: tier sees it within {storm.LATE_S:.0f} s in >= 99.9 %; sockets and tasks back within 2 s)")
    found = storm.run(runs)
    for one in found:
        _say_storm(one)
    return [one.reached for one in found]


def _say_storm(one: Storm) -> None:
    mark = "ok    " if one.reached else "MISSED"
    if one.expected:
        delays = sorted(one.delays) or [float("nan")]
        middle, last = statistics.median(delays) * 1000, delays[-1] * 1000
        what = f"{one.in_time:.2%} in time, median {middle:.0f} ms, slowest {last:.0f} ms"
    else:
        what = f"{len(one.delays)} calls reached the tier"
    before, after = one.before, one.after
    assert before is not None
    assert after is not None
    print(
        f"  {mark} {one.stage}: {what}; after {one.settled_s:.1f} s: {one.tier_sockets} tier sockets, sockets "
        f"{before.sockets} -> {after.sockets}, tasks {before.tasks} -> {after.tasks}, threads {before.threads} -> "
        f"{after.threads}, in flight {after.in_flight:.0f}"
    )


if __name__ == "__main__":
    main(prog_name="scripts/soak")
