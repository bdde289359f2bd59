"""OpenClaw gateways in step with the router: our part of their document, and proof that they answer through it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any
from weakref import WeakKeyDictionary

from msgspec import Struct
from pyinfra.api.deploy import deploy
from pyinfra.api.exceptions import PyinfraError
from pyinfra.api.operation import OperationMeta
from pyinfra.api.state import State
from pyinfra.context import host

from anvil.deploys import gateway_by_sftp, options
from anvil.deploys.gateway_document import (
    HOOK,
    Known,
    Windows,
    editor,
    judge,
    pinned,
    plugin_id,
    plugin_texts,
    see_version,
    windows_of,
)
from anvil.deploys.site import Site, each, here, secrets_complete
from anvil.harness import json5_document, openclaw_features
from anvil.harness.refusal import Refusal
from anvil.hosts.barrier import barrier
from anvil.hosts.env_line import env_line, line_of
from anvil.hosts.files import FileText
from anvil.hosts.gateway import (
    answers_through,
    gateway_answers,
    gateway_in_step,
    gateway_restarted,
    offered,
    plugin_loaded,
    router_reachable,
)
from anvil.hosts.http_reply import Reply, authorisation
from anvil.hosts.json_file import Edit, ExpandedPath, ResolvedPath, json_file, plugin_files
from anvil.hosts.openclaw import CONNECTION_SECONDS, OpenClawCli, OpenClawSchema
from anvil.topology import derived
from anvil.topology.model import Gateway

ENVIRONMENT = "~/.openclaw/.env"
EXHAUSTED = 503


_told: WeakKeyDictionary[State, dict[tuple[str, bool, str | None], Known]] = WeakKeyDictionary()


class Way(Struct, frozen=True):
    """The router as a gateway reaches it (its OpenAI base), the token it shows there, and what is offered for it."""

    base_url: str
    token: str
    windows: Windows


@deploy("Gateway")
def in_step() -> None:
    """Reach the router, write plugin and document, restart when they changed, read back, ask every probe preset."""
    site = here()
    barrier(name="After the router")
    for name, gateway in _mine(site):
        secrets_complete(site)
        if gateway_by_sftp.is_needed(site):
            gateway_by_sftp.written(site, name, gateway, overwriting(name))
        else:
            _sync(site, name, gateway)


@deploy("Gateway restart")
def restarted() -> None:
    """Restart and read back, nothing else."""
    site = here()
    for name, gateway in _mine(site):
        if gateway_by_sftp.is_needed(site):
            raise PyinfraError(f"{site.name}: no command can be run there; restart {name} on the machine itself")
        windows = way(site, gateway).windows
        gateway_restarted(
            name="Restart",
            login=gateway.login_shell,
            wanted=windows,
            applies_itself=lambda: False,
            why="asked for",
            _sudo=False,
        )
        gateway_answers(name="Answers", login=gateway.login_shell, _sudo=False)
        gateway_in_step(name="Read back", login=gateway.login_shell, wanted=windows, _sudo=False)


def _mine(site: Site) -> Iterator[tuple[str, Gateway]]:
    """This machine's gateways, one a round. Machines do a round together, as a restart may take a minute: they share
    its operations, which therefore carry no gateway's name."""
    machines = [gateway.machine for gateway in site.topology.gateways.values()]
    mine = [(name, gateway) for name, gateway in site.topology.gateways.items() if gateway.machine == site.name]
    for at in each(range(max(map(machines.count, machines), default=0))):
        yield from mine[at : at + 1]


