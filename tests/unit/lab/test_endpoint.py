"""Which endpoint the flags name."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anvil.lab.endpoint import Asked, Endpoint, Refused, normalised, resolve

CANARY = "sk-canary-0123456789"
TOPOLOGY = """
schema = "anvil.topology/v1"
deployment = "house"
mapping_version = "1"
[machines.gpu]
platform = "linux"
[machines.gpu.gpus.big]
uuid = "GPU-00000000-0000-0000-0000-000000000001"
model = "RTX PRO 6000"
vram_gb = 96
compute = "12.0"
[machines.here]
platform = "linux"
runtime = "process"
root = "/srv/anvil"
[serves.heavy]
machine = "gpu"
gpu = "big"
engine = "vllm"
repo = "owner/model"
served_model = "heavy-model"
port = 30001
context = 65536
family = "qwen3"
quantization = "nvfp4"
image = "vllm/vllm:1"
[serves.small]
machine = "here"
engine = "llamacpp"
binary = "/usr/bin/llama-server"
model_file = "/models/x.gguf"
served_model = "small-model"
port = 30002
context = 8192
[tiers.heavy-local]
serve = "heavy"
thinking = "off"
[tiers.paid]
cloud = true
base_url = "https://api.example/v1"
model = "gpt"
context_limit = 100000
[tiers.claude]
cloud = true
base_url = "https://api.example/anthropic"
model = "claude"
context_limit = 100000
dialect = "anthropic"
[router]
machine = "gpu"
image = "anvil:1"
"""


@pytest.fixture
def topology(tmp_path: Path) -> Path:
    file = tmp_path / "topology.toml"
    file.write_text(TOPOLOGY)
    return file


def found(asked: Asked, environ: dict[str, str] | None = None, known_here: bool = False) -> Endpoint:
    return resolve(asked, environ or {}, lambda _: known_here)


@pytest.mark.parametrize(
    ("given_url", "wanted"),
    [
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000/v1"),
        ("http://127.0.0.1:8000/", "http://127.0.0.1:8000/v1"),
        ("http://127.0.0.1:8000/v1/", "http://127.0.0.1:8000/v1"),
        ("http://LOCALHOST:8000/v1", "http://127.0.0.1:8000/v1"),
        ("https://api.example/openai/v1", "https://api.example/openai/v1"),
        ("http://[::1]:8000", "http://[::1]:8000/v1"),
    ],
)
def test_v1_is_there_exactly_once(given_url: str, wanted: str) -> None:
    url, notes = normalised(given_url)
    assert url == wanted
    assert bool(notes) is ("localhost" in given_url.lower())


@given(st.from_regex(r"https?://[a-z]{1,8}(:[1-9][0-9]{1,3})?(/[a-z0-9]{1,5}){0,3}/?", fullmatch=True))
def test_normalising_twice_changes_nothing(url: str) -> None:
    once, _ = normalised(url)
    assert normalised(once) == (once, ())


@pytest.mark.parametrize(
    "url", ["", "x", "ftp://a", "http://", "http://a:99999", "http://a?x=1", "http://u:p@a", "//a"]
)
def test_what_is_no_base_url_is_refused(url: str) -> None:
    with pytest.raises(Refused):
        normalised(url)


def test_a_serve_fills_address_model_and_facts(topology: Path) -> None:
    endpoint = found(Asked(serve="heavy", topology=topology), known_here=True)
    assert (endpoint.base_url, endpoint.model) == ("http://heavy:30001/v1", "heavy-model")
    facts = endpoint.facts
    assert (facts.engine, facts.quantization, facts.family) == ("vllm", "nvfp4", "qwen3")
    assert (facts.gpu_model, facts.gpu_count, facts.needle_tokens) == ("RTX PRO 6000", 1, 61440)
    assert dict(endpoint.extra_body) == {}


def test_where_the_network_name_is_unknown_the_published_port_is_dialled_and_said(topology: Path) -> None:
    endpoint = found(Asked(serve="heavy", topology=topology))
    assert endpoint.base_url == "http://127.0.0.1:30001/v1"
    assert "network" in endpoint.notes[0]


def test_a_process_serve_is_on_loopback(topology: Path) -> None:
    endpoint = found(Asked(serve="small"), {"ANVIL_TOPOLOGY": str(topology)})
    assert (endpoint.base_url, endpoint.notes) == ("http://127.0.0.1:30002/v1", ())
    assert (endpoint.facts.gpu_model, endpoint.facts.gpu_count) == (None, None)


def test_a_tier_adds_its_extra_body(topology: Path) -> None:
    endpoint = found(Asked(tier="heavy-local", topology=topology))
    assert endpoint.extra_body == {"chat_template_kwargs": {"enable_thinking": False}}


def test_flags_override_the_topology(topology: Path) -> None:
    asked = Asked(serve="heavy", topology=topology, base_url="http://10.0.0.7:1", model="m")
    endpoint = found(asked)
    assert (endpoint.base_url, endpoint.model, endpoint.notes) == ("http://10.0.0.7:1/v1", "m", ())


def test_a_tiers_key_comes_from_its_variable_and_stays_hidden(topology: Path) -> None:
    endpoint = found(Asked(tier="paid", topology=topology), {"ANVIL_PAID_KEY": CANARY})
    assert endpoint.headers == {"Authorization": f"Bearer {CANARY}"}
    assert CANARY not in repr(endpoint)
    assert endpoint.masked(f"bad key {CANARY}!") == "bad key <ANVIL_PAID_KEY>!"


def test_a_tiers_key_is_never_sent_to_another_address(topology: Path) -> None:
    asked = Asked(tier="paid", topology=topology, base_url="http://10.0.0.7:1")
    assert found(asked, {"ANVIL_PAID_KEY": CANARY}).headers == {}


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        (Asked(serve="heavvy"), "known: heavy, small"),
        (Asked(tier="nobody"), "known: heavy-local"),
        (Asked(tier="claude"), "dialect"),
        (Asked(tier="paid"), "ANVIL_PAID_KEY"),
    ],
)
def test_refusals_name_what_is_known(topology: Path, asked: Asked, says: str) -> None:
    with pytest.raises(Refused, match=says):
        found(asked, {"ANVIL_TOPOLOGY": str(topology)})
