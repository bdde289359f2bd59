"""TOML -> Topology: what loads, what is refused, and how the refusal reads."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from hypothesis import given, settings
from hypothesis import strategies as st

from anvil.topology.expand import Unset, expand
from anvil.topology.load import TopologyError, load, loads, path
from anvil.topology.model import CloudTier, LlamaCpp, LocalTier, ServeTier, Vllm
from tests.unit.topology.example import CLOUD, ENVIRON, EXAMPLE, GONE, LOCAL, ROOT, document, topology


def refused(text: str) -> list[str]:
    with pytest.raises(TopologyError) as caught:
        loads(text, ENVIRON, "t.toml")
    return caught.value.problems


def problems(changes: dict[str, object]) -> list[str]:
    with pytest.raises(TopologyError) as caught:
        topology(changes)
    return caught.value.problems


def test_the_example_loads_with_its_forms() -> None:
    loaded = load(EXAMPLE, {})
    assert isinstance(loaded.serves["heavy"], Vllm)
    assert isinstance(loaded.tiers["fast-local"], ServeTier)
    assert loaded.serves["heavy"].start_timeout_s == 900
    assert loaded.machines["forge"].runtime == "compose"
    assert loaded.machines["forge"].gpus["pro"].vram_gb == 96
    assert list(loaded.presets) == ["chat", "quick-edit", "review", "planning", "long-context"]


def test_the_local_topology_takes_its_paths_from_the_environment() -> None:
    loaded = load(LOCAL, {**ENVIRON, "ANVIL_LLAMA_SERVER": "/opt/llama-server", "ANVIL_PYTHON": "/venv/bin/python"})
    fast = loaded.serves["fast"]
    assert isinstance(fast, LlamaCpp)
    assert (fast.binary, fast.model_file) == ("/opt/llama-server", "/weights/tiny.gguf")
    assert loaded.machines["here"].root == "/home/someone/.local/share/anvil"
    assert loaded.router.python == "/venv/bin/python"


def test_a_missing_variable_is_named_with_every_place_that_wants_it() -> None:
    with pytest.raises(TopologyError) as caught:
        load(LOCAL, {"HOME": "/home/someone"}, "inventory/local.toml")
    assert caught.value.problems == [
        "inventory/local.toml: serves.fast.model_file: ANVIL_WEIGHTS is not set; export it or write the value here",
        "inventory/local.toml: serves.heavy.model_file: ANVIL_WEIGHTS is not set; export it or write the value here",
    ]


def test_only_paths_of_process_machines_and_ssh_data_are_expanded() -> None:
    loaded = topology({"serves/heavy/extra_args": ["${HOME}"], "machines/forge/ssh": {"key": "~/.ssh/id", "port": 22}})
    assert loaded.serves["heavy"].extra_args == ("${HOME}",)
    assert loaded.machines["forge"].ssh is not None
    assert loaded.machines["forge"].ssh.key == "/home/someone/.ssh/id"


def test_every_problem_of_a_file_is_reported_with_table_key_and_suggestion() -> None:
    found = problems(
        {
            "deploymnt": "x",
            "serves/fast/contxt": 4,
            "serves/fast/port": True,
            "serves/heavy/context": 0,
            "machines/forge/platform": "linx",
            "machines/forge/gpus/pro/uuid": "GPU-1",
            "tiers/odd": {"serv": "fast"},
            "presets/chat": [],
            "modes/nightly": {},
        }
    )
    assert found == [
        'topology.toml: deploymnt: unknown key; did you mean "deployment"?',
        "topology.toml: machines.forge.platform: expected one of 'linux', 'wsl2', 'macos', 'windows', got 'linx'",
        "topology.toml: machines.forge.gpus.pro.uuid: expected a GPU UUID as nvidia-smi -L prints it (GPU-xxxxxxxx-…), "
        "got 'GPU-1'",
        "topology.toml: serves.heavy.context: expected int >= 1, got 0",
        'topology.toml: serves.fast.contxt: unknown key; did you mean "context"?',
        "topology.toml: serves.fast.port: expected int, got bool",
        'topology.toml: tiers.odd: a tier needs `serve = "NAME"`, or base_url and model, '
        "or cloud = true, base_url and model",
        "topology.toml: presets.chat: expected array with at least one entry",
        "topology.toml: modes: expected one of 'agentic', 'flexibility', got 'nightly'",
    ]


def test_a_missing_table_and_a_wrong_kind_are_plain_sentences() -> None:
    assert "t.toml: router: required key is missing" in refused("schema = 'anvil.topology/v1'")
    assert "t.toml: machines: expected a table of tables, got a list" in refused("machines = []")
    assert "t.toml: serves.a: expected a table, got a string" in refused("serves.a = 'x'")
    assert "t.toml: tiers.a: expected a table, got a number" in refused("tiers.a = 3")
    assert "t.toml: router: expected a table, got a bool" in refused("router = true")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"serves/fast/port": "30003"}, "serves.fast.port: expected int, got str; write 30003 without quotes"),
        ({"machines/forge/sudo": "false"}, "machines.forge.sudo: expected bool, got str; write false without quotes"),
        ({"serves/fast/served_model": ""}, "serves.fast.served_model: expected text that is not empty, got ''"),
        ({"serves/fast/port": "many"}, "serves.fast.port: expected int, got str"),
        ({"serves/fast/gpu": 0}, 'serves.fast.gpu: expected str | array | null, got int; write "0" in quotes'),
        ({"presets/chat": "fast-local"}, 'presets.chat: expected array, got str; write ["fast-local"]'),
        ({"serves/fast/env": ["A=b"]}, "serves.fast.env: expected a table, got a list"),
        ({"router/relay_timeout": 20}, "router.relay_timeout: unknown key; it belongs below [router.settings]"),
        (
            {"tiers/fast-local/model": "m"},
            "tiers.fast-local.model: unknown key; a tier of a serve takes it from there; leave it out, or leave out serve",
        ),
        (
            {"tiers/x": {"base_url": "https://a/v1", "model": "m", "context_limit": 9, "cost_input_per_mtok": 1}},
            "tiers.x.cost_input_per_mtok: unknown key; only a cloud tier has it; add cloud = true",
        ),
    ],
)
def test_a_slip_is_told_with_what_to_write_instead(changes: dict[str, Any], said: str) -> None:
    assert problems(changes) == [f"topology.toml: {said}"]


def test_what_editors_of_windows_write_is_read(tmp_path: Path) -> None:
    file = tmp_path / "topology.toml"
    file.write_bytes(b"\xef\xbb\xbf" + EXAMPLE.read_text().replace("\n", "\r\n").encode())
    assert load(file, ENVIRON) == load(EXAMPLE, ENVIRON)


def test_another_format_is_told_so() -> None:
    with pytest.raises(TopologyError, match=r"^house\.yaml: not TOML: .*; a topology is written in TOML$"):
        loads("machines:\n  forge:\n", {}, "house.yaml")


def test_an_unknown_engine_lists_the_known_ones() -> None:
    assert problems({"serves/fast/engine": "vlm"}) == [
        "topology.toml: serves.fast.engine: 'vlm' is no engine; known: vllm, sglang, llamacpp, custom"
    ]
    assert problems({"serves/fast/engine": GONE}) == [
        "topology.toml: serves.fast.engine: required key is missing; known: vllm, sglang, llamacpp, custom"
    ]


def test_the_key_of_another_engine_is_unknown_to_this_one() -> None:
    assert problems({"serves/fast/model_file": "x.gguf"})[0].startswith(
        "topology.toml: serves.fast.model_file: unknown key"
    )


def test_a_secret_in_the_place_of_a_name_is_not_repeated() -> None:
    (line,) = problems({"tiers/heavy-local/auth_env": "sk-not-for-logs"})
    assert "tiers.heavy-local.auth_env" in line
    assert "not-for-logs" not in line
    assert problems({"router/token": ["AKIA" + "1234567890ABCDEF"]})


@pytest.mark.parametrize(
    ("change", "form"),
    [
        ({"serve": "fast"}, ServeTier),
        ({"base_url": "http://127.0.0.1:9/v1", "model": "m", "context_limit": 10}, LocalTier),
        ({**CLOUD}, CloudTier),
        ({"cloud": False, "base_url": "http://127.0.0.1:9/v1", "model": "m", "context_limit": 10}, LocalTier),
    ],
)
def test_the_keys_of_a_tier_decide_its_form(change: dict[str, object], form: type) -> None:
    assert isinstance(topology({"tiers/x": change}).tiers["x"], form)


@pytest.mark.parametrize("key", ["form", "thinking"])
def test_a_cloud_tier_takes_no_key_of_another_form(key: str) -> None:
    assert problems({"tiers/x": {**CLOUD, key: "off"}})[0].startswith(f"topology.toml: tiers.x.{key}: unknown key")


@pytest.mark.parametrize("character", ["\x00", "\x1b", "\n", "\t", "\x7f"])
def test_control_characters_are_refused_everywhere_but_in_prestart_lines(character: str) -> None:
    for place in ("deployment", "serves/heavy/served_model", "router/settings/note"):
        assert any("holds a control character" in line for line in problems({place: f"a{character}b"}))
    if character in "\n\t":
        assert topology({"serves/heavy/prestart": [f"a{character}b"]})
    else:
        assert problems({"serves/heavy/prestart": [f"a{character}b"]})


@pytest.mark.parametrize("root", ["relative", "/srv/../etc", "/srv/a b", "/srv/$(id)", "/srv/'x", "/"])
def test_the_root_is_a_plain_absolute_path(root: str) -> None:
    assert problems({"machines/forge/root": root})[0].startswith(
        "topology.toml: machines.forge.root: expected an absolute path"
    )


@pytest.mark.parametrize(("deadline", "fine"), [(49, False), (50, True), (2000, True), (2001, False)])
def test_the_plugins_deadline_is_one_that_the_plugin_takes(deadline: int, fine: bool) -> None:
    place = {"gateways/mini/plugin/deadline_ms": deadline}
    if fine:
        assert topology(place)
    else:
        (problem,) = problems(place)
        assert problem.startswith("topology.toml: gateways.mini.plugin.deadline_ms: expected")


def test_files_that_cannot_be_read_are_one_sentence(tmp_path: Path) -> None:
    broken, binary = tmp_path / "broken.toml", tmp_path / "binary.toml"
    broken.write_text("a = ")
    binary.write_bytes(b"\xff\xfe")
    for file, word in ((tmp_path / "none.toml", "no such file"), (broken, "not TOML"), (binary, "cannot be read")):
        with pytest.raises(TopologyError) as caught:
            load(file, {})
        assert len(caught.value.problems) == 1
        assert word in caught.value.problems[0]
        assert str(file) in caught.value.problems[0]


@pytest.mark.parametrize("value", ["inf", "nan", "-inf", "1979-05-27", "07:32:00", "1979-05-27T07:32:00Z"])
@pytest.mark.parametrize("place", ["router.settings.x", "machines.forge.memory_gb", "tiers.x.params.y"])
def test_what_json_cannot_say_is_refused(place: str, value: str) -> None:
    assert [line for line in refused(f"{place} = {value}\na.b = [{value}]") if line.startswith(f"t.toml: {place}: ")]
    assert [line for line in refused(f"a.b = [{value}]") if line.startswith("t.toml: a.b[0]: ")]


def test_deep_nesting_is_refused_not_a_traceback() -> None:
    assert len(refused("a = " + "[" * 5000)) == 1


def test_the_file_may_be_moved_by_a_variable() -> None:
    default = Path("inventory/topology.toml")
    assert path({}, default) == default
    assert path({"ANVIL_TOPOLOGY": "  "}, default) == default
    assert path({"ANVIL_TOPOLOGY": "/etc/t.toml"}, default) == Path("/etc/t.toml")


def test_loading_ends_the_interpreter_cleanly() -> None:
    """msgspec 0.22 crashes at exit for some unions of constrained types; none may be in the model."""
    code = (
        "from pathlib import Path; from anvil.topology import load, schema; schema.text(); load.load(Path('{}'), {{}})"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code.format(EXAMPLE)], cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False
    )
    assert ran.returncode == 0


def test_expansion() -> None:
    environ = {"HOME": "/h", "A": "1", "EMPTY": ""}
    assert expand("${A}-${B:-two}-${EMPTY:-three}", environ) == "1-two-three"
    assert expand("~/x", environ) == "/h/x"
    assert expand("${R:-~/x}", environ) == "/h/x"
    assert expand("a~/x $A ${lower}", environ) == "a~/x $A ${lower}"
    with pytest.raises(Unset, match="EMPTY"):
        expand("${EMPTY}", environ)


def outcome(text: str) -> list[str]:
    """The problems of a text; none when it is a topology."""
    try:
        loads(text, ENVIRON, "t.toml")
    except TopologyError as error:
        return error.problems or ["an error without a problem"]
    return []


@given(st.text())
@settings(max_examples=50)
def test_any_text_is_a_topology_or_a_list_of_lines(text: str) -> None:
    assert all(line.startswith("t.toml: ") for line in outcome(text))


_keys = st.text("abc-._/", max_size=5)
_values = st.recursive(
    st.booleans() | st.integers(-5, 70000) | st.text("a$~{}'\"\\ ", max_size=6) | st.floats(allow_nan=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_keys, inner, max_size=3),
    max_leaves=6,
)
PLACES = (
    "machines machines/forge serves/fast serves/fast/gpu tiers/x presets/chat router modes/agentic router/settings "
    "gateways/mini/plugin multiplexer serves/fast/speculative volumes/weights"
)


@given(st.sampled_from(PLACES.split()), _values)
@settings(max_examples=80)
def test_any_value_at_any_place_is_converted_or_refused_in_words(place: str, value: object) -> None:
    found = outcome(tomli_w.dumps(document({place: value})))
    assert all(line.startswith("t.toml: ") and "$." not in line for line in found)
