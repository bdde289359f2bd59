"""The compose runtime: one service per command, a clean environment, never an orphan removed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from pyinfra.api.command import PyinfraCommand, StringCommand
from pyinfra.api.host import Host

from anvil.hosts.containers import ComposeServices, Container, ContainerLogs, ServiceState
from anvil.hosts.decision import Action, WantedService
from anvil.hosts.docker import locked
from anvil.hosts.shell import Struct

UP_SECONDS = 3 * 3600  # A 40 GB image over a home line.


class ComposeRuntime(Struct, frozen=True, kw_only=True):
    """One compose project on one machine; `file` is absolute, secrets come from `<root>/secrets.env`."""

    root: str
    project: str
    file: str
    pull: Literal["missing", "never"] = "missing"
    who: str = "anvil"

    def observe(self, on: Host, name: str, container: str) -> ServiceState:
        answer = on.get_fact(ComposeServices, self.project)
        live = answer.of(name)
        if live.state != "absent":
            return live
        taken = on.get_fact(Container, container)
        if taken.status == "absent":
            return live
        if not taken.ok:
            state: Literal["daemon_down", "error"] = "daemon_down" if taken.status == "daemon_down" else "error"
            return ServiceState(state=state, error=taken.error)
        return _foreign(taken.container)

    def logs(self, on: Host, name: str, container: str, lines: int) -> str:
        return on.get_fact(ContainerLogs, container, lines).error

    def apply(self, action: Action, wanted: WantedService) -> Iterator[PyinfraCommand]:
        if action.verb == "unpause":
            yield self._docker("docker", "unpause", wanted.container)
            return
        first = {
            "replace": ("docker", "rm", "-f", wanted.container),
            "unpause_up": ("docker", "unpause", wanted.container),
        }.get(action.verb, ())
        yield self._docker(*self.up(wanted.name, force=action.force), first=first)

    def stop(self, live: ServiceState, name: str) -> Iterator[PyinfraCommand]:
        first = ("docker", "unpause", live.container) if live.state == "paused" else ()
        yield self._docker(*self.compose("stop", name), first=first)

    def remove(self, name: str, container: str) -> Iterator[PyinfraCommand]:
        yield self._docker("docker", "rm", "-f", container)

    def compose(self, *verb: str) -> tuple[str, ...]:
        env_file = f"{self.root}/secrets.env"
        return ("docker", "compose", "-p", self.project, "-f", self.file, "--env-file", env_file, *verb)

    def up(self, service: str, force: bool = False) -> tuple[str, ...]:
        forced = ("--force-recreate",) if force else ()
        return self.compose("up", "-d", "--no-deps", "--pull", self.pull, *forced, service)

    def _docker(self, *argv: str, first: tuple[str, ...] = ()) -> StringCommand:
        return locked(self.root, *argv, seconds=UP_SECONDS, first=first, who=self.who)


def _foreign(container: ServiceState) -> ServiceState:
    return ServiceState(
        state="foreign", container=container.container, project=container.project, image=container.image
    )
