"""What a gateway's document and plugin folder must hold, by the topology and by what the gateway tells of itself."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from msgspec import Struct
from pyinfra.api.exceptions import PyinfraError
from pyinfra.api.host import Host
from pyinfra.context import host

from anvil.deploys import options
from anvil.harness import json5_document, json5_edit, masking, openclaw, openclaw_features, openclaw_merge
from anvil.harness.model import Model, Router, title
from anvil.harness.refusal import Refusal, Unreadable
from anvil.hosts.announce import unified
from anvil.hosts.json_file import Edit
from anvil.hosts.openclaw import CONNECTION_SECONDS, NO_REASON, OpenClawValidation
from anvil.topology import derived
from anvil.topology.model import Gateway, Topology

ROOT = Path(__file__).resolve().parents[2]
PLUGIN = ROOT / "templates" / "openclaw-anvil-intent-router"
VOCABULARY = ROOT / "anvil" / "router" / "vocabulary.json"
API_KEY = "models.providers.anvil.apiKey"
HOOK = "before_model_resolve"
FLOOR = (2026, 4, 21)
TESTED = ((2026, 6), (2026, 9))
POLICY_SINCE = (2026, 9)

# `anvil/<preset>` -> window, asked when it is needed: before the router is live only the topology can answer.
Windows = Callable[[], dict[str, int]]
Editor = Callable[[bytes | None], Edit]


class Known(Struct, frozen=True):
    """What the gateway's own command told of itself. `pinned`: it could not be asked, the topology says its version."""

    features: openclaw_features.Features
    version: str
    pinned: bool


def pinned(where: str, version: str) -> Known:
    """Features by the release alone. Raises PyinfraError below the floor."""
    see_version(where, version)
    has_policy = numbered(version) >= POLICY_SINCE
    return Known(openclaw_features.Features(has_model_policy=has_policy), version, True)


def see_version(where: str, version: str) -> None:
    """13.3. Raises PyinfraError for a release that is too old, or not known at all."""
    if not numbered(version):
        raise PyinfraError(
            f"{where}: `openclaw --version` names no version; pin the one that runs there with gateways.*.version"
        )
    if numbered(version) < FLOOR:
        raise PyinfraError(f"{where}: OpenClaw {version} is older than 2026.4.21; update it there first")
    if not is_tested(version):
        host.log(f"WARN {where}: OpenClaw {version} is an untested release")


def is_tested(version: str) -> bool:
    return numbered(version)[:2] in TESTED


def numbered(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("-")[0].split(".") if part.isdigit())


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
    topology: Topology, gateway: Gateway, known: Known, windows: Windows, folder: str, overwrite: bool = False
) -> Editor:
    """Live bytes -> what is to be written: our part joined in, the operator's formatting kept where possible.

    ``folder`` is the plugin's, absolute on the gateway, "" without one.
    """
    plugin = declared_plugin(topology, gateway, folder)
    chosen = openclaw_merge.Options(overwrite_url=options.flag("overwrite_url", False), overwrite=overwrite)
    rewrite = gateway.rewrite_json5 or options.flag("allow_rewrite", False)

    def edit(content: bytes | None) -> Edit:
        router = projection(topology, gateway, windows())
        owned = openclaw.document(router, primary=gateway.primary, timeout_s=gateway.timeout_s, plugin=plugin)
        return joined(content, owned, known.features, chosen, rewrite=rewrite)

    return edit


def joined(
    content: bytes | None,
    owned: dict[str, object],
    features: openclaw_features.Features,
    chosen: openclaw_merge.Options | None = None,
    *,
    rewrite: bool = False,
) -> Edit:
    """One document with our part in it. Raises ValueError (Refusal) for what cannot be read or must not be changed."""
    try:
        current, _ = json5_document.parse(content or b"")
    except Unreadable as broken:
        raise Refusal(f"{broken}; mend it on the gateway, or move it away for a new one: it is left as it is") from None
    wanted, notes = openclaw_merge.merge(current, owned, features, chosen)
    told = tuple(map(str, notes))
    if content and json5_document.same(current, wanted):
        return Edit(text=None, notes=told)
    before, after = (json5_document.dumped(masking.masked(each)) for each in (current, wanted))
    try:
        text = json5_edit.written(content, wanted, rewrite=rewrite) if content else json5_document.dumped(wanted)
    except json5_edit.CommentsLost as lost:
        by_hand = "\n".join(unified("document", before, after))
        raise Refusal(f"{lost} (--data allow_rewrite=true); by hand, this must change:\n{by_hand}") from None
    return Edit(text=text if text.endswith("\n") else f"{text}\n", before=before, after=after, notes=told)


def declared_plugin(topology: Topology, gateway: Gateway, folder: str) -> openclaw.Plugin | None:
    mine = gateway.plugin
    if mine is None:
        return None
    return openclaw.Plugin(
        id=plugin_id(),
        path=folder,
        token_env=mine.token or (topology.router.token[0] if topology.router.token else "ANVIL_ROUTER_TOKEN"),
        cloud_classes=mine.cloud_classes,
        route=mine.route,
        deadline_ms=mine.deadline_ms,
        log=mine.log,
    )


def plugin_texts() -> dict[str, str]:
    """What lies on the gateway, by path in the plugin's folder: its code without its tests, and the router's words."""
    return {**code_of(PLUGIN), "keywords.json": VOCABULARY.read_text(encoding="utf-8")}


def code_of(folder: Path) -> dict[str, str]:
    """The files of a plugin among our templates. Raises PyinfraError when this is no checkout."""
    if not (folder / "openclaw.plugin.json").is_file():
        raise PyinfraError(f"{folder}: the plugin's files are missing; deploy from a checkout")
    code = [path for pattern in ("*.mjs", "*.json") for path in sorted(folder.glob(pattern)) if path.stem != "test"]
    return {path.name: path.read_text(encoding="utf-8") for path in code}


def plugin_id() -> str:
    """O6: from the plugin's own manifest; under another key the grant would reach nobody."""
    return str(json.loads(code_of(PLUGIN)["openclaw.plugin.json"])["id"])


def judge(login: bool, pinned: bool) -> Callable[[Host, str, str], tuple[str, ...]]:
    """13.2: only what the live file has wrong too is tolerated."""

    def reasons(on: Host, candidate: str, live: str) -> tuple[str, ...]:
        if pinned:
            return ()
        told = on.get_fact(OpenClawValidation, login, candidate, _timeout=CONNECTION_SECONDS)
        if not told.ok:
            return (told.error,)
        if told.valid:
            for warning in (text for text in told.warnings if text.startswith(API_KEY)):
                on.log(f"WARN {warning}")
            return ()
        before = on.get_fact(OpenClawValidation, login, live, _timeout=CONNECTION_SECONDS).issues
        ours = tuple(issue for issue in told.issues if issue not in before or issue == NO_REASON)
        for issue in () if ours else told.issues:
            on.log(f"WARN {live} was not valid before this run, and is not now: {issue}")
        return ours

    return reasons
