"""Weights of the serves of a machine, in their volumes before a container that needs them starts."""

from __future__ import annotations

from pyinfra.api.deploy import deploy

from anvil.deploys import options, selection
from anvil.deploys.site import each, here
from anvil.hosts.weights import Weights, weights_present
from anvil.topology.model import ModelServe, Topology


@deploy("Weights")
def present() -> None:
    """Every repository that a wanted serve loads; `refresh=true` asks the hub for its current commit."""
    site = here()
    only = selection.serves(site.topology, "only", options.names("only"))
    for name in each(site.topology.serves):
        spec = site.spec(name)
        wanted = of(site.topology, name)
        if spec is None or site.by_process or wanted is None or spec.wanted == "down" or (only and name not in only):
            continue
        refresh = options.flag("refresh", False)
        weights_present(name=f"Weights of {name}", weights=wanted, root=site.root, refresh=refresh)


def of(topology: Topology, name: str) -> Weights | None:
    """None for a serve that loads no repository from a Hugging Face cache."""
    serve = topology.serves[name]
    if not isinstance(serve, ModelServe) or not serve.repo or not serve.volume or not serve.image:
        return None
    volume = topology.volumes[serve.volume]
    if volume.kind != "hf-cache":
        return None
    return Weights(
        volume=volume.name,
        image=serve.image,
        repo=serve.repo,
        revision=serve.revision,
        include=serve.include,
        exclude=serve.exclude,
    )
