"""What stands where, in one table: printed at the end of a deploy, and by status.py."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct
from pyinfra.api.deploy import deploy
from pyinfra.api.operation import operation
from pyinfra.context import host, state

from anvil.deploys import gateway_standing, options, router, selection
from anvil.deploys.conclusion import concluded
from anvil.deploys.serves import wanted
from anvil.deploys.site import Site, here
from anvil.hosts.containers import ComposeServices, ServiceState
from anvil.hosts.gpus import NvidiaGpus
from anvil.hosts.probe import Http
from anvil.hosts.processes import ProcessServices
from anvil.hosts.releases import ReleaseState, answering, unreached
from anvil.hosts.shell import Commands
from anvil.hosts.supervisor import folder_of
from anvil.render.services import ServiceSpec


class Row(Struct, frozen=True):
    """One line of the table. `healthy` is None for what is not wanted up."""

    name: str
    wanted: str
    state: str
    revision: str
    detail: str
    healthy: bool | None


@deploy("Report")
def printed() -> None:
    """At the end of a run: what really stands there now. Changes nothing.

    On every machine, also where nothing runs: so none reports before the last gateway answers.
    """
    table(name="What stands", site=here())


@operation()
def table(site: Site) -> Commands:
    """
    Print the table when everything before has run; never a change.
    """
    if state.is_executing and site.runs_something:
        for line in lines(site, list(rows(site))):
            host.log(line)
    host.noop("a report changes nothing")
    yield from ()


def status() -> None:
    """The table now; raises PyinfraError when something wanted up is not healthy, on this host or another."""
    site = here()
    only = selection.serves(site.topology, "only", options.names("only"))
    found = [row for row in rows(site) if row.name in only] if only else [*rows(site), *gateways(site)]
    for line in lines(site, found) if found else ():
        host.log(line)
    ill = [row.name for row in found if row.healthy is False]
    concluded("status", f"{site.name}: wanted up but not healthy: {', '.join(ill)}" if ill else "")


def rows(site: Site) -> Iterator[Row]:
    if not site.runs_something:
        return
    for spec in site.made.services:
        yield _serve(site, spec)
    yield from (Row(*each, None) for each in leftovers(site))
    if site.has_router:
        yield _router(site)


def gateways(site: Site) -> Iterator[Row]:
    """Asked for only when somebody wants to know: a deploy has just read them back."""
    yield from (Row(*each) for each in gateway_standing.cells(site))


def leftovers(site: Site) -> Iterator[tuple[str, str, str, str, str]]:
    """Containers of our project, or processes of ours, that the topology has no service for here any more; nothing
    removes them unasked."""
    if site.by_process:
        known = host.get_fact(ProcessServices, site.python, folder_of(site.root)).services
    else:
        known = host.get_fact(ComposeServices, site.topology.deployment).services
    for name, found in known.items():
        if site.spec(name) is None and not (site.by_process and site.has_router and name == "router"):
            yield name, "-", found.state, "leftover", f"--data retire={found.container or name} removes it"


def _serve(site: Site, spec: ServiceSpec) -> Row:
    live = site.runtime().observe(host, spec.name, spec.container)
    code = host.get_fact(Http, spec.health_url).code if live.state == "running" else 0
    wants = spec.wanted == "up"
    health = {200: "healthy", 503: "loading", 0: live.error}.get(code, f"health {code}")
    return Row(spec.name, spec.wanted, live.state, _revision(live, spec), health, code == 200 if wants else None)


def _revision(live: ServiceState, spec: ServiceSpec) -> str:
    if live.state in ("absent", "foreign", "daemon_down", "error"):
        return "foreign" if live.state == "foreign" else "-"
    want = wanted(spec)
    if live.revision != want.revision:
        return "drifted"
    return "same" if live.env == want.env_digest else "env drifted"


def _router(site: Site) -> Row:
    release = site.built.artefacts.release
    live = router.runtime(site).observe(host, "router", release.service.container)
    place = router.reached_place(site, release)
    told = answering(host, place)
    apart = unreached(host, place) if told.ok else ""
    current = host.get_fact(ReleaseState, f"{site.root}/router").current
    revision = "same" if current == release.id else "drifted" if current else "-"
    detail = apart or f"release {told.release}" if told.ok else told.error or told.status
    return Row("router", "up", live.state, revision, detail, told.ok and told.release == current and not apart)


def lines(site: Site, found: list[Row]) -> list[str]:
    """The table as text, columns aligned."""
    cells = [("service", "wanted", "state", "revision", "detail")]
    cells += [(row.name, row.wanted, row.state, row.revision, row.detail) for row in found]
    widths = [max(len(row[column]) for row in cells) for column in range(5)]
    text = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]
    return [*text, *_cards(site)]


def _cards(site: Site) -> list[str]:
    if not site.machine.gpus:
        return []
    gpus = host.get_fact(NvidiaGpus)
    if not gpus.ok:
        return [f"GPUs: {gpus.error}"]
    return [f"{card.name} {card.uuid}: {card.used_mib} of {card.total_mib} MiB used" for card in gpus.cards.values()]
