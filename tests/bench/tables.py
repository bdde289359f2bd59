"""The figures as tables for people and as one JSON document."""

from __future__ import annotations

import os
import platform
from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table

from tests.bench.figures import OURS, Figures, Target
from tests.bench.lanes import LANES, VLLM_ROUTER
from tests.bench.rounds import DIRECT
from tests.bench.scenarios import Scenario


def show(figures: Figures, targets: list[Target], console: Console) -> None:
    """Print every table that has rows."""
    for title, table in (
        ("CPU, us per request (streams: per chunk)", _cpu(figures)),
        ("requests/s, latency p50 / p99 ms", _latency(figures)),
        ("streams: added delay per chunk p50 / p99 ms, added time to first token ms", _streams(figures)),
        ("memory (sum over the processes, MiB) and start", _starts(figures)),
        (f"targets of {OURS} (* decide --assert)", _targets(targets)),
    ):
        if table.row_count:
            # Not the table's own title: that would be wrapped to the width of the columns.
            console.print(f"\n[bold]{title}[/]", highlight=False)
            console.print(table)
    console.print(f"[dim]load average {_load_average()}; judge ratios, not absolute times, on a shared machine[/]")


def document(figures: Figures, targets: list[Target]) -> dict[str, Any]:
    """Everything needed to check the tables: every sample of every round, the machine, the versions."""
    return {
        "machine": {"cpus": os.cpu_count(), "platform": platform.platform(), "python": platform.python_version()},
        "load_average": os.getloadavg(),
        "peer": VLLM_ROUTER,
        "samples": msgspec.to_builtins(figures.samples),
        "starts": msgspec.to_builtins(figures.starts),
        "targets": [{**msgspec.to_builtins(target), "met": target.met} for target in targets],
    }


def _cpu(figures: Figures) -> Table:
    table = _table("scenario", *LANES, "x nginx", "x vllm-router")
    for row in figures.scenarios:
        if row.crowd:
            continue
        cells = [_number(figures.cpu(row.key, lane)) for lane in LANES]
        table.add_row(row.title, *cells, *(_ratio(figures, row, peer) for peer in LANES if peer != OURS))
    return table


def _ratio(figures: Figures, row: Scenario, peer: str) -> str:
    spread = figures.spread(row, peer)
    return f"{figures.ratio(row, peer):.2f} ({spread[0]:.1f} to {spread[1]:.1f})" if spread else "-"


def _latency(figures: Figures) -> Table:
    table = _table("scenario", *LANES)
    for row in figures.scenarios:
        if not row.stream:
            table.add_row(row.title, *(_rate(figures, row.key, lane) for lane in LANES))
    return table


def _rate(figures: Figures, key: str, lane: str) -> str:
    rate = figures.load(key, lane, lambda load: load.requests / load.seconds)
    p50 = figures.load(key, lane, lambda load: load.latency_p50 / 1000)
    p99 = figures.load(key, lane, lambda load: load.latency_p99 / 1000)
    return "-" if rate is None else f"{rate:,.0f}, {_number(p50, 2)} / {_number(p99, 2)}"


def _streams(figures: Figures) -> Table:
    table = _table("scenario", DIRECT, *LANES)
    for row in figures.scenarios:
        if row.stream:
            table.add_row(row.title, *(_delay(figures, row.key, lane) for lane in (DIRECT, *LANES)))
    return table


def _delay(figures: Figures, key: str, lane: str) -> str:
    p50 = figures.load(key, lane, lambda load: load.delay_p50 / 1000)
    p99 = figures.load(key, lane, lambda load: load.delay_p99 / 1000)
    if p50 is None:
        return "-"
    added = "" if lane == DIRECT else f", {_number(figures.added_ttft_ms(key, lane), 1)}"
    return f"{p50:.2f} / {_number(p99, 2)}{added}"


def _starts(figures: Figures) -> Table:
    table = _table("", *LANES)
    table.add_row("resident, idle", *(_number(figures.started(lane, lambda s: s.rss_mib)) for lane in LANES))
    table.add_row("proportional, idle", *(_number(figures.started(lane, lambda s: s.pss_mib)) for lane in LANES))
    if any(row.key == "stream-256" for row in figures.scenarios):
        table.add_row("resident, 256 streams", *(_number(figures.peak_rss_mib("stream-256", lane)) for lane in LANES))
    table.add_row("start to ready, s", *(_number(figures.started(lane, lambda s: s.ready_s), 2) for lane in LANES))
    return table


def _targets(targets: list[Target]) -> Table:
    table = _table("figure", "reach", "found", "")
    for target in targets:
        found = "not measured" if target.found is None else f"{target.found:,.2f} {target.unit}"
        verdict = "[green]met[/]" if target.met else "[red]missed[/]"
        table.add_row(
            target.name + " *" * target.binding,
            f"{'>= ' * target.at_least}{target.limit:g} {target.unit}",
            found,
            verdict,
        )
    return table


def _table(first: str, *columns: str) -> Table:
    table = Table()
    table.add_column(first)
    for column in columns:
        table.add_column(column, justify="right")
    return table


def _number(value: float | None, digits: int = 0) -> str:
    if value is None:
        return "-"
    return f"{value:.1f}" if digits == 0 and value < 100 else f"{value:,.{digits}f}"


def _load_average() -> str:
    return " ".join(f"{value:.1f}" for value in os.getloadavg())