def _sync(site: Site, name: str, gateway: Gateway) -> None:
    known = told(site, gateway)
    to_router = way(site, gateway)
    presets = tuple(key.removeprefix("anvil/") for key in windows_of(site.topology))
    router_reachable(
        name="Path to the router",
        base_url=to_router.base_url,
        presets=presets,
        release="" if options.flag("allow_drift", False) else site.built.artefacts.release.id,
        token=to_router.token,
        _sudo=False,
    )
    deep = [each for each in (_plugin(name, gateway), *_tokens(site, name, gateway)) if each is not None]
    document = json_file(
        name="Document",
        path=gateway.config,
        edit=editor(site.topology, gateway, known, to_router.windows, folder_of(gateway), overwriting(name)),
        judge=judge(gateway.login_shell, known.pinned),
        _sudo=False,
    )
    if not known.pinned:
        _restart(name, gateway, known, to_router.windows, document, deep)
        _read_back(gateway, to_router.windows)
    answers_through(
        name="Ask through it",
        base_url=to_router.base_url,
        presets=gateway.probe_presets or (gateway.primary,),
        token=to_router.token,
        exhausted=exhausted(site),
        _sudo=False,
    )


def _read_back(gateway: Gateway, windows: Windows) -> None:
    """That the gateway runs what was written, told by its own command."""
    if options.text("restart", gateway.restart) != "never":
        gateway_answers(name="Answers", login=gateway.login_shell, _sudo=False)
    gateway_in_step(name="Read back", login=gateway.login_shell, wanted=windows, _sudo=False)
    if gateway.plugin is not None:
        plugin_loaded(name="Plugin loaded", login=gateway.login_shell, identity=plugin_id(), hook=HOOK, _sudo=False)


def exhausted(site: Site) -> dict[str, int]:
    """The router's own status for a preset that has no way but the cloud: no fault of the gateway (13.6)."""
    status = int(site.topology.router.settings.get("exhaustion_status") or EXHAUSTED)
    presets = derived.active(site.topology).presets
    return {preset: status for preset in presets if derived.is_cloud_only(site.topology, preset)}


def way(site: Site, gateway: Gateway) -> Way:
    """M3: what the operator wrote into the document stands, so that is the way that must work."""
    live = {} if options.flag("overwrite_url", False) or options.flag("overwrite", False) else _provider(gateway)
    names = site.topology.router.token
    token = site.built.held.values[names[0]].unmask() if names and names[0] in site.built.held.values else ""
    declared_url = f"{gateway.router_url.rstrip('/').removesuffix('/v1')}/v1"
    base = _written(live.get("baseUrl")).rstrip("/") or declared_url
    key = _written(live.get("apiKey")) or token
    declared = windows_of(site.topology)

    def windows() -> dict[str, int]:
        told = host.get_fact(Reply, f"{base}/models", 10, _stdin=authorisation(key), _sudo=False)
        ids = offered(told)
        live = {name: window for name, window in declared.items() if name.removeprefix("anvil/") in ids}
        return live if told.code == 200 and live else declared

    return Way(base, key, windows)


def _written(value: object) -> str:
    """A literal text; a placeholder or a marker object is resolved by the gateway alone."""
    return value if isinstance(value, str) and "${" not in value else ""


def _provider(gateway: Gateway) -> dict[str, Any]:
    """Our provider in the live document."""
    return _live(gateway, "models", "providers", "anvil")


def _reloads(gateway: Gateway) -> bool:
    """Whether the running gateway takes up what is written; its operator may want restarts of their own choice."""
    return bool(_live(gateway, "gateway", "reload").get("mode") != "off")


def _live(gateway: Gateway, *keys: str) -> dict[str, Any]:
    """An object of the live document, {} where there is none: what is wrong with it the merge tells better."""
    found = host.get_fact(ResolvedPath, gateway.config, _sudo=False)
    live = host.get_fact(FileText, found.path, _sudo=False) if found.ok else None
    try:
        node: Any = json5_document.parse(live.content)[0] if live is not None and live.ok else {}
    except Refusal:
        return {}
    for key in keys:
        node = node.get(key) if isinstance(node, dict) else None
    return node if isinstance(node, dict) else {}


