"""Hostile values land literally in every text, or are refused by name; nothing is ever executed or interpolated."""

from __future__ import annotations

import json
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import jinja2
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from anvil.render import artefacts, compose, engine, env, process, router
from anvil.render.env import EnvFileError, Secrets
from tests.unit.topology.example import LOCAL, topology

HOSTILE = [
    "two words",
    'it\'s "quoted"',
    "$(touch /tmp/x) `id` ${HOME} $HOME $$",
    "{{ secret }} {% raw %} {# x #}",
    "-leading-dash",
    "a: b # no comment",
    "back\\slash \\n \\u0041",
    "naïve – ☃ 😀 \u2028 \u0085 \ufeff",
    "%(here)s %s ; x",
    "!!python/object:os.system",
    "'",
    "*",
    "",
]
# What a topology may hold: any text without control characters (C0, 0x7F).
_letters = st.characters(exclude_categories=["Cs"], exclude_characters=[*map(chr, range(32)), "\x7f"])
_texts = st.text(_letters, max_size=40)
_whole = st.booleans() | st.integers(-(2**53), 2**53) | _texts  # compose files hold no fractions
_numbers = st.floats(allow_nan=False, allow_infinity=False)


def nested(leaves: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.recursive(
        leaves,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_texts, inner, max_size=4),
        max_leaves=8,
    )


@given(nested(_whole))
@settings(max_examples=50)
def test_q_is_json_and_yaml(value: Any) -> None:
    assert json.loads(engine.q(value)) == value
    assert yaml.safe_load(f"a: {engine.q(value)}") == {"a": value}


@given(nested(_whole | _numbers))
@settings(max_examples=50)
def test_toml_reads_back(value: Any) -> None:
    assert tomllib.loads(f"a = {engine.toml(value)}") == {"a": value}


@given(_texts)
def test_toml_keys_read_back(key: str) -> None:
    assert tomllib.loads(f"{engine.toml_key(key)} = 1") == {key: 1}


@pytest.mark.parametrize("value", [None, float("inf"), float("nan"), object()])
def test_toml_refuses_what_it_cannot_say(value: object) -> None:
    with pytest.raises(TypeError):
        engine.toml({"a": [value]})


@given(nested(_whole))
@settings(max_examples=50)
def test_compose_doubles_every_dollar(value: Any) -> None:
    read = yaml.safe_load(engine.compose({"a": value}))
    assert read == {"a": engine.interpolated(value)}


def test_a_dollar_never_starts_an_interpolation() -> None:
    assert engine.compose({"a": ["$x", "${Y:-}", "$$"]}) == '{"a":["$$x","$${Y:-}","$$$$"]}'


def test_only_references_interpolate() -> None:
    assert engine.compose(["${A:-}", engine.Reference("A", False), engine.Reference("B", True)]) == (
        '["$${A:-}","${A:-}","${B:?}"]'
    )


@pytest.mark.parametrize("word", [*HOSTILE, "a\nb", "-n"])
def test_sh_is_one_literal_word(word: str) -> None:
    ran = subprocess.run(["sh", "-c", f"printf %s. {engine.sh(word)}"], capture_output=True, text=True, check=True)
    assert ran.stdout == f"{word}."


def test_an_undefined_value_is_an_error_not_an_empty_text() -> None:
    with pytest.raises(jinja2.UndefinedError):
        engine.environment(engine.TEMPLATES).from_string("{{ nothing }}").render()


def test_without_a_checkout_the_message_says_so(tmp_path: Path) -> None:
    with pytest.raises(engine.TemplatesMissing, match="from a checkout"):
        engine.environment(tmp_path / "templates")


def hostile_topology(text: str) -> dict[str, Any]:
    shown = text or "x"
    return {
        "mapping_version": shown,
        "serves/fast/served_model": shown,
        "serves/fast/env": {"PLAIN": text},
        "serves/fast/extra_args": [text],
        "serves/fast/prestart": [text],
        "tiers/fast-local/params": {shown: [text]},
        "tiers/fast-local/extra_body": {"note": text, shown: {"deep": text}},
    }


def assert_literal(text: str) -> None:
    made = topology(hostile_topology(text))
    done = artefacts.render(made, Secrets())
    service = yaml.safe_load(str(done.machines["forge"].compose_text))["services"]["fast"]
    words = [word.replace("$$", "$") for word in service["command"]]
    assert words[words.index("--served-model-name") + 1] == (text or "x")
    assert words[words.index("--host") - 1] == text
    assert service["environment"]["PLAIN"].replace("$$", "$") == text
    assert service["entrypoint"][2].replace("$$", "$") == f'{text}\nexec "$@"'
    tier = tomllib.loads(done.release.files["router.toml"].decode())["router"]["tiers"][0]
    assert tier["params"] == {text or "x": [text]}
    assert tier["extra_body"]["note"] == text


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_values_are_literal(text: str) -> None:
    assert_literal(text)


@given(_texts)
@settings(max_examples=25, deadline=None)
def test_any_value_is_literal(text: str) -> None:
    assert_literal(text)


