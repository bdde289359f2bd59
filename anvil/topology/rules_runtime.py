"""Rules about how a serve comes to run: T11 volumes and models, T22 images and runtimes, T23 derived router keys."""

from __future__ import annotations

import re
from collections.abc import Iterator
from posixpath import isabs, normpath

from anvil.topology.finding import Finding, Rule, error, warn
from anvil.topology.model import Custom, LlamaCpp, ModelServe, Serve, Topology

_IMAGE = re.compile(
    r"(?P<name>[a-z0-9]+(?:[._-]+[a-z0-9]+)*(?::\d+)?(?:/[a-z0-9]+(?:[._-]+[a-z0-9]+)*)*)"
    r"(?::(?P<tag>[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}))?(?:@sha256:(?P<digest>[0-9a-f]{64}))?"
)
_REPOSITORY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9._-]+)?")
_HUB_CACHE = "/root/.cache/huggingface"
_HUB_VARIABLES = {"HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"}
_DERIVED_SETTINGS = ("mapping_version", "profile_path", "tiers", "presets", "auth_env")


def volumes_exist(topology: Topology) -> Iterator[Finding]:
    """T11: weights come from a declared volume and from nowhere else; the schema has no host path for containers."""
    for name, serve in topology.serves.items():
        if serve.volume is not None and serve.volume not in topology.volumes:
            known = ", ".join(topology.volumes) or "none"
            yield error("T11", f"serves.{name}.volume", f"{serve.volume!r} is no volume; known: {known}")


def models_named_once(topology: Topology) -> Iterator[Finding]:
    """T11: exactly one of repo and path."""
    for name, serve in topology.serves.items():
        if isinstance(serve, ModelServe) and (serve.repo is None) == (serve.path is None):
            yield error("T11", f"serves.{name}", "needs exactly one of repo and path")
        if isinstance(serve, ModelServe) and serve.repo is not None and serve.repo.startswith(("-", "/")):
            yield error("T11", f"serves.{name}.repo", f"{serve.repo!r} is no repository id; a folder is a path")
        elif isinstance(serve, ModelServe) and serve.repo is not None and not _REPOSITORY.fullmatch(serve.repo):
            short = serve.repo.rstrip("/").removeprefix("https://huggingface.co/")
            advice = f"write {short}" if _REPOSITORY.fullmatch(short) else "expected OWNER/NAME as the hub shows it"
            yield error("T11", f"serves.{name}.repo", f"{serve.repo!r} is no repository id; {advice}")


def repositories_found(topology: Topology) -> Iterator[Finding]:
    """T11: a deploy pulls a repository into the hub's cache; an engine that looks elsewhere pulls it again, into its
    container."""
    for name, serve in topology.serves.items():
        volume = topology.volumes.get(serve.volume or "")
        if volume is None or not isinstance(serve, ModelServe) or serve.repo is None:
            continue
        table = f"serves.{name}.volume"
        if volume.kind == "directory":
            advice = "use a volume of kind hf-cache, or a path in this one"
            yield warn("T11", table, f"{serve.volume} is a directory, into which no repository is pulled; {advice}")
        elif normpath(volume.mount) != _HUB_CACHE and not _HUB_VARIABLES & serve.env.keys():
            advice = f'mount it there, or say env = {{ HF_HOME = "{volume.mount}" }}'
            yield warn("T11", table, f"engines look for {serve.repo} in {_HUB_CACHE}, not in {volume.mount}; {advice}")


def paths_inside_volume(topology: Topology) -> Iterator[Finding]:
    """T11: on a compose machine a model path lies in the serve's volume, or (llama.cpp) in its image."""
    for name, serve in topology.serves.items():
        if _runtime(topology, serve) != "compose":
            continue
        volume = topology.volumes.get(serve.volume or "")
        if isinstance(serve, ModelServe) and serve.volume is None:
            yield error("T11", f"serves.{name}.volume", "required: weights live on a named volume")
        for key, path in _paths(serve):
            inside = normpath(path)
            if inside.startswith(".."):
                yield error("T11", f"serves.{name}.{key}", f"{path!r} leaves the volume")
            elif not isabs(path) and serve.volume is None:
                yield error("T11", f"serves.{name}.{key}", "a relative path needs a volume; give one or write it whole")
            elif isabs(path) and volume and isinstance(serve, ModelServe) and not _under(inside, volume.mount):
                yield error("T11", f"serves.{name}.{key}", f"{path!r} is not under the volume's mount {volume.mount}")


