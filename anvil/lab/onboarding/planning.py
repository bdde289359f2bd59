"""The tables a topology gets for one machine, one model and the clients' presets (contract lab.md 2). Pure."""

from __future__ import annotations

import tomllib
from ipaddress import IPv4Address, ip_address
from typing import Any

from msgspec import Struct

from anvil.lab.onboarding import choosing, naming
from anvil.lab.onboarding.choosing import Choice
from anvil.lab.onboarding.facts import Card, Facts
from anvil.lab.recipes.apply import NotApplicable, Wanted, applied
from anvil.topology import derived
from anvil.topology.model import ServeTier, Topology

CACHE_MOUNT = "/root/.cache/huggingface"
NEW_VOLUME = "anvil-hfcache"
ROUTER_PORT = 8000
TOKEN = "ANVIL_ROUTER_TOKEN"  # noqa: S105 - the name of a variable
FAST_AT_MOST_GB = 22  # What counts as a small model (contract lab.md 14).
_BIG_CARD_GB = 48
# Of an engine whose image is not on the host yet; the release our list of flags is of.
_IMAGES = {"vllm": "vllm/vllm-openai:v0.32.0"}
_REPOSITORIES = {"vllm": "vllm/vllm-openai", "sglang": "lmsysorg/sglang"}


class Asked(Struct, frozen=True, kw_only=True):
    """What the command line says. ``explicit`` names the options that were given, not defaulted."""

    ssh: str | None = None
    served_name: str | None = None
    tier_id: str | None = None
    port: int = 30000
    context: int = 131072
    engine: str | None = None
    thinking_off: bool = False
    gateway: str | None = None
    image: str | None = None
    router_image: str
    mapping_version: str
    explicit: frozenset[str] = frozenset()


class Plan(Struct, frozen=True, kw_only=True):
    """``tables`` by path in the order of the file; ``explicit``: keys of them that the command line asked for.

    ``example`` is commented text for what could not be filled in.
    """

    top: dict[str, Any]
    tables: dict[tuple[str, ...], dict[str, Any]]
    explicit: dict[tuple[str, ...], frozenset[str]]
    machine: str
    serve: str
    tier: str
    engine: str
    notes: tuple[str, ...]
    example: str = ""


class CannotPlan(Exception):
    """Something the operator must say first; the sentence names the option."""


def planned(facts: Facts, choice: Choice, asked: Asked, current: Topology | None) -> Plan:
    """Raises CannotPlan."""
    tier = asked.tier_id or _tier_id(choice)
    machine = _machine_name(facts, current)
    make = _with_card if choice.card is not None else _without_card
    plan = make(facts, choice, asked, current, machine, tier)
    top = {"schema": "anvil.topology/v1", "deployment": "home", "mapping_version": asked.mapping_version}
    tables = dict(plan.tables)
    tables |= {("presets",): _presets(plan, current)}
    tables |= {("router",): _router(facts, asked, plan)}
    tables |= _gateway(facts, asked, plan)
    return Plan(
        top=top,
        tables=tables,
        explicit=plan.explicit,
        machine=machine,
        serve=plan.serve,
        tier=tier,
        engine=plan.engine,
        notes=plan.notes,
        example=plan.example,
    )


# ------------------------------------------------------------------------------------------------ the machine


def _machine_name(facts: Facts, current: Topology | None) -> str:
    name = naming.table_name(facts.hostname.split(".")[0])
    known = current.machines if current else {}
    uuids = {card.uuid for card in facts.cards}
    same = (each for each, machine in known.items() if uuids & {gpu.uuid for gpu in machine.gpus.values()})
    return next(same, name)


def _machine(facts: Facts, asked: Asked) -> dict[str, Any]:
    made: dict[str, Any] = {"platform": facts.platform}
    if asked.ssh is not None:
        user, _, host = asked.ssh.rpartition("@")
        made["address"] = host
        made["ssh"] = {"hostname": host, **({"user": user} if user else {})}
    elif asked.gateway is not None and (own := _address(facts)):
        made["address"] = own
    if facts.memory_gb is not None:
        made["memory_gb"] = round(facts.memory_gb)
    return made


