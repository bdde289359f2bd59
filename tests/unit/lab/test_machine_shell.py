"""Where a command's words run: here, on a machine of the topology with its own ssh data, or where ssh itself knows."""

from __future__ import annotations

import shlex
from typing import Any

from anvil.lab import machine_shell
from anvil.topology import load
from anvil.topology.model import Topology

TEXT = """
schema = "anvil.topology/v1"
deployment = "home"
mapping_version = "1"
[machines.forge]
platform = "linux"
address = "192.0.2.7"
ssh = { user = "me", port = 2222, key = "/k", known_hosts = "/known" }
[machines.here]
platform = "linux"
[serves.fast]
machine = "forge"
engine = "custom"
image = "repo:1"
argv = ["serve"]
served_model = "tiny"
port = 30003
context = 4096
[tiers.fast-local]
serve = "fast"
[presets]
chat = ["fast-local"]
[router]
machine = "forge"
image = "anvil-router:1"
"""
WORDS = ["docker", "inspect", "--", "it is $(odd)"]


def topology() -> Topology:
    return load.loads(TEXT, {}, "t.toml")


def reached(host: str | None, site: Topology | None) -> list[Any]:
    return machine_shell.reach(host, site)(WORDS)


def test_a_machine_of_the_topology_is_reached_with_its_own_ssh_data() -> None:
    words = reached("forge", topology())
    assert words[0] == "ssh"
    assert words[-3:-1] == ["--", "me@192.0.2.7"]
    assert words[words.index("-p") : words.index("-p") + 4] == ["-p", "2222", "-i", "/k"]
    assert "UserKnownHostsFile=/known" in words
    assert shlex.split(words[-1]) == WORDS


def test_another_host_is_what_ssh_makes_of_it() -> None:
    assert reached("me@box", topology())[-2:] == ["me@box", shlex.join(WORDS)]
    assert reached("forge", None)[-2] == "forge"


def test_without_a_host_or_on_this_machine_nothing_is_put_before_it() -> None:
    assert reached(None, topology()) == WORDS
    assert reached("here", topology()) == WORDS
