"""A fixed script on a machine of the topology: run here, or through the operator's own ssh. Reads, never changes."""

from __future__ import annotations

import os
import shlex
import socket
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from msgspec import Struct

from anvil.topology.derived import LOOPBACK
from anvil.topology.model import Machine, Topology

CONNECT_SECONDS = 10
UNREACHABLE = 255  # ssh's own exit status, as opposed to the script's.
TIMED_OUT = 124


class Ran(Struct, frozen=True, kw_only=True):
    code: int
    out: str
    err: str = ""

    def why(self) -> str:
        """The last line that tells people something."""
        return (self.err.strip().splitlines() or [f"exit status {self.code}"])[-1]


# argv, text for its stdin, seconds -> what happened; FileNotFoundError when the program is missing.
Runner = Callable[[Sequence[str], str, float], Ran]


def run(argv: Sequence[str], text: str, seconds: float) -> Ran:
    """A child process of this machine. Raises FileNotFoundError."""
    try:
        done = subprocess.run(
            argv, input=text, capture_output=True, text=True, errors="replace", timeout=seconds, check=False
        )
    except subprocess.TimeoutExpired:
        return Ran(code=TIMED_OUT, out="", err=f"no answer within {seconds:g} s")
    return Ran(code=done.returncode, out=done.stdout, err=done.stderr)


def here(*words: str) -> list[str]:
    """argv that runs a script from stdin on this machine; ``words`` are its $1, $2, ..."""
    return ["sh", "-s", "--", *words]


def there(target: str, *words: str, options: Sequence[str] = ()) -> list[str]:
    """The same through ssh, which never asks for a password. The far shell splits words again, so they are quoted."""
    return _ssh(target, shlex.join(here(*words)), options)


def _ssh(target: str, command: str, options: Sequence[str]) -> list[str]:
    always = ("-o", "BatchMode=yes", "-o", f"ConnectTimeout={CONNECT_SECONDS}")
    return ["ssh", *always, *options, "--", target, command]


# A command's words -> those that run it where it was asked for.
Reach = Callable[[Sequence[str]], list[str]]


def reach(host: str | None, topology: Topology | None) -> Reach:
    """Here without a host; else through ssh to a machine of the topology by its name, or to what ssh itself knows."""
    machine = topology.machines.get(host) if topology and host else None
    if host is None or (machine is not None and is_here(machine)):
        return list
    target, options = _target(machine, host) if machine is not None else (host, [])
    return lambda words: _ssh(target, shlex.join(words), options)


def on(topology: Topology, name: str, *words: str) -> list[str]:
    """argv for a machine of the topology, wherever it is."""
    machine = topology.machines[name]
    if is_here(machine):
        return here(*words)
    target, options = _target(machine, name)
    return there(target, *words, options=options)


def _target(machine: Machine, name: str) -> tuple[str, list[str]]:
    ssh = machine.ssh
    host = (ssh and ssh.hostname) or machine.address or name
    return (f"{ssh.user}@{host}" if ssh and ssh.user else host), _options(machine)


def _options(machine: Machine) -> list[str]:
    ssh = machine.ssh
    if ssh is None:
        return []
    found = ["-p", str(ssh.port)] if ssh.port else []
    found += ["-i", str(Path(ssh.key).expanduser())] if ssh.key else []
    if ssh.known_hosts:
        place = Path(ssh.known_hosts).expanduser()
        found += ["-o", f"UserKnownHostsFile={place}", "-o", "StrictHostKeyChecking=yes"]
    return found


def is_here(machine: Machine) -> bool:
    """By address; one with neither address nor ssh data is the machine the topology was written on."""
    host = (machine.ssh and machine.ssh.hostname) or machine.address
    return host is None or (host in _own_addresses() and not (machine.ssh and machine.ssh.port))


def _own_addresses() -> set[str]:
    name = socket.gethostname()
    try:
        found = {str(row[4][0]) for row in socket.getaddrinfo(name, None)}
    except OSError:
        found = set()
    return {LOOPBACK, "::1", name, os.uname().nodename, *found}
