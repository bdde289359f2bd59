"""What a service needs before it may start: its port and its share of a card."""

from __future__ import annotations

from collections.abc import Collection

from pyinfra.api.host import Host
from pyinfra.context import state

from anvil.hosts.announce import warn
from anvil.hosts.containers import ServiceState
from anvil.hosts.gpus import GpusAnswer, NvidiaGpus
from anvil.hosts.ports import PortOwner, PortOwners
from anvil.hosts.shell import Struct

PROXIES = frozenset(("docker-proxy", "rootlessport"))  # They listen for a container that docker itself names.


class Needs(Struct, frozen=True, kw_only=True):
    """`gpus` by UUID; `need_mib` on each of them; `processes_hidden`: the host cannot list GPU processes (WSL2), where
    `neighbours_mib`, what the other serves wanted on those cards ask for, must do.

    `leaving`: containers that the same run stops or removes before this service starts.
    """

    port: int = 0
    gpus: tuple[str, ...] = ()
    need_mib: int = 0
    processes_hidden: bool = False
    ignore_memory: bool = False
    neighbours_mib: int = 0
    leaving: tuple[str, ...] = ()


def port_obstacle(port: int, owner: PortOwner | None, live: ServiceState, leaving: Collection[str] = ()) -> str:
    """Why the port cannot be taken, or "". A running service of our own owns its port already."""
    if owner is None or (owner.container and owner.container in (live.container, *leaving)):
        return ""
    if not owner.container and (owner.process in PROXIES or (live.pid and owner.pid == live.pid)):
        return ""
    cure = f" (--data retire={owner.container} removes it)" if owner.container else ""
    return f"port {port} is taken by {owner}{cure}"


def memory_obstacle(needs: Needs, gpus: GpusAnswer, live: ServiceState, leaving: Collection[str] = ()) -> str:
    """Why the cards cannot hold the service, or ""."""
    mine = {live.container, *leaving} - {""}
    if not gpus.ok:
        return f"GPU {', '.join(needs.gpus)}: {gpus.error}"
    for uuid in needs.gpus:
        card = gpus.cards.get(uuid)
        if card is None:
            return f"GPU {uuid} does not exist on this host (there are: {', '.join(gpus.cards) or 'none'})"
        here = [process for process in gpus.processes if process.gpu == uuid]
        free = card.free_mib + sum(p.used_mib for p in here if p.container in mine)
        if free < needs.need_mib and not needs.ignore_memory:
            holders = [f"{p.container or f'pid {p.pid}'} {p.used_mib} MiB" for p in here]
            unseen = f"{card.used_mib} MiB by processes that are not visible"
            if needs.processes_hidden:
                unseen = f"{unseen}; the other serves wanted there ask for {needs.neighbours_mib} MiB"
            return (
                f"GPU {uuid} has {free} MiB free, {needs.need_mib} are needed (on it: {', '.join(holders) or unseen})"
            )
    return ""


def obstacle(on: Host, needs: Needs, live: ServiceState) -> str:
    """The first reason why a service must not be started now, or "". While a run is prepared what it will have taken
    away by then does not count."""
    leaving = () if state.is_executing else needs.leaving
    if needs.port:
        blocked = port_obstacle(needs.port, on.get_fact(PortOwners).owners.get(needs.port), live, leaving)
        if blocked:
            return blocked
    if not needs.gpus:
        return ""
    blocked = memory_obstacle(needs, on.get_fact(NvidiaGpus), live, leaving)
    if blocked and needs.processes_hidden and "MiB free" in blocked:
        warn(blocked)
        return ""
    return blocked
