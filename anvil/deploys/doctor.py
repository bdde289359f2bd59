"""Whether a host can do what the topology asks of it: facts only, PASS, WARN or FAIL per check."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from pyinfra.api.exceptions import PyinfraError
from pyinfra.context import host

from anvil.deploys import doctor_gateway, doctor_router, doctor_weights
from anvil.deploys.conclusion import concluded
from anvil.deploys.findings import Line
from anvil.deploys.report import leftovers
from anvil.deploys.serves import leaving, needs
from anvil.deploys.site import Site, here
from anvil.hosts.basics import HostBasics, MissingModules, MissingPrograms
from anvil.hosts.docker import DockerDaemon
from anvil.hosts.files import FileStat
from anvil.hosts.gpus import NvidiaGpus
from anvil.hosts.images import ImagePresent
from anvil.hosts.objects import DockerObject
from anvil.hosts.ports import PortOwners
from anvil.hosts.probe import Endpoint
from anvil.hosts.processes import ProcessServices
from anvil.hosts.resources import memory_obstacle, port_obstacle
from anvil.hosts.secrets import SecretNames
from anvil.hosts.supervisor import folder_of, usable_root
from anvil.render import compose
from anvil.render.router import STATE_VOLUME
from anvil.render.staleness import stale

COMPOSE_FLOOR = (2, 20)
FREE_BYTES = 20 * 10**9
SKEW_SECONDS = 5


Check = Callable[[Site], Iterator[Line]]


def passed() -> None:
    """What no later step can mend: raises PyinfraError before anything changes. Silent when all is well."""
    site = here()
    if not site.runs_something:
        return
    if failure := _told(site, [line for line in judged(site, PREREQUISITES) if line.level != "PASS"]):
        raise PyinfraError(failure)


def printed() -> None:
    """Every check of this host, then OK or FAILED; raises PyinfraError on FAIL, when every host has been looked at."""
    site = here()
    first = judged(site, PREREQUISITES) if site.runs_something else []
    rest = (*(standing(first) if site.runs_something else ()), doctor_gateway.checks)
    concluded("doctor", _told(site, [*first, *judged(site, rest)]))


def standing(first: list[Line]) -> tuple[Check, ...]:
    """Where docker does not answer, nothing that asks it: each question may take its whole time limit."""
    silent = any((line.level, line.check) == ("FAIL", "docker") for line in first)
    return tuple(check for check in STANDING if not (silent and check in ASK_DOCKER))


def judged(site: Site, checks: tuple[Check, ...]) -> list[Line]:
    return [line for check in checks for line in check(site)]


def _told(site: Site, lines: list[Line]) -> str:
    """The failures in one line, "" for none."""
    for line in lines:
        host.log(f"[{line.level}] {site.name}: {line.check} — {line.detail}")
    failed = [line for line in lines if line.level == "FAIL"]
    if failed:
        return f"{site.name}: FAILED: {'; '.join(f'{line.check}: {line.detail}' for line in failed)}"
    if any(line.level == "PASS" for line in lines):
        host.log(f"{site.name}: OK")
    return ""


def _docker(site: Site) -> Iterator[Line]:
    if site.by_process:
        return
    daemon = host.get_fact(DockerDaemon)
    if not daemon.ok:
        yield Line("FAIL", "docker", daemon.error or daemon.status)
        return
    yield Line("PASS", "docker", f"server {daemon.server}")
    version = tuple(int(part) for part in daemon.compose.split("-")[0].split(".")[:2] if part.isdigit())
    if not version:
        yield Line("FAIL", "compose", "the plugin `docker compose` is missing (docker-compose v1 is not enough)")
    elif version < COMPOSE_FLOOR:
        yield Line("FAIL", "compose", f"{daemon.compose} is too old: at least 2.20 is needed")
    else:
        yield Line("PASS", "compose", daemon.compose)
    if site.machine.gpus and "nvidia" not in daemon.runtimes:
        yield Line("WARN", "nvidia runtime", "is not registered with docker; CDI may still serve the cards")
    place = site.topology.multiplexer
    if place is not None and place.machine == site.name:
        # said every time (operations.md 16)
        yield Line("WARN", place.container, "holds the docker socket, which equals root on this host")
    if daemon.free_bytes < FREE_BYTES:
        yield Line("WARN", "disk", f"{daemon.free_bytes / 1e9:.0f} GB free under {daemon.root_dir}")


def _programs(site: Site) -> Iterator[Line]:
    needed = ["sha256sum", "mktemp", "base64", "flock", "timeout"] if not site.by_process else ["mktemp", "base64"]
    engines = sorted({each.argv[0] for each in site.made.processes})
    missing = host.get_fact(MissingPrograms, [*needed, *engines]).missing
    if missing:
        yield Line("FAIL", "programs", f"missing on this host: {', '.join(missing)}")
    else:
        yield Line("PASS", "programs", "all there")


def _interpreter(site: Site) -> Iterator[Line]:
    if not site.by_process:
        return
    if refused := usable_root(site.root):
        yield Line("FAIL", "root", refused)
    modules = host.get_fact(MissingModules, site.python, ["supervisor", "anvil.cli"])
    if not modules.ok:
        yield Line("FAIL", "python", f"{site.python}: {modules.error}; name one with router.python")
    elif modules.missing:
        yield Line(
            "FAIL", "python", f"{site.python} cannot import {', '.join(modules.missing)}: install anvil-serving[deploy]"
        )
    else:
        yield Line("PASS", "python", site.python)


def _cards(site: Site) -> Iterator[Line]:
    if not site.machine.gpus:
        return
    gpus = host.get_fact(NvidiaGpus)
    if not gpus.ok:
        yield Line("FAIL", "GPUs", gpus.error or gpus.status)
        return
    for name, card in site.machine.gpus.items():
        live = gpus.cards.get(card.uuid)
        if live is None:
            yield Line(
                "FAIL", f"GPU {name}", f"{card.uuid} does not exist; there are: {', '.join(gpus.cards) or 'none'}"
            )
        elif live.compute != card.compute or live.total_mib < card.vram_gb * 0.9 * 1e9 / 2**20:
            yield Line("WARN", f"GPU {name}", f"is {live.name}, compute {live.compute}, {live.total_mib} MiB")
        else:
            yield Line("PASS", f"GPU {name}", live.name)


def _objects(site: Site) -> Iterator[Line]:
    if site.by_process:
        return
    volumes = dict.fromkeys((*site.made.docker_volumes, *((STATE_VOLUME,) if site.has_router else ())))
    for kind, called in (("network", compose.NETWORK), *(("volume", name) for name in volumes)):
        there = host.get_fact(DockerObject, kind, called)
        detail = {"ok": "exists", "absent": "full.py creates it"}.get(there.status, f"unknown: {there.error}")
        yield Line("PASS" if there.ok else "WARN", f"{kind} {called}", detail)
    images = {spec.image: spec.pull for spec in site.made.services if spec.image and spec.wanted != "down"}
    place = site.topology.router
    if site.has_router and place.image:
        images[place.image] = place.pull
    for image, pull in images.items():
        yield _image(image, pull)


def _image(image: str, pull: str) -> Line:
    found = host.get_fact(ImagePresent, image)
    if found.ok:
        digests = ", ".join(found.repo_digests)
        pin = f"pin it: {digests}" if digests else "it came from no registry, so there is no digest to pin"
        return Line("PASS", f"image {image}", "present" if "@" in image else f"present; {pin}")
    if found.status != "absent":
        return Line("WARN", f"image {image}", f"unknown: {found.error}")  # Why is a failure of its own.
    if pull == "never":
        return Line("FAIL", f"image {image}", 'is absent and pull = "never": load it with `docker load`')
    return Line("WARN", f"image {image}", "full.py pulls it")


def _room(site: Site) -> Iterator[Line]:
    """Ports and cards for serves that do not run yet; foreign containers."""
    owners = host.get_fact(PortOwners).owners
    gpus = host.get_fact(NvidiaGpus) if site.machine.gpus else None
    for name, _, live_state, _, cure in leftovers(site):
        yield Line("WARN", f"serve {name}", f"is {live_state} and no longer in the topology; {cure}")
    for spec in site.made.services:
        if spec.wanted != "up":
            continue
        live = site.runtime().observe(host, spec.name, spec.container)
        if live.state == "foreign":
            yield Line("FAIL", f"serve {spec.name}", f"{spec.container} belongs to {live.project or 'no'} project")
        want, gone = needs(site, spec), leaving(site)
        if blocked := port_obstacle(spec.port, owners.get(spec.port), live, gone):
            yield Line("FAIL", f"serve {spec.name}", blocked)
        if gpus is not None and live.state != "running" and (blocked := memory_obstacle(want, gpus, live, gone)):
            yield Line("WARN" if want.processes_hidden else "FAIL", f"serve {spec.name}", blocked)


def _serving(site: Site) -> Iterator[Line]:
    for spec in site.made.services:
        if spec.wanted != "up":
            continue
        told = host.get_fact(Endpoint, spec.health_url, spec.models_url)
        window = told.models.get(spec.served_model, 0)
        if told.health != 200:
            yield Line("WARN", f"serve {spec.name}", "loading" if told.health == 503 else "does not answer")
        elif spec.served_model and spec.served_model not in told.models:
            yield Line(
                "FAIL", f"serve {spec.name}", f"serves {', '.join(told.models) or 'no model'}, not {spec.served_model}"
            )
        elif window and window < spec.context:
            yield Line("FAIL", f"serve {spec.name}", f"its window is {window}, the tier promises {spec.context}")
        else:
            yield Line("PASS", f"serve {spec.name}", f"serves {spec.served_model}" if spec.served_model else "answers")


def _routing(site: Site) -> Iterator[Line]:
    yield from doctor_router.checks(site)
    if site.has_router:
        yield from _profile(site)


def _profile(site: Site) -> Iterator[Line]:
    """The inventory's measured profile against the inventory's serves."""
    if site.built.profile is None:
        return
    old = stale(site.built.artefacts.release.config, site.built.profile, site.topology.mode)
    counts = "an allow counts as allow-with-verify until it is measured again"
    told = f"stale, the serve is no longer what was measured: {', '.join(old)}; {counts}"
    yield Line("WARN" if old else "PASS", "profile", told if old else "of the serves as they are")


def _secrets(site: Site) -> Iterator[Line]:
    path = site.secrets_file
    stat, held = host.get_fact(FileStat, path), host.get_fact(SecretNames, path)
    missing = [name for name in site.made.secrets.required if name not in held.names]
    if held.status == "error":
        yield Line("FAIL", "secrets.env", held.error)
    elif stat.ok and not stat.has_mode("600"):
        yield Line("FAIL", "secrets.env", f"has mode {stat.mode}, not 600")
    elif missing and stat.status == "absent" and doctor_router.never_released(site):
        yield Line("WARN", "secrets.env", "is not there yet; full.py writes it")
    elif missing:
        yield Line("FAIL", "secrets.env", f"lacks {', '.join(missing)}")
    else:
        yield Line("PASS", "secrets.env", f"{len(held.names)} names, private")


def _host(site: Site) -> Iterator[Line]:
    basics = host.get_fact(HostBasics, site.root)
    skew = abs(basics.clock - time.time())
    yield Line("WARN" if skew > SKEW_SECONDS else "PASS", "clock", f"{skew:.0f} s from this controller's")
    low = basics.free_bytes < FREE_BYTES
    yield Line("WARN" if low else "PASS", "disk", f"{basics.free_bytes / 1e9:.0f} GB free under {site.root}")
    declared = (site.machine.memory_gb or 0) * 1e9
    if declared and basics.memory_bytes < declared * 0.9:
        hint = " (WSL: raise `memory` in .wslconfig)" if basics.wsl else ""
        yield Line("WARN", "memory", f"{basics.memory_bytes / 1e9:.0f} GB, declared {site.machine.memory_gb}{hint}")


def _supervisor(site: Site) -> Iterator[Line]:
    if site.by_process:
        answer = host.get_fact(ProcessServices, site.python, folder_of(site.root))
        yield Line("PASS" if answer.ok else "WARN", "supervisord", "runs" if answer.ok else "full.py starts it")


PREREQUISITES: tuple[Check, ...] = (_docker, _programs, _interpreter, _cards)
STANDING: tuple[Check, ...] = (_objects, doctor_weights.checks, _room, _supervisor, _serving, _routing, _secrets, _host)
ASK_DOCKER: tuple[Check, ...] = (_objects, doctor_weights.checks, _room, _serving, _routing)
