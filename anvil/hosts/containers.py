"""Facts about containers: every service of a compose project, or one container by name."""

from __future__ import annotations

import calendar
import time
from typing import Any, Literal

import msgspec
from pyinfra.api.command import StringCommand
from pyinfra.api.facts import FactBase

from anvil.hosts.docker import ask, classify, documents
from anvil.hosts.shell import COMMAND_SECONDS, Answer, Struct, reading

PROJECT, SERVICE = "com.docker.compose.project", "com.docker.compose.service"
# What the containers are compared with: the host's clock, and the networks there are (none = not known).
_CLOCK = 'echo "clock $(date +%s)"\n'
_NETWORKS = (
    f"""echo "networks $(limited {COMMAND_SECONDS} docker network ls -q --no-trunc 2>/dev/null | tr '\\n' ' ')"\n"""
)
# What a container runs with, its environment above all, stays on the host: it holds secrets.
_SHAPE = (
    '{"Name":{{json .Name}},"Image":{{json .Image}},"RestartCount":{{.RestartCount}},"Created":{{json .Created}},'
    '"State":{{json .State}},"Config":{"Image":{{json .Config.Image}},"Labels":{{json .Config.Labels}}},'
    '"HostConfig":{"NetworkMode":{{json .HostConfig.NetworkMode}}},'
    '"NetworkSettings":{"Networks":{{json .NetworkSettings.Networks}}}}'
)
# A container may vanish between the two commands: then inspect exits 1 and the others still count.
_SERVICES = f"""ids=$(limited {COMMAND_SECONDS} docker ps -aq --filter "label={PROJECT}=$1")
code=$?; [ $code -eq 0 ] || {{ echo "$ids"; exit $code; }}
{_NETWORKS}[ -z "$ids" ] || limited {COMMAND_SECONDS} docker inspect -f "$2" $ids || [ $? -eq 1 ]
"""

# docker's own states, and the three that are about us.
State = Literal[
    "created", "running", "paused", "restarting", "removing", "exited", "dead",
    "absent", "foreign", "unknown", "daemon_down", "error",
]  # fmt: skip
_BUILT_IN = frozenset(("", "default", "bridge", "host", "none"))
_KNOWN = frozenset(("created", "running", "paused", "restarting", "removing", "exited", "dead"))


class ServiceState(Struct, frozen=True, kw_only=True):
    """One service as it is. `revision` and `env` are our labels; `age_s` is the time since it last started.

    `detached`: the network it was made for is gone or has let go of it, so nobody reaches it.
    """

    state: State
    error: str = ""
    health: str = ""
    restart_count: int = 0
    started_at: str = ""
    age_s: float = 0.0
    made_s: float = 0.0  # Since the container was made; a process is made anew at each start.
    exit_code: int = 0
    image: str = ""
    image_id: str = ""
    revision: str = ""
    env: str = ""
    container: str = ""
    project: str = ""
    pid: int = 0
    detached: bool = False


ABSENT = ServiceState(state="absent")


class ServicesAnswer(Answer, frozen=True, kw_only=True):
    services: dict[str, ServiceState] = msgspec.field(default_factory=dict)

    def of(self, service: str) -> ServiceState:
        """The service's state; when docker itself did not answer, that answer as a state."""
        if self.ok:
            return self.services.get(service, ABSENT)
        return ServiceState(state="daemon_down" if self.status == "daemon_down" else "error", error=self.error)


class ContainerAnswer(Answer, frozen=True, kw_only=True):
    container: ServiceState = ABSENT


def _epoch(stamp: str) -> float:
    """Docker's UTC time stamps have nine fractional digits, which strptime cannot read."""
    try:
        return calendar.timegm(time.strptime(stamp[:19], "%Y-%m-%dT%H:%M:%S"))
    except ValueError:
        return 0.0


def _detached(container: dict[str, Any], networks: frozenset[str]) -> bool:
    """A container that was never started has no network id yet; one that was keeps the id of a removed network."""
    mode = (container.get("HostConfig") or {}).get("NetworkMode", "")
    if mode in _BUILT_IN or ":" in mode:
        return False
    joined = (container.get("NetworkSettings") or {}).get("Networks") or {}
    held = (joined.get(mode) or {}).get("NetworkID", "")
    return mode not in joined or bool(held and networks and held not in networks)


