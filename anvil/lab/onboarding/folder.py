"""The inventory folder: topology, its schema, and the two small files pyinfra reads. Checked before it is written."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from anvil.lab.writing import check_target, write_whole
from anvil.render.artefacts import ReadBackError, render
from anvil.render.env import Secrets
from anvil.topology import schema
from anvil.topology.check import check
from anvil.topology.finding import Finding
from anvil.topology.load import loads
from anvil.topology.model import Topology

TOPOLOGY, SCHEMA, HOSTS, DATA = "topology.toml", "topology.schema.json", "hosts.py", "group_data/all.py"

_HOSTS = '''"""Machines of `{file}` (or of the file that ANVIL_TOPOLOGY names), {reached}."""

from pyinfra.context import config

from anvil.deploys.inventory import checked, {how}

config.FAIL_PERCENT = 0  # One failed host ends the run before the next step.

_groups = {how}(checked("{file}"))
machines, gpu, router, gateway = (_groups[_name] for _name in ("machines", "gpu", "router", "gateway"))
'''
_DATA = '''"""Defaults of the values that `--data key=value` overrides on one run (operations.md 8.1)."""

wait = True
'''


def judged(text: str, name: str, environ: Mapping[str, str]) -> tuple[Topology, list[Finding]]:
    """Load, cross-check and render; errors of all three are findings. Raises TopologyError for what cannot be read."""
    topology = loads(text, environ, name)
    found = check(topology)
    if any(finding.level == "error" for finding in found):
        return topology, found
    try:
        return topology, [*found, *render(topology, Secrets()).findings]
    except ReadBackError as error:
        return topology, [*found, *error.findings]


def hosts(file: Path, on_this_machine: bool) -> str:
    """The pyinfra inventory of a topology."""
    reached, how = ("on this one machine", "here") if on_this_machine else ("reached over SSH", "over_ssh")
    return _HOSTS.format(file=file.as_posix(), reached=reached, how=how)


def refuse(folder: Path, *, new: bool, mkdir: bool) -> None:
    """Before anything is asked or measured: whether the files may be written there. Raises WriteRefused."""
    check_target(folder / TOPOLOGY, force=not new, mkdir=mkdir)


def write(folder: Path, text: str, hosts_text: str, *, mkdir: bool) -> list[Path]:
    """The paths that were written; hosts.py and group_data are left alone where they exist. Raises OSError."""
    wanted = {TOPOLOGY: text, SCHEMA: schema.text(), HOSTS: hosts_text, DATA: _DATA}
    written = []
    for name, content in wanted.items():
        path, data = folder / name, content.encode()
        if path.exists() and (name in (HOSTS, DATA) or path.read_bytes() == data):
            continue
        write_whole(path, data, force=True, mkdir=mkdir or name == DATA)
        written.append(path)
    return written
