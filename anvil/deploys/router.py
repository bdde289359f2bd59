"""The router: its release staged, judged by its own loader, and made live by the script that can also go back."""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Mapping
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
import yaml
from pyinfra.api.deploy import deploy
from pyinfra.api.exceptions import PyinfraError
from pyinfra.api.operation import operation
from pyinfra.context import host, state

from anvil.deploys import options, secrets_file, verdicts
from anvil.deploys.site import Site, here, owner, program, rendered, secrets_complete
from anvil.hosts.barrier import barrier
from anvil.hosts.compose import ComposeRuntime
from anvil.hosts.files import FileText
from anvil.hosts.images import ImagePresent
from anvil.hosts.processes import program_defined
from anvil.hosts.releases import (
    Place,
    ReleaseState,
    release_live,
    release_staged,
    release_validated,
)
from anvil.hosts.secrets import SecretNames
from anvil.hosts.services import Runtime, container_retired, service_stopped
from anvil.hosts.shell import Commands
from anvil.hosts.text_file import text_file
from anvil.render import compose, golive
from anvil.render import router as names
from anvil.render.artefacts import Release
from anvil.render.router import DERIVED_SETTINGS, PROFILE
from anvil.render.staleness import stale
from anvil.topology import derived
from anvil.topology.model import Topology

VALIDATION_SECONDS = "60"
IN_IMAGE = "/etc/anvil/current"
_REQUIRED = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*):\?")  # How a compose file says that it cannot do without.


@deploy("Router")
def promoted() -> None:
    """The inventory's release live on the router's machine; a serve is never touched."""
    site = here()
    barrier(name="After the serves of every machine")
    if not site.has_router:
        return
    secrets_complete(site)
    choice = options.text("profile")
    if choice not in ("", "keep", "inventory"):
        raise PyinfraError(f"--data profile={choice}: expected keep or inventory; promote.py takes a candidate file")
    release = site.built.artefacts.release
    state = host.get_fact(ReleaseState, f"{site.root}/router")
    candidate = state.sources.get(state.current) == "candidate" and not _is_inventorys(site, release, state.current)
    if candidate and choice == "keep":
        release = _release(site, site.topology, _live_profile(site))
    elif candidate and choice != "inventory":
        raise PyinfraError(
            f"{site.name}: release {state.current} was promoted as a candidate; --data profile=keep keeps its profile,"
            " --data profile=inventory goes back to the inventory"
        )
    _install(site, release, "candidate" if candidate and choice == "keep" else "inventory")
    secrets_file.left(site)


@deploy("Promote")
def candidate_promoted() -> None:
    """A candidate profile, settings overlay or image live; the inventory stays as it is."""
    site = here()
    chosen = {key: options.text(key) for key in ("profile", "settings", "image") if options.text(key)}
    if not chosen:
        raise PyinfraError("promote.py needs --data profile=FILE, settings=FILE or image=REF")
    if not site.has_router:
        return
    secrets_complete(site)
    profile = site.built.profile
    if path := chosen.get("profile"):
        profile = _read(path)
        _tell_verdicts(site, profile, path)
    release = _release(site, _with_settings(site.topology, chosen.get("settings")), profile)
    reload = options.flag("reload", True)
    _install(site, release, "candidate", reload=reload)
    if "profile" in chosen and reload:
        afterwards(name="Afterwards", line=_kept_by(site, chosen["profile"]))


def _kept_by(site: Site, candidate: str) -> str:
    named = site.topology.router.profile
    place = site.built.file.parent / (named or PROFILE)
    also = "" if named else f', and router.profile = "{PROFILE}" in {site.built.file}'
    return f"it is live; make it the inventory's: cp {shlex.quote(candidate)} {shlex.quote(str(place))}{also}"


@operation()
def afterwards(line: str) -> Commands:
    """
    Say what is left for the operator when everything before has worked; never a change.
    """
    if state.is_executing:
        host.log(line)
    host.noop("words change nothing")
    yield from ()


@deploy("Rollback")
def rolled_back() -> None:
    """The previous release, or `release=ID`, validated again by its own loader and made live."""
    site = here()
    if not site.has_router:
        return
    state = host.get_fact(ReleaseState, f"{site.root}/router")
    target = options.text("release") or state.previous
    if not target:
        raise PyinfraError(f"{site.name}: there is no previous release to go back to")
    if target not in state.ids:
        raise PyinfraError(
            f"--data release={target}: is not on {site.name}; there are: {', '.join(state.ids) or 'none'}"
        )
    _refuse_without_secrets(site, target)
    place = place_of(site, _image_of(site, target))
    source = state.sources.get(target) or "inventory"
    release_validated(name=f"Validate {target}", place=place, release=target)
    release_live(name=f"Live {target}", place=place, release=target, owner=owner(), source=source)


