"""The client lane: installs what is missing, plays row by row, prints the table. Exit 1 when anything fails."""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from tests.clients import cache, report
from tests.clients.cell import Result
from tests.clients.pins import PINS
from tests.clients.row import play
from tests.clients.rows import ROWS
from tests.clients.sandbox import isolation

_FAILED = ".failed"

console = Console(highlight=False, width=None if sys.stdout.isatty() else 150)


def parse(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/clients", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="rows to run, by name or by the client's name")
    parser.add_argument("--list", action="store_true", help="print the rows and stop")
    parser.add_argument("--keep", action="store_true", help="keep the files of every run, not only of failed ones")
    parser.add_argument("--no-skip", action="store_true", help="exit 1 when a client was skipped")
    parser.add_argument("--docs", action="store_true", help="renew docs/clients.md from a complete run")
    given = parser.parse_args(words)
    unknown = [name for name in given.names if not chosen([name])]
    if unknown:
        parser.error(f"no row is called {', '.join(unknown)}; known: {'; '.join(ROWS)}")
    if given.docs and given.names:
        parser.error("--docs needs a complete run; leave the names out")
    return given


def chosen(names: Sequence[str]) -> list[str]:
    """The rows with these names; a client's name alone stands for all its rows, none for every row."""
    return [row for row in ROWS if not names or row in names or row.partition(",")[0] in names]


def main(words: Sequence[str]) -> int:
    given = parse(words)
    if given.list:
        report.listing(console)
        return 0
    _, open_reason = isolation()
    if open_reason:
        console.print(f"[bold red]NOT ISOLATED[/]: clients can reach the network in this run: {open_reason}")
    folder = Path(tempfile.mkdtemp(prefix="anvil-clients-"))
    started = time.monotonic()
    try:
        results = [result for row in chosen(given.names) for result in _row(row, folder)]
    finally:
        if not given.keep:
            _tidy(folder)
    report.table(console, results, time.monotonic() - started)
    if folder.exists():
        console.print(f"what was said and decided: {folder}")
    if given.docs:
        report.renew_docs(results)
    return _code(results, given.no_skip)


def _row(name: str, folder: Path) -> list[Result]:
    """Plays a row in its folder; its files outlive the lane only when something failed."""
    for pin in ROWS[name].pins:
        if not cache.present(pin):
            console.print(f"installing {PINS[pin].packages[0]} ({PINS[pin].megabytes} MB)")
    here = folder / report.slug(name)
    results = play(name, here)
    report.line(console, name, results)
    if any(result.status == "FAIL" for result in results):
        (here / _FAILED).touch()
    return results


def _tidy(folder: Path) -> None:
    for row in folder.iterdir():
        if not (row / _FAILED).exists():
            shutil.rmtree(row, ignore_errors=True)
    if not any(folder.iterdir()):
        folder.rmdir()


def _code(results: list[Result], no_skip: bool) -> int:
    """1 when anything failed, when nothing passed, or when something was skipped that must not be."""
    states = {result.status for result in results}
    return 1 if "FAIL" in states or "PASS" not in states or (no_skip and "SKIP" in states) else 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
