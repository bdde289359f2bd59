"""What follows from more than one table (contract operations.md 3.3, D1-D8). Computed once, used by every
projection."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

import msgspec

from anvil.topology import families
from anvil.topology.model import (
    CloudTier,
    Custom,
    Gpu,
    LocalTier,
    ModelServe,
    ModeSubset,
    Serve,
    ServeTier,
    Tier,
    Topology,
)

# Preset -> work class (contract router.md 9.3); a custom preset has the class settings.preset_classes gives it.
PRESET_CLASSES: Mapping[str, str] = {
    "planning": "planning",
    "quick-edit": "bounded-edit",
    "review": "review",
    "chat": "chat",
    "long-context": "long-context",
}
WORK_CLASSES = ("chat", "bounded-edit", "multi-file-refactor", "planning", "review", "long-context")
_MAX_TOKENS: Mapping[str, int] = {"planning": 32_000, "review": 16_000, "long-context": 16_000}
_DEFAULT_MAX_TOKENS = 8192
_ROLES: Mapping[str, str] = {"fast-local": "fast", "heavy-local": "heavy", "cloud": "cloud"}
_NEEDLE_TOKENS = 128_000
_NEEDLE_MARGIN = 4096
LOOPBACK = "127.0.0.1"


class Active(NamedTuple):
    """D6: what the topology's mode leaves in force, in the order written."""

    serves: tuple[str, ...]
    tiers: tuple[str, ...]
    presets: Mapping[str, tuple[str, ...]]


class SecretNames(NamedTuple):
    """D7, sorted: variables that must have a value, and variables that may."""

    required: tuple[str, ...]
    optional: tuple[str, ...]

    def all(self) -> tuple[str, ...]:
        return tuple(sorted({*self.required, *self.optional}))


def in_mode(topology: Topology, mode: str | None) -> Topology:
    """The topology with another active mode; None or "" leaves it as written. Raises ValueError for an undeclared
    mode."""
    if not mode:
        return topology
    if mode not in topology.modes:
        raise ValueError(f"mode {mode!r} is not declared; known: {', '.join(topology.modes) or 'none'}")
    return msgspec.structs.replace(topology, mode=mode)


def subset(topology: Topology) -> ModeSubset:
    return topology.modes.get(topology.mode, ModeSubset()) if topology.mode else ModeSubset()


def active(topology: Topology) -> Active:
    """A mode that names serves but no tiers drops the tiers of the serves it leaves out."""
    mode = subset(topology)
    serves = tuple(name for name in topology.serves if mode.serves is None or name in mode.serves)
    presets = topology.presets if mode.presets is None else mode.presets
    if mode.tiers is not None:
        return Active(serves, tuple(name for name in topology.tiers if name in mode.tiers), presets)
    tiers = tuple(
        name for name, tier in topology.tiers.items() if not isinstance(tier, ServeTier) or tier.serve in serves
    )
    return Active(serves, tiers, presets)


def container(topology: Topology, serve: str) -> str:
    found = topology.serves[serve]
    return found.container or f"{engine(found)}-{serve}"


def socket_container(topology: Topology) -> str:
    """Holds the router's published port; it outlives the router's own container."""
    return f"{topology.router.container}-socket"


def next_container(topology: Topology) -> str:
    """The router that takes the callers while another one is replaced."""
    return f"{topology.router.container}-next"


def engine(serve: Serve) -> str:
    """The tag the file writes as `engine`."""
    return str(serve.__struct_config__.tag)


def gpus(topology: Topology, serve: Serve) -> tuple[Gpu, ...]:
    """The serve's cards in the order written. Raises KeyError for a card the machine does not have (T08)."""
    return tuple(topology.machines[serve.machine].gpus[name] for name in gpu_names(serve))


def gpu_names(serve: Serve) -> tuple[str, ...]:
    if serve.gpu is None:
        return ()
    return (serve.gpu,) if isinstance(serve.gpu, str) else serve.gpu


def memory_need_gb(topology: Topology, serve: Serve) -> float | None:
    """Free memory one card must have before an up, in GB; None when nothing says."""
    if serve.memory_need_gb is not None:
        return serve.memory_need_gb
    cards = gpus(topology, serve)
    return serve.gpu_memory * max(card.vram_gb for card in cards) if cards and isinstance(serve, ModelServe) else None