def _address(facts: Facts) -> str | None:
    """The first IPv4 address that others can reach; docker's own bridges are not."""
    for text in facts.addresses:
        try:
            found = ip_address(text)
        except ValueError:
            continue
        if isinstance(found, IPv4Address) and not found.is_loopback and not text.startswith("172.17."):
            return text
    return None


def _gpu_names(facts: Facts, current: Topology | None, machine: str) -> dict[str, str]:
    """Table name by UUID; a name given by hand stays."""
    known = current.machines[machine].gpus if current and machine in current.machines else {}
    names = {gpu.uuid: name for name, gpu in known.items()}
    for card in facts.cards:
        if card.uuid not in names:
            model = naming.gpu_model(card.name, card.total_mib)
            names[card.uuid] = naming.table_name(model, set(names.values()))
    return names


# -------------------------------------------------------------------------------------------------- the serve


def _tier_id(choice: Choice) -> str:
    if choice.size_gb:
        return "fast-local" if choice.size_gb <= FAST_AT_MOST_GB else "heavy-local"
    big = choice.card is not None and choice.card.total_mib / 1024 >= _BIG_CARD_GB
    return "heavy-local" if big else "fast-local"


def _with_card(facts: Facts, choice: Choice, asked: Asked, current: Topology | None, machine: str, tier: str) -> Plan:
    assert choice.card is not None
    names = _gpu_names(facts, current, machine)
    known = current.tiers.get(tier) if current else None
    serve = known.serve if isinstance(known, ServeTier) else naming.table_name(tier.removesuffix("-local"))
    engine = asked.engine or choosing.engine(choice)
    volume, docker_name = _volume(facts, choice, current)
    tables: dict[tuple[str, ...], dict[str, Any]] = {("machines", machine): _machine(facts, asked)}
    for card in facts.cards:
        tables["machines", machine, "gpus", names[card.uuid]] = _gpu(card)
    tables["volumes", volume] = {"name": docker_name, "kind": "hf-cache", "mount": CACHE_MOUNT}
    tables["serves", serve] = _serve(facts, choice, asked, engine, (machine, names[choice.card.uuid], volume, serve))
    tables["tiers", tier] = {"serve": serve, **({"thinking": "off"} if asked.thinking_off else {})}
    return Plan(
        top={},
        tables=tables,
        explicit={("serves", serve): _explicit(asked), ("tiers", tier): asked.explicit & {"thinking"}},
        machine=machine,
        serve=serve,
        tier=tier,
        engine=engine,
        notes=tuple(_notes(facts, choice, asked, engine, docker_name)),
    )


def _gpu(card: Card) -> dict[str, Any]:
    model = naming.gpu_model(card.name, card.total_mib)
    return {"uuid": card.uuid, "model": model, "vram_gb": round(card.total_mib / 1024), "compute": card.compute}


def _volume(facts: Facts, choice: Choice, current: Topology | None) -> tuple[str, str]:
    """Table and docker name: the volume that has the model, else one of the topology, else a cache of the host."""
    holding = [model.place for model in facts.models if model.volume and model.repo == choice.repo]
    known = {volume.name: name for name, volume in (current.volumes if current else {}).items()}
    caches = [model.place for model in facts.models if model.volume]
    wanted = (holding or list(known) or caches or [NEW_VOLUME])[0]
    return known.get(wanted) or naming.table_name("weights", set(known.values())), wanted


def _serve(facts: Facts, choice: Choice, asked: Asked, engine: str, place: tuple[str, str, str, str]) -> dict[str, Any]:
    machine, gpu, volume, serve = place
    made = _of_recipe(choice, asked, place) if choice.recipe and engine == choice.recipe.serve.engine else {}
    assert choice.card is not None
    context = asked.context if "context" in asked.explicit else min(asked.context, choice.context or asked.context)
    family = naming.family(choice.repo)
    share = 0.88 if choice.card.total_mib / 1024 >= _BIG_CARD_GB else 0.85
    quantization = choosing.quantization(choice, engine)
    made = {
        "engine": engine,
        "machine": machine,
        "gpu": gpu,
        "image": asked.image or _image(facts, engine, serve),
        "volume": volume,
        "repo": choice.repo,
        "served_model": naming.served_name(choice.repo),
        **({"family": family} if family else {}),
        "port": asked.port,
        "context": context,
        "gpu_memory": share,
        **({"quantization": quantization} if quantization else {}),
        **made,
    }
    if asked.served_name:
        made["served_model"] = asked.served_name
    return made | {"image": _pinned(facts, str(made["image"]))}


