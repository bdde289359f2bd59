"""Everything that runs goes away; files, volumes, images and the decision store stay."""

from __future__ import annotations

from pyinfra.api.deploy import deploy
from pyinfra.api.exceptions import PyinfraError
from pyinfra.api.operation import operation
from pyinfra.context import host, state

from anvil.deploys import multiplexer, options, router
from anvil.deploys.site import Site, each, here
from anvil.hosts.containers import AttachedContainers
from anvil.hosts.processes import supervisor_stopped
from anvil.hosts.projects import project_removed
from anvil.hosts.services import container_retired
from anvil.hosts.shell import Commands
from anvil.render import compose


@deploy("Teardown")
def done() -> None:
    """Needs `confirm=<deployment>`: it ends what people may be using."""
    site = here()
    deployment = site.topology.deployment
    if options.text("confirm") != deployment:
        raise PyinfraError(f"teardown.py ends every service of {deployment}: add --data confirm={deployment}")
    for name, gateway in site.topology.gateways.items():
        if gateway.machine == site.name:
            host.log(f"left: {gateway.config} of gateway {name} names the router, whose turns go to its fallbacks now")
    if not site.runs_something:
        return
    router.removed()
    if site.by_process:
        _processes(site)
        return
    # before the serves, which it would start again; what an earlier topology left in the project goes with them
    multiplexer.removed(name="Remove multiplexer", project=deployment, root=site.root)
    project_removed(name="Remove serves", project=deployment, root=site.root)
    left_named(name="What is left", network=compose.NETWORK)


def _processes(site: Site) -> None:
    for name in each(site.topology.serves):
        spec = site.spec(name)
        if spec is None:
            continue
        container_retired(
            name=f"Remove {name}", runtime=site.runtime(), container=spec.container, service=name, foreign=False
        )
    supervisor_stopped(name="Stop supervisord", root=site.root, python=site.python)


@operation()
def left_named(network: str) -> Commands:
    """
    Name the containers that stay on the network although everything of the topology is gone; never a change.
    """
    if state.is_executing:
        for name, project in host.get_fact(AttachedContainers, network).containers.items():
            host.log(f"left: {name} of {f'project {project}' if project else 'no project'} is on network {network}")
    host.noop("what is not ours stays")
    yield from ()