def needle_tokens(serve: Serve) -> int:
    """How long a preflight needle prompt may be; half of a window that the margin would use up."""
    return serve.needle_tokens or min(_NEEDLE_TOKENS, max(serve.context - _NEEDLE_MARGIN, serve.context // 2))


def listen_port(serve: Serve) -> int:
    """The port inside the container; on a process machine there is no inside."""
    return serve.container_port or serve.port if isinstance(serve, Custom) else serve.port


def serve_url(topology: Topology, name: str) -> str:
    """D1: where the router of the same machine reaches a serve."""
    serve = topology.serves[name]
    if serve.swap_group is not None and topology.multiplexer is not None:
        return f"http://{topology.multiplexer.container}:{topology.multiplexer.port}/v1"
    if topology.machines[serve.machine].runtime == "process":
        return f"http://{LOOPBACK}:{serve.port}/v1"
    return f"http://{name}:{listen_port(serve)}/v1"


def base_url(topology: Topology, tier: Tier) -> str:
    return serve_url(topology, tier.serve) if isinstance(tier, ServeTier) else tier.base_url


def model(topology: Topology, tier: Tier) -> str:
    return topology.serves[tier.serve].served_model if isinstance(tier, ServeTier) else tier.model


def context_limit(topology: Topology, tier: Tier) -> int:
    """D2: a tier of a serve may be narrower than its engine, never wider."""
    if not isinstance(tier, ServeTier):
        return tier.context_limit
    window = topology.serves[tier.serve].context
    return min(tier.context_limit or window, window)


def labels(topology: Topology, tier: Tier) -> tuple[str | None, str | None]:
    """Engine and quantization as the router records them."""
    if isinstance(tier, ServeTier):
        serve = topology.serves[tier.serve]
        return engine(serve), serve.quantization
    return (tier.engine, tier.quantization) if isinstance(tier, LocalTier) else (None, None)


def role(tier_id: str, tier: Tier) -> str | None:
    return tier.role or _ROLES.get(tier_id)


def auth_env(topology: Topology, tier_id: str) -> str:
    """The tier's own variable; tiers behind the multiplexer default to the token it shares with the router (16)."""
    tier = topology.tiers[tier_id]
    if tier.auth_env is None and swap_group(topology, tier) and topology.multiplexer and topology.router.token:
        return topology.router.token[0]
    return tier.auth_env or f"ANVIL_{tier_id.upper().replace('-', '_').replace('.', '_')}_KEY"


def swap_group(topology: Topology, tier: Tier) -> str | None:
    serve = topology.serves.get(tier.serve) if isinstance(tier, ServeTier) else None
    return serve.swap_group if serve else None


def extra_body(topology: Topology, tier: Tier) -> dict[str, Any] | None:
    """The tier's hard overrides, with the family's switch when thinking is off."""
    if not isinstance(tier, ServeTier) or tier.thinking != "off":
        return tier.extra_body
    switch = families.family(topology.serves[tier.serve].family).thinking_off or {}
    return merged(switch, tier.extra_body or {})


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """A new table; ``over`` wins, tables merge."""
    result = dict(base)
    for key, value in over.items():
        mine = result.get(key)
        result[key] = merged(mine, value) if isinstance(mine, Mapping) and isinstance(value, Mapping) else value
    return result


def work_class(topology: Topology, preset: str) -> str | None:
    own = topology.router.settings.get("preset_classes")
    found = PRESET_CLASSES.get(preset) or (own.get(preset) if isinstance(own, Mapping) else None)
    return str(found) if found else None


def metered_classes(topology: Topology) -> tuple[str, ...]:
    """The work classes that may cost money; what else stands there is for T09 and the router's decoder to refuse."""
    found = topology.router.settings.get("metered_cloud")
    return tuple(each for each in found if isinstance(each, str)) if isinstance(found, (list, tuple)) else ()


def usable_tiers(topology: Topology, preset: str, denied: Collection[tuple[str, str]] = ()) -> tuple[str, ...]:
    """D3: the preset's tiers that the router may use for it. ``denied`` holds (tier, work class) of the live
    profile."""
    asked = work_class(topology, preset)
    metered = metered_classes(topology)
    return tuple(
        tier
        for tier in active(topology).presets[preset]
        if (tier, asked) not in denied
        and (asked is None or asked in metered or not isinstance(topology.tiers[tier], CloudTier))
    )


def window(topology: Topology, preset: str, denied: Collection[tuple[str, str]] = ()) -> int | None:
    """D3: the window harnesses are told, in tokens; None when no tier may serve the preset."""
    tiers = usable_tiers(topology, preset, denied)
    return max((context_limit(topology, topology.tiers[tier]) for tier in tiers), default=None)


def is_cloud_only(topology: Topology, preset: str) -> bool:
    """Whether no local tier stands behind the preset: a router without a way to the cloud is then exhausted by
    design."""
    return all(isinstance(topology.tiers[tier], CloudTier) for tier in active(topology).presets[preset])


def max_tokens(preset: str, window: int) -> int:
    """D4: the output cap harnesses are told, in tokens."""
    return min(_MAX_TOKENS.get(preset, _DEFAULT_MAX_TOKENS), window)


def takes_images(topology: Topology, preset: str, denied: Collection[tuple[str, str]] = ()) -> bool:
    """D5: cloud tiers do unless they say otherwise, local ones only when they say so."""
    tiers = (topology.tiers[tier] for tier in usable_tiers(topology, preset, denied))
    return any(isinstance(tier, CloudTier) if tier.vision is None else tier.vision for tier in tiers)


def router_secret_names(topology: Topology) -> SecretNames:
    """The router's tokens and the keys of its active tiers; only cloud keys are required."""
    tiers = {name: topology.tiers[name] for name in active(topology).tiers}
    keys = {auth_env(topology, name) for name in tiers}
    paid = {auth_env(topology, name) for name, tier in tiers.items() if isinstance(tier, CloudTier)}
    required = {*topology.router.token, *paid}
    return SecretNames(tuple(sorted(required)), tuple(sorted(keys - required)))


def secret_names(topology: Topology, machine: str) -> SecretNames:
    """D7: every variable wanted on a machine. A serve's secrets are optional: absent = empty."""
    serves = (topology.serves[name] for name in active(topology).serves)
    optional = {name for serve in serves if serve.machine == machine for name in serve.secret_env}
    router = SecretNames((), ()) if topology.router.machine != machine else router_secret_names(topology)
    return SecretNames(router.required, tuple(sorted({*optional, *router.optional} - {*router.required})))


def canonical(value: Any) -> bytes:
    """D8: what hashes are taken over: JSON with sorted keys, no spaces, UTF-8."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def short_hash(content: bytes) -> str:
    """First 16 hex digits of the SHA-256."""
    return sha256(content)[:16]
