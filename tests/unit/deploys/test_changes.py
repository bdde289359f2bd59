"""What a plan says of a service: its image, flags, cards and variables by name, never a variable's value."""

from __future__ import annotations

from typing import Any

from anvil.deploys.changes import differing


def service(image: str = "vllm:1", card: str = "GPU-1", **environment: str) -> dict[str, Any]:
    devices = [{"driver": "nvidia", "device_ids": [card], "capabilities": ["gpu"]}]
    command = ["serve", "m", "--max-model-len", "32768"]
    deploy = {"resources": {"reservations": {"devices": devices}}}
    return {"image": image, "command": command, "environment": environment, "deploy": deploy}


def test_each_kind_of_change_is_named() -> None:
    live, wanted = service(A="one", T="${T:-}"), service("vllm:2", "GPU-2", A="two", B="three")
    wanted["command"][-1] = "65536"
    told = differing(live, wanted)
    assert "image: vllm:1 -> vllm:2" in told
    assert "--max-model-len 32768 -> 65536" in told
    assert "gpu: GPU-1 -> GPU-2" in told
    assert "environment: A, B, T" in told
    assert "two" not in told
    assert "three" not in told


def test_a_service_that_loses_its_card_and_one_that_is_the_same() -> None:
    bare = {key: value for key, value in service().items() if key != "deploy"}
    assert differing(service(), bare) == "gpu: GPU-1 -> none"
    assert differing(service(), service()) == ""
    assert differing(None, bare) == ""