@pytest.mark.parametrize("text", HOSTILE)
def test_process_definitions_carry_hostile_values_as_words(text: str) -> None:
    made = topology({"serves/fast/extra_args": [text], "serves/fast/env": {"X": text}}, LOCAL)
    definition = process.serve(made, "fast", Secrets())
    assert definition.argv[-1] == text
    assert definition.env == {"X": text}


def test_prestart_lines_run_as_given_before_the_engine(tmp_path: Path) -> None:
    marks = tmp_path / "marks"
    changes = {
        "serves/fast/prestart": [f"printf %s \"$0 \" > '{marks}'", f"echo $((40 + 2)) >> '{marks}'"],
        "serves/fast/binary": "/bin/echo",
    }
    definition = process.serve(topology(changes, LOCAL), "fast", Secrets())
    ran = subprocess.run(definition.argv, capture_output=True, text=True, check=True)
    assert ran.stdout.startswith("-m /weights/tiny.gguf --host 127.0.0.1")
    assert marks.read_text() == "anvil-prestart 42\n"
    failing = process.serve(topology({**changes, "serves/fast/prestart": ["false"]}, LOCAL), "fast", Secrets())
    assert subprocess.run(failing.argv, capture_output=True, check=False).returncode == 1


SECRETS = st.dictionaries(
    st.from_regex(r"[A-Z][A-Z0-9_]{0,8}", fullmatch=True),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="'\0\r\n\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029")),
    max_size=4,
)


@given(SECRETS)
@settings(max_examples=50)
def test_secrets_env_reads_back(values: dict[str, str]) -> None:
    carried = {name: value for name, value in values.items() if value and not value.endswith("\\")}
    text = env.secrets_env(carried, carried)
    assert env.parse(text) == carried
    assert list(env.parse(text)) == sorted(carried)
    assert text.endswith("\n") or not carried


def test_secrets_env_reads_back_in_a_shell() -> None:
    values = {
        f"V{index}": text for index, text in enumerate(HOSTILE) if "'" not in text and "\u2028" not in text and text
    }
    script = "".join(f'printf "%s\\0" "${name}"; ' for name in values)
    ran = subprocess.run(["sh", "-c", env.secrets_env(values, values) + script], capture_output=True, check=True)
    assert ran.stdout.decode().split("\0")[:-1] == list(values.values())


def test_secrets_env_holds_only_wanted_names_that_have_a_value() -> None:
    assert env.secrets_env({"B": "2", "A": "1", "C": "", "D": "4"}, ["A", "B", "C"]) == "A='1'\nB='2'\n"


@pytest.mark.parametrize("value", ["it's", "a\nb", "a\rb", "a\0b", "a\\", "a\u2028b"])
def test_a_value_that_cannot_be_carried_is_refused_by_name_only(value: str) -> None:
    with pytest.raises(EnvFileError) as caught:
        env.secrets_env({"TOKEN": value}, ["TOKEN"])
    assert str(caught.value).startswith("TOKEN: ")
    assert value not in str(caught.value)


def test_the_operators_env_file_grammar() -> None:
    text = "# note\n\nA=1\n  export B=two\nC='three 3'\nD=\"four 4\"\nE=\n"
    assert env.parse(text) == {"A": "1", "B": "two", "C": "three 3", "D": "four 4", "E": ""}


@pytest.mark.parametrize(
    "line",
    ["A", "A B=1", "1A=2", "A=$(id)", "A=`id`", "A=a b", "A='x", 'A="$X"', "A='a'b'", "A=x;y", "source x"],
)
def test_other_lines_of_an_env_file_are_refused_with_their_number(line: str) -> None:
    with pytest.raises(EnvFileError, match=r"^line 2: "):
        env.parse(f"OK=1\n{line}\n")


def test_digests_follow_values_and_names() -> None:
    one, two = Secrets.of({"A": "1", "B": "2"}), Secrets.of({"A": "1", "B": "3", "C": ""})
    assert one.digest(["A"]) == two.digest(["A"]) == one.digest(["A", "C"])
    assert one.digest(["A", "B"]) != two.digest(["A", "B"])
    assert one.digest(["A", "B"]) == one.digest(["B", "A", "A"])
    assert "C" not in two.digests


def test_no_secret_value_reaches_a_rendered_text() -> None:
    token = "canary-" + "x9" * 12
    made = topology()
    done = artefacts.render(made, Secrets.of({"ANVIL_ROUTER_TOKEN": token, "HF_TOKEN": token}))
    texts = [done.machines["forge"].compose_text or "", done.release.go_live]
    texts += [content.decode() for content in done.release.files.values()]
    assert all(token[:8] not in text and Secrets.of({"T": token}).digests["T"] not in text for text in texts)


def test_names_that_yaml_would_take_for_something_else() -> None:
    text = compose.text(compose.document(topology({"serves/no": topology_row()}), "forge", Secrets()))
    assert list(yaml.safe_load(text)["services"]) == ["heavy", "fast", "no"]
    assert router.release_id({"a": b"1"}) != router.release_id({"a": b"2"})


def topology_row() -> dict[str, Any]:
    return {
        "machine": "forge",
        "engine": "llamacpp",
        "image": "x:1",
        "model_file": "/m.gguf",
        "served_model": "no",
        "port": 30010,
        "context": 10,
    }
