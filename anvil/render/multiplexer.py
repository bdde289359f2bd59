"""The multiplexer as a service of the serves' project, and the registry it may touch (contract operations.md 16)."""

from __future__ import annotations

from typing import Any

import msgspec

from anvil.multiplexer import config
from anvil.render import engine, router
from anvil.render.argv import IN_CONTAINER
from anvil.render.compose import ENV, LOGGING, REVISION, environment, labelled, reservation
from anvil.render.env import Secrets
from anvil.render.services import ServiceSpec
from anvil.topology import derived
from anvil.topology.model import Gpu, Multiplexer, Topology

NAME = "multiplexer"
FILE = "multiplexer.toml"
_START_TIMEOUT_S = 60
_SOCKET = "/var/run/docker.sock"
_FOLDER = "/etc/anvil"


def service(topology: Topology, place: Multiplexer, secrets: Secrets) -> dict[str, Any]:
    """Runs from the router's image as root of that host in all but name: the docker socket is mounted."""
    root = topology.machines[place.machine].root
    tokens = topology.router.token
    made: dict[str, Any] = {
        "image": topology.router.image,
        "container_name": place.container,
        "pull_policy": topology.router.pull,
        "user": "0:0",
        "read_only": True,
        "tmpfs": ["/run/anvil"],
        "security_opt": ["no-new-privileges:true"],
        "restart": "unless-stopped",
        "stop_grace_period": f"{place.drain_timeout_s + router.DRAIN_MARGIN_S}s",
        "entrypoint": ["anvil"],
        "command": ["multiplexer", "--config", f"{_FOLDER}/{FILE}"],
        "environment": environment({"TMPDIR": "/run/anvil"}, {name: True for name in tokens}),
        "ports": [f"{derived.LOOPBACK}:{place.port}:{place.port}"],
        "volumes": [f"{root}/{NAME}:{_FOLDER}:ro", *([f"{_SOCKET}:{_SOCKET}"] if place.docker_socket else [])],
        "healthcheck": {
            "test": ["CMD", "anvil", "probe", "--healthz", "--url", f"http://{derived.LOOPBACK}:{place.port}"],
            "interval": "30s",
            "timeout": "5s",
            "retries": 3,
            "start_period": "10s",
        },
        "logging": LOGGING,
    }
    if (card := _card(topology, place)) is not None:
        # nvidia-smi comes with it; nothing is computed there
        made["deploy"] = reservation((card,), "utility")
    # The file is part of the definition: another registry is another revision.
    return labelled(topology, made, NAME, NAME, secrets, tokens, {"anvil.config": _digest(topology, place)})


def document(topology: Topology, place: Multiplexer) -> dict[str, Any]:
    """multiplexer.toml as data: listen address, limits, one row per member of a swap group on the machine."""
    limits = {"ram_cap_gb": place.ram_cap_gb} if place.ram_cap_gb is not None else {}
    auth = {"auth_env": list(topology.router.token)} if topology.router.token else {}
    card = _card(topology, place)
    return {
        "listen": f"{IN_CONTAINER}:{place.port}",
        **auth,
        **limits,
        "drain_timeout_s": place.drain_timeout_s,
        "min_resident_s": place.min_resident_s,
        **({"gpu": card.uuid} if card is not None else {}),
        "registry": [_row(topology, name) for name in members(topology, place)],
    }


def toml(topology: Topology, place: Multiplexer) -> str:
    """The text, read back with the multiplexer's own decoder. Raises ConfigError."""
    made = document(topology, place)
    text = engine.render(
        "multiplexer.toml.j2", scalars={k: v for k, v in made.items() if k != "registry"}, rows=made["registry"]
    )
    if made["registry"]:
        meant = msgspec.convert(made, config.MultiplexerConfig)
        assert config.parse(text, FILE) == meant, "multiplexer.toml is read otherwise than it was meant"
    return text


def spec(topology: Topology, place: Multiplexer, service: dict[str, Any]) -> ServiceSpec:
    plain = engine.interpolated(service)
    labels, base = plain["labels"], f"http://{derived.LOOPBACK}:{place.port}"
    return ServiceSpec(
        name=NAME,
        role="multiplexer",
        wanted="up",
        revision=labels[REVISION],
        env_digest=labels[ENV],
        container=place.container,
        image=topology.router.image or "",
        pull=topology.router.pull,
        port=place.port,
        health_url=f"{base}/healthz",
        models_url=f"{base}/v1/models",
        served_model="",
        context=0,
        start_timeout_s=_START_TIMEOUT_S,
        stop_timeout_s=place.drain_timeout_s + router.DRAIN_MARGIN_S,
        secret_env=topology.router.token,
        definition=plain,
        on_env_change="recreate",
    )


def members(topology: Topology, place: Multiplexer) -> tuple[str, ...]:
    return tuple(
        name
        for name in derived.active(topology).serves
        if topology.serves[name].swap_group is not None and topology.serves[name].machine == place.machine
    )


def _card(topology: Topology, place: Multiplexer) -> Gpu | None:
    """The one card of all members, whose free memory is asked for; None where there are several or none."""
    cards = {gpu for name in members(topology, place) for gpu in derived.gpus(topology, topology.serves[name])}
    return cards.pop() if len(cards) == 1 else None


def _row(topology: Topology, name: str) -> dict[str, Any]:
    serve = topology.serves[name]
    need = derived.memory_need_gb(topology, serve)
    # What lives on a card only passes through the host's memory; a card that shares it is not declared as one.
    which = "vram_gb" if derived.gpus(topology, serve) else "est_weight_gb"
    return {
        "name": serve.served_model,
        "container": derived.container(topology, name),
        "port": derived.listen_port(serve),
        **({which: need} if need is not None else {}),
        "start_timeout_s": serve.start_timeout_s,
    }


def _digest(topology: Topology, place: Multiplexer) -> str:
    return derived.short_hash(derived.canonical(document(topology, place)))
