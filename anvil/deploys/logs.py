"""The last lines of one container or process, both streams."""

from __future__ import annotations

from msgspec import Struct
from pyinfra.api.exceptions import PyinfraError
from pyinfra.context import host

from anvil.deploys import options, router
from anvil.deploys.site import Built, Site, here
from anvil.hosts.containers import ContainerLogs
from anvil.hosts.services import Runtime


class Service(Struct, frozen=True):
    machine: str
    name: str
    container: str


def printed() -> None:
    """None, several, unknown and absent are four different messages; a machine that does not run it is silent."""
    site = here()
    asked = one((*options.names("name"), *options.names("only")), services(site.built))
    if asked.machine == site.name:
        _print(site, asked)


def services(built: Built) -> tuple[Service, ...]:
    """Everything of the topology that has a log."""
    found = [
        Service(machine, spec.name, spec.container)
        for machine, made in built.artefacts.machines.items()
        for spec in made.services
    ]
    router_here = built.topology.router.machine
    return (*found, Service(router_here, "router", built.artefacts.release.service.container))


def one(words: tuple[str, ...], known: tuple[Service, ...]) -> Service:
    """The service that a name or a container's name means. Raises PyinfraError."""
    there = ", ".join(each.name for each in known)
    if not words:
        raise PyinfraError(f"logs.py needs --data name=CONTAINER; there are: {there}")
    if len(words) > 1:
        raise PyinfraError(f"logs.py shows one container, not {len(words)}: {', '.join(words)}")
    found = [each for each in known if words[0] in (each.name, each.container)]
    if not found:
        raise PyinfraError(f"--data name={words[0]}: no service is called so; there are: {there}")
    if len(found) > 1:
        meant = " and ".join(f"{each.name} on {each.machine}" for each in found)
        raise PyinfraError(f"--data name={words[0]}: means {meant}; use a name that means one")
    return found[0]


def _print(site: Site, service: Service) -> None:
    runtime: Runtime = router.runtime(site) if service.name == "router" else site.runtime()
    live = runtime.observe(host, service.name, service.container)
    if live.state == "absent":
        raise PyinfraError(f"{site.name}: {service.container} does not exist: it was never started, or was removed")
    if live.state in ("daemon_down", "error"):
        raise PyinfraError(f"{site.name}: {live.error}")
    for line in _lines(site, runtime, service):
        host.log(line)


def _lines(site: Site, runtime: Runtime, service: Service) -> list[str]:
    count, since = options.number("tail", 200), options.text("since")
    if site.by_process:
        if since:
            raise PyinfraError(f"--data since={since}: {service.name} is a process, its log has no times; use tail=N")
        return runtime.logs(host, service.name, service.container, count).splitlines()
    told = host.get_fact(ContainerLogs, service.container, count, since)
    if not told.ok:
        raise PyinfraError(f"{site.name}: docker logs {service.container}: {told.error}")
    return told.error.splitlines()
