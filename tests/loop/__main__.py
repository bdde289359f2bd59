"""``scripts/loop``: the whole loop of trust with a real engine and the real router. Exit 0 only if every claim held."""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from types import FrameType

import click
from rich.console import Console

from anvil.lab import engine
from anvil.lab.demo_house import Failed, House
from anvil.lab.fetch import Unavailable
from anvil.lab.locking import Busy, alone
from tests.loop import measuring, trusting
from tests.loop.house import Loop


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), help="Default: ~/.cache/anvil-loop.")
@click.option("--port", type=click.IntRange(1024, 65535), help="Of the router; default: a free one.")
@click.option("--engine-port", type=click.IntRange(1024, 65534), help="And the next one; default: free ones.")
def main(out: Path | None, port: int | None, engine_port: int | None) -> None:
    """Measure, compare, predict, promote, see it come true, change a serve, see trust tighten. Reports stay in --out."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    reports = (out or cache / "anvil-loop").absolute()
    begun, console = monotonic(), Console(highlight=False)
    try:
        reports.mkdir(parents=True, exist_ok=True)
        with alone(reports), _house(port or _free(1), engine_port or _free(2)) as house:
            claims = _run(house, reports, console)
    except (Failed, Unavailable, Busy, OSError) as problem:
        for line in (str(problem), *getattr(problem, "__notes__", ())):
            click.echo(f"scripts/loop: {line}", err=True)
        sys.exit(1)
    console.print(f"\n[green]loop: {claims} claims checked, all hold[/] in {monotonic() - begun:.0f} s")


def _stopped(number: int, _frame: FrameType | None) -> None:
    """An exception, so that the house is taken down."""
    raise SystemExit(128 + number)


def _run(house: House, reports: Path, console: Console) -> int:
    house.require_ports()
    house.require_space()
    token = house.write(engine.engine(console, build=True), engine.weights("tiny", console), None)
    loop = Loop(house, token, reports, console)
    loop.step("0. Two tiers of a real engine and the real router: deploy/full.py")
    changed, table = house.deploy(token, lambda _: None)
    for line in table:
        loop.tell(line)
    loop.claim(changed > 0 and loop.health()["status"] == "ok", f"{changed} changed, the router answers")
    measuring.preflight(loop)
    measuring.bench(loop)
    made = trusting.record(loop)
    candidate = trusting.calibrate(loop)
    predicted = trusting.predict(loop, candidate, made.presets)
    trusting.promote(loop, candidate, predicted, made.served)
    trusting.change_serve(loop)
    trusting.measure_again(loop)
    return loop.claims


@contextmanager
def _house(port: int, engine_port: int) -> Iterator[House]:
    """A house in a folder of its own; nothing of it is left, however the block ends. Raises Failed."""
    root = Path(tempfile.mkdtemp(prefix="anvil-loop-"))
    house = House(root, port, engine_port)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _stopped)
    try:
        yield house
    except BaseException as error:
        try:
            house.down()
        except Failed as left:
            error.add_note(str(left))
        raise
    else:
        house.down()
    finally:
        shutil.rmtree(root, ignore_errors=True)


def _free(many: int) -> int:
    """A port that is free, and the ones after it; below those that the system gives to connections that go out."""
    while True:
        port = random.randrange(20_000, 32_000, 2)
        if all(_bindable(port + more) for more in range(many)):
            return port


def _bindable(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except (OSError, OverflowError):
            return False
    return True


if __name__ == "__main__":
    main(prog_name="scripts/loop")
