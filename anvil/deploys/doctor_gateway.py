"""Whether an OpenClaw gateway can do what the topology asks of it, and does (operations.md 8.3). Facts only."""

from __future__ import annotations

from collections.abc import Iterator

from pyinfra.api.exceptions import PyinfraError
from pyinfra.context import host

from anvil.deploys import gateway as deploys
from anvil.deploys import gateway_by_sftp
from anvil.deploys.findings import Line
from anvil.deploys.gateway_document import API_KEY, FLOOR, HOOK, is_tested, numbered, plugin_id
from anvil.deploys.site import Site
from anvil.hosts.files import FileText
from anvil.hosts.gateway import plugin_lacks, reachable
from anvil.hosts.http_reply import Reply
from anvil.hosts.json_file import ResolvedPath
from anvil.hosts.openclaw import (
    CONNECTION_SECONDS,
    Lingering,
    OpenClawCli,
    OpenClawPlugin,
    OpenClawService,
    OpenClawValidation,
)
from anvil.topology.model import Gateway


def checks(site: Site) -> Iterator[Line]:
    for name, gateway in site.topology.gateways.items():
        if gateway.machine != site.name:
            continue
        if gateway_by_sftp.is_needed(site):
            yield from gateway_by_sftp.checks(site, name, gateway)
            continue
        yield from _path(site, name, gateway)
        cli = host.get_fact(OpenClawCli, gateway.login_shell, _timeout=CONNECTION_SECONDS, _sudo=False)
        if not cli.ok:
            pinned = gateway.version is not None
            yield Line("WARN" if pinned else "FAIL", f"gateway {name}: openclaw", cli.error)
            continue
        yield from _version(name, cli.version)
        yield _service(name, gateway)
        yield from _document(site, name, gateway)
        if gateway.plugin is not None:
            told = host.get_fact(
                OpenClawPlugin, gateway.login_shell, plugin_id(), _timeout=CONNECTION_SECONDS, _sudo=False
            )
            yield _line(f"gateway {name}: plugin", plugin_lacks(told, HOOK), "loaded, sees every turn")


def _line(check: str, problem: str, fine: str) -> Line:
    return Line("FAIL", check, problem) if problem else Line("PASS", check, fine)


def _path(site: Site, name: str, gateway: Gateway) -> Iterator[Line]:
    base = deploys.way(site, gateway).base_url.removesuffix("/v1")
    health = host.get_fact(Reply, f"{base}/healthz", 10, _stdin="\n", _sudo=False)
    wanted = site.built.artefacts.release.id
    problem = reachable(health, "")
    if not problem and (stale := reachable(health, wanted)):
        yield Line("WARN", f"gateway {name}: router", f"{base} from there: {stale}")
        return
    yield _line(f"gateway {name}: router", problem and f"{base} from there: {problem}", f"answers at {base}")


def _version(name: str, version: str) -> Iterator[Line]:
    check = f"gateway {name}: openclaw"
    if not version:
        yield Line("WARN", check, "`openclaw --version` names no version; pin it with gateways.*.version")
    elif numbered(version) < FLOOR:
        yield Line("FAIL", check, f"{version} is older than 2026.4.21; update it there")
    elif not is_tested(version):
        yield Line("WARN", check, f"{version} is an untested release")
    else:
        yield Line("PASS", check, version)


def _service(name: str, gateway: Gateway) -> Line:
    check = f"gateway {name}: running"
    told = host.get_fact(OpenClawService, gateway.login_shell, _timeout=CONNECTION_SECONDS, _sudo=False)
    if not told.ok:
        return Line("WARN", check, f"`openclaw gateway status --json` does not say: {told.error}")
    if not told.answers:
        return Line("WARN", check, f"no gateway answers on this machine: {told.why}")
    # This very login keeps the services of its user up, so the gateway answers whoever looks.
    logins = host.get_fact(Lingering, _sudo=False) if told.managed and told.of_user else None
    if logins is not None and logins.ok and not logins.lingers:
        return Line("WARN", check, "ends when its user logs out; run `loginctl enable-linger` there")
    return Line("PASS", check, "answers, kept by a service manager" if told.managed else "answers")


def _document(site: Site, name: str, gateway: Gateway) -> Iterator[Line]:
    check = f"gateway {name}: document"
    found = host.get_fact(ResolvedPath, gateway.config, _sudo=False)
    live = host.get_fact(FileText, found.path, _sudo=False) if found.ok else None
    if live is None or live.status not in ("ok", "absent"):
        yield Line("FAIL", check, f"{gateway.config}: {(live or found).error or 'no such folder'}")
        return
    if not live.ok:
        yield Line("WARN", check, f"{gateway.config} does not exist: harness_sync.py writes it")
        return
    told = host.get_fact(OpenClawValidation, gateway.login_shell, found.path, _timeout=CONNECTION_SECONDS, _sudo=False)
    yield _line(check, "; ".join(told.issues) or told.error, "valid")
    lacking = [warning for warning in told.warnings if warning.startswith(API_KEY)]
    yield _line(f"gateway {name}: token", "; ".join(lacking), "visible")
    yield _in_step(site, name, gateway, live.content)


def _in_step(site: Site, name: str, gateway: Gateway, content: bytes) -> Line:
    check = f"gateway {name}: in step"
    try:
        edit = deploys.wanted_edit(site, gateway, content)
    except (PyinfraError, ValueError) as refused:
        return Line("FAIL", check, str(refused))
    if edit.text is None:
        return Line("PASS", check, "the document holds what the topology says")
    return Line("WARN", check, "the document differs from the topology: run harness_sync.py")
