"""The router's release: router.toml, its one-service compose file or process section, and the id over them
(5.3-5.6)."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import partial
from typing import Any

import msgspec

from anvil.render import engine, process
from anvil.render.argv import IN_CONTAINER
from anvil.render.compose import ENV, LOGGING, NETWORK, REVISION, environment, labelled, text
from anvil.render.env import Secrets
from anvil.render.services import ServiceSpec
from anvil.router.config import RouterConfig, ServerConfig
from anvil.topology import derived
from anvil.topology.model import CloudTier, LocalTier, Topology

IN_IMAGE = "/etc/anvil/current"
PROFILE = "profile.json"
PORT_IN_IMAGE = 8000
STATE_VOLUME = "anvil-router-state"
USER = "10001:10001"
_STATE_MOUNT = "/var/lib/anvil"
_RUN_DIR = "/run/anvil"
_STORE = "decisions.sqlite"
_HOLDER = f"{_STATE_MOUNT}/router.sock"
SOCKET = "socket"
NEXT = "next"
DRAIN_MARGIN_S = 5
_START_TIMEOUT_S = 60
# Ride to the router's tier of the same name unchanged.
_PASSED = (
    "vision",
    "documents",
    "tokenizer",
    "image_tokens",
    "stable_prefix",
    "late_system",
    "reasoning_field",
    "max_tokens_field",
)
DERIVED_SETTINGS = ("mapping_version", "profile_path", "tiers", "presets", "auth_env")


def profile_path(topology: Topology) -> str:
    """A process reads the profile beside its router.toml, so that a staged release is judged by its own profile; in the
    image the staged folder is mounted where the live one will be."""
    machine = topology.machines[topology.router.machine]
    return PROFILE if machine.runtime == "process" else f"{IN_IMAGE}/{PROFILE}"


def document(topology: Topology, with_profile: bool) -> dict[str, Any]:
    """router.toml as data, tables and keys in the order of 5.4; absent keys are left out."""
    router = _present(
        {
            "mapping_version": topology.mapping_version,
            "profile_path": profile_path(topology) if with_profile else None,
            **_ordered(_settings(topology), RouterConfig),
        }
    )
    active = derived.active(topology)
    return {
        "server": _present(
            {"auth_env": _auth(topology.router.token), **_ordered(topology.router.server, ServerConfig)}
        ),
        "router": {
            **router,
            "tiers": [tier(topology, name) for name in active.tiers],
            "presets": {name: list(tiers) for name, tiers in active.presets.items()},
        },
    }


def toml(topology: Topology, made: Mapping[str, Any]) -> str:
    router = {key: value for key, value in made["router"].items() if key not in ("tiers", "presets")}
    tables = {f"router.{engine.toml_key(key)}": value for key, value in router.items() if isinstance(value, Mapping)}
    scalars = {key: value for key, value in router.items() if not isinstance(value, Mapping)}
    return engine.render(
        "router.toml.j2",
        mapping_version=topology.mapping_version,
        mode=topology.mode,
        sections={"server": made["server"], "router": scalars, **tables},
        tiers=made["router"]["tiers"],
        presets=made["router"]["presets"],
    )


def tier(topology: Topology, name: str) -> dict[str, Any]:
    """One `[[router.tiers]]` table; address, model and window of a serve's tier are derived (D1, D2)."""
    found = topology.tiers[name]
    label, quantization = derived.labels(topology, found)
    return _present(
        {
            "id": name,
            "base_url": derived.base_url(topology, found),
            "model": derived.model(topology, found),
            "dialect": found.dialect if isinstance(found, (LocalTier, CloudTier)) else "openai",
            "context_limit": derived.context_limit(topology, found),
            "privacy": "cloud" if isinstance(found, CloudTier) else "local",
            "tool_support": found.tool_support,
            "auth_env": derived.auth_env(topology, name),
            "role": derived.role(name, found),
            "swap_group": derived.swap_group(topology, found),
            "engine": label,
            "quantization": quantization,
            "params": found.params,
            "timeout": found.timeout,
            "max_concurrency": found.max_concurrency,
            "cost_input_per_mtok": found.cost_input_per_mtok if isinstance(found, CloudTier) else None,
            "cost_output_per_mtok": found.cost_output_per_mtok if isinstance(found, CloudTier) else None,
            **{key: getattr(found, key) for key in _PASSED},
            "extra_body_defaults": found.extra_body_defaults,
            "extra_body": derived.extra_body(topology, found),
        }
    )