def described(container: dict[str, Any], now: float, networks: frozenset[str] = frozenset()) -> ServiceState:
    """One element of `docker inspect` as a ServiceState; `networks`: ids of those that exist, empty = not known."""
    state, config = container.get("State") or {}, container.get("Config") or {}
    labels = config.get("Labels") or {}
    name = state.get("Status", "")
    started = state.get("StartedAt", "")
    return ServiceState(
        state=name if name in _KNOWN else "unknown",
        error="" if name in _KNOWN else f"docker reports the state {name!r}",
        health=(state.get("Health") or {}).get("Status", ""),
        restart_count=container.get("RestartCount", 0),
        started_at=started,
        age_s=max(0.0, now - _epoch(started)) if started else 0.0,
        made_s=max(0.0, now - _epoch(container.get("Created") or started)),
        exit_code=state.get("ExitCode", 0),
        image=config.get("Image", ""),
        image_id=container.get("Image", ""),
        revision=labels.get("anvil.revision", ""),
        env=labels.get("anvil.env", ""),
        container=container.get("Name", "").lstrip("/"),
        project=labels.get(PROJECT, ""),
        pid=state.get("Pid", 0),
        detached=_detached(container, networks),
    )


def _surroundings(lines: list[str]) -> tuple[float, frozenset[str]]:
    """The host's time in seconds and the ids of its networks."""
    told = {word: rest for word, _, rest in (line.partition(" ") for line in lines) if word in ("clock", "networks")}
    clock = told.get("clock", "")
    return float(clock) if clock.isdigit() else 0.0, frozenset(told.get("networks", "").split())


class ComposeServices(FactBase[ServicesAnswer]):
    """{service: state} of one compose project, stopped containers included."""

    def command(self, project: str) -> StringCommand:
        return ask(_CLOCK + _SERVICES, project, _SHAPE)

    def process(self, output: list[str]) -> ServicesAnswer:
        got = reading(output)
        status, error = classify(got)
        if status != "ok":
            return ServicesAnswer(status=status, error=error)
        now, networks = _surroundings(got.lines)
        found: dict[str, ServiceState] = {}
        for container in documents(got.text):
            labels = (container.get("Config") or {}).get("Labels") or {}
            if SERVICE in labels:
                found[labels[SERVICE]] = described(container, now, networks)
        return ServicesAnswer(status="ok", services=found)


class Container(FactBase[ContainerAnswer]):
    """One container by name, whatever project it belongs to."""

    def command(self, container: str) -> StringCommand:
        look = f'limited {COMMAND_SECONDS} docker inspect --type container -f "$2" -- "$1" || exit\n'
        return ask(_CLOCK + look + _NETWORKS, container, _SHAPE)

    def process(self, output: list[str]) -> ContainerAnswer:
        got = reading(output)
        status, error = classify(got)
        if status != "ok":
            return ContainerAnswer(status=status, error=error)
        found = documents(got.text)
        if not found:
            return ContainerAnswer(status="absent")
        return ContainerAnswer(status="ok", container=described(found[0], *_surroundings(got.lines)))


class AttachedAnswer(Answer, frozen=True, kw_only=True):
    """{container: its compose project, "" for none}."""

    containers: dict[str, str] = msgspec.field(default_factory=dict)


class AttachedContainers(FactBase[AttachedAnswer]):
    """Every container of a network, running or not."""

    def command(self, network: str) -> StringCommand:
        shown = f'{{{{.Names}}}} {{{{.Label "{PROJECT}"}}}}'
        return ask(f'limited {COMMAND_SECONDS} docker ps -a --filter "network=$1" --format "$2"', network, shown)

    def process(self, output: list[str]) -> AttachedAnswer:
        got = reading(output)
        status, error = classify(got)
        if status != "ok":
            return AttachedAnswer(status=status, error=error)
        rows = (line.partition(" ") for line in got.lines if line.strip())
        return AttachedAnswer(status="ok", containers={name: project.strip() for name, _, project in rows})


class ContainerLogs(FactBase[Answer]):
    """The last lines of one container, both streams; `error` carries the text either way."""

    def command(self, container: str, lines: int, since: str = "") -> StringCommand:
        return ask(
            f'limited {COMMAND_SECONDS} docker logs --tail "$2" ${{3:+--since "$3"}} "$1"', container, lines, since
        )

    def process(self, output: list[str]) -> Answer:
        got = reading(output)
        status, error = classify(got)
        return Answer(status=status, error=got.text if status == "ok" else error)
