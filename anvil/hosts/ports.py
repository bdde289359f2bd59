"""Who listens on a port: a container of ours or another's, or a process of the host."""

from __future__ import annotations

import re

import msgspec
from pyinfra.api.command import StringCommand
from pyinfra.api.facts import FactBase

from anvil.hosts.shell import COMMAND_SECONDS, Answer, Struct, captured, reading

# P18: `ss` is Linux only, `lsof` is what macOS has; /proc/net/tcp (listening = state 0A) needs no tool at all.
_ASK = f"""if command -v ss >/dev/null 2>&1; then ss -Hltnp
elif command -v lsof >/dev/null 2>&1; then lsof -nP -iTCP -sTCP:LISTEN -FpcPn | awk '
  /^p/ {{ p = substr($0, 2) }} /^c/ {{ c = substr($0, 2) }}
  /^n/ {{ n = substr($0, 2); print "LISTEN 0 0 " n " * users:((\\"" c "\\",pid=" p ",fd=0))" }}'
else cat /proc/net/tcp /proc/net/tcp6 2>/dev/null | awk '$4 == "0A" {{ print "HEX " $2 }}'; fi
echo --
command -v docker >/dev/null 2>&1 || exit 0
limited {COMMAND_SECONDS} docker ps --format '{{{{.Names}}}}|{{{{.Ports}}}}' 2>/dev/null
exit 0
"""
_USER = re.compile(r'\("([^"]*)",pid=(\d+)')
_PUBLISHED = re.compile(r"(.*):(\d+)(?:-(\d+))?->")


class PortOwner(Struct, frozen=True, kw_only=True):
    """`container`, or the process when no container publishes the port (pid 0: not visible to us).

    `addresses` it listens on, as the tools write them (`*` = all).
    """

    container: str = ""
    pid: int = 0
    process: str = ""
    addresses: tuple[str, ...] = ()

    def __str__(self) -> str:
        if self.container:
            return f"container {self.container}"
        return f"pid {self.pid} {self.process}" if self.pid else "a process of another user"


class PortsAnswer(Answer, frozen=True, kw_only=True):
    owners: dict[int, PortOwner] = msgspec.field(default_factory=dict)


class PortOwners(FactBase[PortsAnswer]):
    """{port: owner} for every listening TCP port."""

    def command(self) -> StringCommand:
        return captured(_ASK)

    def process(self, output: list[str]) -> PortsAnswer:
        got = reading(output)
        listening, _, published = got.text.partition("--\n")
        owners: dict[int, PortOwner] = {}
        for port, owner in (found for line in listening.splitlines() if (found := _listener(line))):
            owners[port] = _joined(owners.get(port), owner)
        containers: dict[int, PortOwner] = {}
        for line in published.splitlines():
            container, _, ports = line.partition("|")
            for port, address in _ports(ports):
                mine = PortOwner(container=container, addresses=(address,))
                containers[port] = _joined(containers.get(port), mine)
        return PortsAnswer(status="ok", owners={**owners, **containers})


def _joined(before: PortOwner | None, owner: PortOwner) -> PortOwner:
    known = before.addresses if before else ()
    return msgspec.structs.replace(owner, addresses=(*known, *owner.addresses))


def _listener(line: str) -> tuple[int, PortOwner] | None:
    fields = line.split()
    if len(fields) == 2 and fields[0] == "HEX":
        return int(fields[1].rpartition(":")[2], 16), PortOwner()
    if len(fields) < 4 or not (port := fields[3].rpartition(":")[2]).isdigit():
        return None
    address = (fields[3].rpartition(":")[0].strip("[]").partition("%")[0],)
    user = _USER.search(line)
    return int(port), PortOwner(process=user[1] if user else "", pid=int(user[2]) if user else 0, addresses=address)


def _ports(text: str) -> list[tuple[int, str]]:
    """`127.0.0.1:8000->8000/tcp, [::]:9000-9001->9000-9001/tcp` as (port, address) pairs."""
    found: list[tuple[int, str]] = []
    for address, first, last in (match.groups() for part in text.split(", ") if (match := _PUBLISHED.match(part))):
        found.extend((port, address.strip("[]")) for port in range(int(first), int(last or first) + 1))
    return found
