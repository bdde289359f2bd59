"""What answers from here: the engines of this machine's tiers, and the router."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

import httpx
from msgspec import Struct

from anvil.lab import whole_answer
from anvil.lab.controller_doctor import Check
from anvil.topology import derived
from anvil.topology.model import CloudTier, Custom, ServeTier, Topology

SECONDS = 5.0


class Answer(Struct, frozen=True):
    status: int
    body: bytes


# URL, headers -> what was answered; None when nothing answers.
Get = Callable[[str, Mapping[str, str]], Answer | None]


def get(url: str, headers: Mapping[str, str]) -> Answer | None:
    """No proxy, no redirect."""
    try:
        with httpx.Client(headers=dict(headers), trust_env=False, follow_redirects=False) as client:
            found = whole_answer.get(client, url, seconds=SECONDS, connect=SECONDS)
    except (httpx.HTTPError, httpx.InvalidURL):
        return None
    return Answer(found.status_code, found.content)


def tiers(topology: Topology, here: Collection[str], environ: Mapping[str, str], ask: Get) -> Iterator[Check]:
    """Tiers that this machine can reach; ``here`` are the names of machines that are this one. A tier that is down is
    legitimate, one that serves something else is not."""
    for name, tier in topology.tiers.items():
        place = _place(topology, name, here)
        if place is None:
            continue
        base, health = place
        key = environ.get(derived.auth_env(topology, name), "")
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        yield _tier(name, f"{base}{health}", f"{base}/v1/models", derived.model(topology, tier), headers, ask)


def elsewhere(topology: Topology, here: Collection[str]) -> list[str]:
    """Tiers that only their own machine reaches; its doctor asks them."""
    return [
        name
        for name, tier in topology.tiers.items()
        if isinstance(tier, ServeTier) and _place(topology, name, here) is None
    ]


def _place(topology: Topology, name: str, here: Collection[str]) -> tuple[str, str] | None:
    """Base URL without /v1 and health path; None for cloud tiers and for serves on another machine's loopback."""
    tier = topology.tiers[name]
    if isinstance(tier, CloudTier):
        return None
    if not isinstance(tier, ServeTier):
        return tier.base_url.rstrip("/").removesuffix("/v1"), "/health"
    serve = topology.serves[tier.serve]
    if serve.machine not in here or serve.swap_group is not None:
        return None
    health = serve.health_path if isinstance(serve, Custom) else "/health"
    return f"http://{derived.LOOPBACK}:{serve.port}", health


def _tier(name: str, health: str, models: str, model: str, headers: Mapping[str, str], ask: Get) -> Check:
    answer = ask(health, headers)
    if answer is None:
        return Check("WARN", f"tier {name}", f"{health} does not answer")
    if not 200 <= answer.status < 300:
        return Check("WARN", f"tier {name}", f"{health} answers {answer.status}")
    ids = _ids(ask(models, headers))
    if ids is not None and model not in ids:
        return Check("FAIL", f"tier {name}", f"serves {', '.join(sorted(ids)) or 'nothing'}, the tier wants {model}")
    return Check("PASS", f"tier {name}", f"{model} at {health}")


def _ids(answer: Answer | None) -> set[str] | None:
    """None when the engine does not list its models."""
    document = _document(answer) if answer is not None and answer.status == 200 else None
    rows = document.get("data") if document else None
    return {str(row.get("id")) for row in rows if isinstance(row, dict)} if isinstance(rows, list) else None


def router_url(topology: Topology, here: Collection[str]) -> str | None:
    """Where the router is reached from here; None when it listens on another machine's loopback."""
    place = topology.router
    loopback = place.publish.startswith("127.") or place.publish == "::1"
    if loopback and place.machine not in here:
        return None
    host = derived.LOOPBACK if place.machine in here and place.publish in ("0.0.0.0", "::") else place.publish  # noqa: S104 - compared
    return f"http://{f'[{host}]' if ':' in host else host}:{place.port}"


def router(url: str, release: str | None, ask: Get) -> Check:
    answer = ask(f"{url}/healthz", {})
    if answer is None:
        return Check("WARN", "router", f"no answer at {url}")
    document = _document(answer)
    if answer.status != 200 or document is None or "config_hash" not in document:
        return Check("FAIL", "router", f"what answers at {url} ({answer.status}) is no anvil router")
    live = document.get("release")
    if document.get("status") != "ok":
        return Check("WARN", "router", f"{url} is {document.get('status')}")
    if release is not None and live != release:
        return Check("WARN", "router", f"{url} runs release {live or 'none'}, the topology makes {release}; deploy it")
    return Check("PASS", "router", f"{url} runs release {live or 'none'}")


def _document(answer: Answer) -> dict[str, Any] | None:
    try:
        found = json.loads(answer.body)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None
