"""What no longer serves anybody: old releases, reports of definitions long gone, folders of trials that ended."""

from __future__ import annotations

import posixpath
from collections.abc import Collection, Iterable, Iterator

from pyinfra.api.deploy import deploy
from pyinfra.api.exceptions import PyinfraError
from pyinfra.context import host

from anvil.deploys.site import Site, here
from anvil.deploys.trial import project
from anvil.hosts.containers import ComposeServices
from anvil.hosts.garbage import Entries, Entry, entries_removed
from anvil.hosts.releases import ReleaseState

RELEASES, REPORTS, TRIALS = "router/releases", "evidence/preflight", "experiments"
DAY = 24 * 3600
REPORT_DAYS = 30  # A mode or a candidate that comes back within a month is not tested again.


@deploy("Garbage")
def collected() -> None:
    """Remove it; what is live, previous, wanted or younger than a day stays."""
    site = here()
    if not site.runs_something:
        return
    found = host.get_fact(Entries, site.root, (RELEASES, REPORTS, TRIALS))
    if found.status == "error":
        raise PyinfraError(f"{site.name}: {site.root} cannot be read: {found.error}")
    doomed = {
        **releases(found.entries, _linked(site), site.topology.router.keep_releases),
        **reports(found.entries, {f"{spec.name}-{spec.revision}.json" for spec in site.made.services}),
        **trials(found.entries, set(_live_trials(site, found.entries))),
    }
    entries_removed(name="Garbage", root=site.root, doomed=doomed)


def _linked(site: Site) -> set[str]:
    state = host.get_fact(ReleaseState, f"{site.root}/router")
    if state.status == "error":
        raise PyinfraError(f"{site.name}: the releases cannot be read: {state.error}")
    return {state.current, state.previous} - {""}


def _live_trials(site: Site, entries: Iterable[Entry]) -> Iterator[str]:
    """Ports whose project still has a container, running or not."""
    for port, _ in _in(TRIALS, entries):
        if not port.isdigit():
            yield port
            continue
        live = host.get_fact(ComposeServices, project(site.topology, int(port)))
        if not live.ok:
            raise PyinfraError(f"{site.name}: {live.error}")
        if live.services:
            yield port


def releases(entries: Iterable[Entry], linked: Collection[str], keep: int) -> dict[str, str]:
    """Beyond the newest `keep`, which count the linked ones; and folders of releases that were never finished."""
    rows = sorted(_in(RELEASES, entries), key=lambda row: row[1].age_s)
    newest = [name for name, _ in rows if not name.startswith(".") and name not in linked]
    kept = {*linked, *newest[: max(0, keep - len(linked))]}
    return {
        entry.path: "never finished" if name.startswith(".") else f"not of the newest {keep}"
        for name, entry in rows
        if name not in kept and _old(entry)
    }


def reports(entries: Iterable[Entry], wanted: Collection[str]) -> dict[str, str]:
    rows = ((name, entry) for name, entry in _in(REPORTS, entries) if name not in wanted)
    return {
        entry.path: f"of a definition not used for {REPORT_DAYS} days"
        for _, entry in rows
        if entry.age_s > REPORT_DAYS * DAY
    }


def trials(entries: Iterable[Entry], live: Collection[str]) -> dict[str, str]:
    rows = ((name, entry) for name, entry in _in(TRIALS, entries) if name not in live and _old(entry))
    return {entry.path: "its trial has no container" for _, entry in rows}


def _in(folder: str, entries: Iterable[Entry]) -> list[tuple[str, Entry]]:
    return [(posixpath.basename(entry.path), entry) for entry in entries if posixpath.dirname(entry.path) == folder]


def _old(entry: Entry) -> bool:
    """Younger ones may belong to a run in progress."""
    return entry.age_s > DAY
