"""The multiplexer: its registry, the containers it may start, itself (contract operations.md 16)."""

from __future__ import annotations

import msgspec
from pyinfra.api.deploy import deploy
from pyinfra.api.exceptions import PyinfraError
from pyinfra.api.operation import OperationMeta, operation
from pyinfra.context import host

from anvil.deploys import options as given
from anvil.deploys import preflight, selection, serves
from anvil.deploys.site import Site, each, here
from anvil.hosts.announce import announce, warn
from anvil.hosts.compose import UP_SECONDS, ComposeRuntime
from anvil.hosts.containers import ComposeServices, ServiceState
from anvil.hosts.decision import Action, Options, WantedService, decide
from anvil.hosts.docker import locked
from anvil.hosts.files import FileStat
from anvil.hosts.images import image_present
from anvil.hosts.services import failing, service_ready, service_stopped, service_up
from anvil.hosts.shell import Commands, script
from anvil.hosts.text_file import directory, text_file
from anvil.render.multiplexer import FILE, NAME
from anvil.topology.model import Multiplexer


@deploy("Multiplexer")
def running() -> None:
    """Containers of the swap group created but not started, then the multiplexer that starts them on demand.

    A member that wants a preflight is asked through the multiplexer, which loads it for that.
    """
    site = here()
    if site.topology.multiplexer is None:
        raise PyinfraError("the topology declares no [multiplexer]; multiplexer.py has nothing to deploy")
    _here(site, site.topology.multiplexer)


@deploy("Multiplexer")
def running_where_declared() -> None:
    """The same for a deploy of everything: a topology without one is none the worse."""
    site = here()
    if site.topology.multiplexer is not None:
        _here(site, site.topology.multiplexer)


@deploy("Multiplexer")
def gone_where_undeclared() -> None:
    """One that an earlier topology had goes before the serves come up: it would stop all of them but one."""
    site = here()
    if not site.by_process and site.runs_something and site.spec(NAME) is None:
        removed(name="Remove multiplexer", project=site.topology.deployment, root=site.root)


@deploy("Multiplexer")
def stopped_with_everything() -> None:
    """Before the serves that it would start again; a run that names serves leaves it alone."""
    site = here()
    spec = site.spec(NAME)
    if spec is not None and not given.names("only"):
        service_stopped(name=f"Stop {NAME}", runtime=site.runtime(), service=NAME, container=spec.container)


def _here(site: Site, place: Multiplexer) -> None:
    if place.machine != site.name:
        return
    # said every time (operations.md 16)
    host.log_styled(f"WARN {place.container} holds the docker socket, which equals root on {site.name}", fg="yellow")
    _file(site)
    recreate = selection.serves(site.topology, "recreate", given.names("recreate"))
    created = _created(site, recreate)
    up, ready = _up(site, place)
    judged = preflight.gates(site, created, dict.fromkeys(created, ready), recreate)
    results = {
        **{f"{name} (created)": result for name, result in created.items()},
        NAME: up,
        f"{NAME} (ready)": ready,
        **{f"{name} (preflight)": result for name, result in judged.items()},
    }
    serves.everything_up(name="The multiplexer is up", site_name=site.name, results=results)


def _file(site: Site) -> None:
    text = site.made.multiplexer_toml
    if text is None:
        raise PyinfraError(f"{site.name}: nothing was rendered for the multiplexer")
    folder, owner = f"{site.root}/{NAME}", site.machine.owner
    directory(name=f"Folder {folder}", path=folder, mode="750", owner=owner)
    text_file(name="Registry", path=f"{folder}/{FILE}", text=text, owner=owner)


def _created(site: Site, recreate: tuple[str, ...]) -> dict[str, OperationMeta]:
    """Every member of a swap group of this machine."""
    adopt = selection.serves(site.topology, "adopt", given.names("adopt"))
    done: dict[str, OperationMeta] = {}
    for name in each(site.topology.serves):
        spec = site.spec(name)
        if spec is None or spec.wanted != "created":
            continue
        image_present(name=f"Image of {name}", reference=spec.image, root=site.root, pull=spec.pull)  # type: ignore[arg-type]  # the topology's literal
        done[name] = service_created(
            name=f"Create {name}",
            runtime=_compose(site, spec.pull),
            wanted=serves.wanted(spec),
            options=Options(recreate=name in recreate, adopt=name in adopt),
            _ignore_errors=True,
        )
    return done


