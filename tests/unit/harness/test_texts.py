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
from anvil.harness.refusal import Refusal, Unreadable

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


OURS = {"model": "planning", "model_providers": {"anvil": {"name": "anvil", "request_max_retries": 1}}}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# mine\n",
        'model = "gpt"  # old\napproval_policy = "never"\n',
        '[projects."/x"]\ntrust_level = "trusted"\n',
        '# top\nmodel = "gpt"\n\n[model_providers.other]\nname = "o"\n\n[model_providers.anvil]\nname = "old"\nextra = 1\n\n[tui]\nx = 1\n',
        "[model_providers.anvil.http_headers]\nx = 'y'\n",
        "[model_providers]\n[model_providers.other]\nname = 'o'",
        'when = 2026-01-01\n[[rules]]\na = 1\n[[rules]]\na = 2\n',
    ],
)  # fmt: skip
def test_our_keys_are_set_in_a_file_and_the_rest_stays(text: str) -> None:
    before = tomllib.loads(text)
    if "http_headers" in text:  # a table below ours cannot be seen by its lines alone
        with pytest.raises(Refusal):
            toml_text.merged(text, OURS)
        return
    new = toml_text.merged(text, OURS)
    found = tomllib.loads(new)
    assert found["model"] == "planning"
    assert found["model_providers"]["anvil"] == OURS["model_providers"]["anvil"]  # type: ignore[index] # a literal above
    assert {key: value for key, value in found.items() if key not in OURS} == {
        key: value for key, value in before.items() if key not in OURS
    }
    others = {key: value for key, value in before.get("model_providers", {}).items() if key != "anvil"}
    assert {key: value for key, value in found["model_providers"].items() if key != "anvil"} == others
    assert all(line in new for line in text.splitlines() if line.startswith("#"))
    assert toml_text.merged(new, OURS) == new


def test_a_file_in_step_is_left_as_it_is() -> None:
    text = '# mine\nmodel   =   "planning"\n'
    assert toml_text.merged(text, {"model": "planning"}) == text


@pytest.mark.parametrize("text", ['model_providers = {anvil = {name = "x"}}\n', 'model_providers.anvil.name = "x"\n'])
def test_a_form_that_lines_cannot_express_refuses(text: str) -> None:
    with pytest.raises(Refusal, match="by hand"):
        toml_text.merged(text, OURS)


def test_a_header_inside_a_string_does_not_mislead() -> None:
    text = 'note = """\n[model_providers.anvil]\n"""\n'
    try:
        found = tomllib.loads(toml_text.merged(text, OURS))
    except Refusal:
        return
    assert found["note"] == "[model_providers.anvil]\n"


def test_what_is_no_toml_is_refused_with_its_place() -> None:
    with pytest.raises(Unreadable, match="line 1"):
        toml_text.merged("a = \n", OURS)
