"""Rules about tiers, presets and modes: T01, T09, T10, T13, T18, T20."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from anvil.topology import derived
from anvil.topology.finding import Finding, Rule, error, warn
from anvil.topology.model import CloudTier, ModeSubset, Topology


def presets_resolve(topology: Topology) -> Iterator[Finding]:
    """T01."""
    yield from _pools(topology, "presets", topology.presets)
    for mode, subset in topology.modes.items():
        yield from _pools(topology, f"modes.{mode}.presets", subset.presets or {})


def tier_ids_differ(topology: Topology) -> Iterator[Finding]:
    """T01: the router compares ids without case, and so do variable names made of them."""
    owners: dict[str, str] = {}
    for name, tier in topology.tiers.items():
        variable = derived.auth_env(topology, name)
        first = owners.setdefault(variable, name)
        if first != name and tier.auth_env is None and topology.tiers[first].auth_env is None:
            if variable in topology.router.token:  # a swap group shares the multiplexer's token
                continue
            yield error("T01", f"tiers.{name}", f"shares the variable {variable} with {first}; set auth_env")


def cloud_tiers_complete(topology: Topology) -> Iterator[Finding]:
    """T09."""
    for name, tier in topology.tiers.items():
        if not isinstance(tier, CloudTier):
            continue
        table = f"tiers.{name}"
        if not tier.cloud:
            yield error("T09", f"{table}.cloud", "is true or absent")
        if not tier.base_url.lower().startswith("https://"):
            yield error("T09", f"{table}.base_url", "a cloud tier is asked over https")
        if tier.cost_input_per_mtok is None or tier.cost_output_per_mtok is None:
            yield warn("T09", table, "no prices: set cost_input_per_mtok and cost_output_per_mtok to see what it costs")


def metered_classes_known(topology: Topology) -> Iterator[Finding]:
    """T09: work classes, not presets; the plugin keeps turns of either for the native provider."""
    yield from _classes("router.settings.metered_cloud", topology.router.settings.get("metered_cloud", ()))
    known = (*dict.fromkeys((*_all_presets(topology), *derived.WORK_CLASSES)),)
    for name, gateway in topology.gateways.items():
        for value in gateway.plugin.cloud_classes if gateway.plugin else ():
            if value not in known:
                table = f"gateways.{name}.plugin.cloud_classes"
                yield error("T09", table, f"{value!r} is no preset and no work class; known: {', '.join(known)}")


def cloud_tiers_reachable(topology: Topology) -> Iterator[Finding]:
    """T10: without its class in metered_cloud the router never pays for a preset."""
    metered = derived.metered_classes(topology)
    for preset, tiers in topology.presets.items():
        asked = derived.work_class(topology, preset)
        for name in tiers:
            if isinstance(topology.tiers.get(name), CloudTier) and asked is not None and asked not in metered:
                advice = f'add "{asked}" to router.settings.metered_cloud'
                yield warn("T10", f"presets.{preset}", f"{name} is never reached: {advice}, or leave it out")


def silence_limits_ordered(topology: Topology) -> Iterator[Finding]:
    """T13: who waits outside waits longer, or the inner limit never shows."""
    relay = topology.router.settings.get("relay_timeout")
    for name, tier in topology.tiers.items():
        if tier.timeout is None:
            continue
        table = f"tiers.{name}.timeout"
        if not isinstance(tier, CloudTier) and isinstance(relay, (int, float)) and relay >= tier.timeout:
            yield warn("T13", table, f"{tier.timeout:g} s is not above router.settings.relay_timeout ({relay:g} s)")
        for gateway_name, gateway in topology.gateways.items():
            if gateway.timeout_s is not None and tier.timeout >= gateway.timeout_s:
                sentence = f"{tier.timeout:g} s is not below gateways.{gateway_name}.timeout_s ({gateway.timeout_s} s)"
                yield warn("T13", table, sentence)


def preset_names_clear(topology: Topology) -> Iterator[Finding]:
    """T18: a caller's `model` is a preset or a tier, never both."""
    for preset in _all_presets(topology):
        if preset in topology.tiers:
            yield error("T18", f"presets.{preset}", "is also a tier id; rename one")
        elif preset not in derived.PRESET_CLASSES:
            known = ", ".join(derived.PRESET_CLASSES)
            yield warn("T18", f"presets.{preset}", f"the intent plugin and the wire check know only {known}")


def mode_declared(topology: Topology) -> Iterator[Finding]:
    """T20."""
    if topology.mode is not None and topology.mode not in topology.modes:
        yield error("T20", "mode", f"[modes.{topology.mode}] is not declared")


def modes_resolve(topology: Topology) -> Iterator[Finding]:
    """T20: every preset of a mode stays inside the mode's tiers."""
    for mode, subset in topology.modes.items():
        yield from _known(f"modes.{mode}.serves", subset.serves or (), topology.serves, "serve")
        yield from _known(f"modes.{mode}.tiers", subset.tiers or (), topology.tiers, "tier")
        yield from _inside(topology, mode, subset)


def _inside(topology: Topology, mode: str, subset: ModeSubset) -> Iterator[Finding]:
    active = derived.active(derived.in_mode(topology, mode))
    for preset, tiers in active.presets.items():
        outside = [tier for tier in tiers if tier in topology.tiers and tier not in active.tiers]
        if outside:
            where = f"modes.{mode}.presets.{preset}" if subset.presets else f"modes.{mode}.presets"
            yield error("T20", where, f"{preset} uses {', '.join(outside)}, which the mode leaves out")


def _pools(topology: Topology, table: str, presets: Mapping[str, tuple[str, ...]]) -> Iterator[Finding]:
    for preset, tiers in presets.items():
        yield from _known(f"{table}.{preset}", tiers, topology.tiers, "tier", "T01")
        if len(set(tiers)) != len(tiers):
            yield error("T01", f"{table}.{preset}", "a tier is listed twice")


def _known(
    table: str, names: tuple[str, ...], known: Mapping[str, object], what: str, code: str = "T20"
) -> Iterator[Finding]:
    for name in names:
        if name not in known:
            yield error(code, table, f"{name!r} is no {what}; known: {', '.join(known) or 'none'}")


def _classes(table: str, values: object) -> Iterator[Finding]:
    if not isinstance(values, (list, tuple)):
        yield error("T09", table, "expected a list of work classes")
        return
    for value in values:
        if value in derived.WORK_CLASSES:
            continue
        hint = f"known: {', '.join(derived.WORK_CLASSES)}"
        if isinstance(value, str) and value in derived.PRESET_CLASSES:
            hint = f"{value} is a preset, its work class is {derived.PRESET_CLASSES[value]}"
        yield error("T09", table, f"{value!r} is no work class; {hint}")


def _all_presets(topology: Topology) -> list[str]:
    extra = (preset for subset in topology.modes.values() for preset in subset.presets or {})
    return list(dict.fromkeys((*topology.presets, *extra)))


RULES: tuple[Rule, ...] = (
    presets_resolve,
    tier_ids_differ,
    cloud_tiers_complete,
    metered_classes_known,
    cloud_tiers_reachable,
    silence_limits_ordered,
    preset_names_clear,
    mode_declared,
    modes_resolve,
)
