"""Rules about machines, ports, cards and addresses: T03, T04, T06, T07, T08, T12."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from ipaddress import ip_address
from posixpath import normpath
from urllib.parse import SplitResult, urlsplit

from anvil.topology import derived
from anvil.topology.finding import Finding, Rule, error, warn
from anvil.topology.model import Gateway, ModelServe, Serve, ServeTier, Topology

MAX_SHARE = 0.98
_HOST_NAME = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?(\.[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?)*\.?")
_SYSTEM = frozenset(
    (
        *("bin", "boot", "dev", "etc", "home", "lib", "lib32", "lib64", "media", "mnt", "opt", "proc", "root", "run"),
        *("sbin", "srv", "sys", "tmp", "usr", "var"),
    )
)
_SYSTEM_MACOS = frozenset(("Applications", "Library", "System", "Users", "Volumes", "private"))
_SYSTEM_INNER: Mapping[str, frozenset[str]] = {
    "usr": frozenset(["bin", "include", "lib", "lib64", "libexec", "local", "sbin", "share", "src"]),
    "var": frozenset(["backups", "cache", "lib", "local", "log", "mail", "opt", "run", "spool", "tmp"]),
}
_HOMES = ("home", "Users")
_NOT_A_DISK = ("dev", "proc", "sys")
_BIG_SERVE_GB = 48
_WSL_MEMORY_GB = 64


def machines_exist(topology: Topology) -> Iterator[Finding]:
    """T03: everything stands on a declared machine."""
    places = {f"serves.{name}": serve.machine for name, serve in topology.serves.items()}
    places |= {f"gateways.{name}": gateway.machine for name, gateway in topology.gateways.items()}
    places["router"] = topology.router.machine
    if topology.multiplexer:
        places["multiplexer"] = topology.multiplexer.machine
    for table, machine in places.items():
        if machine not in topology.machines:
            yield error("T03", table, f"machine {machine!r} is not declared; known: {', '.join(topology.machines)}")


def names_unique(topology: Topology) -> Iterator[Finding]:
    """T03: two services of one machine share neither a container name nor, if they are engines, a model name."""
    mine = [topology.router.container]
    if topology.router.handover:
        mine += [derived.socket_container(topology), derived.next_container(topology)]
    containers = [("router", topology.router.machine, name) for name in mine]
    if topology.multiplexer:
        containers.append(("multiplexer", topology.multiplexer.machine, topology.multiplexer.container))
    serves = topology.serves.items()
    containers += [(f"serves.{name}", serve.machine, each) for name, serve in serves for each in _names(topology, name)]
    models = [(f"serves.{name}", serve.machine, serve.served_model) for name, serve in serves]
    yield from _clashes("T03", "container name", containers)
    yield from _clashes("T03", "served_model", models)
    for name in ("router", "multiplexer"):
        if name in topology.serves:
            yield error("T03", f"serves.{name}", "this name belongs to a service of anvil itself; choose another")


def _names(topology: Topology, serve: str) -> Iterable[str]:
    """What a serve is called by on its machine: a container network resolves the service's name too, so another
    container of that name would get a part of the requests."""
    machine = topology.machines.get(topology.serves[serve].machine)
    mine = (derived.container(topology, serve),)
    return dict.fromkeys((*mine, serve)) if machine and machine.runtime == "compose" else mine


def ports_unique(topology: Topology) -> Iterator[Finding]:
    """T04."""
    ports = [("router", topology.router.machine, topology.router.port)]
    if topology.multiplexer:
        ports.append(("multiplexer", topology.multiplexer.machine, topology.multiplexer.port))
    ports += [(f"serves.{name}", serve.machine, serve.port) for name, serve in topology.serves.items()]
    yield from _clashes("T04", "port", ports)


def router_published_safely(topology: Topology) -> Iterator[Finding]:
    """T06: beyond loopback never without a token; an address, so that no name lookup decides who can call."""
    place = topology.router
    try:
        address = ip_address(place.publish)
    except ValueError:
        yield error("T06", "router.publish", f"{place.publish!r} is no IP address; write the address itself")
        return
    if not address.is_loopback and not place.token:
        yield error("T06", "router.token", f"publishing on {place.publish} needs a token; name its variable here")
    if address.is_unspecified:
        machine = topology.machines.get(place.machine)
        better = machine.address if machine and machine.address else "the address clients use"
        yield warn("T06", "router.publish", f"{place.publish} listens on every network of the machine; use {better}")


def gateways_reach_the_router(topology: Topology) -> Iterator[Finding]:
    """T07."""
    for name, gateway in topology.gateways.items():
        table = f"gateways.{name}"
        for sentence in _url_problems(topology, gateway):
            yield error("T07", f"{table}.router_url", sentence)
        asked = {"primary": (gateway.primary,), "probe_presets": gateway.probe_presets or ()}
        for key, presets in asked.items():
            for preset in presets:
                if preset not in topology.presets:
                    known = ", ".join(topology.presets) or "none"
                    yield error("T07", f"{table}.{key}", f"{preset!r} is no preset; known: {known}")


def tiers_outside_the_container(topology: Topology) -> Iterator[Finding]:
    """T02: what listens on the machine's loopback is out of reach of a router in a container."""
    machine = topology.machines.get(topology.router.machine)
    if machine is None or machine.runtime != "compose":
        return
    for name, tier in topology.tiers.items():
        if isinstance(tier, ServeTier) or not _on_loopback(tier.base_url):
            continue
        better = machine.address or "the machine's address"
        sentence = (
            f"the router's container finds only itself at {tier.base_url}; let it listen on {better} and write that"
        )
        yield warn("T02", f"tiers.{name}.base_url", sentence)


