"""What the gate asks: the serve as the router reaches it, from the router's image or its interpreter."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from pyinfra.api.exceptions import PyinfraError

from anvil.deploys import preflight, secrets
from anvil.deploys.site import Built, Site
from anvil.render.artefacts import render
from anvil.render.env import Secrets
from anvil.render.services import ServiceSpec
from anvil.topology import load
from anvil.topology.model import Multiplexer, Topology

REPO = Path(__file__).resolve().parents[3]


def asked(topology: Topology, machine: str, serve: str) -> list[str]:
    made = render(topology, Secrets.of({}))
    built = Built(topology, Path("t.toml"), secrets.Held({}, {}), made, None)
    site = Site(machine, topology.machines[machine], built)
    spec = site.spec(serve)
    assert isinstance(spec, ServiceSpec)
    return list(preflight.command(site, spec))


def example(**router: Any) -> Topology:
    found = load.load(REPO / "inventory" / "topology.toml", {}, "t.toml")
    return msgspec.structs.replace(found, router=msgspec.structs.replace(found.router, **router))


def test_in_the_routers_image_on_the_serves_network() -> None:
    words = asked(example(), "forge", "heavy")
    assert words[:2] == ["docker", "run"]
    assert words[words.index("--network") + 1] == "anvil"
    at = words.index("--entrypoint")
    assert words[at + 1] == "anvil"
    assert words[at + 3 :] == [
        *("preflight", "--base-url", "http://heavy:30002/v1", "--model", "gpt-oss-120b"),
        *("--needle-tokens", "126976", "--family", "gpt-oss", "--json"),
    ]


def test_a_member_of_a_swap_group_is_asked_through_the_multiplexer_with_its_token() -> None:
    found = example()
    grouped = msgspec.structs.replace(found.serves["heavy"], swap_group="card")
    place = Multiplexer(machine="forge", port=8100, docker_socket=True)
    swapping = msgspec.structs.replace(found, serves={**found.serves, "heavy": grouped}, multiplexer=place)
    words = asked(swapping, "forge", "heavy")
    assert words[:2] == ["sh", "-c"]
    assert words[4:8] == ["/srv/anvil/secrets.env", "ANVIL_ROUTER_TOKEN", "docker", "run"]
    assert words[words.index("-e") + 1] == "ANVIL_ROUTER_TOKEN"
    assert words[words.index("--base-url") + 1] == "http://anvil-multiplexer:8100/v1"
    assert words[words.index("--api-key-env") + 1] == "ANVIL_ROUTER_TOKEN"


def test_thinking_is_off_where_every_tier_switches_it_off() -> None:
    assert "--no-thinking" in asked(example(), "forge", "fast")
    assert "--no-thinking" not in asked(example(), "forge", "heavy")


def test_without_a_router_image_there_is_nothing_to_ask_with() -> None:
    found = example()
    bare = msgspec.structs.replace(found, router=msgspec.structs.replace(found.router, image=None))
    built = Built(bare, Path("t.toml"), secrets.Held({}, {}), render(found, Secrets.of({})), None)
    site = Site("forge", bare.machines["forge"], built)
    spec = site.spec("heavy")
    assert spec is not None
    with pytest.raises(PyinfraError, match=r"router\.image is not set"):
        preflight.command(site, spec)


def test_a_process_machine_asks_with_the_routers_interpreter() -> None:
    environ = {"ANVIL_WEIGHTS": "/w.gguf", "ANVIL_PYTHON": "/venv/bin/python", "ANVIL_ROOT": "/srv/anvil"}
    topology = load.load(REPO / "inventory" / "local.toml", environ, "local.toml")
    words = asked(topology, "here", "fast")
    assert words[:6] == ["/venv/bin/python", "-m", "anvil", "preflight", "--base-url", "http://127.0.0.1:30101/v1"]
    assert "--family" not in words
