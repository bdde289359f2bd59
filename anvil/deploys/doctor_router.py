"""Whether the router that stands there is the one the topology means, and safe where it listens (operations.md 8.3)."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from ipaddress import ip_address

from pyinfra.context import host

from anvil.deploys import router
from anvil.deploys.findings import Level, Line
from anvil.deploys.secrets import SHORTEST_TOKEN
from anvil.deploys.secrets_file import live_tokens
from anvil.deploys.site import Site
from anvil.hosts.ports import PortOwners
from anvil.hosts.releases import ReleaseState, answering, unreached
from anvil.hosts.secrets import SecretNames


def checks(site: Site) -> Iterator[Line]:
    if not site.has_router:
        return
    release = site.built.artefacts.release
    place = router.reached_place(site, release)
    told = answering(host, place)
    if not told.ok and never_released(site):
        yield Line("WARN", "router", "nothing was released here yet; full.py brings it up")
    elif not told.ok:
        yield Line("FAIL", "router", told.error or told.status)
    elif told.release != release.id:
        yield Line("FAIL", "router", f"runs release {told.release}, the inventory's is {release.id}")
    elif apart := unreached(host, place):
        yield Line("FAIL", "router", apart)
    else:
        yield Line("PASS", "router", f"release {told.release}")
    if told.ok:
        yield from _restarts(site)
        yield from _address(site)
        yield from _asks_for_a_token(site)
    yield from _tokens(site)


def never_released(site: Site) -> bool:
    """A machine before its first deploy lacks what that deploy brings; one whose first promotion failed does not."""
    state = host.get_fact(ReleaseState, f"{site.root}/router")
    return state.status != "error" and not state.ids and not state.current


def _restarts(site: Site) -> Iterator[Line]:
    """supervisord counts every start, docker only those after a crash."""
    if site.by_process:
        return
    container = site.built.artefacts.release.service.container
    count = router.runtime(site).observe(host, "router", container).restart_count
    told = f"docker restarted it {count} times since it was made: docker logs {container}"
    yield Line("FAIL" if count else "PASS", "router restarts", told if count else "none")


def _address(site: Site) -> Iterator[Line]:
    place = site.topology.router
    owner = host.get_fact(PortOwners).owners.get(place.port)
    found = sorted({*owner.addresses}) if owner else []
    if not found:
        return
    same = any(_equal(each, place.publish) for each in found)
    told = f"{place.publish}:{place.port}" if same else f"listens on {', '.join(found)}, declared is {place.publish}"
    yield Line("PASS" if same else "FAIL", "router address", told)


def _equal(one: str, other: str) -> bool:
    """`*` is how `ss` writes every address of both families."""
    try:
        return ip_address({"*": "::"}.get(one, one)) == ip_address(other)
    except ValueError:
        return one == other


def _asks_for_a_token(site: Site) -> Iterator[Line]:
    try:
        named = live_tokens(site)
    except tomllib.TOMLDecodeError as error:
        yield Line("FAIL", "router auth", f"the live router.toml cannot be read: {error}")
        return
    if site.topology.router.token and not named:
        yield Line("FAIL", "router auth", "the live router.toml names no auth_env: it asks nobody for a token")
    elif named:
        yield Line("PASS", "router auth", f"asks for {', '.join(named)}")


def _tokens(site: Site) -> Iterator[Line]:
    """Lengths only; a short one is a failure where others can reach the router."""
    place = site.topology.router
    held = host.get_fact(SecretNames, site.secrets_file)
    short = [name for name in place.token if 0 < held.lengths.get(name, 0) < SHORTEST_TOKEN]
    if short:
        level: Level = "WARN" if ip_address(place.publish).is_loopback else "FAIL"
        advice = f"under {SHORTEST_TOKEN} characters; `anvil token new` prints a good one"
        yield Line(level, "router token", f"{', '.join(short)}: {advice}")
    elif place.token and all(name in held.names for name in place.token):
        yield Line("PASS", "router token", f"{', '.join(place.token)}: set, {SHORTEST_TOKEN} characters or more")
