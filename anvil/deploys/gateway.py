"""OpenClaw gateways in step with the router: our part of their document, and proof that they answer through it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from msgspec import Struct
from pyinfra.api.deploy import deploy
from pyinfra.api.exceptions import PyinfraError
from pyinfra.api.host import Host
from pyinfra.api.operation import OperationMeta
from pyinfra.context import host

from anvil.deploys import options
from anvil.deploys.site import Site, each, here, secrets_complete
from anvil.harness import json5_document, json5_edit, masking, openclaw, openclaw_features, openclaw_merge
from anvil.harness.model import Model, Router, title
from anvil.hosts.env_line import env_line, line_of
from anvil.hosts.gateway import (
    OpenClawCli,
    OpenClawSchema,
    OpenClawValidation,
    Reply,
    answers_through,
    authorisation,
    gateway_in_step,
    gateway_restarted,
    offered,
    plugin_loaded,
    router_reachable,
)
from anvil.hosts.json_file import Edit, ExpandedPath, json_file, plugin_files
from anvil.topology import derived
from anvil.topology.model import Gateway, Topology

ROOT = Path(__file__).resolve().parents[2]
PLUGIN = ROOT / "templates" / "openclaw-anvil-intent-router"
VOCABULARY = ROOT / "anvil" / "router" / "vocabulary.json"
ENVIRONMENT = "~/.openclaw/.env"
API_KEY = "models.providers.anvil.apiKey"
HOOK = "before_model_resolve"
FLOOR = (2026, 4, 21)
TESTED = ("2026.6", "2026.9")


# `anvil/<preset>` -> window, asked when it is needed: before the router is live only the topology can answer.
Windows = Callable[[], dict[str, int]]


class Known(Struct, frozen=True):
    """What the gateway's own command told of itself. `pinned`: it could not be asked, the topology says its version."""

    features: openclaw_features.Features
    version: str
    pinned: bool


@deploy("Gateway")
def in_step() -> None:
    """Reach the router, write plugin and document, restart when they changed, read back, ask every probe preset."""
    site = here()
    for name, gateway in each(site.topology.gateways.items()):
        if gateway.machine != site.name:
            continue
        if site.machine.platform == "windows":
            raise PyinfraError(f"{site.name}: a gateway on windows is not written over this connection")
        secrets_complete(site)
        _sync(site, name, gateway)


@deploy("Gateway restart")
def restarted() -> None:
    """Restart and read back, nothing else."""
    site = here()
    for name, gateway in each(site.topology.gateways.items()):
        if gateway.machine != site.name:
            continue
        _, _, windows = _way(site, gateway)
        gateway_restarted(
            name=f"Restart {name}",
            login=gateway.login_shell,
            wanted=windows,
            applies_itself=lambda: False,
            why="asked for",
            _sudo=False,
        )
        gateway_in_step(name=f"Read back {name}", login=gateway.login_shell, wanted=windows, _sudo=False)


def _sync(site: Site, name: str, gateway: Gateway) -> None:
    known = _known(site, gateway)
    base, token, windows = _way(site, gateway)
    presets = tuple(key.removeprefix("anvil/") for key in windows_of(site.topology))
    release = "" if options.flag("allow_drift", False) else site.built.artefacts.release.id
    router_reachable(name=f"Path of {name}", base_url=base, presets=presets, release=release, token=token, _sudo=False)
    deep = [each for each in (_plugin(name, gateway), *_tokens(site, name, gateway)) if each is not None]
    document = json_file(
        name=f"Document of {name}",
        path=gateway.config,
        edit=editor(site, gateway, known, windows, _overwrite(name)),
        judge=judge(gateway.login_shell, known.pinned),
        _sudo=False,
    )
    _restart(name, gateway, known, windows, document, deep)
    gateway_in_step(name=f"Read back {name}", login=gateway.login_shell, wanted=windows, _sudo=False)
    if gateway.plugin is not None:
        plugin_loaded(
            name=f"Plugin of {name} loaded", login=gateway.login_shell, identity=plugin_id(), hook=HOOK, _sudo=False
        )
    answers_through(
        name=f"Ask through {name}",
        base_url=base,
        presets=gateway.probe_presets or (gateway.primary,),
        token=token,
        exhausted=int(site.topology.router.settings.get("exhaustion_status") or 503),
        _sudo=False,
    )


