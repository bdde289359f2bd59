"""One line of the table for each gateway of a machine: does it answer, and does its document say what is wanted."""

from __future__ import annotations

from collections.abc import Iterator

from pyinfra.api.exceptions import PyinfraError
from pyinfra.context import host

from anvil.deploys import gateway as deploys
from anvil.deploys import gateway_by_sftp
from anvil.deploys.site import Site
from anvil.harness.refusal import Refusal
from anvil.hosts.files import FileText
from anvil.hosts.json_file import ResolvedPath
from anvil.hosts.openclaw import CONNECTION_SECONDS, OpenClawService
from anvil.topology.model import Gateway

# Name, wanted, state, revision, detail, and whether it is healthy (None: nobody can tell).
Cells = tuple[str, str, str, str, str, bool | None]


def cells(site: Site) -> Iterator[Cells]:
    """Of every gateway on this machine."""
    for name, gateway in site.topology.gateways.items():
        if gateway.machine != site.name:
            continue
        if gateway_by_sftp.is_needed(site):
            yield name, "up", "unknown", "-", "no command can be run there", None
        else:
            yield _asked(site, name, gateway)


def _asked(site: Site, name: str, gateway: Gateway) -> Cells:
    told = host.get_fact(OpenClawService, gateway.login_shell, _timeout=CONNECTION_SECONDS, _sudo=False)
    if not told.ok:
        return name, "up", "unknown", "-", told.error, None
    revision, detail = _document(site, gateway)
    if not told.answers:
        detail = told.why or "does not answer"
    elif not told.managed:
        detail = detail or "no service manager keeps it"
    return name, "up", "running" if told.answers else "down", revision, detail, told.answers


def _document(site: Site, gateway: Gateway) -> tuple[str, str]:
    """As for serves: same, drifted, or "-" when there is none; and what is wrong with it."""
    found = host.get_fact(ResolvedPath, gateway.config, _sudo=False)
    live = host.get_fact(FileText, found.path, _sudo=False) if found.ok else None
    if live is None or not live.ok:
        return "-", f"{gateway.config}: {(live or found).error or 'does not exist'}"
    try:
        edit = deploys.wanted_edit(site, gateway, live.content)
    except (PyinfraError, Refusal, ValueError) as refused:
        return "drifted", str(refused)
    return ("same", "in step") if edit.text is None else ("drifted", "run harness_sync.py")