def compose(topology: Topology, secrets: Secrets) -> dict[str, Any]:
    """The router's own project on a compose machine (5.3): one service, or three with `handover`.

    `router` is what runs. `socket` holds the published port, so that callers wait instead of being refused while one
    router takes over from another; it outlives releases. `next` is the router that takes the callers meanwhile.
    """
    place = topology.router
    names = derived.router_secret_names(topology)
    service = _service(topology)
    mode = {"anvil.mode": topology.mode} if topology.mode else {}
    made = partial(labelled, topology, role="router", secrets=secrets, secret_env=names.all(), more=mode)
    services: dict[str, Any] = {}
    if place.handover:
        service["command"] += ["--holder", _HOLDER]
        following = {**service, "container_name": derived.next_container(topology), "restart": "no"}
        services[SOCKET] = _socket(topology, secrets)
        services[NEXT] = made({**following, "profiles": ["handover"]}, name=NEXT)
    else:
        service["ports"] = _ports(topology)
    return {
        "name": f"{topology.deployment}-router",
        "networks": {"default": {"name": NETWORK, "external": True}},
        "volumes": {STATE_VOLUME: {"name": STATE_VOLUME, "external": True}},
        "services": {"router": made(service, name="router"), **services},
    }


def _ports(topology: Topology) -> list[str]:
    place = topology.router
    return [f"{process.host_of(place.publish)}:{place.port}:{PORT_IN_IMAGE}"]


def _service(topology: Topology) -> dict[str, Any]:
    """The parent of `current` is mounted: a link would freeze."""
    place = topology.router
    names = derived.router_secret_names(topology)
    literal = {"TMPDIR": _RUN_DIR, **_mode_variable(topology, f"{IN_IMAGE}/router.toml")}
    selector = ["--mode", topology.mode] if topology.mode else ["--config", f"{IN_IMAGE}/router.toml"]
    listen = ["--host", IN_CONTAINER, "--port", str(PORT_IN_IMAGE)]
    return {
        **_hardened(topology),
        "container_name": place.container,
        "tmpfs": [_RUN_DIR],
        "restart": "unless-stopped",
        "stop_grace_period": f"{stop_timeout_s(topology)}s",
        "command": ["serve", *selector, *listen],
        "environment": environment(literal, {name: name in names.required for name in names.all()}),
        "volumes": [f"{topology.machines[place.machine].root}/router:/etc/anvil:ro", f"{STATE_VOLUME}:{_STATE_MOUNT}"],
        "healthcheck": {
            "test": ["CMD", "anvil", "probe", "--healthz"],
            "interval": "30s",
            "timeout": "5s",
            "retries": 3,
            "start_period": "10s",
        },
    }


def _socket(topology: Topology, secrets: Secrets) -> dict[str, Any]:
    """Its revision is taken without the image: a new router image is no reason to replace it."""
    service = {
        **_hardened(topology),
        "container_name": derived.socket_container(topology),
        "restart": "unless-stopped",
        "command": ["socket", "--host", IN_CONTAINER, "--port", str(PORT_IN_IMAGE), "--at", _HOLDER],
        "ports": _ports(topology),
        "volumes": [f"{STATE_VOLUME}:{_STATE_MOUNT}"],
        "healthcheck": {"disable": True},
    }
    image = service.pop("image")
    return {"image": image, **labelled(topology, service, SOCKET, SOCKET, secrets, ())}


def _hardened(topology: Topology) -> dict[str, Any]:
    return {
        "image": topology.router.image,
        "pull_policy": topology.router.pull,
        "user": USER,
        "read_only": True,
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges:true"],
        "entrypoint": ["anvil"],
        "logging": LOGGING,
    }


