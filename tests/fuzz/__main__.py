"""``scripts/fuzz``: bodies for the three parsers until the time is over. Exit 1 with the smallest body that breaks a law."""

from __future__ import annotations

import random
import sys
import time
import traceback
from collections import Counter

import click
from hypothesis import HealthCheck, Phase, given, seed, settings

from tests.fuzz import bodies, laws

ROUND = 200


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--seconds", type=click.IntRange(1), default=60, show_default=True, help="How long.")
@click.option("--only", type=click.Choice(list(bodies.SAMPLES)), help="One caller dialect.")
@click.option("--seed", "first", type=int, help="Of the first round; printed by every run.")
def main(seconds: int, only: str | None, first: int | None) -> None:
    """Bodies near those of real clients, broken in many ways, for each parser and for every kind of tier."""
    number = random.randrange(2**32) if first is None else first
    chosen = [only] if only else list(bodies.SAMPLES)
    print(f"fuzz: {', '.join(chosen)} for {seconds} s, seed {number}", flush=True)
    end = time.monotonic() + seconds
    counts: Counter[tuple[str, bool]] = Counter()
    while time.monotonic() < end:
        for dialect in chosen:
            if not _round(dialect, number, counts):
                print(f"fuzz: again with --only {dialect} --seed {number}")
                sys.exit(1)
        number += 1
    for dialect in chosen:
        taken, refused = counts[dialect, True], counts[dialect, False]
        print(f"  {dialect}: {taken + refused} bodies, {taken} accepted, {refused} refused with 400")
    print("fuzz: every law held")


def _round(dialect: str, number: int, counts: Counter[tuple[str, bool]]) -> bool:
    """False when a law is broken; the smallest body found is printed."""

    @seed(number)
    @settings(
        max_examples=ROUND, deadline=None, database=None, suppress_health_check=list(HealthCheck),
        phases=(Phase.generate, Phase.shrink),
    )  # fmt: skip
    @given(bodies.body(dialect))
    def holds(data: bytes) -> None:
        counts[dialect, laws.check(dialect, data)] += 1

    try:
        holds()
    except Exception:
        traceback.print_exc()
        return False
    return True


if __name__ == "__main__":
    main(prog_name="scripts/fuzz")
