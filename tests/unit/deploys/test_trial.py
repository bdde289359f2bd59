"""A trial is completed from the topology, stands in a project of its own and is refused where it would disturb."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from pyinfra.api.exceptions import PyinfraError

from anvil.deploys.trial import Asked, Trial, trial
from anvil.render.env import Secrets
from anvil.topology import load
from anvil.topology.model import Topology

REPO = Path(__file__).resolve().parents[3]
TOPOLOGY = REPO / "inventory" / "topology.toml"


def topology(extra: str = "", old: str = "", new: str = "") -> Topology:
    text = TOPOLOGY.read_text()
    assert old in text
    return load.loads(text.replace(old, new, 1) + extra, {}, "t.toml")


def tried(given: Topology | None = None, **asked: Any) -> Trial:
    words = {"model": "org/new-model", "gpu": "gaming", **asked}
    return trial(given or topology(), Asked(**words), Secrets.of({}))


def service(made: Trial) -> dict[str, Any]:
    (only,) = yaml.safe_load(made.text)["services"].values()
    return dict(only)


def test_the_defaults_and_the_project_of_its_own() -> None:
    made = tried()
    document, found = yaml.safe_load(made.text), service(made)
    assert (made.machine, made.project, document["name"]) == ("forge", "home-experiment-30005", "home-experiment-30005")
    assert found["container_name"] == "vllm-experiment-30005"
    assert found["restart"] == "no"
    assert found["ports"] == ["127.0.0.1:30005:30005"]
    assert found["labels"]["anvil.role"] == "experiment"
    assert found["labels"]["anvil.deployment"] == "home"
    assert found["labels"]["anvil.revision"] == made.spec.revision
    command = found["command"]
    assert command[:2] == ["serve", "org/new-model"]
    assert command[command.index("--served-model-name") + 1] == "experiment"
    assert command[command.index("--gpu-memory-utilization") + 1] == "0.90"
    assert "--max-model-len" not in command
    assert made.spec.context == 0  # readiness promises no window either
    assert (made.volume, made.needs_weights.repo if made.needs_weights else "") == ("vllm-hfcache", "org/new-model")
    assert made.spec.memory_need_gb == pytest.approx(0.9 * 32)


def test_what_was_asked_for_is_what_runs() -> None:
    made = tried(port=30009, served="x y", context=2048, memory="0.5", extra_args="--seed '1 $(id) {{x}}'")
    command = service(made)["command"]
    assert command[command.index("--seed") + 1] == "1 $$(id) {{x}}"
    assert command[command.index("--max-model-len") + 1] == "2048"
    assert (made.spec.context, made.spec.port, made.spec.served_model) == (2048, 30009, "x y")


def test_the_newest_image_by_the_numbers_of_its_tag() -> None:
    digest = "@sha256:" + "1" * 64
    line = f'image           = "vllm/vllm-openai:nightly{digest}"'
    newer = topology(old=line, new=f'image = "vllm/vllm-openai:v0.12.1{digest}"')
    assert tried(newer).spec.image == f"vllm/vllm-openai:v0.12.1{digest}"


@pytest.mark.parametrize(
    ("image", "container"),
    [("lmsysorg/sglang:v0.5", "sglang-experiment-30005"), ("ghcr.io/other/engine:1.0", "vllm-experiment-30005")],
)
def test_another_image_says_the_engine(image: str, container: str) -> None:
    made = tried(image=image)
    assert made.spec.container == container
    assert any("digest" in line for line in made.warnings)


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({"model": ""}, "--data model="),
        ({"gpu": ""}, "--data gpu="),
        ({"gpu": "nope"}, "known: forge/pro, forge/gaming"),
        ({"port": 30003}, "belongs to serve fast on forge"),
        ({"port": 8000}, "belongs to the router on forge"),
        ({"port": 80}, "port"),
        ({"memory": "1.5"}, "gpu_memory"),
        ({"memory": "much"}, "memory=much"),
        ({"extra_args": "'open"}, "extra_args"),
        ({"extra_args": "--port 1"}, "--port"),
        ({"model": "-weights"}, "repo"),
    ],
)
def test_what_is_missing_or_wrong_is_named(asked: dict[str, Any], sentence: str) -> None:
    with pytest.raises(PyinfraError, match=sentence):
        tried(**asked)


def test_a_llamacpp_trial_needs_the_share_of_the_card_that_was_said() -> None:
    image = {"model": "/models/tiny.gguf", "image": "ghcr.io/org/llama:server"}
    assert tried(**image).spec.memory_need_gb is None
    assert tried(**image, memory="0.5").spec.memory_need_gb == 16
    with pytest.raises(PyinfraError, match="memory=much"):
        tried(**image, memory="much")


def test_the_multiplexers_port_is_taken_even_while_it_is_down() -> None:
    place = '\n[multiplexer]\nmachine = "forge"\nport = 30005\ndocker_socket = true\n'
    with pytest.raises(PyinfraError, match="belongs to the multiplexer on forge"):
        tried(topology(place))
