"""Machines and their ssh data from the topology. A wrong topology is one clear line, before anything connects."""

from __future__ import annotations

import base64
import difflib
import io
import logging
import os
import re
import sys
from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import msgspec
import pyinfra
from pyinfra.api.exceptions import PyinfraError
from pyinfra.connectors import util as connectors
from pyinfra.context import ctx_state, state

from anvil.deploys import secrets
from anvil.deploys.options import as_typed, option
from anvil.render.artefacts import ReadBackError, render
from anvil.render.engine import TemplatesMissing
from anvil.render.env import Secrets
from anvil.topology import check, derived, load
from anvil.topology.finding import Finding
from anvil.topology.model import Machine, Topology

Host = tuple[str, dict[str, Any]]
Groups = dict[str, list[Host]]
_OPENSSH = b"openssh-key-v1\0"
_ESCAPES = re.compile(r"\x1b\[[0-9;]*m")
ONLY_LOOKING = frozenset(("doctor", "status", "logs"))
WRITING_SECRETS = frozenset(("full", "serves", "adopt", "weights", "router", "multiplexer", "promote"))


class Checked(msgspec.Struct, frozen=True):
    """The topology and where it was read from; the profile lies beside it."""

    topology: Topology
    file: str

    def to_json(self) -> object:
        return msgspec.to_builtins(self)


def checked(default: str) -> Checked:
    """The topology of this run, free of errors; warnings are printed. Raises PyinfraError."""
    file = load.path(os.environ, Path(default))
    try:
        topology = load.load(file, os.environ, str(file))
    except load.TopologyError as error:
        raise PyinfraError(str(error)) from None
    findings = check.check(topology)
    errors = [finding for finding in findings if finding.level == "error"]
    if errors:
        raise PyinfraError("\n".join(check.lines(errors, str(file))))
    warnings = [finding for finding in findings if finding.level == "warn"]
    for line in check.lines([*warnings, *_read_back(topology, str(file))], str(file)):
        print(f"WARN {line}", file=sys.stderr)  # noqa: T201 - pyinfra's own log is not set up yet
    found = Checked(topology, str(file))
    _refuse_without_secrets(found, _typed())
    if pyinfra.is_cli and not sys.stdin.isatty():
        vars(connectors)["getpass"] = _nobody_types
    _ask_nothing(_typed())
    _end_with_the_first_failed_host()
    return found


def _read_back(topology: Topology, file: str) -> Sequence[Finding]:
    """R1-R3 before anything connects: what would land on the machines, in this run's mode, read by its consumers.

    Returns the warnings. Raises PyinfraError.
    """
    mode = as_typed(_typed()).get("mode")
    try:
        return render(derived.in_mode(topology, mode if mode in topology.modes else None), Secrets()).findings
    except ReadBackError as error:
        raise PyinfraError("\n".join(check.lines(error.findings, file))) from None
    except TemplatesMissing as error:
        raise PyinfraError(str(error)) from None


def refuse_missing(inventory: str, words: Sequence[str]) -> None:
    """pyinfra takes an inventory file that is not there for no hosts at all, does nothing and exits 0."""
    if not _deploys(words) or Path(inventory).is_file():
        return
    near = difflib.get_close_matches(inventory, [str(path) for path in Path("inventory").glob("*.py")], 1)
    hint = f"; did you mean {near[0]}?" if near else ""
    raise PyinfraError(f"{inventory}: no such inventory file{hint}")


def over_ssh(found: Checked) -> Groups:
    """Every machine by its name, and the groups `gpu` (has serves), `router`, `gateway`."""
    # Why a connection failed is one line of pyinfra's; paramiko's own thread would print its traceback beside it.
    logging.getLogger("paramiko").addHandler(logging.NullHandler())
    hosts = {name: (name, _data(found, name, machine)) for name, machine in found.topology.machines.items()}
    return limited(_groups(found.topology, hosts))


def here(found: Checked) -> Groups:
    """The topology's one machine as @local; its router runs under this very interpreter unless another one is named."""
    if len(found.topology.machines) != 1:
        raise PyinfraError(f"{found.file}: machines: a local inventory has exactly one machine")
    (name,) = found.topology.machines
    place = found.topology.router
    if place.python == "python3":
        place = msgspec.structs.replace(place, python=sys.executable)
    mine = Checked(msgspec.structs.replace(found.topology, router=place), found.file)
    data = {"topology": mine, "machine": name, "_sudo": mine.topology.machines[name].sudo}
    return limited(_groups(mine.topology, {name: ("@local", data)}))


def _refuse_without_secrets(found: Checked, words: Sequence[str]) -> None:
    """T16 before anything connects, for the deploys that write secrets; a limited run is judged host by host."""
    if not _deploys(words) & WRITING_SECRETS or option(words, "--limit"):
        return
    given = as_typed(words)
    try:
        topology = derived.in_mode(found.topology, given.get("mode"))
    except ValueError as error:
        raise PyinfraError(f"--data mode: {error}") from None
    secrets.complete(topology, secrets.of(topology, given.get("env_file", "")), found.file)


