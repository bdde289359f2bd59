"""The last lines of one container or process, both streams."""

from __future__ import annotations

from pyinfra.api.exceptions import PyinfraError
from pyinfra.context import host

from anvil.deploys import options, router
from anvil.deploys.site import Site, here
from anvil.hosts.containers import ContainerLogs
from anvil.hosts.services import Runtime


def printed() -> None:
    """None, several, unknown and absent are four different messages."""
    site = here()
    if not site.runs_something:
        return
    words = (*options.names("name"), *options.names("only"))
    if not words:
        raise PyinfraError(f"logs.py needs --data name=CONTAINER; there are: {', '.join(_known(site))}")
    if len(words) > 1:
        raise PyinfraError(f"logs.py shows one container, not {len(words)}: {', '.join(words)}")
    name = next((name for name, container in _known(site).items() if words[0] in (name, container)), "")
    if not name:
        raise PyinfraError(f"{site.name}: no service is called {words[0]}; there are: {', '.join(_known(site))}")
    _print(site, name, _known(site)[name])


def _known(site: Site) -> dict[str, str]:
    known = {spec.name: spec.container for spec in site.made.services}
    if site.has_router:
        known["router"] = site.built.artefacts.release.service.container
    return known


def _print(site: Site, name: str, container: str) -> None:
    runtime: Runtime = router.runtime(site) if name == "router" else site.runtime()
    lines = options.number("tail", 200)
    if runtime.observe(host, name, container).state == "absent":
        raise PyinfraError(f"{site.name}: {container} does not exist: it was never started, or was removed")
    if site.by_process:
        text = runtime.logs(host, name, container, lines)
    else:
        text = host.get_fact(ContainerLogs, container, lines, options.text("since")).error
    for line in text.splitlines():
        host.log(line)
