"""The one typed door from pyinfra's host to our world: which machine this is, what is wanted there, what runs it."""

from __future__ import annotations

import getpass
import re
import socket
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeVar, cast
from weakref import WeakKeyDictionary

import msgspec
from msgspec import Struct
from pyinfra.api.exceptions import PyinfraError
from pyinfra.api.state import State
from pyinfra.context import host

from anvil.deploys import options, secrets, verdicts
from anvil.deploys.inventory import Checked
from anvil.hosts.basics import LoggedIn
from anvil.hosts.compose import ComposeRuntime
from anvil.hosts.processes import ProcessRuntime
from anvil.hosts.services import Runtime
from anvil.hosts.supervisor import Program
from anvil.render.artefacts import Artefacts, MachineArtefacts, ReadBackError, render
from anvil.render.process import ProcessDefinition
from anvil.render.services import ServiceSpec
from anvil.topology import check, derived
from anvil.topology.model import Machine, Topology

T = TypeVar("T")
_built: WeakKeyDictionary[State, Built] = WeakKeyDictionary()
CONTAINER_GROUP = "10001"  # The router image's user; it must read what the release mounts.


class Built(Struct, frozen=True, weakref=True):
    """What one run works from; the same for every host."""

    topology: Topology
    file: Path
    held: secrets.Held
    artefacts: Artefacts
    profile: bytes | None


class Site(Struct, frozen=True):
    """One machine in one run."""

    name: str
    machine: Machine
    built: Built

    @property
    def topology(self) -> Topology:
        return self.built.topology

    @property
    def made(self) -> MachineArtefacts:
        return self.built.artefacts.machines[self.name]

    @property
    def root(self) -> str:
        return self.machine.root

    @property
    def secrets_file(self) -> str:
        return f"{self.root}/secrets.env"

    @property
    def by_process(self) -> bool:
        return self.machine.runtime == "process"

    @property
    def runs_something(self) -> bool:
        """False for a machine that is only a gateway: nothing of ours is laid out there."""
        return bool(self.made.services) or self.has_router

    @property
    def has_router(self) -> bool:
        return self.topology.router.machine == self.name

    @property
    def group(self) -> str:
        """Who must read the router's files beside their owner: its container's user. Only root can say so."""
        return CONTAINER_GROUP if self._as_root and not self.by_process else ""

    @property
    def everyone(self) -> bool:
        """Whether the router's files, which hold no secret, are readable by every user of the machine: where they have
        no group of their own, the container's user is one of them."""
        return not self.by_process and not self.group

    @property
    def _as_root(self) -> bool:
        return self.machine.sudo or bool(host.get_fact(LoggedIn).root)

    @property
    def python(self) -> str:
        return self.topology.router.python

    def spec(self, serve: str) -> ServiceSpec | None:
        """The serve's wanted definition, None when it belongs to another machine."""
        return next((spec for spec in self.made.services if spec.name == serve), None)

    def runtime(self, pull: str = "missing", file: str = "compose.yaml") -> Runtime:
        if self.by_process:
            programs = {each.name: program(each) for each in self.made.processes}
            return ProcessRuntime(root=self.root, python=self.python, programs=programs)
        return ComposeRuntime(
            root=self.root,
            project=self.topology.deployment,
            file=f"{self.root}/{file}",
            pull="never" if pull == "never" else "missing",
            who=owner(),
        )


def program(definition: ProcessDefinition) -> Program:
    return Program(
        name=definition.name,
        argv=definition.argv,
        env=definition.env,
        cwd=definition.cwd,
        secrets=definition.secret_env,
        stop_timeout_s=definition.stop_timeout_s,
        restart=definition.restart,
    )


def owner() -> str:
    """Who is at it, as the lock and the evidence name them."""
    return re.sub(r"[^A-Za-z0-9@._-]", "-", f"{getpass.getuser()}@{socket.gethostname()}")


def here() -> Site:
    """This host's site. Raises PyinfraError, before anything changes, when the run cannot be right."""
    # `-vvv` would print what facts read, in base64: a gateway's own document may hold literal secrets (S2).
    host.state.print_fact_output = False
    options.check()
    found: Checked = host.data.topology
    name: str = host.data.machine
    built = _of_run(found)
    return Site(name, built.topology.machines[name], built)


def _of_run(found: Checked) -> Built:
    state = host.state
    if state not in _built:
        _built[state] = _build(found)
    return _built[state]


def _build(found: Checked) -> Built:
    topology = _overridden(found.topology)
    held = secrets.without(secrets.of(topology, options.text("env_file")), options.names("drop_secret"))
    file = Path(found.file)
    profile = inventory_profile(topology, file)
    return Built(topology, file, held, rendered(topology, held, profile), profile)


def _overridden(topology: Topology) -> Topology:
    try:
        topology = derived.in_mode(topology, options.text("mode") or None)
    except ValueError as error:
        raise PyinfraError(f"--data mode: {error}") from None
    if image := options.text("image"):
        topology = msgspec.structs.replace(topology, router=msgspec.structs.replace(topology.router, image=image))
        wrong = [each for each in check.check(topology) if (each.table, each.level) == ("router.image", "error")]
        if wrong:
            raise PyinfraError("\n".join(f"--data image={image}: {each.sentence}" for each in wrong))
    return topology


def inventory_profile(topology: Topology, file: Path) -> bytes | None:
    """The text of the profile beside the topology, None for the seed profile. Raises PyinfraError."""
    if topology.router.profile is None:
        return None
    path = file.parent / topology.router.profile
    try:
        content = path.read_bytes()
    except OSError as error:
        raise PyinfraError(f"{file}: router.profile: {path}: {error.strerror}") from None
    verdicts.rows(content, str(path))
    return content


def rendered(topology: Topology, held: secrets.Held, profile: bytes | None) -> Artefacts:
    try:
        return render(topology, held.digests(), profile)
    except ReadBackError as error:
        raise PyinfraError(str(error)) from None


def secrets_complete(site: Site) -> None:
    """T16 and 11.6 for runs whose inventory could not know: another way in, or a `--limit`. Raises PyinfraError."""
    secrets.complete(site.topology, site.built.held, str(site.built.file))


def each(items: Iterable[T]) -> Iterator[T]:
    """pyinfra's loop: every host walks the same ordered collection, and passes over what is not its own (P3)."""
    return cast("Iterator[T]", host.loop(items))  # type: ignore[no-untyped-call]  # pyinfra's loop has no types
