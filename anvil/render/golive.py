"""The settle-and-roll-back script of a promotion (contract operations.md 11.4): one text per machine, the same for
every release.

Called as `go-live.sh ID CONFIG_HASH OWNER SOURCE PRESET...`; CONFIG_HASH `-` skips that comparison, OWNER says who
holds the lock. Every word is checked by the script itself. Exit: 0 done, 10 rolled back, 11 degraded, 12 busy, 2 bad
words.
"""

from __future__ import annotations

from anvil.render import engine, process, router
from anvil.topology import derived
from anvil.topology.model import Topology

PATH = "router/go-live.sh"
LOG = "router/go-live.log"
SETTLE_TRIES_S = 60
LOCK_WAIT_S = 30
COMMAND_LIMIT_S = 300
LOOK_LIMIT_S = 20


def text(topology: Topology) -> str:
    place = topology.router
    machine = topology.machines[place.machine]
    return engine.render(
        "go-live.sh.j2",
        runtime=machine.runtime,
        root=machine.root,
        project=f"{topology.deployment}-router",
        container=place.container,
        socket=derived.socket_container(topology),
        following=derived.next_container(topology),
        stop_s=router.stop_timeout_s(topology),
        pull=place.pull,
        python=place.python,
        published=f"http://{process.host_of(_reachable(place.publish))}:{place.port}",
        strict_publish=machine.platform != "wsl2",
        mode=topology.mode or "",
        settle_s=place.settle_s,
        keep=place.keep_releases,
        settle_tries_s=SETTLE_TRIES_S,
        lock_wait_s=LOCK_WAIT_S,
        limit_s=COMMAND_LIMIT_S,
        look_s=LOOK_LIMIT_S,
        run=process.RUN,
        started=process.STARTED,
    )


def _reachable(address: str) -> str:
    """A wildcard is no address to call."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(address, address)  # noqa: S104 - compared, not bound