def _pinned(facts: Facts, image: str) -> str:
    """With the digest that the machine knows this very tag by."""
    return next((each for each in facts.images if each.startswith(f"{image}@sha256:")), image)


def _of_recipe(choice: Choice, asked: Asked, place: tuple[str, str, str, str]) -> dict[str, Any]:
    """The recipe's own table, with its measured flags as keys; explicit options win."""
    assert choice.recipe is not None
    machine, gpu, volume, serve = place
    try:
        text = applied(choice.recipe, Wanted(machine, gpu, asked.port, serve, volume), None).text
    except NotApplicable as error:
        raise CannotPlan(f"{error}; choose another with --model") from None
    made: dict[str, Any] = tomllib.loads(text)["serves"][serve]
    over = {"context": asked.context} if "context" in asked.explicit else {}
    return {**made, **over, **({"image": asked.image} if asked.image else {})}


def _image(facts: Facts, engine: str, serve: str) -> str:
    repository = _REPOSITORIES.get(engine, "")
    on_host = [image.removesuffix("@<none>") for image in facts.images if image.startswith(f"{repository}:")]
    pinned = [image for image in on_host if "@sha256:" in image]
    found = next(iter([*pinned, *on_host]), None) or _IMAGES.get(engine)
    if found is None:
        raise CannotPlan(f"serves.{serve}: no {engine} image is on the machine; name one with --image REPO:TAG")
    return found


def _explicit(asked: Asked) -> frozenset[str]:
    keys = {"port": "port", "context": "context", "engine": "engine", "served_name": "served_model", "image": "image"}
    found = {key for option, key in keys.items() if option in asked.explicit}
    found |= {"repo", "family", "quantization", "served_model", "volume"} if "model" in asked.explicit else set()
    return frozenset(found | ({"gpu"} if "gpu" in asked.explicit else set()))


def _notes(facts: Facts, choice: Choice, asked: Asked, engine: str, volume: str) -> list[str]:
    found = []
    if facts.docker_state != "ok":
        found.append("docker does not answer on the machine; deploy/doctor.py says what is missing")
    elif "nvidia" not in facts.runtimes:
        found.append("docker there has no NVIDIA runtime; install the NVIDIA container toolkit")
    if engine == "sglang" and choosing.vllm_only(choice):
        found.append(f"{choice.repo}: only vLLM loads this number format")
    here = [model for model in facts.models if model.repo == choice.repo]
    if any(model.volume for model in here):
        found.append(f"{choice.repo} is in the volume {volume}")
    elif here:
        found.append(
            f"{choice.repo} is in {here[0].place} of the host; engines read volumes, so it is pulled once more"
        )
    if choice.card is not None and choice.size_gb and choosing.need_gb(choice.size_gb) > choice.card.total_mib / 1024:
        found.append(f"{choice.repo} needs about {choosing.need_gb(choice.size_gb):.0f} GB, more than the card has")
    return found


# ----------------------------------------------------------------------------------------------- without a card


def _without_card(
    facts: Facts, choice: Choice, asked: Asked, current: Topology | None, machine: str, tier: str
) -> Plan:
    """No card: the model is an endpoint that the operator runs; the router is a process beside it."""
    del current
    why = {"missing": "there is no nvidia-smi", "failed": "nvidia-smi fails", "ok": "nvidia-smi lists no card"}
    endpoint = {
        "base_url": f"http://{derived.LOOPBACK}:{asked.port}/v1",
        "model": asked.served_name or naming.served_name(choice.repo),
        "context_limit": asked.context,
    }
    place = _machine(facts, asked) | {
        "runtime": "process",
        "root": f"{facts.home.rstrip('/')}/.local/share/anvil",
        "owner": "",
        "sudo": False,
    }
    explicit = {"port": "base_url", "context": "context_limit", "served_name": "model", "model": "model"}
    return Plan(
        top={},
        tables={("machines", machine): place, ("tiers", tier): endpoint},
        explicit={("tiers", tier): frozenset(key for option, key in explicit.items() if option in asked.explicit)},
        machine=machine,
        serve="",
        tier=tier,
        engine="",
        notes=(f"{why[facts.gpu_tool]}: {tier} is an endpoint on port {asked.port} that you run yourself",),
        example=_EXAMPLE.format(machine=machine, repo=choice.repo),
    )


