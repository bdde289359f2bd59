"""Whether the weights of the wanted serves are there, and the disk can take what is missing (operations.md 8.3)."""

from __future__ import annotations

from collections.abc import Iterator

from pyinfra.context import host

from anvil.deploys import weights
from anvil.deploys.findings import Line
from anvil.deploys.site import Site
from anvil.hosts.docker import DockerDaemon
from anvil.hosts.images import ImagePresent
from anvil.hosts.weights import HfSnapshot, HubSize, SizeAnswer, Weights, no_room


def checks(site: Site) -> Iterator[Line]:
    """Serves whose image is not there yet are passed over: nothing else can look into the volume."""
    missing = 0
    for spec in site.made.services:
        wanted = weights.of(site.topology, spec.name) if spec.role == "serve" and spec.wanted != "down" else None
        if wanted is None or site.by_process or not host.get_fact(ImagePresent, wanted.image).ok:
            continue
        live = host.get_fact(HfSnapshot, wanted.volume, wanted.image, wanted.repo, wanted.revision)
        called = f"weights of {spec.name}"
        if live.ok and live.complete:
            yield Line("PASS", called, f"{wanted.repo} is complete at {live.commit}")
            continue
        if live.status not in ("ok", "absent"):
            yield Line("WARN", called, f"unknown: {live.error}")
            continue
        size = _size(site, wanted)
        missing += size.missing_bytes
        lacking = f"{len(live.incomplete)} files are incomplete" if live.ok else "not in the volume"
        told = f", {size.missing_bytes / 1e9:.1f} GB to fetch" if size.ok else ""
        yield Line("WARN", called, f"{wanted.repo}: {lacking}{told}; full.py pulls it")
    total = SizeAnswer(status="ok", missing_bytes=missing)
    if missing and (blocked := no_room(total, host.get_fact(DockerDaemon).free_bytes)):
        yield Line("WARN", "disk for weights", blocked)


def _size(site: Site, wanted: Weights) -> SizeAnswer:
    about = (wanted.volume, wanted.image, wanted.repo, wanted.revision, wanted.include, wanted.exclude)
    return host.get_fact(HubSize, *about, site.root)
