"""One row of the table, in namespaces of its own: ``python -m tests.clients.cell NAME FOLDER`` writes a line of JSON
per scenario to FOLDER/results.jsonl. Everything a failure needs to be understood stays in FOLDER."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

from tests.clients import applied
from tests.clients.client import Client, Place
from tests.clients.rows import ROWS
from tests.clients.sandbox import Outcome, run
from tests.clients.scenarios import HELLO, Happened, Scenario
from tests.clients.stage import Stage, stage

Status = Literal["PASS", "FAIL", "SKIP"]


@dataclass(frozen=True)
class Result:
    """``requests`` is how many generation requests the client made; ``router_ms`` the longest of them."""

    client: str
    scenario: str
    column: str
    status: Status
    note: str = ""
    seconds: float = 0.0
    requests: int = 0
    router_ms: float = 0.0


def main(name: str, folder: Path) -> None:
    client = ROWS[name]
    with stage(folder / "router", client.tiers) as scene, (folder / "results.jsonl").open("w") as results:
        counts: dict[str, int] = {}
        for number, scenario in enumerate(client.scenarios):
            result = _play(client, scenario, scene, folder / f"{number:02}", counts.get(scenario.like))
            if result.status == "PASS":
                counts[scenario.name] = result.requests
            results.write(json.dumps(asdict(result)) + "\n")
            results.flush()


def _play(client: Client, scenario: Scenario, scene: Stage, folder: Path, usual: int | None) -> Result:
    place = Place(folder / "home", folder / "work", scene.url)
    for made in (place.home, place.work):
        made.mkdir(parents=True)
    scene.begin(scenario.fast, scenario.heavy)
    pointers, wrong = _configure(client, scenario, scene, place)
    argv, environment = client.command(place, scenario), client.environment(place, pointers)
    limit_s = scenario.limit_s or client.limit_s
    if scenario.again:
        first = client.command(place, replace(scenario, prompt=HELLO, again=False))
        wrong += [] if run(first, environment, place.work, limit_s).code == 0 else ["the turn before did not end well"]
    outcome = run(argv, environment, place.work, limit_s, _once_streaming(scene) if scenario.interrupted else None)
    happened = _gather(scene, outcome, place, usual)
    _keep(folder, argv, happened)
    wrong += scenario.judge(happened)
    if scenario.applied:
        wrong += applied.check(client, place)
    return Result(
        client.name,
        scenario.name,
        scenario.column,
        "FAIL" if wrong else "PASS",
        "; ".join(wrong),
        round(outcome.seconds, 2),
        len(happened.records),
        max((record["duration_ms"] for record in happened.records), default=0.0),
    )


def _once_streaming(scene: Stage) -> Callable[[], bool]:
    """A second after a request reached a tier: the answer flows by then."""
    begun: list[float] = []

    def due() -> bool:
        if not begun and scene.bodies():
            begun.append(time.monotonic())
        return bool(begun) and time.monotonic() > begun[0] + 1

    return due


def _configure(client: Client, scenario: Scenario, scene: Stage, place: Place) -> tuple[dict[str, str], list[str]]:
    """The variables that lead the client to the router, and what already went wrong."""
    client.furnish(place)
    if scenario.applied:
        done = applied.apply(client, place)
        return done.environment, list(done.problems)
    if scenario.handed:
        return client.take(scene.handed(client.harness), place), []
    client.prepare(place)
    return client.pointers(place), []


def _gather(scene: Stage, outcome: Outcome, place: Place, usual: int | None) -> Happened:
    files = {path.name: path.read_text(errors="replace") for path in place.work.glob("*.py")}
    return Happened(outcome, scene.records(), scene.bodies(), files, usual)


def _keep(folder: Path, argv: list[str], happened: Happened) -> None:
    """The evidence: what was run, what it said, what the router decided, what the tiers were asked."""
    (folder / "command.txt").write_text("\n".join(argv))
    (folder / "stdout.txt").write_text(happened.outcome.stdout)
    (folder / "stderr.txt").write_text(happened.outcome.stderr)
    (folder / "records.json").write_text(json.dumps(happened.records, indent=1))
    (folder / "tier-requests.jsonl").write_text("\n".join(happened.bodies))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
