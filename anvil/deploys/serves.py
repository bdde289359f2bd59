"""The serves of a machine: those not wanted go down first, the others come up one by one and are waited for."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import msgspec
import yaml
from pyinfra.api.deploy import deploy
from pyinfra.api.exceptions import PyinfraError
from pyinfra.api.host import Host
from pyinfra.api.operation import OperationMeta, operation
from pyinfra.context import host, state

from anvil.deploys import options, preflight, selection
from anvil.deploys.changes import differing
from anvil.deploys.site import Site, each, here
from anvil.hosts.decision import Options, WantedService
from anvil.hosts.files import FileText
from anvil.hosts.processes import ProcessRuntime, program_kept
from anvil.hosts.readiness import Expectation
from anvil.hosts.resources import Needs
from anvil.hosts.services import (
    container_retired,
    failing,
    service_ready,
    service_restored,
    service_stopped,
    service_up,
)
from anvil.hosts.shell import Commands
from anvil.hosts.supervisor import argv_of, folder_of
from anvil.render.services import ServiceSpec

MIB_PER_GB = 1e9 / 2**20
PREVIOUS = "compose.previous.yaml"


@deploy("Serves")
def running() -> None:
    """Stop what is not wanted, remove what was named, bring the rest up and wait until it serves what was promised."""
    site = here()
    only = selection.serves(site.topology, "only", options.names("only"))
    _stop_unwanted(site)
    _retire(site)
    _bring_up(site, only)


@deploy("Serves down")
def stopped() -> None:
    """Stop the selected serves, all of the machine without `only`."""
    site = here()
    only = selection.serves(site.topology, "only", options.names("only"))
    for name in each(site.topology.serves):
        spec = site.spec(name)
        if spec is None or (only and name not in only):
            continue
        service_stopped(name=f"Stop {name}", runtime=site.runtime(), service=name, container=spec.container)


@deploy("Retire")
def retired() -> None:
    """Remove containers by name; `name=` and `retire=` are the same here."""
    if not options.names("retire") and not options.names("name"):
        raise PyinfraError("retire.py needs --data name=CONTAINER")
    _retire(here())


@deploy("Adopt")
def adopted() -> None:
    """Take over the containers named by `adopt=` that carry our names but not our project."""
    site = here()
    named = selection.serves(site.topology, "adopt", options.names("adopt"))
    if not named:
        raise PyinfraError("adopt.py needs --data adopt=SERVE")
    _bring_up(site, named)


def _stop_unwanted(site: Site) -> None:
    for name in each(site.topology.serves):
        spec = site.spec(name)
        if spec is None or spec.wanted != "down":
            continue
        service_stopped(name=f"Stop {name}", runtime=site.runtime(), service=name, container=spec.container)


def _retire(site: Site) -> None:
    words = (*options.names("retire"), *options.names("name"))
    for container in each(selection.containers(site.topology, words, options.text("confirm"))):
        if not site.runs_something:
            continue
        service = next((spec.name for spec in site.made.services if spec.container == container), container)
        container_retired(name=f"Retire {container}", runtime=site.runtime(), container=container, service=service)


def _bring_up(site: Site, only: tuple[str, ...]) -> None:
    recreate = selection.serves(site.topology, "recreate", options.names("recreate"))
    adopt = selection.serves(site.topology, "adopt", options.names("adopt"))
    live = _live_definitions(site)
    gone = (*leaving(site), *selection.containers(site.topology, options.names("retire"), options.text("confirm")))
    done: dict[str, OperationMeta] = {}
    for name in each(site.topology.serves):
        spec = site.spec(name)
        if spec is None or spec.wanted != "up" or (only and name not in only):
            continue
        runtime, want = site.runtime(spec.pull), wanted(spec, differing(live.get(name), spec.definition))
        if isinstance(runtime, ProcessRuntime):
            program_kept(name=f"Definition of {name}", runtime=runtime, wanted=want)
        done[name] = service_up(
            name=f"Up {name}",
            runtime=runtime,
            wanted=want,
            options=Options(recreate=name in recreate, adopt=name in adopt),
            needs=needs(site, spec, gone),
            _ignore_errors=True,
        )
    results = {**done, **_proved(site, done, recreate)} if options.flag("wait", True) else {**done}
    everything_up(name="Every serve is up", site_name=site.name, results=results)


def _proved(site: Site, done: Mapping[str, OperationMeta], recreate: tuple[str, ...]) -> dict[str, OperationMeta]:
    """Waited for, judged, and taken back where the topology asks for it; results by what people call them."""
    ready = _wait(site, done)
    judged = preflight.gates(site, done, ready, recreate)
    _restore(site, ready, judged)
    return {
        **{f"{name} (ready)": result for name, result in ready.items()},
        **{f"{name} (preflight)": result for name, result in judged.items()},
    }


def _wait(site: Site, done: Mapping[str, OperationMeta]) -> dict[str, OperationMeta]:
    ready: dict[str, OperationMeta] = {}
    for name in each(site.topology.serves):
        spec = site.spec(name)
        if spec is None or name not in done:
            continue
        ready[name] = service_ready(
            name=f"Ready {name}",
            runtime=site.runtime(),
            wanted=wanted(spec),
            expected=expectation(spec),
            _if=done[name].did_succeed,
            _ignore_errors=True,
        )
    return ready


def _restore(site: Site, ready: Mapping[str, OperationMeta], judged: Mapping[str, OperationMeta]) -> None:
    """9.5: where the topology asks for it, the definition before this one comes back; the run fails all the same."""
    for name in each(site.topology.serves):
        spec = site.spec(name)
        if spec is None or name not in ready or spec.on_failure != "restore" or site.by_process:
            continue
        service_restored(
            name=f"Restore {name}",
            runtime=site.runtime(spec.pull, PREVIOUS),
            wanted=wanted(spec),
            # The previous definition may serve another model or window than the tiers now ask for.
            expected=msgspec.structs.replace(expectation(spec), models_url=""),
            before=partial(_revision_before, host, site.root, name),
            _if=_failed(*(results[name] for results in (ready, judged) if name in results)),
            _ignore_errors=True,
        )


def _revision_before(on: Host, root: str, name: str) -> str:
    service = _definitions(on.get_fact(FileText, f"{root}/{PREVIOUS}").text).get(name) or {}
    return str((service.get("labels") or {}).get("anvil.revision") or "")


def _failed(*results: OperationMeta) -> Callable[[], bool]:
    return lambda: not all(result.did_succeed() for result in results)


@operation()
def everything_up(site_name: str, results: Mapping[str, OperationMeta]) -> Commands:
    """
    Fail the run, once every serve has been tried, when one of them is not up.
    """
    if not state.is_executing:
        host.noop("known when the serves have been tried")
        return
    failed = [name for name, result in results.items() if not result.did_succeed()]
    if failed:
        yield failing(f"{site_name}: not up: {', '.join(failed)}")


def _live_definitions(site: Site) -> Mapping[str, Any]:
    """The services as the host's own files define them, to say what differs; anything unreadable says nothing."""
    if site.by_process:
        return {name: found for name in site.topology.serves if (found := _live_process(site, name))}
    if site.made.compose_text is None:
        return {}
    return _definitions(host.get_fact(FileText, f"{site.root}/compose.yaml").text)


