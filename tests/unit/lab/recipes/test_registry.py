"""The registry: round trip, names, problems (lab contract 7, B8)."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anvil.lab.recipes import registry, toml
from tests.unit.lab.recipes.samples import ROOT

SHIPPED = ROOT / "inventory/recipes.toml"
HEAD = 'schema = "anvil-serving.serve-recipes/v1"\n'
ROW = '[[recipe]]\nmodel = "a/b"\nstatus = "parked"\n[recipe.serve]\nengine = "vllm"\n'


def test_the_shipped_registry_is_read_and_written_back_byte_for_byte() -> None:
    found = registry.read(SHIPPED)
    assert found.warnings == ()
    assert found.text() == SHIPPED.read_text()
    assert [recipe.model for recipe in found.recipes if recipe.status == "verified"] == [
        "openai/gpt-oss-120b",
        "nvidia/Qwen3-32B-NVFP4",
        "nvidia/Qwen3.6-27B-NVFP4",
    ]


def test_unknown_keys_are_kept_and_warned_about() -> None:
    found = registry.loads(HEAD + ROW.replace("engine", 'flavour = "x"\nengine') + "[recipe.extra]\na = 1\n", "r.toml")
    assert [warning.partition(":")[2].strip() for warning in found.warnings] == [
        "recipe[0].serve.flavour: unknown key, kept",
        "recipe[0].extra: unknown key, kept",
    ]
    assert tomllib.loads(found.text())["recipe"][0]["extra"] == {"a": 1}


VALUES: st.SearchStrategy[Any] = st.recursive(
    st.one_of(st.text(), st.integers(-(2**53), 2**53), st.booleans(), st.floats(allow_nan=False, allow_infinity=False)),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=5), inner, max_size=4)),
    max_leaves=12,
)


@settings(max_examples=50)
@given(st.dictionaries(st.text(max_size=6), VALUES, max_size=5))
def test_what_is_written_is_read_the_same_and_written_again_alike(document: dict[str, Any]) -> None:
    text = toml.dumps(document)
    assert tomllib.loads(text) == document
    assert toml.dumps(tomllib.loads(text)) == text


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("schema = 1\n", "r.toml: schema: is 1"),
        (HEAD + "recipe = 3\n", "r.toml: recipe: is no list of tables"),
        (HEAD + ROW.replace("parked", "great"), "recipe[0].status"),
        (HEAD + ROW + ROW, "recipe[1].model: a/b is recipe[0] too"),
        (HEAD + ROW + 'flags = "x"\n', "recipe[0].serve.flags"),
        ("=", "not TOML"),
    ],
)
def test_a_malformed_registry_names_table_and_key(text: str, problem: str) -> None:
    with pytest.raises(registry.RegistryError) as caught:
        registry.loads(text, "r.toml")
    assert problem in str(caught.value)


def test_names_are_found_exactly_or_by_basename_when_only_one_has_it() -> None:
    found = registry.loads(HEAD + ROW + ROW.replace("a/b", "c/b") + ROW.replace("a/b", "c/d"), "r.toml").recipes
    assert registry.find(found, "c/b").model == "c/b"
    assert registry.find(found, "D").model == "c/d"
    with pytest.raises(LookupError, match="b is several models: a/b, c/b"):
        registry.find(found, "b")
    with pytest.raises(LookupError, match='did you mean "c/d"'):
        registry.find(found, "c/dd")


def test_adding_keeps_every_byte_and_replacing_keeps_the_rest() -> None:
    text = HEAD + "# mine\n" + ROW
    found = registry.loads(text, "r.toml")
    added = registry.with_recipe(found, text, {"model": "x/y", "status": "parked", "serve": {"engine": "vllm"}})
    assert added.startswith(text)
    replaced = registry.with_recipe(found, text, {"model": "a/b", "status": "parked", "serve": {"engine": "sglang"}})
    assert [row["serve"]["engine"] for row in tomllib.loads(replaced)["recipe"]] == ["sglang"]


def test_a_shared_registry_names_no_card() -> None:
    found = registry.loads(HEAD + ROW + '[recipe.hardware]\ngpu = "g"\ngpu_uuid = "GPU-x"\n', "r.toml")
    assert "GPU-x" in found.text()
    assert "GPU-x" not in registry.without_host(found).text()
