"""Everything that runs goes away; files, volumes, images and the decision store stay."""

from __future__ import annotations

from pyinfra.api.deploy import deploy
from pyinfra.api.exceptions import PyinfraError

from anvil.deploys import options, router
from anvil.deploys.site import each, here
from anvil.hosts.processes import supervisor_stopped
from anvil.hosts.services import container_retired


@deploy("Teardown")
def done() -> None:
    """Needs `confirm=<deployment>`: it ends what people may be using."""
    site = here()
    deployment = site.topology.deployment
    if options.text("confirm") != deployment:
        raise PyinfraError(f"teardown.py ends every service of {deployment}: add --data confirm={deployment}")
    router.removed()
    for name in each(site.topology.serves):
        spec = site.spec(name)
        if spec is None:
            continue
        container_retired(
            name=f"Remove {name}", runtime=site.runtime(), container=spec.container, service=name, foreign=False
        )
    if site.by_process and site.runs_something:
        supervisor_stopped(name="Stop supervisord", root=site.root, python=site.python)
