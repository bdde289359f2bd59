"""The serves' compose file (contract operations.md 5.2): one structure per service, laid out by a template.

Structures hold plain values; ``engine.interpolated`` gives what a YAML reader sees (`$` doubled), and hashes are
taken over that.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from anvil.render import argv, engine
from anvil.render.engine import Reference, interpolated
from anvil.render.env import Secrets
from anvil.topology import derived
from anvil.topology.model import Custom, Gpu, LlamaCpp, Serve, Sglang, Topology, Vllm

NETWORK = "anvil"
REVISION = "anvil.revision"
ENV = "anvil.env"
LOGGING: Mapping[str, Any] = {"driver": "json-file", "options": {"max-size": "50m", "max-file": "3"}}
_SGLANG_SHM = "16g"
_BLOCK = frozenset({"environment", "healthcheck", "labels"})


def document(
    topology: Topology, machine: str, secrets: Secrets, extra: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Every serve of the machine, active or not, plus ``extra`` services; the router is never in this file (C7)."""
    names = [name for name, serve in topology.serves.items() if serve.machine == machine]
    services = {name: service(topology, name, secrets) for name in names} | dict(extra or {})
    used = {volume for name in names if (volume := topology.serves[name].volume)}
    volumes = {
        name: {"name": volume.name, "external": True} for name, volume in topology.volumes.items() if name in used
    }
    return {
        "name": topology.deployment,
        "networks": {"default": {"name": NETWORK, "external": True}},
        **_given("volumes", volumes or None),
        "services": services,
    }


def text(made: Mapping[str, Any]) -> str:
    return engine.render("compose.yaml.j2", document=made, block=_BLOCK)


def place(topology: Topology, serve: Serve) -> argv.Place:
    """Where a serve listens inside its container. Raises KeyError for a card or volume that is not declared (T08,
    T11)."""
    volume = topology.volumes[serve.volume] if serve.volume else None
    return argv.Place(
        host=argv.IN_CONTAINER,
        port=derived.listen_port(serve),
        mount=volume.mount if volume else None,
        platform=topology.machines[serve.machine].platform,
        gpus=derived.gpus(topology, serve),
        directory=volume is not None and volume.kind == "directory",
    )


def service(topology: Topology, name: str, secrets: Secrets) -> dict[str, Any]:
    """One serve, keys in the order of the contract's example, with its two hash labels."""
    serve = topology.serves[name]
    here = place(topology, serve)
    command = argv.prepared(serve, argv.command(serve, here))
    made: dict[str, Any] = {
        "image": serve.image,
        "container_name": derived.container(topology, name),
        "pull_policy": serve.pull,
        "restart": serve.restart,
        "stop_grace_period": f"{serve.stop_timeout_s}s",
        **_given("ipc", _ipc(serve)),
        **_given("shm_size", serve.shm_size or (_SGLANG_SHM if isinstance(serve, Sglang) else None)),
        "entrypoint": list(command.entrypoint),
        "command": list(command.args),
        **_given("environment", environment(argv.environment(serve, here), dict.fromkeys(serve.secret_env, False))),
        "ports": [f"{derived.LOOPBACK}:{serve.port}:{here.port}"],
        **_given("volumes", _volumes(topology, serve)),
        **_given("healthcheck", _healthcheck(serve, here)),
        "logging": LOGGING,
        **_given("deploy", reservation(here.gpus) if here.gpus else None),
    }
    return labelled(topology, made, "serve", name, secrets, serve.secret_env)


def environment(literal: Mapping[str, str], secret: Mapping[str, bool]) -> dict[str, Any] | None:
    """Literal values and references (name -> required), sorted by name; None when there are none."""
    references = {name: Reference(name, required) for name, required in secret.items()}
    return dict(sorted({**references, **literal}.items())) or None


def labelled(
    topology: Topology,
    made: dict[str, Any],
    role: str,
    name: str,
    secrets: Secrets,
    secret_env: tuple[str, ...],
    more: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """C6: the service with its labels; the revision is taken without the two hash labels."""
    labels = {"anvil.deployment": topology.deployment, "anvil.role": role, "anvil.name": name, **(more or {})}
    made = {**made, "labels": labels}
    hashes = {REVISION: derived.short_hash(derived.canonical(interpolated(made))), ENV: secrets.digest(secret_env)}
    return {**made, "labels": {**labels, **hashes}}


def _ipc(serve: Serve) -> str | None:
    return ("host" if isinstance(serve, Vllm) else None) if serve.ipc is None else serve.ipc or None


def _volumes(topology: Topology, serve: Serve) -> list[str | dict[str, Any]] | None:
    if not serve.volume:
        return None
    volume = topology.volumes[serve.volume]
    if len(serve.volume) == 1:  # `w:/models` is a Windows drive to compose
        written = {"type": "volume", "source": serve.volume, "target": volume.mount}
        return [{**written, **({"read_only": True} if volume.kind == "directory" else {})}]
    return [f"{serve.volume}:{volume.mount}{':ro' if volume.kind == 'directory' else ''}"]


def _healthcheck(serve: Serve, here: argv.Place) -> dict[str, Any]:
    return {
        "test": ["CMD", *_health_command(serve, here)],
        "interval": "10s",
        "timeout": "5s",
        "retries": 3,
        "start_period": f"{serve.start_timeout_s}s",
    }


def _health_command(serve: Serve, here: argv.Place) -> tuple[str, ...]:
    """Python images ask with Python; llama.cpp's own image has curl; another image says how with ``health_command``."""
    path = serve.health_path if isinstance(serve, Custom) else "/health"
    url = f"http://{derived.LOOPBACK}:{here.port}{path}"
    if isinstance(serve, (LlamaCpp, Custom)):
        return serve.health_command or ("curl", "-fsS", "-m", "3", "-o", "/dev/null", url)
    return ("python3", "-c", f"import urllib.request as u; u.urlopen('{url}', timeout=3)")


def reservation(gpus: tuple[Gpu, ...], *more: str) -> dict[str, Any]:
    """The cards a container sees, by UUID; ``more`` are the driver's capabilities beside "gpu"."""
    device = {"driver": "nvidia", "device_ids": [gpu.uuid for gpu in gpus], "capabilities": ["gpu", *more]}
    return {"resources": {"reservations": {"devices": [device]}}}


def _given(key: str, value: object) -> dict[str, Any]:
    return {} if value is None else {key: value}
