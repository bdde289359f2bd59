"""Rules about serves and their tiers: T02, T05, T14, T19, T21."""

from __future__ import annotations

import difflib
from collections import defaultdict
from collections.abc import Iterator

from anvil.topology import derived, families, hazards
from anvil.topology.finding import Finding, Rule, error, warn
from anvil.topology.model import Custom, ModelServe, Serve, ServeTier, Sglang, Topology, Vllm

_NEXTN_FIRST_START_S = 900
# Flags whose value the topology already holds: a second place is a second truth (I5).
_DERIVED_FLAGS = {
    "--host",
    "--port",
    "--served-model-name",
    "--max-model-len",
    "--context-length",
    "--gpu-memory-utilization",
    "--mem-fraction-static",
    "--alias",
    "--ctx-size",
    "-a",
    "-c",
}
_REFUSED_FLAGS = {
    "--cuda-graph-max-bs": "was renamed; write --cuda-graph-max-bs-decode",
    "--chat-template-kwargs": 'is no server flag; set thinking = "off" on the tier, or --default-chat-template-kwargs',
    "--api-key": "puts a secret on a command line; engines stay on loopback and the router asks for the token",
}
_SLOW_FLAGS = {"--enforce-eager": "turns CUDA graphs off (33.6 against 183 tok/s measured on a 120B)"}


def serves_used(topology: Topology) -> Iterator[Finding]:
    """T02: a serve nobody routes to is probably forgotten."""
    used = {tier.serve for tier in topology.tiers.values() if isinstance(tier, ServeTier)}
    for name, serve in topology.serves.items():
        if name not in used and serve.state == "up":
            yield warn("T02", f"serves.{name}", 'no tier uses it; add one, or set state = "down"')


def tiers_have_serves(topology: Topology) -> Iterator[Finding]:
    """T02, D1: serves are on loopback, so only the router of their own machine reaches them."""
    for name, tier in topology.tiers.items():
        if not isinstance(tier, ServeTier):
            continue
        serve = topology.serves.get(tier.serve)
        if serve is None:
            known = ", ".join(topology.serves) or "none"
            yield error("T02", f"tiers.{name}.serve", f"{tier.serve!r} is no serve; known: {known}")
        elif {serve.machine, topology.router.machine} <= topology.machines.keys() and (
            serve.machine != topology.router.machine
        ):
            where = f"serves are on loopback of {serve.machine}, the router is on {topology.router.machine}"
            yield error("T02", f"tiers.{name}.serve", f"{where}; give the tier a base_url and model of its own")


def windows_fit(topology: Topology) -> Iterator[Finding]:
    """T05: a tier may narrow its engine's window, never widen it."""
    for name, tier in topology.tiers.items():
        if not isinstance(tier, ServeTier) or tier.serve not in topology.serves:
            continue
        window = topology.serves[tier.serve].context
        if tier.context_limit is not None and tier.context_limit > window:
            sentence = f"{tier.context_limit} is more than the {window} tokens of serves.{tier.serve}"
            yield error("T05", f"tiers.{name}.context_limit", sentence)


def checkpoints_known(topology: Topology) -> Iterator[Finding]:
    """T14: the hazard table (6.3). Informational entries are for people who ask, not for every run."""
    for name, serve in topology.serves.items():
        for hazard in hazards_of(topology, serve):
            if hazard.level != "info":
                yield Finding("T14", hazard.level, f"serves.{name}", hazard.sentence)


def hazards_of(topology: Topology, serve: Serve) -> tuple[hazards.Hazard, ...]:
    """Every entry of the hazard table that meets the serve, each once."""
    machine = topology.machines.get(serve.machine)
    cards = machine.gpus if machine else {}
    computes = {cards[card].compute for card in derived.gpu_names(serve) if card in cards} or {""}
    name = (serve.repo or serve.path or "") if isinstance(serve, ModelServe) else serve.served_model
    found = [
        hazard
        for compute in sorted(computes)
        for hazard in hazards.matching(
            hazards.Checkpoint(
                name=name,
                engine=derived.engine(serve),
                image=serve.image or "",
                quantization=serve.quantization or "",
                compute=compute,
                prestart=serve.prestart,
            )
        )
    ]
    return tuple(dict.fromkeys(found))


def parsers_fit(topology: Topology) -> Iterator[Finding]:
    """T14: a parser of another family turns tool calls into text (6.4)."""
    for name, serve in topology.serves.items():
        if not isinstance(serve, ModelServe):
            continue
        for key in ("tool_parser", "reasoning_parser"):
            parser = getattr(serve, key) or ""
            if parser.startswith("qwen") and serve.family != "qwen3":
                known = serve.family or "none"
                yield error("T14", f"serves.{name}.{key}", f"{parser} is a qwen3 parser, the family is {known}")


def thinking_can_be_off(topology: Topology) -> Iterator[Finding]:
    """T14: the switch belongs to the family; where it has none, the operator says it in extra_body."""
    for name, tier in topology.tiers.items():
        serve = topology.serves.get(tier.serve) if isinstance(tier, ServeTier) and tier.thinking == "off" else None
        if serve is None:
            continue
        known = families.family(serve.family)
        if known.thinking_off is None:
            instead = "say it in extra_body"
            if known.effort:
                instead = f'it ignores the switch; set extra_body_defaults = {{ {known.effort} = "low" }}'
            yield error(
                "T14", f"tiers.{name}.thinking", f"family {serve.family or 'none'} has no off switch: {instead}"
            )