def definition(topology: Topology, secrets: Secrets) -> process.ProcessDefinition:
    return process.router(topology, secrets, _START_TIMEOUT_S, stop_timeout_s(topology))


def files(topology: Topology, secrets: Secrets, profile: bytes | None) -> dict[str, bytes]:
    """What the release id is taken over: router.toml, profile.json when given, and how to run it."""
    made = {"router.toml": toml(topology, document(topology, profile is not None)).encode()}
    if profile is not None:
        made[PROFILE] = profile if profile.endswith(b"\n") else profile + b"\n"  # A text file ends with one.
    if topology.machines[topology.router.machine].runtime == "process":
        return {**made, process.RUN: process.run_script(definition(topology, secrets)).encode()}
    return {**made, "compose.yaml": text(compose(topology, secrets)).encode()}


def spec(topology: Topology, secrets: Secrets) -> ServiceSpec:
    """What the deploys need to know of the wanted router; ``models_url`` asks with a token."""
    place = topology.router
    base = f"http://{process.host_of(place.publish)}:{place.port}"
    made = ServiceSpec(
        name="router",
        role="router",
        wanted="up",
        revision="",
        env_digest="",
        container=place.container,
        image=place.image or "",
        pull=place.pull,
        port=place.port,
        health_url=f"{base}/healthz",
        models_url=f"{base}/v1/models",
        served_model="",
        context=0,
        start_timeout_s=_START_TIMEOUT_S,
        stop_timeout_s=stop_timeout_s(topology),
        secret_env=derived.router_secret_names(topology).all(),
        definition={},
        on_env_change="recreate",
    )
    if topology.machines[place.machine].runtime == "process":
        run = definition(topology, secrets)
        plain: dict[str, Any] = msgspec.to_builtins(run)
        return msgspec.structs.replace(made, revision=run.revision, env_digest=run.env_digest, definition=plain)
    plain = engine.interpolated(compose(topology, secrets)["services"]["router"])
    labels = plain["labels"]
    return msgspec.structs.replace(made, revision=labels[REVISION], env_digest=labels[ENV], definition=plain)


def release_id(content: Mapping[str, bytes]) -> str:
    """5.6: 16 hex over the sorted sequence `name NUL length NUL bytes`."""
    sha = hashlib.sha256()
    for name in sorted(content):
        sha.update(f"{name}\0{len(content[name])}\0".encode() + content[name])
    return sha.hexdigest()[:16]


def stop_timeout_s(topology: Topology) -> int:
    drain = topology.router.server.get("drain_timeout_s", ServerConfig().drain_timeout_s)
    return round(drain) + DRAIN_MARGIN_S if isinstance(drain, (int, float)) else DRAIN_MARGIN_S


def _settings(topology: Topology) -> dict[str, Any]:
    settings = {key: value for key, value in topology.router.settings.items() if key not in DERIVED_SETTINGS}
    decisions = settings.get("decisions", {})
    if isinstance(decisions, Mapping):
        settings["decisions"] = {**decisions, "store_path": decisions.get("store_path", _store_path(topology))}
    return settings


def _store_path(topology: Topology) -> str:
    machine = topology.machines[topology.router.machine]
    folder = _STATE_MOUNT if machine.runtime == "compose" else f"{machine.root}/{process.STATE}"
    return f"{folder}/{_STORE}"


def _mode_variable(topology: Topology, path: str) -> dict[str, str]:
    return {f"ANVIL_CONFIG_{topology.mode.upper()}": path} if topology.mode else {}


def _auth(tokens: tuple[str, ...]) -> str | list[str] | None:
    """A string when there is one name, a list when there are several, nothing for an open router."""
    return list(tokens) if len(tokens) > 1 else next(iter(tokens), None)


def _ordered(given: Mapping[str, Any], schema: type[msgspec.Struct]) -> dict[str, Any]:
    """The keys in the order the router's schema lists them; unknown keys last, for the router's decoder to refuse."""
    known = [field.name for field in msgspec.structs.fields(schema)]
    return {key: given[key] for key in sorted(given, key=lambda key: known.index(key) if key in known else len(known))}


def _present(table: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in table.items() if value is not None}
