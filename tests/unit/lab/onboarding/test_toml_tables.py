"""Tables edited line by line: what a person wrote around ours stays, and what cannot be edited is refused."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anvil.lab.onboarding import toml_tables
from anvil.lab.onboarding.toml_tables import Unsayable

KEYS = {"a": 1, "b": ["x", "y"], "c": {"d": True, "e f": 0.5}}
WORDS = st.text(st.characters(exclude_categories=["Cc", "Cs"]), max_size=12)
VALUES = st.recursive(
    WORDS | st.booleans() | st.integers(-(2**40), 2**40) | st.floats(allow_nan=False, allow_infinity=False, width=32),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=50)
@given(st.dictionaries(WORDS, VALUES, max_size=4))
def test_what_is_written_is_read(keys: dict[str, Any]) -> None:
    assert tomllib.loads(toml_tables.rendered(("t", "x.y"), keys)) == {"t": {"x.y": keys}}


def test_a_marked_table_is_found_with_its_digest() -> None:
    text = '# top\n[other]\nx = "[no.header]"\n\n' + toml_tables.rendered(("serves", "s"), KEYS)
    found = toml_tables.tables(text)
    assert found["serves", "s"].digest == toml_tables.digest(KEYS)
    assert found["other",].digest is None


def test_lines_and_comments_around_a_key_stay() -> None:
    text = (
        "# mine\n[t]  # anvil init 00000000\n# why a\n"
        'a = "x # y"  # kept\nb = [\n  "one", # first\n  "two",\n]\nc = 1\n\n[u]\na = 9\n'
    )
    made = toml_tables.with_keys(text, ("t",), {"a": "z", "b": [1], "new": 2}, ["c"], "11111111")
    assert made == ('# mine\n[t]  # anvil init 11111111\n# why a\na = "z"  # kept\nb = [1]\nnew = 2\n\n[u]\na = 9\n')


def test_a_new_table_stands_beside_its_kin() -> None:
    text = "[serves.a]\nx = 1\n\n[router]\ny = 2\n"
    made = toml_tables.with_table(text, ("serves", "b"), {"x": 2})
    assert list(toml_tables.tables(made)) == [("serves", "a"), ("serves", "b"), ("router",)]
    assert tomllib.loads(made) == {"serves": {"a": {"x": 1}, "b": {"x": 2}}, "router": {"y": 2}}


@pytest.mark.parametrize(
    "text",
    [
        "[t]  # anvil init 00000000\na.b = 1\n",
        '[t]  # anvil init 00000000\nz = """\na = 5\n"""\n',
    ],
)
def test_what_would_read_otherwise_is_refused(text: str) -> None:
    with pytest.raises(Unsayable):
        toml_tables.with_keys(text, ("t",), {"a": 2}, [], "11111111")