def images_pinned(topology: Topology) -> Iterator[Finding]:
    """T22: another image under the same tag is another engine; locally built images have no digest and get a
    warning."""
    rows = [(f"serves.{name}", _runtime(topology, serve), serve.image) for name, serve in topology.serves.items()]
    machine = topology.machines.get(topology.router.machine)
    if machine is not None:
        rows.append(("router", machine.runtime, topology.router.image))
    for table, runtime, image in rows:
        if runtime == "compose" and image is None:
            yield error("T22", f"{table}.image", "required on a compose machine: repo:tag@sha256:…")
        elif image is not None:
            yield from _image(f"{table}.image", image)


def processes_complete(topology: Topology) -> Iterator[Finding]:
    """T22: a process machine has host paths and no images or volumes."""
    for name, serve in topology.serves.items():
        if _runtime(topology, serve) != "process":
            continue
        for key in ("image", "volume"):
            if getattr(serve, key) is not None:
                yield error("T22", f"serves.{name}.{key}", "has no meaning on a process machine; remove it")
        for key, path in _paths(serve):
            if not isabs(path):
                yield error("T22", f"serves.{name}.{key}", f"{path!r} must be an absolute path on a process machine")
        if serve.on_failure == "restore":
            yield warn("T22", f"serves.{name}.on_failure", "a process machine keeps no earlier definition to restore")
        if isinstance(serve, Custom) and serve.container_port not in (None, serve.port):
            yield error("T22", f"serves.{name}.container_port", "a process has one port; remove the key")
    machine = topology.machines.get(topology.multiplexer.machine) if topology.multiplexer else None
    if machine is not None and machine.runtime == "process":
        yield error("T22", "multiplexer", "needs containers; its machine runs processes")


def router_keys_derived(topology: Topology) -> Iterator[Finding]:
    """T23: keys of router.toml that come from other tables are not written a second time."""
    for key in _DERIVED_SETTINGS:
        if key in topology.router.settings:
            yield error("T23", f"router.settings.{key}", "is derived from the topology; remove it")
    if "auth_env" in topology.router.server:
        yield error("T23", "router.server.auth_env", "is derived from router.token; remove it")


def _image(table: str, image: str) -> Iterator[Finding]:
    parsed = _IMAGE.fullmatch(image)
    if parsed is None:
        yield error("T22", table, f"{image!r} is no image reference; expected repo:tag@sha256:<64 hex>")
    elif parsed["digest"] is None and parsed["tag"] in (None, "latest"):
        yield error("T22", table, f"{image} without a digest is another image every day; pin it")
    elif parsed["digest"] is None:
        yield warn("T22", table, f"{image} has no digest; deploy/doctor.py prints the one to paste")


def _paths(serve: Serve) -> Iterator[tuple[str, str]]:
    if isinstance(serve, ModelServe) and serve.path is not None:
        yield "path", serve.path
    if isinstance(serve, LlamaCpp):
        yield "model_file", serve.model_file
        if serve.chat_template_file:
            yield "chat_template_file", serve.chat_template_file


def _runtime(topology: Topology, serve: Serve) -> str | None:
    machine = topology.machines.get(serve.machine)
    return machine.runtime if machine else None


def _under(path: str, folder: str) -> bool:
    return path == normpath(folder) or path.startswith(normpath(folder) + "/")


RULES: tuple[Rule, ...] = (
    volumes_exist,
    models_named_once,
    repositories_found,
    paths_inside_volume,
    images_pinned,
    processes_complete,
    router_keys_derived,
)