def flags_sane(topology: Topology) -> Iterator[Finding]:
    """T14: extra_args repeat nothing the topology holds, and nothing known to be wrong."""
    for name, serve in topology.serves.items():
        table = f"serves.{name}.extra_args"
        for flag in (_flag(word) for word in serve.extra_args):
            if flag in _REFUSED_FLAGS:
                yield error("T14", table, f"{flag} {_REFUSED_FLAGS[flag]}")
            elif flag in _DERIVED_FLAGS and derived.engine(serve) != "custom":
                yield error("T14", table, f"{flag} is derived from the serve's own keys; set it there")
            elif flag in _SLOW_FLAGS and isinstance(serve, Vllm):
                yield warn("T14", table, f"{flag} {_SLOW_FLAGS[flag]}")
            elif flag == "--weight-loader-disable-mmap" and _kind(topology, serve) != "directory":
                left_out = "; it is left out" if isinstance(serve, Sglang) else ""
                yield warn("T14", table, f"{flag} helps only on volumes of kind directory{left_out}")


def flags_are_words(topology: Topology) -> Iterator[Finding]:
    """T14: a flag and its value are two words of a command line; no shell takes them apart."""
    for name, serve in topology.serves.items():
        for word in serve.extra_args if not isinstance(serve, Custom) else ():
            first, space, value = word.partition(" ")
            if space and first.startswith("--") and "=" not in first:
                sentence = f'{word!r} is one word to the engine; write "{first}", "{value.strip()}"'
                yield error("T14", f"serves.{name}.extra_args", sentence)


def families_known(topology: Topology) -> Iterator[Finding]:
    """T14: an unknown family is allowed and has no parsers; one that is nearly a known one is a slip."""
    for name, serve in topology.serves.items():
        if serve.family is None or serve.family in families.FAMILIES:
            continue
        meant = [
            each
            for each in families.FAMILIES
            if serve.family.lower().startswith(each) or each.startswith(serve.family.lower())
        ]
        close = meant or difflib.get_close_matches(serve.family.lower(), families.FAMILIES, n=1, cutoff=0.7)
        if close:
            sentence = f"{serve.family!r} is no known family, so no parser is chosen; did you mean {close[0]!r}?"
            yield warn("T14", f"serves.{name}.family", sentence)


def first_start_long_enough(topology: Topology) -> Iterator[Finding]:
    """6.2: the first start with speculative decoding compiles graphs for about 9.5 minutes."""
    for name, serve in topology.serves.items():
        if isinstance(serve, Sglang) and serve.speculative and serve.start_timeout_s < _NEXTN_FIRST_START_S:
            table = f"serves.{name}.start_timeout_s"
            yield warn("T14", table, "the first start with speculative decoding takes about 570 s; give it 900")


def swap_groups_whole(topology: Topology) -> Iterator[Finding]:
    """T19."""
    groups: dict[str, list[str]] = defaultdict(list)
    for name, serve in topology.serves.items():
        if serve.swap_group:
            groups[serve.swap_group].append(name)
    for group, members in groups.items():
        table = f"serves.{members[0]}.swap_group"
        places = {(serve.machine, derived.gpu_names(serve)) for serve in map(topology.serves.__getitem__, members)}
        if len(places) > 1:
            yield error("T19", table, f"members of {group} are not on one machine and card: {', '.join(members)}")
        place = topology.multiplexer
        if place is None or place.machine not in {machine for machine, _ in places}:
            yield error("T19", table, f"{group} needs a [multiplexer] on its machine")
        if len(members) == 1:
            yield warn("T19", table, f"{group} has one member; nothing swaps")


def multiplexer_admitted(topology: Topology) -> Iterator[Finding]:
    """T19: the docker socket is root on that host; the operator says so in words."""
    place = topology.multiplexer
    if place is None:
        return
    if not place.docker_socket:
        yield error("T19", "multiplexer.docker_socket", "must be true: it starts containers, which equals root there")
    if not topology.router.token:
        yield error("T19", "router.token", "the multiplexer needs a token; name its variable here")
    members = [serve for serve in topology.serves.values() if serve.swap_group]
    if place.ram_cap_gb is not None and members and all(serve.gpu for serve in members):
        yield warn("T19", "multiplexer.ram_cap_gb", "limits nothing: every model is on a card, whose memory counts")
    if not members:
        yield warn("T19", "multiplexer", "no serve is in a swap_group; it has nothing to do")


def repositories_once(topology: Topology) -> Iterator[Finding]:
    """T21: two copies of one model on one card are usually a slip."""
    seen: dict[tuple[str, str, str], str] = {}
    for name, serve in topology.serves.items():
        model = serve.repo if isinstance(serve, ModelServe) else None
        for card in derived.gpu_names(serve) if model else ():
            first = seen.setdefault((serve.machine, card, str(model)), name)
            if first != name:
                yield warn("T21", f"serves.{name}.repo", f"{model} is already on card {card} as serves.{first}")


def _flag(word: str) -> str:
    """Both engines' parsers take --max_model_len for --max-model-len."""
    flag = word.split("=", 1)[0]
    return flag.replace("_", "-") if flag.startswith("--") else flag


def _kind(topology: Topology, serve: Serve) -> str | None:
    volume = topology.volumes.get(serve.volume or "")
    return volume.kind if volume else None


RULES: tuple[Rule, ...] = (
    serves_used,
    tiers_have_serves,
    windows_fit,
    checkpoints_known,
    parsers_fit,
    thinking_can_be_off,
    flags_sane,
    flags_are_words,
    families_known,
    first_start_long_enough,
    swap_groups_whole,
    multiplexer_admitted,
    repositories_once,
)
