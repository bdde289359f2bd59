"""``scripts/demo``: the whole house on this machine with a real engine and real weights, shown working.

Exit: 0 shown, 1 something failed, 2 usage, 128 + signal when interrupted (130 for Ctrl-C).
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from types import FrameType

import click
from rich.console import Console

from anvil.lab import demo_clients, engine
from anvil.lab.demo_house import Failed, House
from anvil.lab.demo_show import Show
from anvil.lab.fetch import Unavailable

DEFAULT_ROOT = "~/.local/share/anvil"
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_Port = click.IntRange(1, 65534)


class Interrupted(BaseException):
    """A signal asked us to stop; not an Exception, so that nothing on the way takes it for a failure."""

    def __init__(self, number: int) -> None:
        self.number = number


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--once", is_flag=True, help="In a folder of its own, torn down and removed at the end.")
@click.option("--down", is_flag=True, help="Stop what an earlier run left up.")
@click.option("--with-heavy", is_flag=True, help="Qwen2.5-Coder-0.5B as heavy: 478 MB, publisher unknown, hash-pinned.")
@click.option("--port", type=_Port, default=8000, show_default=True, help="Of the router.")
@click.option("--engine-port", type=_Port, default=30101, show_default=True, help="Of fast; heavy takes the next one.")
def main(once: bool, down: bool, with_heavy: bool, port: int, engine_port: int) -> None:
    """Deploy two llama.cpp tiers and the router on this machine, and show them working.

    Writes to ANVIL_ROOT (default ~/.local/share/anvil) and to the cache, ~/.cache/anvil-engine. The engine is
    ANVIL_LLAMA_SERVER, else llama-server on PATH, else a package pinned by hash.
    """
    if once and down:
        raise click.UsageError("--once tears its own house down: leave out one of --once and --down")
    console = Console(highlight=False)
    begun = monotonic()
    try:
        with _interruptible(), _root(once) as root:
            house = House(root, port, engine_port)
            if down:
                _take_down(house, console)
            else:
                _run(house, console, once, with_heavy)
                console.print(f"\n[green]demo: all shown[/] in {monotonic() - begun:.0f} s")
    except (Failed, Unavailable) as problem:
        click.echo(f"scripts/demo: {problem}", err=True)
        raise SystemExit(1) from None
    except Interrupted as stopped:
        click.echo("scripts/demo: interrupted; what this run had started is stopped", err=True)
        raise SystemExit(128 + stopped.number) from None


def _run(house: House, console: Console, once: bool, with_heavy: bool) -> None:
    house.require_ports()
    house.require_space()
    found = engine.engine(console, build=True)
    _say_engine(found, console)
    fast = engine.weights("tiny", console)
    heavy = engine.weights("heavy", console) if with_heavy else None
    with _standing(house, console, once):
        token = house.write(found, fast, heavy)
        _deploy(house, token, console)
        show = Show(house.url, token, console)
        show.dialects()
        show.fallback()
        if with_heavy:
            show.tool_call()
        show.refused()
        show.table()
        demo_clients.told(house, show, console, stays=not once)
        if not once:
            _tell_what_stays(house, console)


def _say_engine(found: engine.Engine, console: Console) -> None:
    console.print(f"engine: {found.binary} [dim]({found.origin})[/]", soft_wrap=True)
    if found.libraries is not None:
        lacking = engine.missing_flags(Path("/proc/cpuinfo").read_text(), engine.WHEEL_FLAGS)
        console.print(
            f"  this processor lacks {', '.join(lacking)}, which the package needs: its CPU library was compiled here"
            f" for AVX2, {found.libraries}",
            soft_wrap=True,
        )


def _deploy(house: House, token: str, console: Console) -> None:
    """Twice: the second run has nothing to do. Raises Failed when it has."""
    console.print(
        f"\n[bold]pyinfra -y inventory/local.py deploy/full.py[/] [dim](ANVIL_TOPOLOGY={house.topology})[/]",
        soft_wrap=True,
    )
    for run in ("first", "second"):
        with console.status(f"{run} deploy") as status:
            changed, table = house.deploy(token, _follower(status.update, f"{run} deploy: "))
        console.print(f"{run} deploy: {changed} changed")
        if run == "first":
            console.print("\n".join(f"  {line}" for line in table), soft_wrap=True)
    if changed:
        raise Failed(f"the second deploy changed {changed} things where nothing had to be: this is a defect")


def _follower(update: Callable[[str], None], prefix: str) -> Callable[[str], None]:
    return lambda step: update(f"{prefix}{step}")


def _tell_what_stays(house: House, console: Console) -> None:
    console.print("\n[bold]It stays up[/]")
    console.print(f"  {house.url}/  [dim]the dashboard; the token is in {house.variables}[/]", soft_wrap=True)
    console.print("  .venv/bin/anvil decisions --follow  [dim]what it decides, as it happens[/]")
    console.print("  .venv/bin/pyinfra inventory/local.py deploy/full.py  [dim]after the `.` line above[/]")
    console.print("  scripts/demo --down  [dim]stops it[/]")


def _take_down(house: House, console: Console) -> None:
    stood = house.running()
    house.down()
    console.print(f"stopped; files stay in {house.root}" if stood else f"nothing runs under {house.root}")


@contextmanager
def _standing(house: House, console: Console, once: bool) -> Iterator[None]:
    """The house stays up after a plain run that went well, or that found it up; otherwise it is taken down."""
    stood = house.running()
    try:
        yield
    except BaseException:
        if not stood:
            _quietly_down(house, console)
        raise
    if once:
        _quietly_down(house, console)


def _quietly_down(house: House, console: Console) -> None:
    """Not to be interrupted: a second Ctrl-C would leave half of it running."""
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    with console.status("tearing down"):
        house.down()
    console.print("\ntorn down: nothing is left running")


@contextmanager
def _root(once: bool) -> Iterator[Path]:
    """Where the house lives: a throw-away folder for --once."""
    if not once:
        yield Path(os.environ.get("ANVIL_ROOT") or DEFAULT_ROOT).expanduser().absolute()
        return
    root = Path(tempfile.mkdtemp(prefix="anvil-demo-"))
    try:
        yield root
    finally:
        shutil.rmtree(root, ignore_errors=True)


@contextmanager
def _interruptible() -> Iterator[None]:
    def stop(number: int, _frame: FrameType | None) -> None:
        raise Interrupted(number)

    for number in _SIGNALS:
        signal.signal(number, stop)
    yield


if __name__ == "__main__":
    sys.exit(main(prog_name="scripts/demo"))
