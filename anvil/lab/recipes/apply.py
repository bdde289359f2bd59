"""A recipe as a `[serves.NAME]` table of a topology, and as a docker command line for reading."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

from anvil.lab.recipes import toml
from anvil.lab.recipes.flags import Difference, difference, grouped, serve_keys
from anvil.lab.recipes.model import Recipe
from anvil.render import argv
from anvil.topology import derived, families
from anvil.topology.convert import nearest
from anvil.topology.model import Serve, Topology

# The renderer names the cards itself.
_CARDS = ("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER", "NVIDIA_VISIBLE_DEVICES")
_ENTRYPOINTS: Mapping[str, tuple[str, ...]] = {
    "vllm": ("vllm",),
    "sglang": ("python3", "-m", "sglang.launch_server"),
    "llamacpp": ("/app/llama-server",),
    "custom": (),
}
_MOUNT = "/root/.cache/huggingface"


class Wanted(NamedTuple):
    """Where the recipe shall run; ``volume`` is a key of the topology's volumes."""

    machine: str
    gpu: str
    port: int
    name: str | None = None
    volume: str | None = None


class Applied(NamedTuple):
    name: str
    text: str
    difference: Difference


class NotApplicable(Exception):
    """The recipe cannot become a serve there; the sentence says why and what to do."""


def applied(recipe: Recipe, wanted: Wanted, topology: Topology | None) -> Applied:
    """The table's text, and how the engine's command line made of it differs from the recipe's flags.

    Raises NotApplicable.
    """
    name = wanted.name or slug(recipe.model)[:31].strip("-")
    if topology is not None:
        _check(topology, wanted._replace(name=name))
    table = _table(recipe, wanted, _volume(topology, wanted))
    try:
        serve: Serve = msgspec.convert(table, Serve)
    except msgspec.ValidationError as error:
        raise NotApplicable(f"{recipe.model}: serves.{name}: {error}") from None
    return Applied(name, toml.table(f"serves.{name}", table), difference(recipe.serve.flags, _groups(serve, topology)))


def slug(model: str) -> str:
    """A serve's name out of a model's: the part behind the slash, lower case, letters, digits and dashes."""
    text = re.sub(r"[^a-z0-9]+", "-", model.rpartition("/")[2].lower()).strip("-")
    return text if text[:1].isalpha() else f"serve-{text}".strip("-")


def _check(topology: Topology, wanted: Wanted) -> None:
    machine = topology.machines.get(wanted.machine)
    if machine is None:
        raise NotApplicable(f"no machine {wanted.machine!r}{nearest(wanted.machine, topology.machines)}")
    if wanted.gpu not in machine.gpus:
        raise NotApplicable(f"machine {wanted.machine} has no gpu {wanted.gpu!r}{nearest(wanted.gpu, machine.gpus)}")
    if wanted.name in topology.serves:
        raise NotApplicable(f"serves.{wanted.name} is there already; give another --name")
    if wanted.volume and wanted.volume not in topology.volumes:
        raise NotApplicable(f"no volume {wanted.volume!r}{nearest(wanted.volume, topology.volumes)}")


def _volume(topology: Topology | None, wanted: Wanted) -> str | None:
    """The one named, else the only cache of the topology."""
    if wanted.volume or topology is None:
        return wanted.volume
    caches = [name for name, volume in topology.volumes.items() if volume.kind == "hf-cache"]
    return caches[0] if len(caches) == 1 else None


def _table(recipe: Recipe, wanted: Wanted, volume: str | None) -> dict[str, Any]:
    serve = recipe.serve
    family = recipe.family if recipe.family in families.FAMILIES else None
    try:
        keys = serve_keys(serve.engine, serve.flags, family)
    except ValueError as error:
        raise NotApplicable(f"{recipe.model}: serve.flags: {error}") from None
    if "context" not in keys and serve.context_tokens is None:
        raise NotApplicable(f"{recipe.model}: serve.context_tokens: missing; a serve needs its window")
    table = {
        "engine": serve.engine, "machine": wanted.machine, "gpu": wanted.gpu, "image": _image(recipe), "volume": volume,
        **_model(recipe), "served_model": slug(recipe.model), "family": recipe.family, "port": wanted.port,
        "context": serve.context_tokens, **keys, "ipc": serve.ipc, "shm_size": serve.shm_size,
        "prestart": list(serve.prestart), "env": _env(serve.env),
    }  # fmt: skip
    if serve.engine == "custom":
        table["argv"] = [*serve.entrypoint, *(word for flag in serve.flags for word in flag.split(" ", 1))]
        table.pop("extra_args", None)
    return {key: value for key, value in table.items() if value not in (None, [], {})}


def _image(recipe: Recipe) -> str | None:
    image, digest = recipe.serve.image, recipe.measured.image_digest
    return f"{image}@{digest}" if image and digest and "@" not in image else image


def _model(recipe: Recipe) -> dict[str, str]:
    """A path stays one, a repository stays one; llama.cpp names a file."""
    if recipe.serve.engine == "llamacpp":
        file = next((flag.partition(" ")[2] for flag in recipe.serve.flags if flag.startswith("-m ")), recipe.model)
        return {"model_file": file}
    if recipe.serve.engine == "custom":
        return {}
    return {"path" if recipe.model.startswith("/") else "repo": recipe.model}


def _env(env: tuple[str, ...]) -> dict[str, str]:
    pairs = (line.partition("=") for line in env)
    return {name: value for name, _, value in pairs if name not in _CARDS}


def _groups(serve: Serve, topology: Topology | None) -> list[str]:
    cards = derived.gpus(topology, serve) if topology else ()
    built = argv.command(serve, argv.Place(argv.IN_CONTAINER, serve.port, None, gpus=cards))
    words = list(built.args)
    if derived.engine(serve) == "vllm":
        words = words[2:]
    return [group for group in grouped(words) if not group.startswith("--model-path ")]


def run_line(recipe: Recipe) -> str:
    """An equivalent `docker run`, quoted for a POSIX shell. For reading: deploys never use it."""
    serve = recipe.serve
    port = serve.port or 30000
    entrypoint = serve.entrypoint or _ENTRYPOINTS[serve.engine]
    words = ["docker", "run", "--rm", "--gpus", "all", "-p", f"127.0.0.1:{port}:{port}", "-v", f"hf-cache:{_MOUNT}"]
    words += ["--ipc", serve.ipc] if serve.ipc else ["--ipc", "host"] if serve.engine == "vllm" else []
    words += ["--shm-size", serve.shm_size] if serve.shm_size else []
    words += [word for line in serve.env for word in ("-e", line)]
    words += ["--entrypoint", entrypoint[0]] if entrypoint else []
    words += [_image(recipe) or "IMAGE", *entrypoint[1:], *_positional(recipe)]
    words += [word for flag in serve.flags for word in flag.split(" ", 1)]
    listen = [] if serve.engine == "custom" else ["--host", argv.IN_CONTAINER, "--port", str(port)]
    return shlex.join([*words, *listen])


def _positional(recipe: Recipe) -> list[str]:
    if recipe.serve.engine == "vllm":
        return ["serve", recipe.model]
    return ["--model-path", recipe.model] if recipe.serve.engine == "sglang" else []