def _live_process(site: Site, name: str) -> Mapping[str, Any]:
    """Only the command line: a launcher's other lines hold the names of secrets, and quoted values."""
    if site.spec(name) is None:
        return {}
    argv = argv_of(host.get_fact(FileText, f"{folder_of(site.root)}/programs/{name}.sh").text)
    wanted = next(each for each in site.made.processes if each.name == name)
    return {**msgspec.to_builtins(wanted), "argv": argv} if argv else {}


def _definitions(text: str) -> Mapping[str, Any]:
    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError:
        return {}
    services = document.get("services") if isinstance(document, dict) else None
    return services if isinstance(services, dict) else {}


def wanted(spec: ServiceSpec, why: str = "") -> WantedService:
    return WantedService(
        name=spec.name,
        container=spec.container,
        revision=spec.revision,
        env_digest=spec.env_digest,
        env_names=spec.secret_env,
        on_env_change=spec.on_env_change,
        start_timeout_s=spec.start_timeout_s,
        why=why,
    )


def expectation(spec: ServiceSpec) -> Expectation:
    return Expectation(
        health_url=spec.health_url,
        models_url=spec.models_url,
        model=spec.served_model,
        window=spec.context,
        timeout_s=options.number("timeout", spec.start_timeout_s),
    )


def leaving(site: Site) -> tuple[str, ...]:
    """Containers of serves that are stopped before any comes up."""
    return tuple(spec.container for spec in site.made.services if spec.wanted == "down")


def needs(site: Site, spec: ServiceSpec, leaving: tuple[str, ...] = ()) -> Needs:
    neighbours = (
        each
        for each in site.made.services
        if each.name != spec.name and each.wanted == "up" and not {*each.gpus}.isdisjoint(spec.gpus)
    )
    return Needs(
        port=spec.port,
        gpus=spec.gpus,
        need_mib=_mib(spec),
        neighbours_mib=sum(map(_mib, neighbours)),
        leaving=leaving,
        processes_hidden=site.machine.platform == "wsl2",
        ignore_memory=options.chosen("vram", ("ignore",), "") == "ignore",
    )


def _mib(spec: ServiceSpec) -> int:
    return math.ceil((spec.memory_need_gb or 0) * MIB_PER_GB)
