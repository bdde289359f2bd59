"""One bridge without forwarding or NAT, one network namespace a host: nothing on the machine itself changes."""

from __future__ import annotations

from pathlib import Path

from shell import quiet, run

BRIDGE = "anvil-lab0"
PREFIX = "10.231.0"


def address(number: int) -> str:
    return f"{PREFIX}.{number}"


def namespace(name: str) -> str:
    return f"anvil-lab-{name}"


def ensure_bridge() -> None:
    if not quiet("ip", "link", "show", BRIDGE):
        run("ip", "link", "add", BRIDGE, "type", "bridge")
        run("ip", "addr", "add", f"{PREFIX}.1/24", "dev", BRIDGE)
    run("ip", "link", "set", BRIDGE, "up")


def connect(name: str, number: int) -> Path:
    """Make the host's namespace with eth0 at 10.231.0.<number> and return the namespace's file."""
    space, outside = namespace(name), f"anvl{number}"
    ensure_bridge()
    run("ip", "netns", "add", space)
    run("ip", "link", "add", outside, "type", "veth", "peer", "name", "eth0", "netns", space)
    run("ip", "link", "set", outside, "master", BRIDGE, "up")
    run("ip", "-n", space, "addr", "add", f"{address(number)}/24", "dev", "eth0")
    for device in ("eth0", "lo"):
        run("ip", "-n", space, "link", "set", device, "up")
    run("ip", "-n", space, "route", "add", "default", "via", f"{PREFIX}.1")
    return Path("/run/netns") / space


def disconnect(name: str) -> None:
    """Remove the cable, the namespace and, after the last host, the bridge."""
    quiet("ip", "-n", namespace(name), "link", "del", "eth0")
    quiet("ip", "netns", "del", namespace(name))
    if quiet("ip", "link", "show", BRIDGE) and not list(Path(f"/sys/class/net/{BRIDGE}/brif").iterdir()):
        quiet("ip", "link", "del", BRIDGE)
