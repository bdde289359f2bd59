"""The tokens of the router that runs: its state first, then set, weak or unset, never a value (operations 18, S5)."""

from __future__ import annotations

import json
from collections.abc import Sequence

from msgspec import Struct

from anvil.lab import machine_shell
from anvil.lab.machine_shell import UNREACHABLE, Runner, run
from anvil.topology.model import Topology

SECONDS = 60
_NO_DOCKER, _DAEMON_DOWN = 127, 45
# $1 docker or process, $2 container or root, $3 the process machine's python, then names. A process's environment is
# read where the system shows it; what goes over the wire is a length and eight digits of a digest.
_SCRIPT = f"""kind=$1 place=$2 python=$3; shift 3
if [ "$kind" = docker ]; then
  command -v docker >/dev/null 2>&1 || exit {_NO_DOCKER}
  docker version >/dev/null 2>&1 || exit {_DAEMON_DOWN}
  state=$(docker container inspect -f '{{{{.State.Status}}}}' "$place" 2>/dev/null) || state=absent
  echo "$state"
  [ "$state" = running ] || exit 0
  for name; do docker exec "$place" anvil token status "$name" --json 2>/dev/null; echo; done
  exit 0
fi
pid=$("$python" -m supervisor.supervisorctl -c "$place/supervisor/supervisord.conf" pid router 2>/dev/null)
case $pid in '' | 0 | *[!0-9]*) echo stopped; exit 0 ;; esac
echo running
[ -r "/proc/$pid/environ" ] || exit 0
for name; do
  value=$(tr '\\0' '\\n' <"/proc/$pid/environ" | sed -n "s/^$name=//p" | head -n 1)
  digest=$(printf %s "$value" | sha256sum | cut -c1-8)
  printf '{{"name":"%s","length":%s,"fingerprint":"%s"}}\\n' "$name" "${{#value}}" "$digest"
done
"""


class Token(Struct, frozen=True):
    """``state``: set, weak, unset or unknown. ``fingerprint``: eight hex digits of its SHA-256."""

    name: str
    state: str
    fingerprint: str | None = None


class Standing(Struct, frozen=True, kw_only=True):
    """``state`` as docker says it, or stopped; ``tokens`` only of a router that runs."""

    machine: str
    container: str
    state: str
    tokens: tuple[Token, ...] = ()


class TokenError(Exception):
    """The router's machine could not be asked. ``missing`` names a program it lacks."""

    def __init__(self, sentence: str, missing: str = "") -> None:
        super().__init__(sentence)
        self.missing = missing


def standing(topology: Topology, names: Sequence[str], shortest: int, runner: Runner = run) -> Standing:
    """Asks the router's machine. Raises TokenError, and FileNotFoundError when this machine has no ssh."""
    place = topology.router
    machine = topology.machines[place.machine]
    by_process = machine.runtime == "process"
    where = ("process", machine.root, place.python) if by_process else ("docker", place.container, "-")
    argv = machine_shell.on(topology, place.machine, *where, *names)
    ran = runner(argv, _SCRIPT, SECONDS)
    if ran.code == UNREACHABLE and argv[0] == "ssh":
        raise TokenError(f"{place.machine}: ssh cannot reach it: {ran.why()}")
    if ran.code == _NO_DOCKER:
        raise TokenError(f"{place.machine}: docker is not installed", "docker")
    if ran.code == _DAEMON_DOWN:
        raise TokenError(f"{place.machine}: the docker daemon does not answer")
    if ran.code or not ran.out.strip():
        raise TokenError(f"{place.machine}: the router could not be asked: {ran.why()}")
    state, *rows = ran.out.splitlines()
    told = {token.name: token for row in rows if (token := _token(row, shortest))}
    tokens = tuple(told.get(name, Token(name, "unknown")) for name in names) if state == "running" else ()
    return Standing(machine=place.machine, container=place.container, state=state, tokens=tokens)


def _token(row: str, shortest: int) -> Token | None:
    try:
        said = json.loads(row)
        name, fingerprint = str(said["name"]), said.get("fingerprint")
        length = said.get("length")
        state = said["state"] if length is None else "unset" if not length else "weak" if length < shortest else "set"
    except (ValueError, TypeError, KeyError, AttributeError):
        return None
    return Token(name, str(state), str(fingerprint) if fingerprint and state != "unset" else None)
