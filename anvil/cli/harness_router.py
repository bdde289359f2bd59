"""Where ``anvil harness`` learns about the router: from the running one, or from the topology."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Final

import click
import httpx
import msgspec

from anvil.cli import topology_file
from anvil.cli.ending import stop, unauthorized
from anvil.cli.exit_codes import FAILED, UNREACHABLE, USAGE
from anvil.harness.model import File, Model, Router, max_output, title
from anvil.lab import whole_answer
from anvil.router import profile as quality
from anvil.router.config import ConfigError, RouterConfig
from anvil.router.config.model import TierConfig
from anvil.topology import derived
from anvil.topology.model import CloudTier, Topology

SECONDS: Final = 10.0
DEFAULT_TOKEN_ENV: Final = "ANVIL_ROUTER_TOKEN"  # noqa: S105 - the name of a variable


Denials = frozenset[tuple[str, str]]


class Answer(msgspec.Struct):
    """What GET /v1/harness/{name} says, as far as it is used here."""

    env: dict[str, str]
    files: list[File]
    models: list[Model]
    notes: list[str]


def described(topology: Path | None, base_url: str | None, token_env: str | None) -> Router:
    """From the topology, by the same rules as the running router's own answer (contract operations.md 3.3, D3-D5)."""
    file = topology_file.path(topology)
    found = topology_file.loaded(file)
    servable = models(found, denied(found, file))
    if not servable:
        raise stop(f"{file}: no preset can be served; a client has nothing to ask for", FAILED)
    names = found.router.token
    url = (base_url or f"http://127.0.0.1:{found.router.port}").rstrip("/").removesuffix("/v1")
    return Router(url, token_env or (names[0] if names else DEFAULT_TOKEN_ENV), servable)


def models(topology: Topology, denials: Denials = frozenset()) -> tuple[Model, ...]:
    """The servable presets as every client is told of them (contract operations.md 3.3, D3-D5)."""
    found = []
    for preset in derived.active(topology).presets:
        window = derived.window(topology, preset, denials)
        if window is not None:
            images = derived.takes_images(topology, preset, denials)
            kinds: Any = ("text", "image") if images else ("text",)
            found.append(Model(preset, title(preset), window, max_output(preset, window), kinds))
    return tuple(found)


def denied(topology: Topology, file: Path) -> Denials:
    """(tier, work class) that the router will not try: by the profile beside the topology, else by the seed profile."""
    text = topology_file.profile(topology, file)
    try:
        rows = quality.read(text, f"{file}: router.profile")[1] if text is not None else []
    except ConfigError as error:
        raise stop(str(error), USAGE) from None
    tiers = tuple(_tier(topology, name) for name in topology.tiers)
    known = quality.Profile(RouterConfig(mapping_version=topology.mapping_version, tiers=tiers), rows)
    return frozenset(
        (tier.id, work_class)
        for tier in tiers
        for work_class in derived.WORK_CLASSES
        if known.verdict(tier, work_class) == "deny"
    )


def _tier(topology: Topology, name: str) -> TierConfig:
    """As much of the router's own tier as a verdict depends on."""
    tier = topology.tiers[name]
    role: Any = derived.role(name, tier)
    return TierConfig(
        id=name,
        base_url=derived.base_url(topology, tier),
        dialect="openai",
        context_limit=derived.context_limit(topology, tier),
        privacy="cloud" if isinstance(tier, CloudTier) else "local",
        tool_support=tier.tool_support,
        auth_env=derived.auth_env(topology, name),
        model=derived.model(topology, tier),
        role=role,
    )


def ask(client: str, url: str, token_env: str | None, release: str) -> bytes:
    token = os.environ.get(token_env or DEFAULT_TOKEN_ENV, "").strip()
    parameters = {key: value for key, value in (("token_env", token_env), ("version", release)) if value}
    base = _base(url)
    query = httpx.QueryParams(parameters)
    try:
        with httpx.Client(headers={"Authorization": f"Bearer {token}"} if token else {}, trust_env=False) as asking:
            answer = whole_answer.get(asking, f"{base}/v1/harness/{client}?{query}", seconds=SECONDS, connect=SECONDS)
    except httpx.HTTPError as error:
        raise stop(f"no router answers at {url} ({whole_answer.trouble(error)}); see --url", UNREACHABLE) from None
    if answer.status_code == 401:
        raise unauthorized(token_env or DEFAULT_TOKEN_ENV)
    if answer.status_code != 200:
        raise stop(whole_answer.refusal(answer.status_code, answer.text), FAILED)
    return answer.content


def _base(url: str) -> str:
    try:
        base = httpx.URL(url.rstrip("/").removesuffix("/v1"))
    except httpx.InvalidURL:
        base = httpx.URL("")
    if base.scheme not in ("http", "https") or not base.host:
        raise stop(f"--url {url!r} is not an http or https URL, for example http://127.0.0.1:8000", USAGE)
    if base.host == "localhost":
        click.echo("note: localhost is read as 127.0.0.1", err=True)
        base = base.copy_with(host="127.0.0.1")
    return str(base).rstrip("/")


def decoded(content: bytes) -> Answer:
    try:
        answer = msgspec.json.decode(content, type=Answer)
    except msgspec.DecodeError:
        raise stop("the answer is not a client's configuration; is --url an anvil router?", FAILED) from None
    if not answer.models:
        raise stop("the router can serve no preset now; see `anvil doctor`", FAILED)
    return answer
