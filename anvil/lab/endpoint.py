"""Which OpenAI-compatible endpoint a measurement is about: from flags, or from a serve or tier of the topology."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlsplit

from anvil.topology import derived, load
from anvil.topology.model import CloudTier, ModelServe, Serve, ServeTier, Tier, Topology


class Refused(Exception):
    """The flags or the topology do not name one endpoint; the sentence names the flag. Nothing was dialled."""


@dataclass(frozen=True)
class Facts:
    """What the topology states about the endpoint; None = not stated. ``needle_tokens`` is its preflight length."""

    engine: str | None = None
    quantization: str | None = None
    gpu_model: str | None = None
    gpu_count: int | None = None
    family: str | None = None
    needle_tokens: int | None = None
    speculative: bool | None = None


@dataclass(frozen=True)
class Endpoint:
    """``base_url`` ends with /v1. ``extra_body`` is what the tier adds to every request."""

    base_url: str
    model: str
    key: str = field(default="", repr=False)
    key_env: str | None = None
    facts: Facts = Facts()
    extra_body: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def root(self) -> str:
        """The address without /v1, where /health and /version are."""
        return self.base_url.removesuffix("/v1")

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key}"} if self.key else {}

    def masked(self, text: str) -> str:
        """The text without the key: engines like to quote it in their errors."""
        return text.replace(self.key, f"<{self.key_env}>") if self.key else text


@dataclass(frozen=True)
class Asked:
    """The flags of lab contract section 1 that name an endpoint."""

    base_url: str | None = None
    model: str | None = None
    serve: str | None = None
    tier: str | None = None
    topology: Path | None = None
    api_key_env: str | None = None


def _resolves(host: str) -> bool:
    try:
        socket.getaddrinfo(host, None)
    except OSError:
        return False
    return True


def resolve(asked: Asked, environ: Mapping[str, str], resolves: Callable[[str], bool] = _resolves) -> Endpoint:
    """The one endpoint the flags name; ``--base-url`` and ``--model`` override the topology. Raises Refused."""
    if asked.serve and asked.tier:
        raise Refused("--serve and --tier both name an endpoint; give one")
    if asked.serve or asked.tier:
        found = _of_topology(asked, environ, resolves)
    else:
        if not asked.base_url or not asked.model:
            raise Refused("give --base-url and --model, or --serve NAME or --tier ID of the topology")
        found = Endpoint("", "")
    if asked.base_url:
        # a key the topology names belongs to the address the topology names
        found = replace(found, base_url=asked.base_url, key="", key_env=None, notes=())
    url, notes = normalised(found.base_url)
    found = replace(found, base_url=url, model=asked.model or found.model, notes=(*found.notes, *notes))
    return _with_key(found, asked.api_key_env, environ) if asked.api_key_env else found


def normalised(url: str) -> tuple[str, tuple[str, ...]]:
    """The URL with exactly one trailing /v1 and 127.0.0.1 for localhost, with a note. Raises Refused."""
    parts = _split(url)
    if parts.username or parts.password:
        raise Refused("the base URL holds credentials; leave them out and give --api-key-env NAME")
    if parts.query or parts.fragment:
        raise Refused(f"base URL {url!r} has a query or fragment; give scheme, host, port and path only")
    notes: tuple[str, ...] = ()
    place = parts.netloc
    if parts.hostname == "localhost":
        place = place.lower().replace("localhost", derived.LOOPBACK, 1)
        notes = ("localhost is read as 127.0.0.1",)
    path = parts.path.rstrip("/").removesuffix("/v1").rstrip("/")
    return f"{parts.scheme}://{place}{path}/v1", notes


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url.strip())
        _ = parts.port
    except ValueError:
        raise Refused("the base URL cannot be read; give one such as http://127.0.0.1:8000/v1") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise Refused(f"base URL {url!r} is not http or https; give one such as http://127.0.0.1:8000/v1")
    return parts


def _with_key(endpoint: Endpoint, name: str, environ: Mapping[str, str]) -> Endpoint:
    key = environ.get(name, "").strip()
    if not key:
        # the value given may be the key itself: never repeat it
        raise Refused("--api-key-env names no variable that is set; give the name of a variable, never the key")
    return replace(endpoint, key=key, key_env=name)


def read_topology(named: Path | None, environ: Mapping[str, str]) -> Topology:
    """The topology at ``--topology``, ANVIL_TOPOLOGY or ./inventory/topology.toml. Raises Refused."""
    try:
        return load.load(named or load.path(environ, load.DEFAULT), environ)
    except load.TopologyError as error:
        raise Refused(str(error)) from None


def _of_topology(asked: Asked, environ: Mapping[str, str], resolves: Callable[[str], bool]) -> Endpoint:
    topology = read_topology(asked.topology, environ)
    if asked.serve:
        return _of_serve(topology, _known(asked.serve, "serve", topology.serves), resolves)
    tier_id = _known(asked.tier or "", "tier", topology.tiers)
    tier = topology.tiers[tier_id]
    if not isinstance(tier, ServeTier) and tier.dialect != "openai":
        raise Refused(f"tier {tier_id} speaks the {tier.dialect} dialect; this needs an OpenAI-compatible endpoint")
    found = _of_tier(topology, tier, resolves)
    found = replace(found, extra_body=derived.extra_body(topology, tier) or {})
    name = derived.auth_env(topology, tier_id)
    if environ.get(name, "").strip():
        return _with_key(found, name, environ)
    if isinstance(tier, CloudTier) and not asked.base_url:
        raise Refused(f"tier {tier_id} needs its key in {name}, which is not set")
    return found


def _known(name: str, kind: str, table: Mapping[str, object]) -> str:
    if name not in table:
        raise Refused(f"no {kind} {name!r} in the topology; known: {', '.join(table) or 'none'}")
    return name


def _of_tier(topology: Topology, tier: Tier, resolves: Callable[[str], bool]) -> Endpoint:
    if isinstance(tier, ServeTier):
        return _of_serve(topology, tier.serve, resolves)
    engine, quantization = derived.labels(topology, tier)
    return Endpoint(tier.base_url, tier.model, facts=Facts(engine=engine, quantization=quantization))


def _of_serve(topology: Topology, name: str, resolves: Callable[[str], bool]) -> Endpoint:
    serve = topology.serves[name]
    url, notes = _from_here(topology, name, resolves)
    return Endpoint(url, serve.served_model, facts=_facts(topology, serve), notes=notes)


def _from_here(topology: Topology, name: str, resolves: Callable[[str], bool]) -> tuple[str, tuple[str, ...]]:
    """The name on the serves' network where it resolves, else the port published on loopback."""
    url = derived.serve_url(topology, name)
    host = urlsplit(url).hostname or ""
    if host == derived.LOOPBACK or resolves(host):
        return url, ()
    serve, shared = topology.serves[name], topology.multiplexer
    port = shared.port if serve.swap_group is not None and shared else serve.port
    here = f"http://{derived.LOOPBACK}:{port}/v1"
    note = f"{host} is known on the serves' network only; dialling the port {serve.machine} publishes on loopback"
    return here, (note,)


def _facts(topology: Topology, serve: Serve) -> Facts:
    cards = derived.gpus(topology, serve) if _cards_known(topology, serve) else ()
    models = dict.fromkeys(card.model for card in cards)
    return Facts(
        engine=derived.engine(serve),
        quantization=serve.quantization,
        gpu_model=" + ".join(models) or None,
        gpu_count=len(cards) or None,
        family=serve.family,
        needle_tokens=derived.needle_tokens(serve),
        speculative=serve.speculative is not None if isinstance(serve, ModelServe) else None,
    )


def _cards_known(topology: Topology, serve: Serve) -> bool:
    machine = topology.machines.get(serve.machine)
    return machine is not None and all(name in machine.gpus for name in derived.gpu_names(serve))