def _compose(site: Site, pull: str) -> ComposeRuntime:
    runtime = site.runtime(pull)
    assert isinstance(runtime, ComposeRuntime), "T22 refuses a multiplexer on a machine that runs processes"
    return runtime


def _up(site: Site, place: Multiplexer) -> tuple[OperationMeta, OperationMeta]:
    spec = site.spec(NAME)
    if spec is None:
        raise PyinfraError(f"{site.name}: nothing was rendered for {place.container}")
    image_present(name="Image of the multiplexer", reference=spec.image, root=site.root, pull=spec.pull)  # type: ignore[arg-type]  # the topology's literal
    wanted = serves.wanted(spec)
    up = service_up(
        name="Up multiplexer",
        runtime=site.runtime(spec.pull),
        wanted=wanted,
        needs=serves.needs(site, spec),
        _ignore_errors=True,
    )
    ready = service_ready(
        name="Ready multiplexer",
        runtime=site.runtime(),
        wanted=wanted,
        # its model list wants a token, which no command line carries
        expected=msgspec.structs.replace(serves.expectation(spec), models_url=""),
        _if=up.did_succeed,
        _ignore_errors=True,
    )
    return up, ready


@operation()
def removed(project: str, root: str) -> Commands:
    """
    Remove the project's multiplexer, whatever its container is called, and the folder of its registry.
    """
    live, folder = host.get_fact(ComposeServices, project).of(NAME), f"{root}/{NAME}"
    if live.state in ("daemon_down", "error"):
        yield failing(f"{NAME}: {live.error}")
        return
    written = host.get_fact(FileStat, folder).status != "absent"
    if live.state == "absent" and not written:
        host.noop(f"{NAME} is absent")
        return
    announce(f"{live.container or folder}: {live.state}, removed")
    if live.state != "absent":
        yield locked(root, "docker", "rm", "-f", live.container)
    if written:
        yield script('rm -rf -- "$1"', folder)


@operation()
def service_created(runtime: ComposeRuntime, wanted: WantedService, options: Options | None = None) -> Commands:
    """
    Have one container as its wanted definition says, without starting it; one that runs as wanted is left running.

    A changed definition replaces a running one too: the multiplexer notices and starts the new one on demand.

    + options: recreate or adopt, when this run named the service
    """
    live = runtime.observe(host, wanted.name, wanted.container)
    action = without_start(live, wanted, decide(live, wanted, options or Options()))
    if action.verb == "nothing":
        host.noop(f"{wanted.name}: {action.why}")
    elif action.verb == "warn":
        warn(f"{wanted.name}: {action.why}")
    elif action.verb == "fail":
        announce(f"{wanted.name}: cannot be created: {action.why}")
        yield failing(f"{wanted.name}: {action.why}")
    else:
        announce(f"{wanted.name}: {action.why}")
        first = ("docker", "rm", "-f", wanted.container) if action.verb == "replace" else ()
        forced = ("--force-recreate",) if action.force else ()
        words = runtime.compose("up", "--no-start", "--no-deps", "--pull", runtime.pull, *forced, wanted.name)
        yield locked(runtime.root, *words, seconds=UP_SECONDS, first=first, who=runtime.who)


def without_start(live: ServiceState, wanted: WantedService, action: Action) -> Action:
    """The decision of operations.md 9.2, for a container that others start: stopped is as good as running."""
    same = live.revision == wanted.revision and live.env == wanted.env_digest
    if same and not action.force and live.state in ("created", "exited"):
        return Action(verb="nothing", why=f"{live.state}, as wanted")
    if action.verb in ("unpause", "unpause_up"):
        return Action(verb="fail", why=f"container {wanted.container} is paused: unpause it or stop it first")
    return action
