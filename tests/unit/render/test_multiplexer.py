"""The multiplexer's file and service: both sides mean the same, and the socket is mounted only where it is admitted."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
import yaml

from anvil.multiplexer.config import parse
from anvil.render import engine, multiplexer
from tests.unit.render.test_artefacts import SECRETS, rendered
from tests.unit.topology.example import GONE, topology

SWAP: dict[str, Any] = {
    "serves/heavy/swap_group": "big",
    "serves/heavy/secret_env": [],
    "multiplexer": {"machine": "forge", "port": 8100, "docker_socket": True, "drain_timeout_s": 0},
}


def test_the_multiplexer_reads_what_was_rendered_as_it_was_meant() -> None:
    text = rendered(SWAP).machines["forge"].multiplexer_toml
    assert text is not None
    config = parse(text, "multiplexer.toml")
    assert config.address == ("0.0.0.0", 8100)
    assert config.auth_env == ("ANVIL_ROUTER_TOKEN",)
    assert (config.drain_timeout_s, config.min_resident_s, config.runtime) == (0, 20, "docker")
    (row,) = config.registry
    assert config.base_url(row) == "http://vllm-gptoss120:30002"
    assert row.name == "gpt-oss-120b"


def test_a_text_that_is_read_otherwise_is_never_shipped(monkeypatch: pytest.MonkeyPatch) -> None:
    real = engine.render

    def shifted(name: str, **values: Any) -> str:
        text = real(name, **values)
        return text.replace("30002", "30003") if name == "multiplexer.toml.j2" else text

    monkeypatch.setattr(engine, "render", shifted)
    with pytest.raises(AssertionError, match="read otherwise"):
        rendered(SWAP)


def test_the_socket_is_mounted_only_where_the_topology_admits_it() -> None:
    made = rendered(SWAP).machines["forge"]
    service = yaml.safe_load(str(made.compose_text))["services"]["multiplexer"]
    assert [word for word in service["volumes"] if "docker.sock" in word] == [
        "/var/run/docker.sock:/var/run/docker.sock"
    ]
    assert service["ports"] == ["127.0.0.1:8100:8100"]
    assert service["user"] == "0:0"


def test_without_the_admission_there_is_no_socket() -> None:
    made = topology(SWAP)
    assert made.multiplexer is not None
    place = msgspec.structs.replace(made.multiplexer, docker_socket=False)
    volumes = multiplexer.service(made, place, SECRETS)["volumes"]
    assert volumes == ["/srv/anvil/multiplexer:/etc/anvil:ro"]


def test_the_card_of_the_group_is_what_the_guard_asks_about() -> None:
    """The router's image has no nvidia-smi; the driver's utilities bring it, and the card's UUID says which row counts."""
    made = rendered(SWAP).machines["forge"]
    service = yaml.safe_load(str(made.compose_text))["services"]["multiplexer"]
    (device,) = service["deploy"]["resources"]["reservations"]["devices"]
    assert device["capabilities"] == ["gpu", "utility"]
    assert [parse(str(made.multiplexer_toml), "f").gpu] == device["device_ids"]
    no_card = {**SWAP, "serves/heavy/gpu": GONE, "serves/heavy/gpu_memory": GONE, "serves/heavy/memory_need_gb": 9}
    without = topology(no_card)
    assert without.multiplexer is not None
    assert "deploy" not in multiplexer.service(without, without.multiplexer, SECRETS)


def test_a_model_on_a_card_is_not_measured_against_the_hosts_memory() -> None:
    """84 GB of VRAM would never fit a host with 64 GB of RAM, which the weights only pass through."""
    (row,) = parse(str(rendered(SWAP).machines["forge"].multiplexer_toml), "f").registry
    assert row.est_weight_gb is None
    assert row.vram_gb == pytest.approx(84.48)
    no_card = {**SWAP, "serves/heavy/gpu": GONE, "serves/heavy/gpu_memory": GONE, "serves/heavy/memory_need_gb": 9}
    made = topology(no_card)
    assert made.multiplexer is not None
    (built,) = multiplexer.document(made, made.multiplexer)["registry"]
    assert built["est_weight_gb"] == 9
    assert "vram_gb" not in built
