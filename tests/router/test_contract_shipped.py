"""The configurations that come with the router (contract 4.7): checked as a user would, secret-free, and runnable."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from anvil.router import modes
from anvil.router.config import load

FOLDER = Path(modes.__file__).with_name("shipped")
NAMES = ("local", "docker", "with-cloud", "flexibility")
SEEDED = {"ANVIL_ROUTER_TOKEN": "t", "CLOUD_API_KEY": "k"}


def test_exactly_these_are_shipped() -> None:
    assert sorted(file.stem for file in FOLDER.glob("*.toml")) == sorted(NAMES)
    assert modes.SHIPPED == {"agentic": FOLDER / "local.toml", "flexibility": FOLDER / "flexibility.toml"}


@pytest.mark.parametrize("name", NAMES)
def test_each_passes_check_and_every_unservable_preset_is_handed_over_in_a_comment(name: str) -> None:
    file = FOLDER / f"{name}.toml"
    done = subprocess.run(
        [sys.executable, "-m", "anvil", "check", "--config", str(file), "--json"],
        capture_output=True,
        check=False,
        timeout=30,
        env={"PATH": "/usr/bin:/bin", **SEEDED},
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    text = file.read_text()
    comments = "\n".join(line.partition("#")[2] for line in text.splitlines() if "#" in line)
    for preset in found["unservable"]:
        assert preset in comments
        assert "gateway" in comments
    assert found["unservable"] == ([] if name == "with-cloud" else ["planning"])
    assert sorted(found["presets"]) == ["chat", "long-context", "planning", "quick-edit", "review"]
    assert "localhost" not in text
    assert not [warning for warning in found["warnings"] if "localhost" in warning or "plain http" in warning]


def test_the_tiers_and_pools_are_the_promised_ones() -> None:
    local = tomllib.loads((FOLDER / "local.toml").read_text())["router"]
    docker = tomllib.loads((FOLDER / "docker.toml").read_text())
    cloud = tomllib.loads((FOLDER / "with-cloud.toml").read_text())["router"]
    flexible = load(FOLDER / "flexibility.toml", environ={})
    assert [(t["id"], t["base_url"], t["context_limit"]) for t in local["tiers"]] == [
        ("fast-local", "http://127.0.0.1:30001/v1", 32768),
        ("heavy-local", "http://127.0.0.1:30000/v1", 131072),
    ]
    pools = local["presets"]
    assert pools["chat"] == pools["quick-edit"] == ["fast-local", "heavy-local"]
    assert pools["review"] == pools["planning"] == pools["long-context"] == ["heavy-local"]
    assert docker["router"]["presets"] == pools
    assert docker["server"] == {"auth_env": "ANVIL_ROUTER_TOKEN"}
    assert [t["base_url"] for t in docker["router"]["tiers"]] == [
        "http://fast-local:30001/v1",
        "http://heavy-local:30000/v1",
    ]
    paid = cloud["tiers"][2]
    assert (paid["id"], paid["dialect"], paid["context_limit"]) == ("cloud", "anthropic", 200000)
    assert (paid["cost_input_per_mtok"], paid["cost_output_per_mtok"]) == (3.0, 15.0)
    assert cloud["metered_cloud"] == ["planning"]
    assert cloud["presets"] == {n: [*p, "cloud"] for n, p in pools.items()} | {"planning": ["cloud"]}
    (tier,) = flexible.tiers
    assert (tier.id, tier.role, tier.timeout, tier.extra_body_defaults) == (
        "specialist-vllm", "heavy", 90, {"reasoning_effort": "high"},
    )  # fmt: skip
    assert tier.engine
    assert tier.quantization
    assert all(pool == ("specialist-vllm",) for pool in flexible.presets.values())