@deploy("Router down")
def stopped() -> None:
    """Stop the router; network, volumes and releases stay."""
    site = here()
    if site.has_router:
        service = site.built.artefacts.release.service
        service_stopped(name="Stop router", runtime=runtime(site), service=service.name, container=service.container)
        if not site.by_process:
            # callers are refused at once instead of waiting for another router
            held = derived.socket_container(site.topology)
            service_stopped(name="Stop socket", runtime=runtime(site), service=names.SOCKET, container=held)


@deploy("Router removed")
def removed() -> None:
    """Remove the router's container or process; releases and decision store stay."""
    site = here()
    if site.has_router:
        service = site.built.artefacts.release.service
        container_retired(
            name="Remove router",
            runtime=runtime(site),
            container=service.container,
            service=service.name,
            foreign=False,
        )
        if not site.by_process:
            _remove(site, names.SOCKET, derived.socket_container(site.topology))
            _remove(site, names.NEXT, derived.next_container(site.topology))


def _remove(site: Site, service: str, container: str) -> None:
    on = runtime(site)
    container_retired(name=f"Remove {container}", runtime=on, container=container, service=service, foreign=False)


def runtime(site: Site) -> Runtime:
    """What runs the router: its own compose project (I7), or the machine's supervisord."""
    if site.by_process:
        return site.runtime()
    return ComposeRuntime(
        root=site.root,
        project=f"{site.topology.deployment}-router",
        file=f"{site.root}/router/current/compose.yaml",
        pull=site.topology.router.pull,
        who=owner(),
    )


def _install(site: Site, release: Release, source: str, reload: bool = True) -> None:
    folder, mine = f"{site.root}/router", site.machine.owner
    script = f"{site.root}/{golive.PATH}"
    text_file(name="Go-live script", path=script, text=release.go_live, mode="750", owner=mine, shown=False)
    if release.launcher is not None:
        program_defined(name="Router process", root=site.root, program=program(release.launcher))
    place = reached_place(site, release)
    release_staged(
        name=f"Stage {release.id}",
        place=place,
        release=release.id,
        files={name: text.decode() for name, text in release.files.items()},
        about=_about(site, release, source),
        agrees=lambda said: disagreement(said, release),
    )
    if not reload:
        host.log(f"staged only: the next start of the router from {folder}/current decides what runs")
        return
    release_live(name=f"Live {release.id}", place=place, release=release.id, owner=owner(), source=source)


def _release(site: Site, topology: Topology, profile: bytes | None) -> Release:
    return rendered(topology, site.built.held, profile).release


def place_of(site: Site, image: str = "") -> Place:
    service = site.built.artefacts.release.service
    words: tuple[str, ...] = (site.python, "-m", "anvil", "check", "--config", "{staged}/router.toml", "--json")
    if not site.by_process:
        inside = ("check", "--config", f"{IN_IMAGE}/router.toml", "--json")
        run = ("docker", "run", "--rm", "--pull", "never", "--network", "none", "--read-only")
        mounted = ("-v", f"{{staged}}:{IN_IMAGE}:ro", "--entrypoint", "anvil", image)
        words = ("timeout", VALIDATION_SECONDS, *run, *mounted, *inside)
    return Place(
        folder=f"{site.root}/router",
        validator=words,
        health_url=service.health_url,
        container="" if site.by_process else service.container,
        group=site.group,
        everyone=site.everyone,
    )


def reached_place(site: Site, release: Release) -> Place:
    """The same for a release of ours, with what holds its published port."""
    place = place_of(site, release.service.image)
    if site.by_process:
        return place
    made = yaml.safe_load(release.files["compose.yaml"])
    held = made["services"].get(names.SOCKET)
    revision = held["labels"][compose.REVISION] if held else ""
    return msgspec.structs.replace(place, project=made["name"], holder_revision=revision)


def _about(site: Site, release: Release, source: str) -> dict[str, Any]:
    image = release.service.image
    return {
        "schema": "anvil.release/v1",
        "id": release.id,
        "created": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "by": owner(),
        "source": source,
        "mode": site.topology.mode,
        "image": image,
        "image_id": host.get_fact(ImagePresent, image).image_id if image else "",
        "topology_sha256": site.built.artefacts.topology_sha256,
        "files": {name: sha256(text).hexdigest() for name, text in sorted(release.files.items())},
    }


