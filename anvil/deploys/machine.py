"""A machine made ready: folders, network, volumes, secrets.env, the files that serves and router are started from."""

from __future__ import annotations

from collections.abc import Collection

from pyinfra.api.deploy import deploy
from pyinfra.api.exceptions import PyinfraError
from pyinfra.context import host

from anvil.deploys import options
from anvil.deploys.site import Site, each, here, secrets_complete
from anvil.hosts.containers import ComposeServices
from anvil.hosts.images import image_present
from anvil.hosts.objects import network_present, volume_present
from anvil.hosts.processes import supervisor_running
from anvil.hosts.secrets import SecretNames, would_be_lost
from anvil.hosts.supervisor import SUPERVISORD_CONF
from anvil.hosts.text_file import directory, text_file
from anvil.render import compose, env, router
from anvil.topology import derived

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
    _keep_secrets(site)
    _folders(site)
    _secrets(site)
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


def _keep_secrets(site: Site) -> None:
    """S3: a redeploy from a controller without a value must not lose the host's."""
    held = host.get_fact(SecretNames, site.secrets_file)
    if held.status == "error":
        raise PyinfraError(f"{site.name}: {held.error}")
    dropped = options.names("drop_secret")
    _known(site, dropped)
    lost = would_be_lost(held.names, site.made.secrets.all(), site.built.held.values, dropped)
    if lost:
        raise PyinfraError(
            f"secrets.env on {site.name} holds {', '.join(lost)}, the controller does not;"
            f" export it or --data drop_secret={','.join(lost)}"
        )


def _known(site: Site, dropped: Collection[str]) -> None:
    """A name to drop is wanted by the topology or still held by a machine of this run; any other is mistyped."""
    if not dropped:
        return
    machines = site.topology.machines
    known = {each for name in machines for each in derived.secret_names(site.topology, name).all()}
    for reached in host.state.active_hosts:
        known.update(reached.get_fact(SecretNames, f"{machines[reached.data.machine].root}/secrets.env").names)
    for name in dropped:
        if name not in known:
            there = ", ".join(sorted(known)) or "none"
            raise PyinfraError(f"--data drop_secret={name}: no machine has such a secret; there are: {there}")


def _folders(site: Site) -> None:
    owner = site.machine.owner
    shared = f"{owner.split(':')[0]}:{site.group}" if site.group else owner
    for part, mode, runtime in each(_FOLDERS):
        if runtime not in ("", site.machine.runtime):
            continue
        belongs = shared if part.startswith("router") else owner
        path = f"{site.root}/{part}".rstrip("/")
        directory(name=f"Folder {path}", path=path, mode=mode, owner=belongs)


def _secrets(site: Site) -> None:
    held = site.built.held
    for name in site.made.secrets.all():
        if name in held.sources:
            host.log(f"{name}: from {held.sources[name]}")
    try:
        text = env.secrets_env(held.plain(), site.made.secrets.all())
    except env.EnvFileError as error:
        raise PyinfraError(str(error)) from None
    text_file(name="Secrets", path=site.secrets_file, text=text, mode="600", owner=site.machine.owner, secret=True)


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
