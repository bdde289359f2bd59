"""Serves and router as plain processes: neutral definitions, from which the hosts wing writes its supervisor files
(README 3).

Secrets are named, never held: whoever starts the process reads ``env_file`` and exports exactly ``secret_env``.
"""

from __future__ import annotations

from msgspec import Struct

from anvil.render import argv, engine
from anvil.render.env import Secrets
from anvil.topology import derived
from anvil.topology.model import Custom, Topology

ROUTER = "router"
STATE = "state"
RUN = "run.sh"
STARTED = "router/started"


class ProcessDefinition(Struct, frozen=True, kw_only=True):
    """One local process. Times in seconds.

    ``revision`` is 16 hex over everything but the secrets' values, which ``env_digest`` stands for.
    """

    name: str
    argv: tuple[str, ...]
    env: dict[str, str]
    secret_env: tuple[str, ...]
    env_file: str
    cwd: str
    restart: str
    start_timeout_s: int
    stop_timeout_s: int
    health_url: str
    revision: str
    env_digest: str


def serve(topology: Topology, name: str, secrets: Secrets) -> ProcessDefinition:
    """A serve of a process machine. Raises KeyError for a card the machine does not have (T08)."""
    found = topology.serves[name]
    machine = topology.machines[found.machine]
    place = argv.Place(
        host=derived.LOOPBACK,
        port=found.port,
        mount=None,
        platform=machine.platform,
        gpus=derived.gpus(topology, found),
        process=True,
    )
    health = found.health_path if isinstance(found, Custom) else "/health"
    return _definition(
        topology,
        found.machine,
        secrets,
        name=name,
        argv=argv.prepared(found, argv.command(found, place)).words(),
        env=argv.environment(found, place),
        secret_env=tuple(sorted(found.secret_env)),
        restart=found.restart,
        start_timeout_s=found.start_timeout_s,
        stop_timeout_s=found.stop_timeout_s,
        health_url=f"http://{derived.LOOPBACK}:{found.port}{health}",
    )


def router(topology: Topology, secrets: Secrets, start_timeout_s: int, stop_timeout_s: int) -> ProcessDefinition:
    """What the release's run script becomes; ``launcher`` is how the supervisor starts that script."""
    place = topology.router
    config = f"{topology.machines[place.machine].root}/router/current/router.toml"
    selector = ("--mode", topology.mode) if topology.mode else ("--config", config)
    return _definition(
        topology,
        place.machine,
        secrets,
        name=ROUTER,
        argv=(place.python, "-m", "anvil", "serve", *selector, "--host", place.publish, "--port", str(place.port)),
        env={f"ANVIL_CONFIG_{topology.mode.upper()}": config} if topology.mode else {},
        secret_env=derived.router_secret_names(topology).all(),
        restart="unless-stopped",
        start_timeout_s=start_timeout_s,
        stop_timeout_s=stop_timeout_s,
        health_url=f"http://{host_of(place.publish)}:{place.port}/healthz",
    )


def launcher(topology: Topology, definition: ProcessDefinition) -> ProcessDefinition:
    """The router as the supervisor sees it: the same words for every release, so that promotion needs no supervisor
    change."""
    root = topology.machines[topology.router.machine].root
    return _definition(
        topology,
        topology.router.machine,
        Secrets(),
        name=ROUTER,
        argv=("/bin/sh", f"{root}/router/current/{RUN}"),
        env={},
        secret_env=(),
        restart=definition.restart,
        start_timeout_s=definition.start_timeout_s,
        stop_timeout_s=definition.stop_timeout_s,
        health_url=definition.health_url,
    )


def run_script(definition: ProcessDefinition) -> str:
    """The router's start as a POSIX script; it notes which definition it starts, for go-live to compare."""
    return engine.render("run.sh.j2", run=definition, started=f"{definition.cwd}/{STARTED}", mark=mark(definition))


def mark(definition: ProcessDefinition) -> str:
    """What tells one way of running the router from another: revision and digest of its environment."""
    return f"{definition.revision} {definition.env_digest}"


def host_of(address: str) -> str:
    """An address as it stands in a URL."""
    return f"[{address}]" if ":" in address else address


def _definition(
    topology: Topology,
    machine: str,
    secrets: Secrets,
    *,
    name: str,
    argv: tuple[str, ...],
    env: dict[str, str],
    secret_env: tuple[str, ...],
    restart: str,
    start_timeout_s: int,
    stop_timeout_s: int,
    health_url: str,
) -> ProcessDefinition:
    root = topology.machines[machine].root
    hashed = {"argv": argv, "env": env, "secret_env": secret_env, "restart": restart, "stop_timeout_s": stop_timeout_s}
    return ProcessDefinition(
        name=name,
        argv=argv,
        env=env,
        secret_env=secret_env,
        env_file=f"{root}/secrets.env",
        cwd=root,
        restart=restart,
        start_timeout_s=start_timeout_s,
        stop_timeout_s=stop_timeout_s,
        health_url=health_url,
        revision=derived.short_hash(derived.canonical({"name": name, "cwd": root, **hashed})),
        env_digest=secrets.digest(secret_env),
    )