def _restart(
    name: str,
    gateway: Gateway,
    known: Known,
    windows: Windows,
    document: OperationMeta,
    deep: Sequence[OperationMeta],
) -> None:
    """`deep`: what a running gateway never takes up by itself, the plugin's code and the token."""
    mode = options.text("restart", gateway.restart)
    if mode not in ("auto", "always", "never"):
        raise PyinfraError(f"--data restart={mode}: expected auto, always or never")
    if mode == "never":
        host.log(f"WARN {name}: not restarted, the running gateway may be stale")
    deep_changed: Callable[[], bool] = lambda: any(each.did_change() for each in deep)  # noqa: E731 - two short guards
    changed: Callable[[], bool] = lambda: document.did_change() or deep_changed()  # noqa: E731
    live_edits = known.features.has_model_policy and mode == "auto"
    gateway_restarted(
        name="Restart",
        login=gateway.login_shell,
        wanted=windows,
        applies_itself=lambda: live_edits and not deep_changed() and _reloads(gateway),
        why="its document, plugin or token changed" if mode == "auto" else mode,
        _if={"auto": changed, "always": lambda: True, "never": lambda: False}[mode],
        _sudo=False,
    )


def told(site: Site, gateway: Gateway) -> Known:
    """13.3: features from the release's own schema, asked once a run: it takes a small machine half a minute.

    Raises PyinfraError below the floor, or when it cannot be asked.
    """
    asked, how = _told.setdefault(host.state, {}), (host.name, gateway.login_shell, gateway.version)
    if how not in asked:
        asked[how] = _asked(site, gateway)
    return asked[how]


def _asked(site: Site, gateway: Gateway) -> Known:
    cli = host.get_fact(OpenClawCli, gateway.login_shell, _timeout=CONNECTION_SECONDS, _sudo=False)
    if not cli.ok:
        if gateway.version is None:
            raise PyinfraError(f"{site.name}: {cli.error}; pin gateways.*.version to write without asking it")
        host.log(
            f"WARN {site.name}: {cli.error}: the document is not validated, the gateway not restarted, its model list"
            " and plugin not read back; on the gateway, run `openclaw config validate` and `openclaw gateway restart`"
        )
        return pinned(site.name, gateway.version)
    version = cli.version or gateway.version or ""
    see_version(site.name, version)
    schema = host.get_fact(OpenClawSchema, gateway.login_shell, _timeout=CONNECTION_SECONDS, _sudo=False)
    if not schema.ok:
        raise PyinfraError(f"{site.name}: openclaw config schema: {schema.error}")
    return Known(openclaw_features.features(schema.schema), version, False)


def wanted_edit(site: Site, gateway: Gateway, content: bytes) -> Edit:
    """What a sync would do to this document. Raises PyinfraError or ValueError when it would refuse."""
    return editor(
        site.topology, gateway, told(site, gateway), way(site, gateway).windows, folder_of(gateway), overwrite=False
    )(content)


def folder_of(gateway: Gateway) -> str:
    """The plugin's folder as the gateway's own user writes it, "" without a plugin."""
    return "" if gateway.plugin is None else host.get_fact(ExpandedPath, gateway.plugin.path, _sudo=False).path


def overwriting(name: str) -> bool:
    wanted = options.flag("overwrite", False)
    if wanted and options.text("confirm") != name:
        raise PyinfraError(f"overwrite=true replaces the whole document of {name}: add --data confirm={name}")
    return wanted


def _plugin(name: str, gateway: Gateway) -> OperationMeta | None:
    if gateway.plugin is None:
        return None
    return plugin_files(name="Plugin", path=gateway.plugin.path, files=plugin_texts(), _sudo=False)


def _tokens(site: Site, called: str, gateway: Gateway) -> Iterator[OperationMeta]:
    """13.4: each token the gateway's document names, put into the file that OpenClaw reads its environment from."""
    if gateway.token_delivery != "openclaw-env":  # noqa: S105 - a way of delivery, no secret
        return
    named = [*site.topology.router.token[:1], (gateway.plugin.token if gateway.plugin else None) or ""]
    for variable in each(tuple(dict.fromkeys(named))):
        if variable not in site.built.held.values:
            continue
        try:
            line = line_of(variable, site.built.held.values[variable].unmask())
        except ValueError as refused:
            raise PyinfraError(f"gateways.{called}.token_delivery: {refused}") from None
        yield env_line(name=variable, path=ENVIRONMENT, variable=variable, line=line, _sudo=False)
