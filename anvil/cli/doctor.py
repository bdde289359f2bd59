"""``anvil doctor``: what must be right on the controller (contract lab.md 3). Hosts have deploy/doctor.py."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from anvil import __version__
from anvil.cli import topology_file
from anvil.cli.ending import stop
from anvil.cli.exit_codes import FAILED, USAGE
from anvil.lab import machine_shell
from anvil.lab.controller_doctor import Check, software
from anvil.topology import load

if TYPE_CHECKING:
    from anvil.lab.controller_doctor import inventory
    from anvil.topology.model import Topology

DISTRIBUTION = "anvil-serving"


@click.command()
@topology_file.option
@click.option("--deploys", is_flag=True, help="Deploys are to run from here: what they need and lacks is a FAIL.")
@click.option("--local", is_flag=True, help="This machine serves: look at its Docker and cards too.")
@click.option("--env-file", type=click.Path(path_type=Path), help="Default: ~/.anvil_env, else ~/.env.")
@click.option("--url", envvar="ANVIL_ROUTER_URL", help="The router; default: where the topology publishes it.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
def doctor(
    topology: Path | None, deploys: bool, local: bool, env_file: Path | None, url: str | None, as_json: bool
) -> None:
    """Check the controller: interpreter, packages, topology, secrets, reachable tiers, the router.

    Exit 0: no FAIL. 1: at least one. 2: usage. Secrets are told by name only.
    """
    if env_file is not None and not env_file.is_file():
        raise stop(f"--env-file {env_file}: no such file", USAGE)
    checks = [software.python(sys.version_info[:2])]
    checks += software.deploy_packages(deploys, software.installed, software.requirements)
    try:
        checks += _of_topology(topology, local, env_file, url)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("anvil"):
            raise
        checks.append(Check("WARN", "topology", f"not looked at: {error.name} is missing"))
    _tell(checks, as_json)
    if any(check.level == "FAIL" for check in checks):
        raise SystemExit(FAILED)


def _of_topology(named: Path | None, local: bool, env_file: Path | None, url: str | None) -> list[Check]:
    from anvil.lab.controller_doctor import inventory

    file = topology_file.path(named)
    asked = named is not None or bool(os.environ.get(load.VARIABLE, "").strip())
    own = _held(file, env_file)
    check, read = inventory.topology(file, asked, os.environ, own)
    found = read.topology
    checks = [check, inventory.versions(found, __version__, software.installed(DISTRIBUTION))]
    here = _here(found, local) if found else []
    if found is not None:
        checks += [inventory.secrets(found, own), inventory.profile(found, file, read.config)]
        checks += [inventory.schema_file(file)]
    # A release's name depends on which secrets have a value: without them it is not the one a deploy would make.
    complete = not any(check.level == "FAIL" for check in checks)
    checks += _reached(found, here, url, read.release if complete else None)
    return [*checks, *(_machine(found, here) if local else [])]


def _held(file: Path, env_file: Path | None) -> inventory.Held:
    """Before the topology is judged: its release depends on which secrets have a value."""
    from anvil.lab.controller_doctor import inventory

    try:
        wanted = inventory.wanted_secrets(load.load(file, os.environ)).all()
    except (load.TopologyError, KeyError):
        wanted = ()
    return inventory.held(wanted, os.environ, env_file)


def _here(topology: Topology, local: bool) -> list[str]:
    """Names of machines that are this one: by address, or because the operator says so of the one that serves."""
    found = [name for name, machine in topology.machines.items() if machine_shell.is_here(machine)]
    return found or ([topology.router.machine] if local else [])


def _reached(found: Topology | None, here: list[str], url: str | None, release: str | None) -> list[Check]:
    from anvil.lab.controller_doctor import reach

    checks = list(reach.tiers(found, here, os.environ, reach.get)) if found else []
    if found and (rest := reach.elsewhere(found, here)):
        click.echo(f"note: {', '.join(rest)} can only be asked on the machine itself: deploy/doctor.py", err=True)
    where = url or (reach.router_url(found, here) if found else None)
    if where is None:
        return checks
    return [*checks, reach.router(where.rstrip("/").removesuffix("/v1"), release, reach.get)]


def _machine(found: Topology | None, here: list[str]) -> list[Check]:
    from anvil.lab.controller_doctor import machine
    from anvil.lab.onboarding import facts

    try:
        told = facts.here()
    except (facts.FactsError, FileNotFoundError) as error:
        return [Check("FAIL", "machine", str(error))]
    return machine.checks(told, found.machines[here[0]] if found and here else None)


def _tell(checks: list[Check], as_json: bool) -> None:
    failed = any(check.level == "FAIL" for check in checks)
    if as_json:
        document = {"schema": "anvil.doctor/v1", "checks": checks, "ok": not failed}
        click.echo(msgspec.json.encode(document).decode())
        return
    for check in checks:
        click.echo(f"[{check.level}] {check.name} — {check.detail}")
    click.echo("FAILED" if failed else "OK")
