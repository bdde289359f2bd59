"""The last lines of one service of the topology, both streams (contract operations.md 9.8)."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from msgspec import Struct

from anvil.lab import machine_shell
from anvil.lab.machine_shell import UNREACHABLE, Runner, run
from anvil.topology import derived
from anvil.topology.model import Topology

SECONDS = 60
_NO_DOCKER, _DAEMON_DOWN, _ABSENT = 127, 45, 44
# $1 docker or file, $2 container or path, $3 lines, $4 since
_SCRIPT = f"""
if [ "$1" = docker ]; then
  command -v docker >/dev/null 2>&1 || exit {_NO_DOCKER}
  docker version >/dev/null 2>&1 || exit {_DAEMON_DOWN}
  docker container inspect "$2" >/dev/null 2>&1 || exit {_ABSENT}
  exec docker logs --tail "$3" ${{4:+--since "$4"}} "$2" 2>&1
fi
[ -f "$2" ] || exit {_ABSENT}
exec tail -n "$3" "$2"
"""


class Service(Struct, frozen=True):
    """``place`` is a container's name, or the log file of a supervised process."""

    name: str
    container: str
    machine: str
    by_process: bool
    place: str


class NoSuchService(Exception):
    """None, several or an unknown one was named."""


class LogsError(Exception):
    """The machine was asked, and has no lines. ``missing`` names a program it lacks."""

    def __init__(self, sentence: str, missing: str = "") -> None:
        super().__init__(sentence)
        self.missing = missing


def services(topology: Topology) -> list[Service]:
    """Everything of the topology that runs somewhere."""
    found = [_service(topology, name, serve.machine) for name, serve in topology.serves.items()]
    found.append(_service(topology, "router", topology.router.machine))
    if topology.multiplexer:
        found.append(_service(topology, "multiplexer", topology.multiplexer.machine))
    return found


def _service(topology: Topology, name: str, machine: str) -> Service:
    if name == "router":
        container = topology.router.container
    elif name == "multiplexer" and topology.multiplexer:
        container = topology.multiplexer.container
    else:
        container = derived.container(topology, name)
    by_process = topology.machines[machine].runtime == "process"
    log = f"{topology.machines[machine].root}/supervisor/logs/{name}.log"
    return Service(name, container, machine, by_process, log if by_process else container)


def chosen(topology: Topology, words: Sequence[str], machine: str | None) -> Service:
    """Exactly one, by its name or its container's. Raises NoSuchService."""
    known = [each for each in services(topology) if machine in (None, each.machine)]
    listed = ", ".join(dict.fromkeys(each.name for each in known)) or "none"
    if not words:
        raise NoSuchService(f"name a service; there are: {listed}")
    if len(words) > 1:
        raise NoSuchService(f"one service at a time, not {len(words)}: {', '.join(words)}")
    found = [each for each in known if words[0] in (each.name, each.container)]
    if len(found) > 1:
        raise NoSuchService(f"{words[0]} is on {', '.join(each.machine for each in found)}; choose with --machine")
    if not found:
        near = difflib.get_close_matches(words[0], [each.name for each in known], n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are: {listed}"
        raise NoSuchService(f"no service is called {words[0]!r}; {hint}")
    return found[0]


def lines(topology: Topology, service: Service, tail: int, since: str, runner: Runner = run) -> list[str]:
    """Raises LogsError, and FileNotFoundError when this machine has no ssh."""
    kind = "file" if service.by_process else "docker"
    argv = machine_shell.on(topology, service.machine, kind, service.place, str(tail), since)
    ran = runner(argv, _SCRIPT, SECONDS)
    where = f"{service.machine}: {service.container}"
    if ran.code == UNREACHABLE and argv[0] == "ssh":
        raise LogsError(f"{service.machine}: ssh cannot reach it: {ran.why()}")
    if ran.code == _ABSENT:
        raise LogsError(f"{where} does not exist: it was never started, or was removed")
    if ran.code == _DAEMON_DOWN:
        raise LogsError(f"{service.machine}: the docker daemon does not answer")
    if ran.code == _NO_DOCKER:
        raise LogsError(f"{service.machine}: docker is not installed", "docker")
    if ran.code:
        raise LogsError(f"{where}: {'docker logs' if kind == 'docker' else 'tail'} failed: {ran.why()}")
    return ran.out.splitlines()
