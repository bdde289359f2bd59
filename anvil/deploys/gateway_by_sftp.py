"""A gateway on a machine that runs no command for us: Windows, or an account for SFTP only (contract 13.5).

Its document and plugin are written; what only the machine itself can do is named for the operator.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from pyinfra.api.exceptions import PyinfraError
from pyinfra.context import host

from anvil.deploys import gateway_document as documents
from anvil.deploys.findings import Line
from anvil.deploys.site import Site
from anvil.harness.refusal import Refusal
from anvil.hosts import sftp
from anvil.hosts.sftp_document import document_by_sftp, folder_by_sftp
from anvil.topology.model import Gateway

_NO_SHELL = "this connection runs no command there"


class Wanted(NamedTuple):
    """`folder` is the plugin's as SFTP names it, "" without one."""

    edit: documents.Editor
    folder: str


def is_needed(site: Site) -> bool:
    return site.machine.platform == "windows" or not sftp.runs_commands(host)


def written(site: Site, name: str, gateway: Gateway, overwrite: bool) -> None:
    """Plugin, then the document that names it. Raises PyinfraError before anything is written."""
    wanted = _wanted(site, name, gateway, overwrite)
    if wanted.folder:
        folder_by_sftp(name="Plugin", path=wanted.folder, files=documents.plugin_texts(), _sudo=False)
    document_by_sftp(name="Document", path=gateway.config, edit=wanted.edit, _sudo=False)
    for line in left_to_do(site, name, gateway):
        host.log(f"WARN {line}")


def left_to_do(site: Site, name: str, gateway: Gateway) -> list[str]:
    """What was not done, and what its operator does instead."""
    variable = site.topology.router.token[0] if site.topology.router.token else ""
    lines = [
        f"{name}: {_NO_SHELL}: nothing was validated, restarted or read back, and the router was not asked from there",
        f"{name}: on {site.name}, run `openclaw config validate`, then `openclaw gateway restart`, then"
        " `openclaw models list --provider anvil`",
    ]
    if variable and gateway.token_delivery == "openclaw-env":  # noqa: S105 - a way of delivery, no secret
        lines.append(f"{name}: on {site.name}, write {variable}=<token> into ~/.openclaw/.env: no token goes by SFTP")
    return lines


def checks(site: Site, name: str, gateway: Gateway) -> Iterator[Line]:
    """The doctor's rows: what can be seen without a command."""
    yield Line("WARN", f"gateway {name}: openclaw", f"{_NO_SHELL}: release, token and router cannot be asked")
    check = f"gateway {name}: in step"
    try:
        wanted = _wanted(site, name, gateway, overwrite=False)
        with sftp.files(host) as files:
            live = files.read(files.resolved(gateway.config))
        edit = wanted.edit(live.content if live else None)
    except (PyinfraError, Refusal) as refused:
        yield Line("FAIL", check, str(refused))
        return
    if live is not None and edit.text is None:
        yield Line("PASS", check, "the document holds what the topology says")
    else:
        yield Line("WARN", check, "the document differs from the topology: run harness_sync.py")


def _wanted(site: Site, name: str, gateway: Gateway, overwrite: bool) -> Wanted:
    if gateway.version is None:
        raise PyinfraError(
            f"{site.built.file}: gateways.{name}.version: {_NO_SHELL}, so its release cannot be asked; write the one"
            ' that is installed, for example version = "2026.9.6"'
        )
    known = documents.pinned(site.name, gateway.version)
    folder = ""
    if gateway.plugin is not None:
        with sftp.files(host) as files:
            folder = files.expanded(gateway.plugin.path)
    edit = documents.editor(
        site.topology,
        gateway,
        known,
        lambda: documents.windows_of(site.topology),
        sftp.as_native(folder),
        overwrite,
    )
    return Wanted(edit, folder)
