"""A whole compose project taken away: its containers and its folder, and nothing that another project owns."""

from __future__ import annotations

from pyinfra.api.operation import operation
from pyinfra.context import host

from anvil.hosts.announce import announce
from anvil.hosts.containers import ComposeServices
from anvil.hosts.docker import locked
from anvil.hosts.files import FileStat
from anvil.hosts.services import failing
from anvil.hosts.shell import Commands, script


@operation()
def project_removed(project: str, root: str, folder: str = "") -> Commands:
    """
    Remove every container of one compose project, by the project's label, and the folder of its files.

    + folder: below `root`, "" for none; volumes, networks and images stay
    """
    live = host.get_fact(ComposeServices, project)
    if not live.ok:
        yield failing(f"{project}: {live.error}")
        return
    containers = [each.container for each in live.services.values()]
    written = bool(folder) and host.get_fact(FileStat, folder).status != "absent"
    if not containers and not written:
        host.noop(f"{project} is absent")
        return
    announce(f"{project}: {', '.join(containers) or 'only its files'}, removed")
    if containers:
        yield locked(root, "docker", "rm", "-f", *containers)
    if written:
        yield script('rm -rf -- "$1"', folder)
