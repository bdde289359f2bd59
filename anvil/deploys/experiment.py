"""A model tried out beside production: its own project, container and port; what people use is never touched."""

from __future__ import annotations

from pyinfra.api.deploy import deploy
from pyinfra.api.exceptions import PyinfraError
from pyinfra.context import host

from anvil.deploys import options
from anvil.deploys.serves import expectation, needs, wanted
from anvil.deploys.site import Site, here, owner
from anvil.deploys.trial import PORT, Asked, Trial, project, trial
from anvil.hosts.compose import ComposeRuntime
from anvil.hosts.images import image_present
from anvil.hosts.objects import network_present, volume_present
from anvil.hosts.projects import project_removed
from anvil.hosts.services import service_ready, service_up
from anvil.hosts.text_file import directory, text_file
from anvil.hosts.weights import weights_present
from anvil.render import compose, env


@deploy("Experiment")
def present() -> None:
    """Up and ready, or with `present=false` gone."""
    site = here()
    if not options.flag("present", True):
        _removed(site)
        return
    tried = trial(site.topology, asked(), site.built.held.digests())
    if site.name != tried.machine:
        return
    for line in tried.warnings:
        host.log_styled(f"WARN {line}", fg="yellow")
    _files(site, tried)
    _started(site, tried)


def asked() -> Asked:
    """The `--data` of this run. Raises PyinfraError for a number that is none."""
    return Asked(
        model=options.text("model"),
        gpu=options.text("gpu"),
        port=options.number("port", PORT),
        served=options.text("served", "experiment"),
        image=options.text("image"),
        context=options.number("context", 0) or None,
        memory=options.text("memory"),
        extra_args=options.text("extra_args"),
    )


def _folder(site: Site, port: int) -> str:
    return f"{site.root}/experiments/{port}"


def _removed(site: Site) -> None:
    if site.by_process or not site.runs_something:
        return
    port = options.number("port", PORT)
    called = project(site.topology, port)
    project_removed(name=f"Remove {called}", project=called, folder=_folder(site, port), root=site.root)


def _files(site: Site, tried: Trial) -> None:
    """Everything it stands on; what a deploy of the serves already laid down is left as it is."""
    mine, root, folder = site.machine.owner, site.root, _folder(site, tried.spec.port)
    directory(name=f"Folder {root}", path=root, owner=mine)
    try:
        secrets = env.secrets_env(site.built.held.plain(), site.made.secrets.all())
    except env.EnvFileError as error:
        raise PyinfraError(str(error)) from None
    text_file(name="Secrets", path=f"{root}/secrets.env", text=secrets, mode="600", owner=mine, secret=True, seed=True)
    directory(name=f"Folder {root}/experiments", path=f"{root}/experiments", mode="750", owner=mine)
    directory(name=f"Folder {folder}", path=folder, mode="750", owner=mine)
    network_present(name="Network", network=compose.NETWORK, root=root)
    if tried.volume:
        volume_present(name=f"Volume {tried.volume}", volume=tried.volume, root=root)
    text_file(name="Compose file", path=f"{folder}/compose.yaml", text=tried.text, owner=mine)


def _started(site: Site, tried: Trial) -> None:
    spec = tried.spec
    runtime = ComposeRuntime(
        root=site.root,
        project=tried.project,
        file=f"{_folder(site, spec.port)}/compose.yaml",
        pull="never" if spec.pull == "never" else "missing",
        who=owner(),
    )
    pull = runtime.pull
    image_present(name=f"Image {spec.image}", reference=spec.image, root=site.root, pull=pull)
    if tried.needs_weights:
        weights_present(name=f"Weights {tried.needs_weights.repo}", weights=tried.needs_weights, root=site.root)
    service_up(name=f"Up {spec.name}", runtime=runtime, wanted=wanted(spec), needs=needs(site, spec))
    service_ready(name=f"Ready {spec.name}", runtime=runtime, wanted=wanted(spec), expected=expectation(spec))
