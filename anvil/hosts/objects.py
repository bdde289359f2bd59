"""Docker objects that outlive every compose project: networks and volumes. Made when missing, removed by nobody."""

from __future__ import annotations

from typing import Literal

from pyinfra.api.command import StringCommand
from pyinfra.api.facts import FactBase
from pyinfra.api.operation import operation
from pyinfra.context import host

from anvil.hosts.announce import announce
from anvil.hosts.docker import ask, classify, locked
from anvil.hosts.services import failing
from anvil.hosts.shell import COMMAND_SECONDS, Answer, Commands, reading

Kind = Literal["network", "volume"]


class DockerObject(FactBase[Answer]):
    """ "ok" when it exists, "absent" when it does not."""

    def command(self, kind: Kind, called: str) -> StringCommand:
        return ask(f'limited {COMMAND_SECONDS} docker "$1" inspect --format "{{{{.Name}}}}" "$2"', kind, called)

    def process(self, output: list[str]) -> Answer:
        status, error = classify(reading(output))
        return Answer(status=status, error=error)


@operation()
def network_present(network: str, root: str) -> Commands:
    """
    Make the bridge network exist.
    """
    yield from _present("network", network, root)


@operation()
def volume_present(volume: str, root: str) -> Commands:
    """
    Make the named volume exist; no operation ever removes one.
    """
    yield from _present("volume", volume, root)


def _present(kind: Kind, called: str, root: str) -> Commands:
    answer = host.get_fact(DockerObject, kind, called)
    if answer.ok:
        host.noop(f"{kind} {called} exists")
        return
    announce(f"{kind} {called}: {'missing' if answer.status == 'absent' else answer.error}")
    if answer.status != "absent":
        yield failing(f"{kind} {called}: {answer.error}")
        return
    yield locked(root, "docker", kind, "create", called, seconds=COMMAND_SECONDS)
