"""Plays one row of the table: its clients installed, its cell run where only loopback exists, its results read."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import msgspec

from tests.clients import cache, engines
from tests.clients.cell import Result
from tests.clients.rows import ROWS
from tests.clients.sandbox import isolation

ROOT = Path(__file__).parents[2]
_START_S = 30


def play(name: str, folder: Path) -> list[Result]:
    """A result per scenario of the row. A scenario the cell never came to is a failure, a missing client a SKIP."""
    client = ROWS[name]
    folder.mkdir(parents=True, exist_ok=True)
    try:
        for pin in client.pins:
            cache.install(pin)
        if client.tiers == "engine":
            engines.fetch()
    except cache.CannotInstall as reason:
        return [Result(name, it.name, it.column, "SKIP", str(reason)) for it in client.scenarios]
    limit_s = _START_S + sum(scenario.limit_s or client.limit_s for scenario in client.scenarios)
    ended = _run_cell(name, folder, limit_s)
    done = read(folder / "results.jsonl")
    missing = client.scenarios[len(done) :]
    return done + [Result(name, it.name, it.column, "FAIL", f"never played: {ended}") for it in missing]


def read(path: Path) -> list[Result]:
    lines = path.read_bytes().splitlines() if path.exists() else []
    return [msgspec.json.decode(line, type=Result) for line in lines]


def _run_cell(name: str, folder: Path, limit_s: float) -> str:
    """Runs the cell to its end; the text says how it ended when it did not end well."""
    words, _ = isolation()
    log = folder / "cell.log"
    with log.open("wb") as said:
        process = subprocess.Popen(
            [*words, sys.executable, "-m", "tests.clients.cell", name, str(folder)],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            start_new_session=True,
        )
        try:
            code = process.wait(limit_s)
        except subprocess.TimeoutExpired:
            return f"the cell did not end within {limit_s:.0f} s"
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    last = log.read_text(errors="replace").strip().splitlines()[-1:] or ["without a word"]
    return f"the cell ended with {code}: {last[0][:300]}"
