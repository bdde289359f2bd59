"""The lane's table, for the terminal and for docs/clients.md."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from tests.clients.cell import Result, Status
from tests.clients.pins import PINS
from tests.clients.rows import ROWS
from tests.clients.scenarios import COLUMNS

DOCS = Path(__file__).parents[2] / "docs/clients.md"
BEGIN, END = "<!-- matrix: scripts/clients --docs -->", "<!-- /matrix -->"
_COLOUR = {"PASS": "green", "FAIL": "bold red", "SKIP": "bold yellow", "-": "dim"}


def slug(name: str) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in name)


def version(row: str) -> str:
    """The pinned release of the row's client."""
    packages = PINS[ROWS[row].pins[-1]].packages
    wanted = row.partition("-")[0]
    return next((p for p in packages if wanted in p), packages[0]).replace("==", "@").rpartition("@")[2]


def status(results: list[Result], column: str | None = None) -> Status | None:
    """The worst status of a row, or of one of its columns; None when it has none there."""
    found = {result.status for result in results if column is None or result.column == column}
    worst: tuple[Status, ...] = ("FAIL", "SKIP", "PASS")
    return next((state for state in worst if state in found), None)


def listing(console: Console) -> None:
    for name, client in ROWS.items():
        console.print(f"{name}  {version(name)}  speaks {client.wire}, tiers speak {_spoken(client.tiers)}")
        for scenario in client.scenarios:
            console.print(f"    {scenario.name}")


def line(console: Console, name: str, results: list[Result]) -> None:
    """One row as soon as it is played, and everything that is wrong with it."""
    state = status(results) or "SKIP"
    seconds = sum(result.seconds for result in results)
    console.print(f"[{_COLOUR[state]}]{state}[/] {name} {version(name)}: {len(results)} scenarios in {seconds:.0f} s")
    for result in results:
        if result.status == "FAIL":
            console.print(f"     [red]{escape(result.scenario)}[/]: {escape(result.note)}")
    if state == "SKIP":
        console.print(f"     [yellow]{escape(next((r.note for r in results if r.note), 'nothing to play'))}[/]")


def table(console: Console, results: list[Result], seconds: float) -> None:
    drawn = Table(*[Column(head, no_wrap=True) for head in ("client", "release", "speaks", "tiers", *COLUMNS)])
    for name in dict.fromkeys(result.client for result in results):
        own = [result for result in results if result.client == name]
        states = [status(own, column) or "-" for column in COLUMNS]
        cells = [f"[{_COLOUR[state]}]{state}[/]" for state in states]
        drawn.add_row(name, version(name), ROWS[name].wire, _spoken(ROWS[name].tiers), *cells)
    console.print(drawn)
    count = {state: sum(result.status == state for result in results) for state in ("PASS", "FAIL", "SKIP")}
    console.print(f"{count['PASS']} passed, {count['FAIL']} failed, {count['SKIP']} skipped in {seconds:.0f} s")


def _spoken(tiers: str) -> str:
    return {"openai": "chat", "anthropic": "messages", "engine": "llama.cpp"}[tiers]


def matrix(results: list[Result]) -> str:
    """The table as Markdown."""
    rows = [["client", "release", "speaks", "tiers speak", *COLUMNS]]
    rows.append(["---"] * len(rows[0]))
    for name in dict.fromkeys(result.client for result in results):
        own = [result for result in results if result.client == name]
        states = [_state(own, column) for column in COLUMNS]
        rows.append([name, version(name), ROWS[name].wire, _spoken(ROWS[name].tiers), *states])
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def _state(results: list[Result], column: str) -> str:
    """How many scenarios of a column passed, or that they did not."""
    own = [result for result in results if result.column == column]
    state = status(own)
    return {None: "", "PASS": f"{len(own)} pass", "FAIL": "**FAIL**", "SKIP": "skipped"}[state]


def renew_docs(results: list[Result]) -> None:
    """Put the matrix of a complete run between the marks of docs/clients.md."""
    before, _, rest = DOCS.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    DOCS.write_text(f"{before}{BEGIN}\n{matrix(results)}\n{END}{after}")
