"""A machine made ready: folders, network, volumes, secrets.env, the files that serves and router are started from."""

from __future__ import annotations

from pyinfra.api.deploy import deploy
from pyinfra.api.exceptions import PyinfraError
from pyinfra.context import host

from anvil.deploys import secrets_file
from anvil.deploys.site import Site, each, here, secrets_complete
from anvil.hosts.containers import ComposeServices
from anvil.hosts.images import image_present
from anvil.hosts.objects import network_present, volume_present
from anvil.hosts.processes import supervisor_running
from anvil.hosts.supervisor import SUPERVISORD_CONF
from anvil.hosts.text_file import directory, text_file
from anvil.render import compose, router

# Folder under the root, mode, and the runtime that alone needs it ("" = both).
_FOLDERS = (
    ("", "755", ""),
    ("router", "750", ""),
    ("router/releases", "750", ""),
    ("evidence", "750", ""),
    ("evidence/preflight", "750", ""),
    ("experiments", "750", "compose"),
    ("state", "750", "process"),
    ("supervisor", "750", "process"),
    ("supervisor/programs", "750", "process"),
    ("supervisor/run", "750", "process"),
    ("supervisor/logs", "750", "process"),
)


@deploy("Machine")
def prepared() -> None:
    """Everything a serve or the router needs before it can start; starts nothing but supervisord."""
    site = here()
    if not site.runs_something:
        return
    secrets_complete(site)
    _docker_answers(site)
    secrets_file.refuse_losses(site)
    _folders(site)
    secrets_file.written(site)
    if site.by_process:
        _supervisor(site)
    else:
        _docker_objects(site)
        _compose_file(site)


@deploy("Images")
def images() -> None:
    """Images of the serves wanted up, and the router's, before any container moves."""
    site = here()
    for name in each(site.topology.serves):
        spec = site.spec(name)
        if spec is None or spec.wanted == "down" or not spec.image or site.by_process:
            continue
        image_present(name=f"Image of {name}", reference=spec.image, root=site.root, pull=spec.pull)  # type: ignore[arg-type]  # the topology's literal
    router_image()


def router_image() -> None:
    """The image of the router, present before any link or container moves."""
    site = here()
    place = site.topology.router
    if site.has_router and not site.by_process and place.image:
        image_present(name="Image of the router", reference=place.image, root=site.root, pull=place.pull)


def _docker_answers(site: Site) -> None:
    """Asked once, before every step would find out for itself and wait its whole time limit for it."""
    if site.by_process:
        return
    answer = host.get_fact(ComposeServices, site.topology.deployment)
    if not answer.ok:
        raise PyinfraError(f"{site.name}: docker: {answer.error or answer.status}")


def _folders(site: Site) -> None:
    owner, group, everyone = site.machine.owner, site.group, site.everyone
    shared = f"{owner.split(':')[0]}:{group}" if group else owner
    for part, mode, runtime in each(_FOLDERS):
        if runtime not in ("", site.machine.runtime):
            continue
        belongs = shared if part.startswith("router") else owner
        mode = "755" if part.startswith("router") and everyone else mode
        path = f"{site.root}/{part}".rstrip("/")
        # machines with different roots do this together, under one name
        directory(name=f"Folder {part or 'of everything'}", path=path, mode=mode, owner=belongs)


def _supervisor(site: Site) -> None:
    conf = f"{site.root}/supervisor/supervisord.conf"
    text_file(name="Supervisor settings", path=conf, text=SUPERVISORD_CONF, owner=site.machine.owner)
    supervisor_running(name="Supervisor", root=site.root, python=site.python)


def _docker_objects(site: Site) -> None:
    network_present(name="Network", network=compose.NETWORK, root=site.root)
    mine = {*site.made.docker_volumes, *({router.STATE_VOLUME} if site.has_router else ())}
    for volume in each((*(volume.name for volume in site.topology.volumes.values()), router.STATE_VOLUME)):
        if volume not in mine:
            continue
        volume_present(name=f"Volume {volume}", volume=volume, root=site.root)


def _compose_file(site: Site) -> None:
    text = site.made.compose_text
    if text is None:
        return
    path, previous = f"{site.root}/compose.yaml", f"{site.root}/compose.previous.yaml"
    text_file(name="Compose file", path=path, text=text, owner=site.machine.owner, previous=previous)
