"""Docker volumes of model weights, planned first: nothing that anybody names is ever removed (lab contract 10)."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable
from pathlib import Path

import msgspec
from pyinfra.api.deploy import deploy
from pyinfra.api.exceptions import PyinfraError
from pyinfra.context import host

from anvil.deploys import options
from anvil.deploys.site import Site, each, here
from anvil.hosts.cache import NamedByContainers, VolumeModels, models_removed
from anvil.topology import retention
from anvil.topology.retention import Candidate, Item, Plan

# Where `anvil recipes` keeps its registry; also looked for beside the topology.
RECIPES = Path("inventory/recipes.toml")


@deploy("Cache")
def pruned() -> None:
    """The plan of every cache volume of the machine; with `execute=true` carried out."""
    site = here()
    place = site.topology.router
    if site.by_process or not place.image:
        return
    execute, protect = options.flag("execute", False), options.names("protect")
    found = {volume: _models(site, volume, place.image) for volume in _volumes(site)}
    if not found:
        return
    refuse_unknown(protect, [model for models in found.values() for model in models])
    texts = _texts(site)
    for volume in each(tuple(v.name for v in site.topology.volumes.values())):
        if volume not in found:
            continue
        kept = {*protect, *_running(site, found[volume]), *retention.named_in(texts, _repos(found[volume]))}
        made = retention.plan(
            found[volume],
            kept,
            now=time.time(),
            gguf_taken=retention.takes_gguf(site.topology),
            include_servable=options.flag("include_servable", False),
        )
        for line in lines(volume, made):
            host.log(line)
        if execute:
            models_removed(
                name=f"Prune {volume}",
                volume=volume,
                image=place.image,
                root=site.root,
                doomed={item.path: (item.repo, item.reason) for item in made.doomed()},
            )


def _volumes(site: Site) -> tuple[str, ...]:
    caches = {volume.name for volume in site.topology.volumes.values() if volume.kind == "hf-cache"}
    return tuple(volume for volume in site.made.docker_volumes if volume in caches)


def _models(site: Site, volume: str, image: str) -> tuple[Candidate, ...]:
    answer = host.get_fact(VolumeModels, volume, image)
    if answer.status == "absent" and "o such volume" in answer.error:
        return ()
    if not answer.ok:
        raise PyinfraError(f"{site.name}: volume {volume} cannot be read with {image}: {answer.error or answer.status}")
    return tuple(msgspec.convert(msgspec.to_builtins(model), Candidate) for model in answer.models)


def _repos(models: Iterable[Candidate]) -> tuple[str, ...]:
    return tuple(model.repo for model in models)


def _running(site: Site, found: tuple[Candidate, ...]) -> tuple[str, ...]:
    """Raises PyinfraError: without docker's word on what runs, nothing may be planned."""
    answer = host.get_fact(NamedByContainers, _repos(found))
    if not answer.ok:
        raise PyinfraError(f"{site.name}: what the containers use is unknown: {answer.error or answer.status}")
    return answer.names


def _texts(site: Site) -> list[str]:
    """Whatever mode, state or comment: a name that stands in the topology or in a recipe keeps its model."""
    texts = retention.topology_texts(site.topology)
    for file in (site.built.file, RECIPES, site.built.file.parent / RECIPES.name):
        try:
            texts.append(file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            continue
        except (OSError, UnicodeDecodeError) as error:
            raise PyinfraError(f"{file}: cannot be read, and it says what must stay: {error}") from None
    return texts


def refuse_unknown(protect: Collection[str], found: Iterable[Candidate]) -> None:
    """Raises PyinfraError for an id that is in no volume."""
    try:
        retention.check_protection(protect, found)
    except retention.UnknownProtection as error:
        raise PyinfraError(f"--data protect={','.join(protect)}: no volume of this machine holds it: {error}") from None


def lines(volume: str, made: Plan) -> list[str]:
    """The plan as a table, biggest first, with its sums."""
    told = [
        f"{volume}: {'remove' if item.delete else 'unused'}  {item.size_bytes:>15}  {item.repo}"
        f"  {'; '.join((item.reason, *item.hazards))}"
        for item in made.items
    ]
    doomed = made.doomed()
    spared = [item for item in made.items if not item.delete]
    return [
        *told,
        f"{volume}: {len(made.protected)} kept; {_sum(doomed)} to remove (--data execute=true);"
        f" {_sum(spared)} unused (--data include_servable=true)",
    ]


def _sum(items: Collection[Item]) -> str:
    return f"{len(items)} models, {sum(item.size_bytes for item in items)} bytes"
