"""Docker volumes of model weights, planned first: nothing that anybody names is ever removed (lab contract 10)."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path

from msgspec import Struct
from pyinfra.api.deploy import deploy
from pyinfra.api.exceptions import PyinfraError
from pyinfra.context import host

from anvil.deploys import options
from anvil.deploys.site import Site, each, here
from anvil.hosts.cache import CachedModel, ModelsAnswer, NamedByContainers, VolumeModels, models_removed
from anvil.topology.repositories import stands_in

# Where `anvil recipes` keeps its registry; also looked for beside the topology.
RECIPES = Path("inventory/recipes.toml")


class Plan(Struct, frozen=True, kw_only=True):
    """`kept` are repositories somebody names; `doomed` is what a run with `execute=true` removes."""

    kept: tuple[str, ...]
    spared: tuple[CachedModel, ...]
    doomed: tuple[CachedModel, ...]


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
    refuse_unknown(protect, {model.repo for answer in found.values() for model in answer.models})
    texts = _texts(site)
    for volume in each(tuple(v.name for v in site.topology.volumes.values())):
        if volume not in found:
            continue
        made = plan(
            found[volume].models, texts, _named(site, found[volume]), protect, options.flag("include_servable", False)
        )
        for line in lines(volume, made):
            host.log(line)
        if execute:
            models_removed(
                name=f"Prune {volume}",
                volume=volume,
                image=place.image,
                root=site.root,
                doomed={model.path: model.repo for model in made.doomed},
            )


def _volumes(site: Site) -> tuple[str, ...]:
    caches = {volume.name for volume in site.topology.volumes.values() if volume.kind == "hf-cache"}
    return tuple(volume for volume in site.made.docker_volumes if volume in caches)


def _models(site: Site, volume: str, image: str) -> ModelsAnswer:
    answer = host.get_fact(VolumeModels, volume, image)
    if not answer.ok:
        raise PyinfraError(f"{site.name}: volume {volume} cannot be read with {image}: {answer.error or answer.status}")
    return answer


def _named(site: Site, found: ModelsAnswer) -> tuple[str, ...]:
    """Raises PyinfraError: without docker's word on what runs, nothing may be planned."""
    answer = host.get_fact(NamedByContainers, tuple(model.repo for model in found.models))
    if not answer.ok:
        raise PyinfraError(f"{site.name}: what the containers use is unknown: {answer.error or answer.status}")
    return answer.names


def _texts(site: Site) -> list[str]:
    """Whatever mode, state or comment: a name that stands in the topology or in a recipe keeps its model."""
    texts = [str(site.topology)]
    for file in (site.built.file, RECIPES, site.built.file.parent / RECIPES.name):
        try:
            texts.append(file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            continue
        except (OSError, UnicodeDecodeError) as error:
            raise PyinfraError(f"{file}: cannot be read, and it says what must stay: {error}") from None
    return texts


def refuse_unknown(protect: Iterable[str], known: Collection[str]) -> None:
    """Raises PyinfraError for an id that is in no volume: it may be misspelt, so nothing may go."""
    here = {repo.lower() for repo in known}
    unknown = [repo for repo in protect if repo.lower() not in here]
    if unknown:
        raise PyinfraError(
            f"--data protect={','.join(unknown)}: no volume of this machine holds it; nothing was removed"
        )


def plan(
    models: Iterable[CachedModel],
    texts: Iterable[str],
    running: Collection[str],
    protect: Collection[str],
    include_servable: bool,
) -> Plan:
    """Interrupted downloads may go; whole models only when asked for. Hazards are shown and never decide."""
    whole = "\n".join(texts).lower()
    asked = {repo.lower() for repo in (*running, *protect)}
    rows = sorted(models, key=lambda model: (-model.size_bytes, model.repo))
    kept = {model.repo for model in rows if model.repo.lower() in asked or stands_in(model.repo.lower(), whole)}
    free = [model for model in rows if model.repo not in kept]
    doomed = tuple(model for model in free if include_servable or model.reason == "incomplete")
    return Plan(kept=tuple(sorted(kept)), spared=tuple(model for model in free if model not in doomed), doomed=doomed)


def lines(volume: str, made: Plan) -> list[str]:
    """The plan as a table, biggest first, with its sum."""
    rows = [("remove", model) for model in made.doomed] + [("unused", model) for model in made.spared]
    told = [
        f"{volume}: {mark}  {model.size_bytes:>15}  {model.repo}  {'; '.join((model.reason, *model.hazards))}"
        for mark, model in rows
    ]
    total = sum(model.size_bytes for model in made.doomed)
    spared = sum(model.size_bytes for model in made.spared)
    return [
        *told,
        f"{volume}: {len(made.kept)} kept; {len(made.doomed)} to remove, {total} bytes (--data execute=true);"
        f" {len(made.spared)} unused, {spared} bytes (--data include_servable=true)",
    ]