def disagreement(said: Mapping[str, Any], release: Release) -> str:
    """11.2: what the release's own loader read otherwise than the controller meant it; "" when nothing."""
    config = release.config
    tiers = [(t.id, t.model, t.context_limit, t.privacy, t.dialect) for t in config.tiers]
    read = [tuple(row.get(key) for key in _TIER_KEYS) for row in said.get("tiers") or ()]
    presets = {name: sorted(order) for name, order in config.presets.items()}
    offered = {name: sorted(row.get("tier") for row in rows) for name, rows in (said.get("presets") or {}).items()}
    pairs = {
        "mapping_version": (said.get("mapping_version"), config.mapping_version),
        "tiers": (read, tiers),
        "presets": ({name: offered.get(name) for name in presets}, presets),
    }
    return "; ".join(f"{key}: read {got}, meant {meant}" for key, (got, meant) in pairs.items() if got != meant)


_TIER_KEYS = ("id", "model", "context_limit", "privacy", "dialect")


def _tell_verdicts(site: Site, candidate: bytes, path: str) -> None:
    live = _live_profile(site)
    wanted = verdicts.rows(candidate, path)
    held = verdicts.rows(live, f"{site.name}: the live profile") if live else {}
    old = stale(site.built.artefacts.release.config, candidate, site.topology.mode)
    for line in tuple(verdicts.differences(held, wanted, site.topology.tiers, old)) or ("no verdict changes",):
        host.log(f"{path}: {line}")


def _is_inventorys(site: Site, release: Release, live: str) -> bool:
    """Whether all that was promoted, profile, settings and image, is the inventory's own by now: nothing is lost."""
    if live == release.id:
        return True
    profile = (_live_profile(site) or b"").rstrip(b"\n")
    kept = profile == release.files.get(PROFILE, b"").rstrip(b"\n")
    image = site.by_process or _image_of(site, live) == release.service.image
    return kept and image and _live_settings(site) == _settings(release)


def _live_settings(site: Site) -> Mapping[str, Any] | None:
    held = host.get_fact(FileText, f"{site.root}/router/current/router.toml")
    try:
        return _own_settings(tomllib.loads(held.text)) if held.ok else None
    except tomllib.TOMLDecodeError:
        return None


def _settings(release: Release) -> Mapping[str, Any]:
    return _own_settings(tomllib.loads(release.files["router.toml"].decode()))


def _own_settings(document: Mapping[str, Any]) -> Mapping[str, Any]:
    """What `promote.py --data settings=FILE` may have set; the rest follows from the topology's other tables."""
    return {key: value for key, value in document.get("router", {}).items() if key not in DERIVED_SETTINGS}


def _live_profile(site: Site) -> bytes | None:
    live = host.get_fact(FileText, f"{site.root}/router/current/profile.json")
    if live.status == "error":
        raise PyinfraError(f"{site.name}: the live profile cannot be read: {live.error}")
    return live.content if live.ok else None


def _refuse_without_secrets(site: Site, release: str) -> None:
    """Raises PyinfraError when the release cannot start: a variable it must have has left the machine since."""
    text = host.get_fact(FileText, f"{site.root}/router/releases/{release}/compose.yaml").text
    held = host.get_fact(SecretNames, site.secrets_file)
    if held.status != "error" and (gone := sorted({*_REQUIRED.findall(text)} - {*held.names})):
        raise PyinfraError(
            f"{site.name}: release {release} needs {', '.join(gone)}, which secrets.env there no longer holds; choose"
            " another release, or name the variable in the topology again and deploy"
        )


def _image_of(site: Site, release: str) -> str:
    """The image a release on the host was made for; it judges and runs that release."""
    if site.by_process:
        return ""
    text = host.get_fact(FileText, f"{site.root}/router/releases/{release}/compose.yaml").text
    try:
        return str(yaml.safe_load(text)["services"]["router"]["image"])
    except (yaml.YAMLError, KeyError, TypeError):
        raise PyinfraError(f"{site.name}: releases/{release}/compose.yaml names no router image") from None


def _read(path: str) -> bytes:
    try:
        return Path(path).expanduser().read_bytes()
    except OSError as error:
        raise PyinfraError(f"{path}: {error.strerror}") from None


def _with_settings(topology: Topology, path: str | None) -> Topology:
    """The topology with a TOML overlay of router.settings. Raises PyinfraError."""
    if path is None:
        return topology
    try:
        overlay = tomllib.loads(_read(path).decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise PyinfraError(f"--data settings={path}: {error}") from None
    settings = {**topology.router.settings, **overlay}
    return msgspec.structs.replace(topology, router=msgspec.structs.replace(topology.router, settings=settings))
