"""Topology -> everything that lands on machines, read back with the consumers' own decoders (contract operations.md
5, R1-R5).

Pure: the same topology, digests and profile give the same bytes. Secret values never come here.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Struct

from anvil.render import compose, golive, multiplexer, process, readback, router, services
from anvil.render.engine import interpolated
from anvil.render.env import Secrets
from anvil.render.process import ProcessDefinition
from anvil.render.services import ServiceSpec
from anvil.router.config import RouterConfig
from anvil.topology import derived
from anvil.topology.derived import SecretNames
from anvil.topology.finding import Finding
from anvil.topology.model import Topology


class Release(Struct, frozen=True, kw_only=True):
    """The router's content-addressed release: ``files`` by name, and what runs it.

    ``config`` is router.toml as the router's own decoder reads it. ``go_live`` is the text of router/go-live.sh,
    ``launcher`` the supervisor's constant program on a process machine.
    """

    id: str
    files: dict[str, bytes]
    config: RouterConfig
    service: ServiceSpec
    go_live: str
    launcher: ProcessDefinition | None = None


class MachineArtefacts(Struct, frozen=True, kw_only=True):
    """What one machine is given. ``compose_text`` is None on process machines and where nothing runs, ``processes``
    is empty on compose ones.

    ``services`` are the serves (and multiplexer) in the order written, wanted or not; ``docker_volumes`` are
    external names.
    """

    machine: str
    runtime: str
    root: str
    services: tuple[ServiceSpec, ...]
    secrets: SecretNames
    compose_text: str | None = None
    processes: tuple[ProcessDefinition, ...] = ()
    multiplexer_toml: str | None = None
    docker_volumes: tuple[str, ...] = ()
    release: Release | None = None


class Artefacts(Struct, frozen=True, kw_only=True):
    machines: dict[str, MachineArtefacts]
    topology_sha256: str
    findings: tuple[Finding, ...]

    @property
    def release(self) -> Release:
        return next(made.release for made in self.machines.values() if made.release is not None)


class ReadBackError(Exception):
    """A rendered text does not mean what was intended, or its consumer refuses it. ``findings`` are all errors."""

    def __init__(self, findings: list[Finding]) -> None:
        super().__init__("\n".join(f"{each.table}: {each.sentence}" for each in findings))
        self.findings = findings


def render(topology: Topology, secrets: Secrets, profile: bytes | None = None) -> Artefacts:
    """Every artefact of a checked topology (``check`` found no error). ``profile`` is the text of profile.json, if any.

    Raises ReadBackError; the findings of the result are warnings.
    """
    findings: list[Finding] = []
    machines = {name: _machine(topology, name, secrets, profile, findings) for name in topology.machines}
    errors = [finding for finding in findings if finding.level == "error"]
    if errors:
        raise ReadBackError(errors)
    digest = derived.sha256(derived.canonical(msgspec.to_builtins(topology)))
    return Artefacts(machines=machines, topology_sha256=digest, findings=tuple(findings))


def _machine(
    topology: Topology, name: str, secrets: Secrets, profile: bytes | None, findings: list[Finding]
) -> MachineArtefacts:
    build = _processes if topology.machines[name].runtime == "process" else _containers
    made = build(topology, name, secrets, findings)
    if topology.router.machine != name:
        return made
    return msgspec.structs.replace(made, release=_release(topology, secrets, profile, findings))


def _containers(topology: Topology, name: str, secrets: Secrets, findings: list[Finding]) -> MachineArtefacts:
    place = topology.multiplexer
    here = place if place is not None and place.machine == name else None
    extra = {multiplexer.NAME: multiplexer.service(topology, here, secrets)} if here else {}
    document = compose.document(topology, name, secrets, extra)
    text = compose.text(document) if document["services"] else None
    findings += readback.compose(text, document, f"machines.{name}") if text else []
    names = [serve for serve in document["services"] if serve not in extra]
    for serve in names:
        findings += readback.flags(serve, topology.serves[serve], document["services"][serve]["command"])
    specs = [_spec(topology, serve, document["services"][serve]) for serve in names]
    if here:
        specs.append(multiplexer.spec(topology, here, extra[multiplexer.NAME]))
    return MachineArtefacts(
        machine=name,
        runtime="compose",
        root=topology.machines[name].root,
        services=tuple(specs),
        secrets=derived.secret_names(topology, name),
        compose_text=text,
        multiplexer_toml=multiplexer.toml(topology, here) if here else None,
        docker_volumes=tuple(volume["name"] for volume in document.get("volumes", {}).values()),
    )


def _spec(topology: Topology, name: str, service: dict[str, Any]) -> ServiceSpec:
    plain = interpolated(service)
    labels = plain["labels"]
    return services.of_serve(topology, name, plain, labels[compose.REVISION], labels[compose.ENV])


def _processes(topology: Topology, name: str, secrets: Secrets, findings: list[Finding]) -> MachineArtefacts:
    names = [serve for serve, found in topology.serves.items() if found.machine == name]
    definitions = tuple(process.serve(topology, serve, secrets) for serve in names)
    for each in definitions:
        findings += readback.flags(each.name, topology.serves[each.name], each.argv)
    return MachineArtefacts(
        machine=name,
        runtime="process",
        root=topology.machines[name].root,
        services=tuple(
            services.of_serve(topology, each.name, msgspec.to_builtins(each), each.revision, each.env_digest)
            for each in definitions
        ),
        secrets=derived.secret_names(topology, name),
        processes=definitions,
    )


def _release(topology: Topology, secrets: Secrets, profile: bytes | None, findings: list[Finding]) -> Release:
    files = router.files(topology, secrets, profile)
    config, problems = readback.router(files["router.toml"].decode(), router.document(topology, profile is not None))
    findings += problems
    by_process = topology.machines[topology.router.machine].runtime == "process"
    launcher = process.launcher(topology, router.definition(topology, secrets)) if by_process else None
    if launcher is None:
        findings += readback.compose(files["compose.yaml"].decode(), router.compose(topology, secrets), "router")
    if config is None:
        raise ReadBackError([finding for finding in findings if finding.level == "error"])
    return Release(
        id=router.release_id(files),
        files=files,
        config=config,
        service=router.spec(topology, secrets),
        go_live=golive.text(topology),
        launcher=launcher,
    )