def _ask_nothing(words: Sequence[str]) -> None:
    """Deploys that only look have nothing to confirm: answer pyinfra's question, which fails where nobody can type."""
    if _deploys(words) and _deploys(words) <= ONLY_LOOKING:
        sys.stdin = io.StringIO("\n")


def _nobody_types(prompt: str) -> str:
    """Stands for pyinfra's question for sudo's password, which ends in a traceback where no terminal is."""
    raise PyinfraError(
        f"{_ESCAPES.sub('', prompt).strip(' :')} is wanted and nobody can type it: allow sudo without one"
    )


def _end_with_the_first_failed_host() -> None:
    """pyinfra would ask whether to go on without it, and then work with facts that are None."""
    if ctx_state.isset():  # type: ignore[no-untyped-call]  # pyinfra's contexts have no types
        state.should_raise_failed_hosts = None


def _deploys(words: Sequence[str]) -> set[str]:
    return {Path(word).stem for word in words if word.endswith(".py") and Path(word).parent.name == "deploy"}


def _typed() -> Sequence[str]:
    """Inventory files are told of neither deploy, `--limit` nor `--data`; only pyinfra's own command has them."""
    return sys.argv[1:] if pyinfra.is_cli else ()


def _key(found: Checked, name: str, written: str) -> str:
    """pyinfra itself would show a traceback for a key that is not there, and wait at a prompt for one with a
    password."""
    key = Path(written).expanduser()
    where = f"{found.file}: machines.{name}.ssh.key: {key}"
    try:
        text = key.read_text(errors="replace")
    except OSError as error:
        reason = "no such file" if isinstance(error, FileNotFoundError) else error.strerror
        raise PyinfraError(f"{where}: {reason}") from None
    if "PRIVATE KEY-----" not in text:
        kind = (
            "a public key; name the private one" if text.startswith(("ssh-", "ecdsa-")) else "no private key of OpenSSH"
        )
        raise PyinfraError(f"{where}: is {kind}")
    if encrypted(text) and not any("key-password" in word for word in _typed()):
        raise PyinfraError(
            f"{where}: has a password, and a deploy asks for none: load it with ssh-add and leave `key` out,"
            " or give --ssh-key-password"
        )
    return str(key)


def encrypted(text: str) -> bool:
    """Whether a private key in PEM or OpenSSH's format has a password."""
    if "ENCRYPTED" in text:
        return True
    body = "".join(line for line in text.splitlines() if not line.startswith("-----"))
    try:
        head = base64.b64decode(body[:64])
    except ValueError:
        return False
    return head.startswith(_OPENSSH) and not head[len(_OPENSSH) :].startswith(b"\0\0\0\4none")


def _data(found: Checked, name: str, machine: Machine) -> dict[str, Any]:
    data: dict[str, Any] = {"topology": found, "machine": name, "_sudo": machine.sudo}
    ssh = machine.ssh
    data["ssh_hostname"] = (ssh and ssh.hostname) or machine.address or name
    if ssh is None:
        return data
    given = {
        "ssh_port": ssh.port,
        "ssh_user": ssh.user,
        "ssh_key": ssh.key and _key(found, name, ssh.key),
        "ssh_known_hosts_file": ssh.known_hosts and str(Path(ssh.known_hosts).expanduser()),
        "ssh_strict_host_key_checking": "yes" if ssh.known_hosts else None,
    }
    return {**data, **{key: value for key, value in given.items() if value is not None}}


def _groups(topology: Topology, hosts: dict[str, Host]) -> Groups:
    serving = {serve.machine for serve in topology.serves.values()}
    gateways = {gateway.machine for gateway in topology.gateways.values()}
    return {
        "machines": list(hosts.values()),
        "gpu": [host for name, host in hosts.items() if name in serving],
        "router": [host for name, host in hosts.items() if name == topology.router.machine],
        "gateway": [host for name, host in hosts.items() if name in gateways],
    }


def limited(groups: Groups, argv: Sequence[str] | None = None) -> Groups:
    """The groups, once it is sure that `--limit` leaves a host: pyinfra itself would do nothing and exit 0."""
    words = argv if argv is not None else _typed()
    names = [name for name, _ in groups["machines"]]
    if not names:
        raise PyinfraError("the topology has no machines: there is nothing to deploy to")
    for pattern in option(words, "--limit"):
        if groups.get(pattern):
            continue
        if not any(fnmatch(name, pattern) for name in names):
            known = ", ".join([*names, *(group for group in groups if groups[group])])
            raise PyinfraError(f"--limit {pattern} matches no host; there are: {known}")
    return groups
