"""The gate between a serve that answers and a router that sends it work (9.6): a report per definition."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import partial

from pyinfra.api.exceptions import PyinfraError
from pyinfra.api.host import Host
from pyinfra.api.operation import OperationMeta
from pyinfra.context import host

from anvil.deploys import options
from anvil.deploys.site import Site, each
from anvil.hosts.preflight import preflight_passed
from anvil.render import compose
from anvil.render.services import ServiceSpec
from anvil.topology import derived
from anvil.topology.model import ServeTier, Topology

MODES = ("off", "warn", "required")
# One value of the machine's own file; it stands on no command line.
_WITH = 'secrets=$1 name=$2; shift 2; . "$secrets" && export "$name" && exec "$@"'


def gates(
    site: Site, done: Mapping[str, OperationMeta], ready: Mapping[str, OperationMeta], recreate: Collection[str]
) -> dict[str, OperationMeta]:
    """One gate for every serve that is ready and wants one. Raises PyinfraError when a gate could never run."""
    made: dict[str, OperationMeta] = {}
    for name in each(site.topology.serves):
        spec = site.spec(name)
        if spec is None or name not in ready or mode(spec) == "off":
            continue
        made[name] = preflight_passed(
            name=f"Preflight {name}",
            service=name,
            evidence=f"{site.root}/evidence/preflight/{name}-{spec.revision}.json",
            command=command(site, spec),
            required=mode(spec) == "required",
            again=name in recreate,
            since=partial(_made, host, site, spec),
            _if=[done[name].did_succeed, ready[name].did_succeed],
            _ignore_errors=True,
        )
    return made


def _made(on: Host, site: Site, spec: ServiceSpec) -> float:
    """How many seconds ago what is judged was made."""
    return site.runtime().observe(on, spec.name, spec.container).made_s


def mode(spec: ServiceSpec) -> str:
    """The serve's own gate, or this run's. Raises PyinfraError."""
    return options.chosen("preflight", MODES, spec.preflight)


def command(site: Site, spec: ServiceSpec) -> tuple[str, ...]:
    """The router's own program asks as the router would: from its image on the serves' network, or as a process."""
    family = ("--family", spec.family) if spec.family else ()
    thinking = ("--no-thinking",) if family and never_thinks(site.topology, spec.name) else ()
    asked = (
        "preflight",
        *("--base-url", derived.serve_url(site.topology, spec.name)),
        *("--model", spec.served_model),
        *("--needle-tokens", str(spec.needle_tokens)),
        *family,
        *thinking,
        *(("--api-key-env", token) if (token := _token(site.topology, spec.name)) else ()),
        "--json",
    )
    if site.by_process:
        return (site.python, "-m", "anvil", *asked)
    place = site.topology.router
    if not place.image:
        raise PyinfraError(
            f"serves.{spec.name}.preflight: runs in the router's image, and router.image is not set; set it, or"
            ' preflight = "off"'
        )
    run = ("docker", "run", "--rm", "--init", "--pull", place.pull, "--network", compose.NETWORK, "--read-only")
    if not token:
        return (*run, "--entrypoint", "anvil", place.image, *asked)
    known = ("sh", "-c", _WITH, "preflight", site.secrets_file, token)
    return (*known, *run, "-e", token, "--entrypoint", "anvil", place.image, *asked)


def _token(topology: Topology, serve: str) -> str:
    """The variable whose value the multiplexer wants of whoever asks a member of a swap group, "" for other serves."""
    shared = topology.serves[serve].swap_group is not None and topology.multiplexer is not None
    return topology.router.token[0] if shared and topology.router.token else ""


def never_thinks(topology: Topology, serve: str) -> bool:
    """Whether every tier of the serve switches thinking off: then it is judged as the router will use it."""
    tiers = [tier for tier in topology.tiers.values() if isinstance(tier, ServeTier) and tier.serve == serve]
    return bool(tiers) and all(tier.thinking == "off" for tier in tiers)
