"""What machines wait for: pyinfra orders the operations of one machine, and across machines only what all of them do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyinfra
import pytest
from pyinfra.api import Config, Inventory, State
from pyinfra.api.host import Host
from pyinfra.api.operation import operation
from pyinfra.api.state import StateStage
from pyinfra.context import ctx_host, ctx_state, host

from anvil.deploys import gateway, report, router
from anvil.deploys.inventory import Checked
from anvil.hosts import sftp
from anvil.hosts.releases import ReleasesAnswer
from anvil.hosts.shell import Commands
from anvil.topology import load

TOPOLOGY = f"""
schema = "anvil.topology/v1"
deployment = "home"
mapping_version = "1"
[machines.forge]
platform = "linux"
[machines.mini]
platform = "macos"
[machines.laptop]
platform = "linux"
[serves.heavy]
machine = "forge"
engine = "custom"
image = "repo:1@sha256:{"a" * 64}"
argv = ["serve"]
served_model = "big"
port = 30002
context = 8192
[tiers.heavy-local]
serve = "heavy"
[presets]
chat = ["heavy-local"]
[router]
machine = "forge"
image = "anvil-router:1@sha256:{"b" * 64}"
publish = "10.0.0.1"
token = ["ANVIL_ROUTER_TOKEN"]
[gateways.mini]
machine = "mini"
router_url = "http://10.0.0.1:8000/v1"
[gateways.other]
machine = "laptop"
router_url = "http://10.0.0.1:8000/v1"
"""


@operation()
def step(what: str) -> Commands:
    """
    Stands for what one machine does alone.
    """
    host.noop(what)
    yield from ()


def steps(*names: str) -> None:
    for name in host.loop(names):  # type: ignore[no-untyped-call]  # pyinfra's loop has no types
        step(name=name, what=name)


def everything() -> None:
    """The end of deploy/full.py."""
    router.promoted()
    gateway.in_step()
    report.printed()


@pytest.fixture
def order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the operations of a deploy of both machines, in the order in which they run."""
    monkeypatch.setenv("ANVIL_ROUTER_TOKEN", "a-token-of-more-than-24-characters")
    monkeypatch.setattr(Host, "get_fact", lambda *_, **__: ReleasesAnswer(status="absent"))
    monkeypatch.setattr(sftp, "runs_commands", lambda _: True)
    monkeypatch.setattr(router, "_install", lambda *_: steps("stage", "live"))
    monkeypatch.setattr(gateway, "_sync", lambda *_: steps("document", "restart", "read back", "ask"))
    found = load.loads(TOPOLOGY, {}, "topology.toml")
    data: dict[str, Any] = {"topology": Checked(found, str(tmp_path / "topology.toml")), "env_file": "none"}
    hosts = [(name, {**data, "machine": name}) for name in ("mini", "forge", "laptop")]
    state = State(Inventory((hosts, {})), Config(FAIL_PERCENT=0))
    state.current_stage = StateStage.Prepare
    monkeypatch.setattr(pyinfra, "is_cli", True)  # only the command line orders by lines of the deploy file
    monkeypatch.setattr(state, "current_deploy_filename", __file__)
    monkeypatch.setattr(state, "current_op_file_number", 0)
    for each in state.inventory:
        with ctx_state.use(state), ctx_host.use(each):
            everything()
    return [next(iter(state.op_meta[each].names)).rpartition(" | ")[2] for each in state.get_op_order()]


def test_a_gateway_is_written_after_the_router_is_live(order: list[str]) -> None:
    assert order.index("stage") < order.index("live") < order.index("document")


def test_the_report_comes_after_the_last_gateway(order: list[str]) -> None:
    assert order.index("ask") < order.index("What stands")


def test_machines_bring_their_gateways_into_step_together(order: list[str]) -> None:
    assert order.count("restart") == 1
