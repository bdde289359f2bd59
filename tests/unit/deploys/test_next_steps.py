"""The last words of full.py: enough to start with, true of this topology, and without a secret."""

from __future__ import annotations

import json
import re
import shlex

import pytest

from anvil.deploys.next_steps import TRY, words
from anvil.harness import HARNESSES
from anvil.topology import load

TEXT = """
schema = "anvil.topology/v1"
deployment = "home"
mapping_version = "1"
[machines.forge]
platform = "linux"
address = "100.64.0.10"
[machines.mini]
platform = "macos"
[serves.heavy]
machine = "forge"
engine = "custom"
image = "repo:1"
argv = ["serve"]
served_model = "big"
port = 30002
context = 8192
[tiers.heavy-local]
serve = "heavy"
[presets]
review = ["heavy-local"]
[router]
machine = "forge"
image = "anvil-router:1"
publish = "{publish}"
token = {token}
"""
GATEWAY = """
[gateways.mini]
machine = "mini"
router_url = "http://100.64.0.10:8000/v1"
"""


def said(publish: str = "100.64.0.10", token: str = '["HOME_TOKEN", "OLD_TOKEN"]', more: str = "") -> list[str]:
    text = TEXT.format(publish=publish, token=token) + more
    return words(load.loads(text, {"HOME_TOKEN": "canary-value"}, "t.toml"))


def test_every_client_that_can_be_typed_at_has_its_line() -> None:
    lines = said()
    assert set(TRY) < set(HARNESSES)
    for client, command in TRY.items():
        (line,) = (line for line in lines if f"anvil harness apply {client} " in line)
        base = "http://100.64.0.10:8000" if client == "claude-code" else "http://100.64.0.10:8000/v1"
        assert f"# {base} " in line
        assert line.endswith(f"then: {command}")
    assert "  export ANVIL_ROUTER_URL=http://100.64.0.10:8000" in lines


def test_the_token_is_named_and_never_shown() -> None:
    text = "\n".join(said())
    assert "value of HOME_TOKEN" in text
    assert "Bearer $HOME_TOKEN" in text
    assert "canary" not in text
    assert "OLD_TOKEN" not in text


def test_the_line_to_copy_asks_for_a_preset_that_is_there() -> None:
    argv = shlex.split(said()[-1])
    assert argv[:3] == ["curl", "-s", "http://100.64.0.10:8000/v1/chat/completions"]
    assert json.loads(argv[-1])["model"] == "review"


@pytest.mark.parametrize(
    ("publish", "url"),
    [
        ("0.0.0.0", "http://100.64.0.10:8000;"),
        ("::", "http://100.64.0.10:8000;"),
        ("fd00::1", "http://[fd00::1]:8000;"),
        ("127.0.0.1", "http://127.0.0.1:8000, on forge only;"),
    ],
)
def test_the_address_is_one_that_can_be_called(publish: str, url: str) -> None:
    assert said(publish)[0].startswith(f"The router answers at {url}")


def test_an_open_router_asks_for_nothing() -> None:
    text = "\n".join(said("127.0.0.1", "[]"))
    assert "asks for no token" in text
    assert not re.search("TOKEN|Bearer", text)


def test_gateways_are_told_only_where_there_are_some() -> None:
    assert not [line for line in said() if line.startswith("In step")]
    assert [line for line in said(more=GATEWAY) if line.startswith("In step with it, OpenClaw on mini;")]