def _way(site: Site, gateway: Gateway) -> tuple[str, str, Windows]:
    """The router as this gateway reaches it (with /v1), the token for it, and what it offers there."""
    names = site.topology.router.token
    token = site.built.held.values[names[0]].unmask() if names and names[0] in site.built.held.values else ""
    base = f"{gateway.router_url.rstrip('/').removesuffix('/v1')}/v1"
    declared = windows_of(site.topology)

    def windows() -> dict[str, int]:
        told = host.get_fact(Reply, f"{base}/models", 10, _stdin=authorisation(token), _sudo=False)
        ids = offered(told)
        live = {key: window for key, window in declared.items() if key.removeprefix("anvil/") in ids}
        return live if told.code == 200 and live else declared

    return base, token, windows


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
        name=f"Restart {name}",
        login=gateway.login_shell,
        wanted=windows,
        applies_itself=lambda: live_edits and not deep_changed(),
        why="its document, plugin or token changed" if mode == "auto" else mode,
        _if={"auto": changed, "always": lambda: True, "never": lambda: False}[mode],
        _sudo=False,
    )


def _known(site: Site, gateway: Gateway) -> Known:
    """13.3: features from the release's own schema. Raises PyinfraError below the floor, or when it cannot be asked."""
    cli = host.get_fact(OpenClawCli, gateway.login_shell, _sudo=False)
    if not cli.ok and gateway.version is None:
        raise PyinfraError(f"{site.name}: {cli.error}; pin gateways.*.version to write without asking it")
    version = cli.version or gateway.version or ""
    numbers = numbered(version)
    if numbers < FLOOR:
        raise PyinfraError(f"{site.name}: OpenClaw {version or 'of an unknown version'} is older than 2026.4.21")
    if not version.startswith(TESTED):
        host.log(f"WARN {site.name}: OpenClaw {version} is an untested release")
    if not cli.ok:
        host.log(f"WARN {site.name}: the document will not be validated: {cli.error}")
        return Known(openclaw_features.Features(has_model_policy=numbers >= (2026, 9)), version, True)
    schema = host.get_fact(OpenClawSchema, gateway.login_shell, _sudo=False)
    if not schema.ok:
        raise PyinfraError(f"{site.name}: openclaw config schema: {schema.error}")
    return Known(openclaw_features.features(schema.schema), version, False)


def numbered(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("-")[0].split(".") if part.isdigit())


def wanted_edit(site: Site, gateway: Gateway, content: bytes) -> Edit:
    """What a sync would do to this document. Raises PyinfraError or ValueError when it would refuse."""
    _, _, windows = _way(site, gateway)
    return editor(site, gateway, _known(site, gateway), windows, overwrite=False)(content)


def _overwrite(name: str) -> bool:
    wanted = options.flag("overwrite", False)
    if wanted and options.text("confirm") != name:
        raise PyinfraError(f"overwrite=true replaces the whole document of {name}: add --data confirm={name}")
    return wanted


def _plugin(name: str, gateway: Gateway) -> OperationMeta | None:
    if gateway.plugin is None:
        return None
    return plugin_files(name=f"Plugin of {name}", path=gateway.plugin.path, files=plugin_texts(), _sudo=False)


def _tokens(site: Site, called: str, gateway: Gateway) -> Iterator[OperationMeta]:
    """13.4: each token the gateway's document names, put into the file that OpenClaw reads its environment from."""
    if gateway.token_delivery != "openclaw-env":  # noqa: S105 - a way of delivery, no secret
        return
    named = [*site.topology.router.token[:1], (gateway.plugin.token if gateway.plugin else None) or ""]
    for variable in (name for name in dict.fromkeys(named) if name in site.built.held.values):
        try:
            line = line_of(variable, site.built.held.values[variable].unmask())
        except ValueError as refused:
            raise PyinfraError(f"gateways.{called}.token_delivery: {refused}") from None
        yield env_line(name=f"{variable} of {called}", path=ENVIRONMENT, variable=variable, line=line, _sudo=False)


