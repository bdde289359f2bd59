"""One bridge without forwarding or NAT, one network namespace a host: nothing on the machine itself changes."""

from __future__ import annotations

from pathlib import Path

from base import number, tag
from shell import quiet, run


def bridge() -> str:
    return f"anvil-lab{number()}"


def address(host: int) -> str:
    return f"10.231.{number()}.{host}"


def ensure_bridge() -> None:
    if not quiet("ip", "link", "show", bridge()):
        run("ip", "link", "add", bridge(), "type", "bridge")
        run("ip", "addr", "add", f"{address(1)}/24", "dev", bridge())
    run("ip", "link", "set", bridge(), "up")


def connect(name: str, host: int) -> Path:
    """Make the host's namespace with eth0 at its address and return the namespace's file."""
    space, outside = tag(name), f"anvl{number()}-{host}"
    ensure_bridge()
    run("ip", "netns", "add", space)
    run("ip", "link", "add", outside, "type", "veth", "peer", "name", "eth0", "netns", space)
    run("ip", "link", "set", outside, "master", bridge(), "up")
    run("ip", "-n", space, "addr", "add", f"{address(host)}/24", "dev", "eth0")
    for device in ("eth0", "lo"):
        run("ip", "-n", space, "link", "set", device, "up")
    run("ip", "-n", space, "route", "add", "default", "via", address(1))
    return Path("/run/netns") / space


def disconnect(name: str) -> None:
    """Remove the cable, the namespace and, after the last host, the bridge."""
    quiet("ip", "-n", tag(name), "link", "del", "eth0")
    quiet("ip", "netns", "del", tag(name))
    if quiet("ip", "link", "show", bridge()) and not list(Path(f"/sys/class/net/{bridge()}/brif").iterdir()):
        quiet("ip", "link", "del", bridge())
