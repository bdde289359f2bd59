"""Operations on one service at a time, the same for every runtime: up, ready, stopped, retired."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

from pyinfra.api.command import FunctionCommand, PyinfraCommand
from pyinfra.api.host import Host
from pyinfra.api.operation import operation
from pyinfra.api.state import State
from pyinfra.context import host

from anvil.hosts.announce import announce, warn
from anvil.hosts.containers import ServiceState
from anvil.hosts.decision import Action, Options, WantedService, decide
from anvil.hosts.probe import Endpoint
from anvil.hosts.readiness import LOG_LINES, Expectation, Verdict, judge, wait
from anvil.hosts.resources import Needs, obstacle
from anvil.hosts.shell import Commands


class Runtime(Protocol):
    """What runs services on a machine. Implemented by `compose.ComposeRuntime` and `processes.ProcessRuntime`."""

    def observe(self, on: Host, name: str, container: str) -> ServiceState: ...

    def logs(self, on: Host, name: str, container: str, lines: int) -> str: ...

    def apply(self, action: Action, wanted: WantedService) -> Iterator[PyinfraCommand]: ...

    def stop(self, live: ServiceState, name: str) -> Iterator[PyinfraCommand]: ...

    def remove(self, name: str, container: str) -> Iterator[PyinfraCommand]: ...


def failing(message: str, details: str = "") -> FunctionCommand:
    """A command that fails its operation with a message, in the execute stage and not in preparation."""

    def fail(state: State, host: Host) -> bool:
        for line in details.splitlines():
            host.log(f"    {line}")
        host.log_styled(message, fg="red")
        return False

    return FunctionCommand(fail, (), {})


@operation()
def service_up(
    runtime: Runtime, wanted: WantedService, options: Options | None = None, needs: Needs | None = None
) -> Commands:
    """
    Bring one service to its wanted definition, or leave it alone when it is there.

    + options: recreate or adopt, when this run named the service
    + needs: the port and the GPU memory that must be free before it starts
    """
    live = runtime.observe(host, wanted.name, wanted.container)
    action = decide(live, wanted, options or Options())
    if action.verb == "nothing":
        host.noop(f"{wanted.name}: {action.why}")
        return
    if action.verb == "warn":
        warn(f"{wanted.name}: {action.why}")
        return
    blocked = obstacle(host, needs, live) if needs and action.verb != "fail" else ""
    if blocked or action.verb == "fail":
        why = blocked or action.why
        logs = runtime.logs(host, wanted.name, wanted.container, LOG_LINES) if live.state == "restarting" else ""
        announce(f"{wanted.name}: cannot come up: {why}")
        yield failing(f"{wanted.name}: {why}", logs)
        return
    announce(f"{wanted.name}: {action.why}")
    yield from runtime.apply(action, wanted)


@operation()
def service_ready(runtime: Runtime, wanted: WantedService, expected: Expectation) -> Commands:
    """
    Wait until one service runs, is healthy and serves what was promised; fail as soon as it cannot.
    """
    live = runtime.observe(host, wanted.name, wanted.container)
    current = live.revision == wanted.revision
    if current and _look(live, host, expected, live.restart_count).state == "ready":
        host.noop(f"{wanted.name} is ready")
        return
    yield FunctionCommand(_await, (runtime, wanted, expected), {})


def _look(live: ServiceState, on: Host, expected: Expectation, restarts: int) -> Verdict:
    answer = on.get_fact(Endpoint, expected.health_url, expected.models_url or expected.health_url)
    return judge(live, answer, expected, restarts)


def _await(state: State, host: Host, runtime: Runtime, wanted: WantedService, expected: Expectation) -> bool:
    """Runs in the execute stage; the operation's own sudo and time limits apply to the facts it asks."""
    restarts = runtime.observe(host, wanted.name, wanted.container).restart_count
    verdict = wait(
        lambda: _look(runtime.observe(host, wanted.name, wanted.container), host, expected, restarts),
        lambda line: host.log(f"{wanted.name}: {line}"),
        lambda: runtime.logs(host, wanted.name, wanted.container, 1).strip()[-200:],
        expected.timeout_s,
        expected.every_s,
    )
    if verdict.state == "ready":
        return True
    for line in runtime.logs(host, wanted.name, wanted.container, LOG_LINES).splitlines():
        host.log(f"    {line}")
    host.log_styled(f"{wanted.name}: {verdict.why}", fg="red")
    return False


@operation()
def service_stopped(runtime: Runtime, service: str, container: str) -> Commands:
    """
    Stop one service; what is not running is left alone, what is paused still holds its memory and is stopped.
    """
    live = runtime.observe(host, service, container)
    if live.state in ("absent", "exited", "created", "dead", "foreign"):
        host.noop(f"{service} is {live.state}")
        return
    if live.state in ("daemon_down", "error"):
        yield failing(f"{service}: {live.error}")
        return
    announce(f"{service}: {live.state}")
    yield from runtime.stop(live, service)


@operation()
def container_retired(runtime: Runtime, container: str, service: str = "", foreign: bool = True) -> Commands:
    """
    Remove one container by name, running or not.

    + foreign: whether one of another project, which only carries the name, is meant too
    """
    live = runtime.observe(host, service or container, container)
    if live.state == "absent":
        host.noop(f"{container} is absent")
        return
    if live.state in ("daemon_down", "error"):
        yield failing(f"{container}: {live.error}")
        return
    if live.state == "foreign" and not foreign:
        host.noop(f"{container} belongs to {live.project or 'no'} project")
        return
    announce(f"{container}: {live.state}, removed")
    yield from runtime.remove(service or container, container)


@operation()
def service_restored(
    runtime: Runtime, wanted: WantedService, expected: Expectation, before: Callable[[], str]
) -> Commands:
    """
    Bring the service back as the runtime's file of the previous definition has it, and wait until it is ready.

    + before: the revision that file holds, "" when it has none to go back to
    """
    revision = before()
    if not revision or revision == wanted.revision:
        host.noop(f"{wanted.name}: there is no previous definition to restore")
        return
    announce(f"{wanted.name}: restored revision {revision}")
    yield from runtime.apply(Action(verb="up"), wanted)
    yield FunctionCommand(_await, (runtime, wanted, expected), {})
