"""Which model a card is given: every rule of contract lab.md 2, step 2."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from anvil.lab.models.card import Card as Card_
from anvil.lab.models.facts import Facts
from anvil.lab.models.index import Row
from anvil.lab.onboarding import choosing
from anvil.lab.onboarding.choosing import Entry, NoModel
from anvil.lab.onboarding.facts import CachedModel, Card
from anvil.lab.recipes.model import Hardware, Recipe, ServeRecipe

PRO = Card(index=0, uuid="GPU-1", name="NVIDIA RTX PRO 6000 Blackwell Workstation", total_mib=97887, compute="12.0")
SMALL = Card(index=1, uuid="GPU-2", name="NVIDIA GeForce RTX 5090", total_mib=32607, compute="12.0")


def entry(repo: str, size_gb: float, **more: object) -> Entry:
    return Entry(**{"repo": repo, "size_gb": size_gb, "loadable": True, **more})  # type: ignore[arg-type]


def recipe(model: str, gpu: str, status: str = "verified", engine: str = "vllm") -> Recipe:
    return Recipe(
        model=model,
        status=status,  # type: ignore[arg-type]
        serve=ServeRecipe(engine=engine),  # type: ignore[arg-type]
        hardware=Hardware(gpu=gpu),
    )


def test_the_largest_that_fits_on_the_smallest_card_that_holds_it() -> None:
    rows = [entry("a/small", 10), entry("a/large", 60), entry("a/huge", 200)]
    assert (choosing.best(rows, (), [PRO, SMALL]).repo, choosing.best(rows, (), [PRO, SMALL]).card) == ("a/large", PRO)
    assert choosing.best(rows, (), [SMALL]).repo == "a/small"
    assert choosing.best([entry("a/small", 10)], (), [PRO, SMALL]).card == SMALL


@pytest.mark.parametrize(("size", "fits"), [(24.2, True), (24.3, False)])
def test_need_is_weights_and_room(size: float, fits: bool) -> None:
    assert (choosing.need_gb(size) <= SMALL.total_mib / 1024) is fits
    if fits:
        assert choosing.best([entry("a/x", size)], (), [SMALL]).repo == "a/x"
    else:
        with pytest.raises(NoModel, match=r"--model.*anvil models index"):
            choosing.best([entry("a/x", size)], (), [SMALL])


def test_a_verified_recipe_for_model_and_card_beats_size() -> None:
    rows = [entry("a/small", 10), entry("a/large", 60)]
    known = [recipe("a/small", "RTX PRO 6000"), recipe("a/large", "rtx_5090_32gb"), recipe("a/huge", "x", "parked")]
    chosen = choosing.best(rows, known, [PRO])
    assert (chosen.repo, chosen.recipe) == ("a/small", known[0])
    assert choosing.best(rows, [recipe("a/small", "RTX PRO 6000", "unverified")], [PRO]).repo == "a/large"


def test_what_no_engine_loads_or_a_hazard_forbids_is_left_out() -> None:
    assert choosing.best([entry("a/gguf", 20, loadable=False), entry("a/x", 5)], (), [SMALL]).repo == "a/x"
    dead = entry("a/y", 20, errors=(("12.0", "does not load"),))
    assert choosing.best([dead, entry("a/x", 5)], (), [SMALL]).repo == "a/x"
    other = entry("a/y", 20, errors=(("9.0", "does not load"),))
    assert choosing.best([other, entry("a/x", 5)], (), [SMALL]).repo == "a/y"
    # Hazards that a key of ours answers do not hold.
    assert choosing.best([entry("nvidia/Q-NVFP4", 20), entry("a/x", 5)], (), [SMALL]).repo == "nvidia/Q-NVFP4"


def test_a_named_model_states_only_itself() -> None:
    cached = [CachedModel(place="v", repo="a/x", size_gb=10, volume=True)]
    assert choosing.named("a/x", (), [PRO, SMALL], cached).card == SMALL
    assert choosing.named("a/x", (), [PRO, SMALL], ()).card == PRO
    assert choosing.named("a/x", [recipe("A/X", "rtx_5090_32gb")], [PRO, SMALL], ()).card == SMALL
    alone = choosing.named("a/x", (), (), ())
    assert (alone.card, alone.size_gb, alone.context, alone.quant) == (None, None, None, "")


def test_engine_and_quantization() -> None:
    def chosen(repo: str, quant: str = "", known: Recipe | None = None) -> choosing.Choice:
        return choosing.Choice(repo=repo, card=PRO, reason="", quant=quant, recipe=known)

    assert choosing.engine(chosen("a/x", known=recipe("a/x", "g", engine="sglang"))) == "sglang"
    assert choosing.engine(chosen("a/x")) == "vllm"
    assert choosing.quantization(chosen("nvidia/Q-NVFP4"), "vllm") == "modelopt_fp4"
    assert choosing.quantization(chosen("a/x", "modelopt NVFP4"), "vllm") == "modelopt_fp4"
    assert choosing.quantization(chosen("RedHatAI/Q-NVFP4", "compressed-tensors nvfp4"), "vllm") is None
    assert choosing.quantization(chosen("nvidia/Q-NVFP4"), "sglang") is None
    assert choosing.vllm_only(chosen("a/x", "mxfp4"))
    assert not choosing.vllm_only(chosen("a/x", "awq"))


def card_file(place: Path, repo: str, size_bytes: int, **facts: object) -> None:
    row = Row(repo=repo, path="/x", size_bytes=size_bytes, facts=Facts(**facts), card=Card_())  # type: ignore[arg-type]
    place.joinpath(f"{row.file_name}.json").write_bytes(msgspec.json.encode(row))


def test_cards_of_a_catalogue(tmp_path: Path) -> None:
    folder = tmp_path / "cards"
    folder.mkdir()
    card_file(folder, "a/x", 12 << 30, format="safetensors", quant="awq", quant_method="awq", context=32768)
    card_file(folder, "a/y", 3 << 30, format="GGUF", quant="q4_k_m")
    (folder / "_seen.json").write_text("[]")
    (folder / "broken.json").write_text("{")
    x, y = choosing.read(tmp_path)
    assert (x.repo, x.size_gb, x.loadable, x.quant, x.context) == ("a/x", 12.0, True, "awq awq", 32768)
    assert (y.repo, y.size_gb, y.loadable) == ("a/y", 3.0, False)
    assert choosing.read(folder) == (x, y)
    with pytest.raises(NoModel, match="anvil models index"):
        choosing.read(tmp_path / "cards" / "none")