def cards_exist(topology: Topology) -> Iterator[Finding]:
    """T08: a card is always named; an engine that picks one by itself picks the wrong one some day (H43)."""
    for name, serve in topology.serves.items():
        machine = topology.machines.get(serve.machine)
        cards = derived.gpu_names(serve)
        if not cards and isinstance(serve, ModelServe):
            yield error("T08", f"serves.{name}.gpu", "required for this engine: name a card of the machine")
        if len(set(cards)) != len(cards):
            yield error("T08", f"serves.{name}.gpu", "a card is named twice")
        for card in cards:
            if machine is not None and card not in machine.gpus:
                known = ", ".join(machine.gpus) or "none"
                yield error("T08", f"serves.{name}.gpu", f"{serve.machine} has no card {card!r}; known: {known}")


def cards_not_overfilled(topology: Topology) -> Iterator[Finding]:
    """T08: the shares of serves that may be up together; of a swap group only the largest counts."""
    subsets = [mode for mode in topology.modes] if topology.modes and topology.mode else [None]
    seen: set[tuple[str, str]] = set()
    for mode in subsets:
        active = derived.active(derived.in_mode(topology, mode) if mode else topology).serves
        for card, share in _shares(topology, active).items():
            if share > MAX_SHARE + 1e-9 and card not in seen:
                seen.add(card)
                when = f" in mode {mode}" if mode else ""
                table = f"machines.{card[0]}.gpus.{card[1]}"
                yield error("T08", table, f"serves ask for {share:.2f} of this card{when}; {MAX_SHARE} is the most")


def roots_are_our_own(topology: Topology) -> Iterator[Finding]:
    """T12: a deploy sets mode and owner of the root itself, so it is never a folder that others live by."""
    for name, machine in topology.machines.items():
        if _is_systems(normpath(machine.root)):
            sentence = f"{machine.root} is the system's own; give anvil a folder of its own, such as /srv/anvil"
            yield error("T12", f"machines.{name}.root", sentence)
        elif machine.root != normpath(machine.root):
            yield error("T12", f"machines.{name}.root", f"{machine.root}: write {normpath(machine.root)}")


def _is_systems(path: str) -> bool:
    top, *rest = path.strip("/").split("/")
    if not rest:
        return not top or top in _SYSTEM or top in _SYSTEM_MACOS
    inner = rest[0] in _SYSTEM_INNER.get(top, ()) or top in _HOMES
    return top in _NOT_A_DISK or (inner and len(rest) == 1)


def owners_can_be_set(topology: Topology) -> Iterator[Finding]:
    """T12: only root gives files away; without sudo they belong to whoever logs in."""
    for name, machine in topology.machines.items():
        login = machine.ssh.user if machine.ssh else None
        wanted = machine.owner.partition(":")[0]
        if machine.sudo or not wanted or wanted.isdigit() or login in (None, "root", wanted):
            continue
        sentence = f'{machine.owner}: {login} cannot give files to another user; write owner = "" or allow sudo'
        yield error("T12", f"machines.{name}.owner", sentence)


