"""Which model a card is given (contract lab.md 2.2): the one named, else the best of a catalogue."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
from msgspec import Struct

from anvil.lab.onboarding import naming
from anvil.lab.onboarding.facts import CachedModel, Card
from anvil.lab.recipes.model import Recipe
from anvil.topology import hazards

GB_PER_MIB = 1 / 1024
_OVERHEAD, _ROOM_GB = 1.15, 4.0  # Weights as they lie in memory, and room for a cache.
_VLLM_ONLY = re.compile(r"nvfp4|mxfp4|modelopt", re.IGNORECASE)


class Entry(Struct, frozen=True, kw_only=True):
    """A row of a catalogue. ``quant`` are all words it says of its number format, ``loadable``: an engine can read it.

    ``errors`` are its hazards of level error, by the compute capability they hold for ("" = every card).
    """

    repo: str
    size_gb: float
    loadable: bool
    quant: str = ""
    context: int | None = None
    errors: tuple[tuple[str, str], ...] = ()


class _Facts(Struct):
    format: str = "?"
    quant: str | None = None
    quant_method: str | None = None
    context: int | None = None


class _Hazard(Struct):
    level: str
    sentence: str = ""
    compute: str = ""


class _Row(Struct):
    """A card file, as far as a choice needs it."""

    repo: str
    size_bytes: int
    facts: _Facts
    incomplete: bool = False
    hazards: tuple[_Hazard, ...] = ()


class Choice(Struct, frozen=True, kw_only=True):
    """``reason`` says to people why. ``context`` is the model's own limit in tokens, where it is known."""

    repo: str
    card: Card | None
    reason: str
    quant: str = ""
    size_gb: float | None = None
    context: int | None = None
    recipe: Recipe | None = None


class NoModel(Exception):
    """Nothing in the catalogue fits; the sentence says why and what to do."""


def read(folder: Path) -> tuple[Entry, ...]:
    """The cards of a catalogue as `anvil models index` writes them. Raises NoModel when there are none."""
    place = folder / "cards" if (folder / "cards").is_dir() else folder
    files = sorted(place.glob("*.json"))
    entries = [entry for file in files if not file.name.startswith("_") for entry in _entry(file)]
    if not entries:
        raise NoModel(f"{folder}: no model cards; write them with `anvil models index`, or name a model with --model")
    return tuple(entries)


def _entry(file: Path) -> Iterator[Entry]:
    """A card that cannot be read, or whose download was interrupted, is no candidate."""
    try:
        row = msgspec.json.decode(file.read_bytes(), type=_Row)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return
    told = row.facts
    if not row.incomplete:
        yield Entry(
            repo=row.repo,
            size_gb=row.size_bytes / 2**30,
            loadable=told.format == "safetensors" or (told.format != "GGUF" and told.quant is not None),
            quant=" ".join(filter(None, (told.quant_method, told.quant))),
            context=told.context,
            errors=tuple((hazard.compute, hazard.sentence) for hazard in row.hazards if hazard.level == "error"),
        )


def need_gb(size_gb: float) -> float:
    return size_gb * _OVERHEAD + _ROOM_GB


def best(entries: Sequence[Entry], recipes: Sequence[Recipe], cards: Sequence[Card]) -> Choice:
    """The largest that fits; a verified recipe for model and card beats size. Raises NoModel."""
    fitting = [
        (recipe is None, -entry.size_gb, card.total_mib, entry.repo, card, entry, recipe)
        for entry in entries
        for card in cards
        if entry.loadable
        and 0 < need_gb(entry.size_gb) <= card.total_mib * GB_PER_MIB
        and not list(_errors(entry, card))
        for recipe in [_recipe(entry.repo, card, recipes)]
    ]
    if not fitting:
        what = "no card was found" if not cards else f"none of {len(entries)} models fits and loads"
        raise NoModel(f"{what}; name one with --model, or refresh the catalogue with `anvil models index`")
    *_, card, entry, recipe = min(fitting, key=lambda row: row[:4])
    why = "a verified recipe for this card" if recipe else f"the largest that fits ({need_gb(entry.size_gb):.0f} GB)"
    return Choice(
        repo=entry.repo,
        card=card,
        reason=why,
        quant=entry.quant,
        size_gb=entry.size_gb,
        context=entry.context,
        recipe=recipe,
    )


def named(repo: str, recipes: Sequence[Recipe], cards: Sequence[Card], cached: Sequence[CachedModel]) -> Choice:
    """The model the operator wants, on the card a recipe was verified on, else the smallest that holds it."""
    size = next((model.size_gb for model in cached if model.repo.lower() == repo.lower() and model.size_gb), None)
    by_size = sorted(cards, key=lambda card: card.total_mib)
    verified = [(card, recipe) for card in by_size if (recipe := _recipe(repo, card, recipes))]
    if verified:
        card, recipe = verified[0]
        return Choice(
            repo=repo, card=card, reason="named; a recipe was verified on this card", size_gb=size, recipe=recipe
        )
    fitting = [card for card in by_size if size and need_gb(size) <= card.total_mib * GB_PER_MIB]
    place = next(iter([*fitting, *by_size[-1:]]), None)
    return Choice(repo=repo, card=place, reason="named", size_gb=size)


def engine(choice: Choice) -> str:
    """The recipe's, else vLLM, which also has the number formats that others lack (contract lab.md 2.3)."""
    return choice.recipe.serve.engine if choice.recipe is not None else "vllm"


def vllm_only(choice: Choice) -> bool:
    """Whether the number format is one of those that only vLLM loads."""
    return _VLLM_ONLY.search(f"{choice.quant} {choice.repo}") is not None


def quantization(choice: Choice, engine: str) -> str | None:
    """Only Model Optimizer checkpoints must name theirs; the others say it themselves (contract operations.md 6.3)."""
    owner, _, name = choice.repo.lower().partition("/")
    by_name = owner == "nvidia" and name.endswith("nvfp4")
    by_card = "modelopt" in choice.quant.lower() and "fp4" in choice.quant.lower()
    return "modelopt_fp4" if engine == "vllm" and (by_name or by_card) else None


def _recipe(repo: str, card: Card, recipes: Sequence[Recipe]) -> Recipe | None:
    mine = naming.gpu_model(card.name, card.total_mib)
    return next(
        (
            recipe
            for recipe in recipes
            if recipe.status == "verified"
            and recipe.model.lower() == repo.lower()
            and recipe.hardware.gpu is not None
            and naming.gpu_model(recipe.hardware.gpu, card.total_mib) == mine
        ),
        None,
    )


def _errors(entry: Entry, card: Card) -> Iterator[str]:
    """Hazards that no key of ours avoids."""
    yield from (sentence for compute, sentence in entry.errors if compute in ("", card.compute))
    choice = Choice(repo=entry.repo, card=card, reason="", quant=entry.quant)
    checkpoint = hazards.Checkpoint(
        name=entry.repo,
        engine=engine(choice),
        image="",
        quantization=quantization(choice, engine(choice)) or "",
        compute=card.compute,
        prestart=(),
    )
    yield from (hazard.sentence for hazard in hazards.matching(checkpoint) if hazard.level == "error")
