"""A one-off model trial as a serve of its own compose project: what was asked for, completed from the topology."""

from __future__ import annotations

import re
import shlex
from typing import Any, cast

import msgspec
from msgspec import Struct
from pyinfra.api.exceptions import PyinfraError

from anvil.deploys import weights
from anvil.hosts.weights import Weights
from anvil.render import compose
from anvil.render.engine import interpolated
from anvil.render.env import Secrets
from anvil.render.services import ServiceSpec, of_serve
from anvil.topology import check, derived
from anvil.topology.convert import convert
from anvil.topology.model import LlamaCpp, Serve, Topology, Vllm

PORT = 30005
MEMORY = "0.90"
_ENGINES = (("sglang", "sglang"), ("llama", "llamacpp"))  # A word of the image's name, and the engine it means.
_NEVER_FINAL = "T22"  # A floating tag is refused in a topology; a trial of an hour may use one.
_NO_TIER = "T02"


class Asked(Struct, frozen=True, kw_only=True):
    """The words of `--data`, "" where nothing was said. `memory` is the share of the card, 0.90 for
    engines that take one, `context` in tokens."""

    model: str
    gpu: str
    port: int = PORT
    served: str = "experiment"
    image: str = ""
    context: int | None = None
    memory: str = ""
    extra_args: str = ""


class Trial(Struct, frozen=True, kw_only=True):
    """`text` is the whole compose file; `volume` is docker's name of the one it mounts, "" for none."""

    machine: str
    project: str
    text: str
    spec: ServiceSpec
    warnings: tuple[str, ...]
    needs_weights: Weights | None = None
    volume: str = ""


def project(topology: Topology, port: int) -> str:
    return f"{topology.deployment}-experiment-{port}"


def trial(topology: Topology, asked: Asked, secrets: Secrets) -> Trial:
    """The trial's definition. Raises PyinfraError naming the key that is missing or wrong."""
    for key, value in (("model", asked.model), ("gpu", asked.gpu)):
        if not value:
            raise PyinfraError(f"experiment.py needs --data {key}=…; it is never guessed")
    machine, card = _card(topology, asked.gpu)
    name = f"experiment-{asked.port}"
    serve = _serve(topology, asked, machine, card)
    _port_is_free(topology, asked.port, machine)
    warnings = _judged(topology, name, serve)
    serve = msgspec.structs.replace(serve, context=_context(asked, serve))
    return _rendered(topology, name, serve, secrets, warnings)


def _rendered(topology: Topology, name: str, serve: Serve, secrets: Secrets, warnings: tuple[str, ...]) -> Trial:
    called = project(topology, serve.port)
    alone = msgspec.structs.replace(
        topology, deployment=called, serves={name: serve}, tiers={}, presets={}, modes={}, mode=None
    )
    document = compose.document(alone, serve.machine, secrets)
    bare = {key: value for key, value in document["services"][name].items() if key != "labels"}
    made = compose.labelled(topology, bare, "experiment", name, secrets, serve.secret_env)
    labels = made["labels"]
    spec = of_serve(alone, name, interpolated(made), labels[compose.REVISION], labels[compose.ENV])
    return Trial(
        machine=serve.machine,
        project=called,
        text=compose.text({**document, "services": {name: made}}),
        spec=msgspec.structs.replace(spec, context=spec.context or 0),
        warnings=warnings,
        needs_weights=weights.of(alone, name),
        volume=topology.volumes[serve.volume].name if serve.volume else "",
    )


def _card(topology: Topology, word: str) -> tuple[str, str]:
    """Machine and card for `CARD` or `MACHINE/CARD`."""
    known = [(name, card) for name, machine in topology.machines.items() for card in machine.gpus]
    matching = [(name, card) for name, card in known if word in (card, f"{name}/{card}")]
    if len(matching) != 1:
        cards = ", ".join(f"{name}/{card}" for name, card in known) or "none"
        raise PyinfraError(f"--data gpu={word}: names {'no' if not matching else 'more than one'} card; known: {cards}")
    if topology.machines[matching[0][0]].runtime == "process":
        raise PyinfraError(f"--data gpu={word}: {matching[0][0]} runs processes; a trial needs containers")
    return matching[0]