def hosts_are_bare(topology: Topology) -> Iterator[Finding]:
    """T12: a host name or an address, nothing around it; user and port have keys of their own."""
    for name, machine in topology.machines.items():
        places = {f"machines.{name}.address": machine.address}
        if machine.ssh is not None:
            places[f"machines.{name}.ssh.hostname"] = machine.ssh.hostname
        for table, host in places.items():
            if host is not None and not _is_host(host):
                advice = f"a user or port goes into user and port of machines.{name}.ssh"
                yield error("T12", table, f"{host!r} is neither a host name nor an IP address; {advice}")


def _is_host(text: str) -> bool:
    try:
        return bool(ip_address(text.split("%", 1)[0]))
    except ValueError:
        return _HOST_NAME.fullmatch(text) is not None


def wsl_fits(topology: Topology) -> Iterator[Finding]:
    """T12: a Windows drive under /mnt is a slow bridge; WSL gives its machine half the memory unless told."""
    for name, machine in topology.machines.items():
        if machine.platform != "wsl2":
            continue
        if machine.root == "/mnt" or machine.root.startswith("/mnt/"):
            yield error("T12", f"machines.{name}.root", f"{machine.root} is a Windows drive; use the Linux file system")
        big = [each for each, serve in topology.serves.items() if serve.machine == name and _is_big(topology, serve)]
        if big and (machine.memory_gb or 0) < _WSL_MEMORY_GB:
            advice = "raise the WSL memory limit to 64 GB with 16 GB of swap and say so with memory_gb"
            yield warn("T12", f"machines.{name}.memory_gb", f"{', '.join(big)} needs more than 48 GB to load; {advice}")


def _is_big(topology: Topology, serve: Serve) -> bool:
    try:
        return (derived.memory_need_gb(topology, serve) or 0) > _BIG_SERVE_GB
    except KeyError:  # the card is not declared, which T08 reports
        return False


def _shares(topology: Topology, active: Iterable[str]) -> dict[tuple[str, str], float]:
    """Per (machine, card): what the serves ask for, in parts of the card."""
    groups: dict[tuple[str, str], dict[str, float]] = defaultdict(dict)
    for name in active:
        serve = topology.serves[name]
        for card in derived.gpu_names(serve) if serve.state == "up" else ():
            key = f"group {serve.swap_group}" if serve.swap_group else name
            mine = groups[serve.machine, card]
            mine[key] = max(mine.get(key, 0.0), _share(topology, serve, card))
    return {card: sum(shares.values()) for card, shares in groups.items()}


def _share(topology: Topology, serve: Serve, card: str) -> float:
    if isinstance(serve, ModelServe):
        return serve.gpu_memory
    machine = topology.machines.get(serve.machine)
    known = machine.gpus.get(card) if machine else None
    return (serve.memory_need_gb or 0) / known.vram_gb if known else 0


def _url_problems(topology: Topology, gateway: Gateway) -> Iterator[str]:
    try:
        url = urlsplit(gateway.router_url)
        port = url.port or {"http": 80, "https": 443}.get(url.scheme)
    except ValueError as problem:
        yield f"not a URL: {problem}"
        return
    if url.scheme not in ("http", "https") or not url.hostname:
        yield "expected http:// or https:// with a host"
        return
    if not url.path.rstrip("/").endswith("/v1"):
        yield "must end in /v1"
    if port != topology.router.port:
        yield f"port {port} is not the router's port {topology.router.port}"
    if _loopback(url) and gateway.machine != topology.router.machine:
        yield f"a loopback address reaches only {gateway.machine} itself; use an address of {topology.router.machine}"


def _on_loopback(url: str) -> bool:
    """False for what is no URL: the router's own decoder says so."""
    try:
        return _loopback(urlsplit(url))
    except ValueError:
        return False


def _loopback(url: SplitResult) -> bool:
    try:
        return ip_address(url.hostname or "").is_loopback
    except ValueError:
        return url.hostname == "localhost"


def _clashes(code: str, what: str, rows: Iterable[tuple[str, str, object]]) -> Iterator[Finding]:
    owners: Mapping[tuple[str, object], list[str]] = defaultdict(list)
    for table, machine, value in rows:
        owners[machine, value].append(table)
    for (machine, value), tables in owners.items():
        if len(tables) > 1:
            yield error(code, tables[1], f"{what} {value} is already taken on {machine} by {tables[0]}")


RULES: tuple[Rule, ...] = (
    machines_exist,
    roots_are_our_own,
    owners_can_be_set,
    hosts_are_bare,
    names_unique,
    ports_unique,
    router_published_safely,
    gateways_reach_the_router,
    tiers_outside_the_container,
    cards_exist,
    cards_not_overfilled,
    wsl_fits,
)
