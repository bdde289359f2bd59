"""Facts about containers ask docker for what they use: an environment, which holds secrets, never leaves the host."""

from __future__ import annotations

import pytest
from pyinfra.api.facts import FactBase

from anvil.hosts.containers import ComposeServices, Container


@pytest.mark.parametrize("fact", [ComposeServices(), Container()])
def test_docker_is_asked_for_named_fields(fact: FactBase[object]) -> None:
    command = str(fact.command("x"))
    assert "docker inspect -f" in command or "docker inspect --type container -f" in command
    assert '"Config":{"Image"' in command
    assert ".Config.Env" not in command
    assert "{{json .}}" not in command
