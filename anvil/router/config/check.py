"""Rules that span several keys of router.toml (contract 4.6): contradictions are errors, doubts are warnings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol
from urllib.parse import urlsplit

from anvil.router.config.model import RouterConfig, TierConfig
from anvil.router.config.presets import near
from anvil.router.taxonomy import CANONICAL_PRESETS, PRESET_CLASS, normalise


class Verdicts(Protocol):
    """What a quality profile answers (contract 11.1)."""

    def verdict(self, tier: TierConfig, work_class: str | None) -> str: ...


# ------------------------------------------------------------------------------------------------ errors


def duplicate_ids(tiers: Sequence[TierConfig]) -> list[str]:
    count = Counter([tier.id.lower() for tier in tiers])
    return [f'the id "{tier_id}" is used {n} times; ids ignore letter case' for tier_id, n in count.items() if n > 1]


def tier_contradictions(tier: TierConfig) -> Iterator[str]:
    if tier.role is not None and (tier.role == "cloud") == tier.local:
        yield f'role "{tier.role}" and privacy "{tier.privacy}" disagree; change one of them'
    if tier.swap_group is not None and not tier.local:
        yield "swap_group is for local tiers that share a GPU; remove it"


# ---------------------------------------------------------------------------------------------- warnings


def warnings(config: RouterConfig, profile: Verdicts) -> list[str]:
    """Sentences about a valid configuration that is probably not meant that way, in file order."""
    return [*_tier_warnings(config.tiers), *_group_warnings(config.tiers), *_preset_warnings(config, profile)]


def _tier_warnings(tiers: Iterable[TierConfig]) -> Iterator[str]:
    for tier in tiers:
        address = urlsplit(tier.base_url)
        if not tier.local and address.scheme == "http":
            yield f'tier "{tier.id}": a cloud tier on plain http sends its key unencrypted; use https'
        if (address.hostname or "").rstrip(".") == "localhost":
            yield f'tier "{tier.id}": the host "localhost" may resolve to ::1; write 127.0.0.1'
        if tier.local and tier.model is None:
            yield f'tier "{tier.id}": no model; the id is asked of the server at start'
        if tier.dialect == "anthropic" and tier.max_tokens_field != "max_tokens":
            yield f'tier "{tier.id}": max_tokens_field has no effect on the anthropic dialect'
        if normalise(tier.id) != tier.id.lower():
            yield f'tier "{tier.id}": can never be asked for: the prefix "anvil/" and blanks are stripped from names'


def _group_warnings(tiers: Iterable[TierConfig]) -> Iterator[str]:
    count = Counter([tier.swap_group for tier in tiers if tier.swap_group is not None])
    for group, members in count.items():
        if members == 1:
            yield f'swap_group "{group}" has one member; a group is two or more tiers on one GPU'


def _preset_warnings(config: RouterConfig, profile: Verdicts) -> Iterator[str]:
    for preset in config.presets:
        work_class = preset_class(config, preset)
        if work_class is None:
            hint = near(preset, CANONICAL_PRESETS)
            yield f'preset "{preset}": no class in [router.preset_classes], it runs without the quality gate{hint}'
        if not usable_tiers(config, profile, preset):
            yield f'preset "{preset}": no tier may serve it ({_why(config, work_class)})'
        if normalise(preset) != preset.lower():
            yield f'preset "{preset}": can never be asked for: the prefix "anvil/" and blanks are stripped from names'


def _why(config: RouterConfig, work_class: str | None) -> str:
    if work_class is None:
        return "a preset without class never reaches cloud tiers"
    closed = "" if work_class in config.metered_cloud else ", and metered_cloud closes the cloud tiers to it"
    return f"class {work_class}: the profile denies its local tiers{closed}"


# ------------------------------------------------------------------------------------- what a preset may use


def preset_class(config: RouterConfig, preset: str) -> str | None:
    """The work class of a configured preset (9.2, 9.3): fixed for canonical names, else from preset_classes."""
    return PRESET_CLASS.get(preset.lower()) or config.preset_classes.get(preset)


def usable_tiers(config: RouterConfig, profile: Verdicts, preset: str) -> list[TierConfig]:
    """The preset's tiers that pass the metered and the deny gate for its class (10.2 d, e), bound or not."""
    work_class = preset_class(config, preset)
    tiers = {tier.id: tier for tier in config.tiers}
    pool = [tiers[tier_id] for tier_id in config.presets[preset]]
    return [
        tier
        for tier in pool
        if (tier.local or work_class in config.metered_cloud)
        and (work_class is None or profile.verdict(tier, work_class) != "deny")
    ]