_EXAMPLE = """
# A card of the machine, once it has one (`nvidia-smi -L` prints the UUID); `anvil init` then writes it and a serve.
# [machines.{machine}.gpus.rtx-5090-32gb]
# uuid = "GPU-..."
# model = "rtx_5090_32gb"
# vram_gb = 32
# compute = "12.0"
"""


# -------------------------------------------------------------------------------------------- presets and clients


def _presets(plan: Plan, current: Topology | None) -> dict[str, Any]:
    """One tier: all five point at it. Two: chat and quick-edit prefer the smaller, the rest the larger."""
    sizes = _sizes(current)
    serve = plan.tables.get(("serves", plan.serve), {})
    gpu = plan.tables.get(("machines", plan.machine, "gpus", str(serve.get("gpu"))), {})
    sizes[plan.tier] = float(gpu.get("vram_gb", 0)) * float(serve.get("gpu_memory", 0))
    roles = ("fast-local", "heavy-local")
    upward = sorted(sizes, key=lambda tier: (sizes[tier], roles.index(tier) if tier in roles else 1, tier))
    small_first = ("chat", "quick-edit")
    order = ("chat", "quick-edit", "review", "planning", "long-context")
    return {preset: upward if preset in small_first else upward[::-1] for preset in order}


def _sizes(current: Topology | None) -> dict[str, float]:
    """Card memory by tier; tiers that are no serve of ours are not put into presets by themselves."""
    if current is None:
        return {}
    return {
        name: derived.memory_need_gb(current, current.serves[tier.serve]) or 0.0
        for name, tier in current.tiers.items()
        if isinstance(tier, ServeTier)
    }


def _router(facts: Facts, asked: Asked, plan: Plan) -> dict[str, Any]:
    made: dict[str, Any] = {"machine": plan.machine}
    if plan.serve:
        made |= {"image": asked.router_image, "pull": "never"}
    if _beyond(facts, asked):
        made["publish"] = _published(facts, asked)
    return made | {"port": ROUTER_PORT, "token": [TOKEN]}


def _beyond(facts: Facts, asked: Asked) -> bool:
    """Whether a client on another machine must reach the router."""
    return asked.gateway is not None and asked.gateway not in (derived.LOOPBACK, facts.hostname, *facts.addresses)


def _published(facts: Facts, asked: Asked) -> str:
    host = (asked.ssh or "").rpartition("@")[2]
    try:
        return str(ip_address(host))
    except ValueError:
        found = _address(facts)
    if found is None:
        raise CannotPlan("the machine has no IPv4 address that a gateway could reach; name it by --host USER@ADDRESS")
    return found


def _gateway(facts: Facts, asked: Asked, plan: Plan) -> dict[tuple[str, ...], dict[str, Any]]:
    if asked.gateway is None:
        return {}
    if not _beyond(facts, asked):
        here = {"machine": plan.machine, "router_url": f"http://{derived.LOOPBACK}:{ROUTER_PORT}/v1"}
        return {("gateways", plan.machine): here}
    user, _, host = asked.gateway.rpartition("@")
    name = naming.table_name(host if not host[:1].isdigit() else "gateway", {plan.machine})
    machine = {"platform": "linux", "address": host, **({"ssh": {"user": user}} if user else {})}
    published = _published(facts, asked)
    url = f"http://{f'[{published}]' if ':' in published else published}:{ROUTER_PORT}/v1"
    return {("machines", name): machine, ("gateways", name): {"machine": name, "router_url": url}}
