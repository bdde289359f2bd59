"""Roles by published numbers (lab contract 14)."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from anvil.cli.score import score as command
from anvil.lab.models import cache, index
from anvil.lab.score.candidates import Candidate, Published, Size, joined, local, researched
from anvil.lab.score.mixture import ROLES, mixture, score
from tests.unit.lab.models.planted import model


def candidate(name: str, size: Size | None = "heavy", **values: float) -> Candidate:
    names = {"swe": "SWE-bench Verified", "lcb": "LiveCodeBench", "mmlu": "MMLU-Pro", "ruler": "RULER@128K"}
    published = {names[key]: Published(value=value, citation=f"of {name}") for key, value in values.items()}
    return Candidate(model=name, size=size, published=published)


def pick(size: str, role: str, *rows: Candidate) -> tuple[str | None, str]:
    found = next(each for each in mixture(rows).mixture if (each.size, each.role) == (size, role))
    return found.model, found.reason


def test_every_researched_number_has_a_page_and_lies_in_range() -> None:
    found = researched()
    numbers = [number for each in found for number in each.published.values()]
    assert all(number.citation.startswith("https://") and 0 <= number.value <= 100 for number in numbers)
    assert all(each.published and each.size for each in found)
    assert {name for each in found for name in each.published} <= {name for names in ROLES.values() for name in names}


def test_a_score_is_the_first_available_benchmark_with_its_source() -> None:
    found = score(candidate("a", lcb=90, swe=50), "coding")
    assert found is not None
    assert (found.value, found.basis, found.citation) == (50, "SWE-bench Verified", "of a")
    assert score(candidate("a", lcb=90), "writing") is None


@pytest.mark.parametrize("value", [-0.1, 100.1, float("nan"), float("inf")])
def test_a_value_out_of_range_is_unknown_and_nothing_takes_its_place(value: float) -> None:
    assert score(candidate("a", swe=value, lcb=70), "coding") is None


def test_only_the_highest_priority_basis_is_compared() -> None:
    rows = (candidate("a", swe=40), candidate("b", lcb=95), candidate("c", swe=41), candidate("d"))
    assert pick("heavy", "coding", *rows) == ("c", "highest SWE-bench Verified of 2, 2 unverified")
    excluded = {(each.model, each.reason) for each in mixture(rows).excluded if each.role == "coding"}
    assert excluded == {
        ("b", "only LiveCodeBench, which does not compare with SWE-bench Verified"),
        ("d", "no published SWE-bench Verified or LiveCodeBench in range"),
    }
    assert pick("heavy", "coding", candidate("b", lcb=5)) == ("b", "highest LiveCodeBench of 1, 1 unverified")


def test_without_a_number_there_is_no_pick() -> None:
    for size in ("heavy", "fast"):
        assert pick(size, "writing", *researched()) == (
            None, f"no {size} candidate has a published Arena-Hard or MT-Bench or AlpacaEval",
        )  # fmt: skip


def test_a_model_of_unknown_size_is_left_out_and_named() -> None:
    made = mixture([candidate("a", None, swe=99)])
    assert [each.model for each in made.mixture] == [None] * 6
    assert {each.reason for each in made.excluded} == {"its size is unknown"}


@given(
    st.lists(st.tuples(st.sampled_from(["a", "b", "C"]), st.floats(0, 100)), min_size=1, unique_by=lambda row: row[0])
)
def test_the_pick_is_never_below_another(rows: list[tuple[str, float]]) -> None:
    name, _ = pick("heavy", "coding", *(candidate(each, swe=value) for each, value in rows))
    assert dict(rows)[name or ""] == max(value for _, value in rows)


def test_local_models_come_from_the_index(tmp_path: Path) -> None:
    page = {"README.md": "| MMLU-Pro | 71.5 |\n"}
    model(tmp_path / "hub", "models--x--small", {"model_type": "x"}, size=22 * index.GB - 5000, **page)
    model(tmp_path / "hub", "models--openai--gpt-oss-120b", {"model_type": "x"}, size=60 * index.GB)
    index.write(tmp_path / "lib", index.rows(cache.scan([tmp_path / "hub"], [])))
    here = {each.model: each for each in local(tmp_path / "lib")}
    assert (here["x/small"].size, here["openai/gpt-oss-120b"].size) == ("fast", "heavy")
    assert here["x/small"].published["MMLU-Pro"].citation == "x__small.json: | MMLU-Pro | 71.5 |"
    assert here["x/small"].published["MMLU-Pro"].verified
    twin = Candidate(model="X/Small", size="fast", published={"MMLU-Pro": Published(value=99, citation="a claim")})
    (one,) = joined([twin], [here["x/small"]])
    assert one.published["MMLU-Pro"].value == 71.5, "what a card says goes before a claim about it"
    looked_up = Published(value=72, citation="a page", verified="2026-11-01")
    (one,) = joined([msgspec.structs.replace(twin, published={"MMLU-Pro": looked_up})], [here["x/small"]])
    assert one.published["MMLU-Pro"] == looked_up
    both = {each.model: each for each in joined(researched(), here.values())}
    assert both["openai/gpt-oss-120b"].local
    assert both["openai/gpt-oss-120b"].published["SWE-bench Verified"].value == 62.4


def run(*arguments: object) -> Result:
    return CliRunner().invoke(command, [str(each) for each in arguments], catch_exceptions=False)


def test_the_command(tmp_path: Path) -> None:
    text = run("--no-local")
    assert (text.exit_code, text.stderr) == (0, "")
    assert "| heavy | coding | openai/gpt-oss-120b | 62.4 | SWE-bench Verified | highest" in text.stdout
    assert "arxiv.org/abs/2508.10925 (high reasoning effort), unverified |" in text.stdout
    assert text.stdout.endswith("open the page before a decision rests on the number.\n")
    document = json.loads(run("--json", "--library", tmp_path).stdout)
    scores = [found for each in document["candidates"] for found in each["scores"].values() if found]
    assert scores
    assert not any(found["verified"] for found in scores), "nobody has opened the pages"
    assert document["schema"] == "anvil.score/v1"
    assert {"candidates", "mixture", "excluded"} < document.keys()
    (tmp_path / "cards").mkdir()
    (tmp_path / "cards/x.json").write_text("{")
    broken = run("--library", tmp_path)
    assert (broken.exit_code, "x.json" in broken.stderr) == (2, True)