def _serve(topology: Topology, asked: Asked, machine: str, card: str) -> Serve:
    image = asked.image or _newest(topology)
    like = next((serve for serve in topology.serves.values() if serve.image == image), None)
    engine = derived.engine(like) if like else _engine_of(image)
    if engine == "custom":
        raise PyinfraError(f"--data image={image}: is run by a custom command line; a trial needs a known engine")
    fields: dict[str, Any] = {
        "engine": engine,
        "machine": machine,
        "gpu": card,
        "image": image,
        "pull": like.pull if like else "missing",
        "served_model": asked.served,
        "port": asked.port,
        "context": asked.context or 1,
        "container": f"{engine}-experiment-{asked.port}",
        "restart": "no",
        "preflight": "off",
        "needle_tokens": 1,  # Unused: no gate stands before a trial.
        "extra_args": _words(asked.extra_args),
        **_source(topology, asked, engine, machine, card),
    }
    problems: list[str] = []
    serve = convert(fields, Serve, "experiment", problems)
    if problems:
        raise PyinfraError("\n".join(problems))
    return cast("Serve", serve)


def _source(topology: Topology, asked: Asked, engine: str, machine: str, card: str) -> dict[str, Any]:
    """Where the weights come from: a repository or a path on the volume that serves of this engine use."""
    volume = _volume(topology, engine, machine)
    if engine == "llamacpp":
        # takes what it needs; said, the share is what the card must have free
        need = _share(asked.memory) * topology.machines[machine].gpus[card].vram_gb if asked.memory else None
        return {"model_file": asked.model, "volume": volume, **({"memory_need_gb": need} if need else {})}
    key = "path" if asked.model.startswith("/") else "repo"
    return {key: asked.model, "volume": volume, "gpu_memory": _share(asked.memory or MEMORY)}


def _volume(topology: Topology, engine: str, machine: str) -> str | None:
    mine = [serve for serve in topology.serves.values() if derived.engine(serve) == engine and serve.volume]
    here = [serve.volume for serve in sorted(mine, key=lambda serve: serve.machine != machine)]
    caches = [name for name, volume in topology.volumes.items() if volume.kind == "hf-cache"]
    return next(iter((*here, *(caches if engine != "llamacpp" else ()))), None)


def _share(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise PyinfraError(f"--data memory={text}: expected a share of the card such as 0.90") from None


def _words(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError as error:
        raise PyinfraError(f"--data extra_args: {error}") from None


def _newest(topology: Topology) -> str:
    images = {serve.image for serve in topology.serves.values() if isinstance(serve, Vllm) and serve.image}
    if not images:
        raise PyinfraError("no serve of the topology has a vllm image: name one with --data image=REF")
    return max(images, key=_version)


def _version(image: str) -> tuple[list[int], str]:
    """The numbers of an image's tag; a tag without any is the oldest."""
    tag = image.partition("@")[0].rpartition("/")[2].partition(":")[2]
    return [int(number) for number in re.findall(r"\d+", tag)], image


def _engine_of(image: str) -> str:
    return next((engine for word, engine in _ENGINES if word in image.lower()), "vllm")


def _port_is_free(topology: Topology, port: int, machine: str) -> None:
    """A serve that is stopped today needs its port tomorrow."""
    owners = {serve.port: f"serve {name}" for name, serve in topology.serves.items() if serve.machine == machine}
    if topology.router.machine == machine:
        owners[topology.router.port] = "the router"
    if topology.multiplexer is not None and topology.multiplexer.machine == machine:
        owners[topology.multiplexer.port] = "the multiplexer"
    if port in owners:
        raise PyinfraError(f"--data port={port}: belongs to {owners[port]} on {machine}; choose another")


def _judged(topology: Topology, name: str, serve: Serve) -> tuple[str, ...]:
    """The topology's own rules over the trial; what is said of its card's shares is checked on the card itself."""
    whole = msgspec.structs.replace(topology, serves={**topology.serves, name: serve})
    found = [f for f in check.check(whole) if f.table.split(".")[1:2] == [name] and f.code != _NO_TIER]
    errors = [each for each in found if each.level == "error" and each.code != _NEVER_FINAL]
    if errors:
        raise PyinfraError("\n".join(check.lines(errors, "experiment.py")))
    return tuple(f"{each.table}: {each.sentence} ({each.code})" for each in found)


def _context(asked: Asked, serve: Serve) -> int:
    """Without a word the engine's own: llama.cpp writes that 0, the others leave the flag out."""
    if asked.context:
        return asked.context
    return 0 if isinstance(serve, LlamaCpp) else None  # type: ignore[return-value]  # argv leaves the flag out for None
