"""TOML and YAML text, read back by real readers."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from anvil.harness import toml_text, yaml_text

TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=6)
SIMPLE = st.booleans() | st.integers(-(10**9), 10**9) | TEXT
SCALARS = SIMPLE | st.floats(allow_nan=False, allow_infinity=False)
TOML = st.dictionaries(
    TEXT,
    st.recursive(SCALARS | st.lists(SCALARS, max_size=3), lambda inner: st.dictionaries(TEXT, inner, max_size=3)),
    max_size=4,
)
YAML = st.dictionaries(
    TEXT,
    st.recursive(
        SIMPLE | st.none(), lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3)
    ),
    max_size=4,
)


@settings(max_examples=150, deadline=None)
@given(TOML)
def test_toml_text_is_read_back(content: Any) -> None:
    assert tomllib.loads(toml_text.dumps(content)) == content


@settings(max_examples=150, deadline=None)
@given(YAML)
def test_yaml_text_is_read_back(content: Any) -> None:
    assert (yaml.safe_load(yaml_text.dumps(content)) or {}) == content


@pytest.mark.parametrize("write", [toml_text.dumps, yaml_text.dumps])
def test_what_has_no_form_is_an_error(write: Callable[[Any], str]) -> None:
    with pytest.raises(TypeError, match="no form for object"):
        write({"a": object()})


@pytest.mark.parametrize(
    "word", ["yes", "no", "on", "off", "null", "~", "1", "1.5", "2026-01-01", "a: b", "- a", "#c", ""]
)
def test_yaml_strings_stay_strings(word: str) -> None:
    assert yaml.safe_load(yaml_text.dumps({"k": word, "l": [word], "m": {word: word}})) == {
        "k": word, "l": [word], "m": {word: word},
    }  # fmt: skip
