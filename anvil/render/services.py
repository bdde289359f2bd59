"""What the deploys need to know of one wanted service beside its definition: names, hashes, addresses, limits."""

from __future__ import annotations

from typing import Any, Literal

from msgspec import Struct

from anvil.topology import derived
from anvil.topology.model import Custom, Serve, ServeTier, Topology

Wanted = Literal["up", "down", "created"]


class ServiceSpec(Struct, frozen=True, kw_only=True):
    """One service of a machine. URLs are those of the host's loopback; times in seconds, windows in tokens, memory
    in GB.

    ``wanted`` is "created" for members of a swap group, which the multiplexer starts. ``context`` is the largest
    window a tier expects. ``definition`` is the service as a YAML reader sees it (compose) or the process definition's
    fields.
    """

    name: str
    role: Literal["serve", "router", "multiplexer"]
    wanted: Wanted
    revision: str
    env_digest: str
    container: str
    image: str
    pull: str
    port: int
    health_url: str
    models_url: str
    served_model: str
    context: int
    start_timeout_s: int
    stop_timeout_s: int
    secret_env: tuple[str, ...]
    definition: dict[str, Any]
    gpus: tuple[str, ...] = ()
    memory_need_gb: float | None = None
    on_failure: Literal["keep", "restore"] = "keep"
    on_env_change: Literal["report", "recreate"] = "report"
    preflight: Literal["off", "warn", "required"] = "off"
    needle_tokens: int = 0
    family: str | None = None


def of_serve(topology: Topology, name: str, definition: dict[str, Any], revision: str, env_digest: str) -> ServiceSpec:
    serve = topology.serves[name]
    base = f"http://{derived.LOOPBACK}:{serve.port}"
    return ServiceSpec(
        name=name,
        role="serve",
        wanted=_wanted(topology, name),
        revision=revision,
        env_digest=env_digest,
        container=derived.container(topology, name),
        image=serve.image or "",
        pull=serve.pull,
        port=serve.port,
        health_url=base + (serve.health_path if isinstance(serve, Custom) else "/health"),
        models_url=f"{base}/v1/models",
        served_model=serve.served_model,
        context=_expected_window(topology, name, serve),
        start_timeout_s=serve.start_timeout_s,
        stop_timeout_s=serve.stop_timeout_s,
        secret_env=tuple(sorted(serve.secret_env)),
        definition=definition,
        gpus=tuple(gpu.uuid for gpu in derived.gpus(topology, serve)),
        memory_need_gb=derived.memory_need_gb(topology, serve),
        on_failure=serve.on_failure,
        on_env_change=serve.on_env_change,
        preflight=serve.preflight,
        needle_tokens=derived.needle_tokens(serve),
        family=serve.family,
    )


def _wanted(topology: Topology, name: str) -> Wanted:
    serve = topology.serves[name]
    if serve.state == "down" or name not in derived.active(topology).serves:
        return "down"
    return "up" if serve.swap_group is None else "created"


def _expected_window(topology: Topology, name: str, serve: Serve) -> int:
    tiers = (tier for tier in topology.tiers.values() if isinstance(tier, ServeTier) and tier.serve == name)
    return max((derived.context_limit(topology, tier) for tier in tiers), default=serve.context)