def plugin_texts() -> dict[str, str]:
    """What lies on the gateway, by path in the plugin's folder: its code without its tests, and the router's words."""
    if not (PLUGIN / "openclaw.plugin.json").is_file():
        raise PyinfraError(f"{PLUGIN}: the plugin's files are missing; deploy from a checkout")
    code = [path for pattern in ("*.mjs", "*.json") for path in sorted(PLUGIN.glob(pattern)) if path.stem != "test"]
    texts = {path.name: path.read_text(encoding="utf-8") for path in code}
    return {**texts, "keywords.json": VOCABULARY.read_text(encoding="utf-8")}


def plugin_id() -> str:
    """O6: from the plugin's own manifest; under another key the grant would reach nobody."""
    return str(json.loads(plugin_texts()["openclaw.plugin.json"])["id"])


def windows_of(topology: Topology) -> dict[str, int]:
    """`anvil/<preset>` -> the window the router really has for it, presets in the order written."""
    windows = {preset: derived.window(topology, preset) for preset in derived.active(topology).presets}
    return {f"anvil/{preset}": window for preset, window in windows.items() if window}


def projection(topology: Topology, gateway: Gateway, windows: dict[str, int]) -> Router:
    """The router as this gateway's document describes it (D3-D5)."""
    models = [
        Model(
            id=preset,
            name=title(preset),
            context_window=window,
            max_output_tokens=derived.max_tokens(preset, window),
            input=("text", "image") if derived.takes_images(topology, preset) else ("text",),
        )
        for preset, window in ((key.removeprefix("anvil/"), value) for key, value in windows.items())
    ]
    base = gateway.router_url.rstrip("/").removesuffix("/v1")
    return Router(base, topology.router.token[0] if topology.router.token else "ANVIL_ROUTER_TOKEN", tuple(models))


def editor(
    site: Site, gateway: Gateway, known: Known, windows: Windows, overwrite: bool
) -> Callable[[bytes | None], Edit]:
    """Live bytes -> what `json_file` writes: our part joined in, the operator's formatting kept where possible."""
    plugin = _declared(gateway, site.topology)
    chosen = openclaw_merge.Options(overwrite_url=options.flag("overwrite_url", False), overwrite=overwrite)
    rewrite = gateway.rewrite_json5 or options.flag("allow_rewrite", False)

    def edit(content: bytes | None) -> Edit:
        current, _ = json5_document.parse(content or b"")
        router = projection(site.topology, gateway, windows())
        owned = openclaw.document(router, primary=gateway.primary, timeout_s=gateway.timeout_s, plugin=plugin)
        wanted, notes = openclaw_merge.merge(current, owned, known.features, chosen)
        if content and json5_document.same(current, wanted):
            return Edit(text=None, notes=tuple(map(str, notes)))
        text = json5_edit.written(content, wanted, rewrite=rewrite) if content else json5_document.dumped(wanted)
        before, after = (json5_document.dumped(masking.masked(each)) for each in (current, wanted))
        return Edit(text=text, before=before, after=after, notes=tuple(map(str, notes)))

    return edit


def _declared(gateway: Gateway, topology: Topology) -> openclaw.Plugin | None:
    if gateway.plugin is None:
        return None
    mine = gateway.plugin
    return openclaw.Plugin(
        id=plugin_id(),
        path=host.get_fact(ExpandedPath, mine.path, _sudo=False).path,
        token_env=mine.token or (topology.router.token[0] if topology.router.token else "ANVIL_ROUTER_TOKEN"),
        cloud_classes=mine.cloud_classes,
        route=mine.route,
        deadline_ms=mine.deadline_ms,
        log=mine.log,
    )


def judge(login: bool, pinned: bool) -> Callable[[Host, str, str], tuple[str, ...]]:
    """13.2: only what the live file has wrong too is tolerated."""

    def reasons(on: Host, candidate: str, live: str) -> tuple[str, ...]:
        if pinned:
            return ()
        told = on.get_fact(OpenClawValidation, login, candidate)
        if not told.ok:
            return (told.error,)
        if told.valid:
            for warning in (text for text in told.warnings if text.startswith(API_KEY)):
                on.log(f"WARN {warning}")
            return ()
        before = on.get_fact(OpenClawValidation, login, live).issues
        return tuple(issue for issue in told.issues if issue not in before)

    return reasons
