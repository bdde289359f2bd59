"""The definition before this one: brought back when there is one, left alone when there is none or it is the same."""

from __future__ import annotations

import base64
import shlex
from types import SimpleNamespace
from typing import Any

import pytest
from pyinfra.api.command import FunctionCommand, StringCommand
from pyinfra.context import ctx_host, ctx_state

from anvil.deploys.serves import PREVIOUS, _revision_before
from anvil.hosts.compose import ComposeRuntime
from anvil.hosts.decision import WantedService
from anvil.hosts.readiness import Expectation
from anvil.hosts.services import service_restored
from tests.deploys.test_cases import FakeHost

RUNTIME = ComposeRuntime(root="/srv/anvil", project="home", file=f"/srv/anvil/{PREVIOUS}")
WANTED = WantedService(name="fast", container="vllm-fast", revision="bbbb")


def restored(before: str) -> tuple[list[Any], FakeHost]:
    host = FakeHost({})
    state = SimpleNamespace(is_executing=True, check_for_changes=False)
    expected = Expectation(health_url="http://127.0.0.1:1/health")
    with ctx_host.use(host), ctx_state.use(state):
        return list(service_restored._inner(RUNTIME, WANTED, expected, lambda: before)), host


def test_the_previous_definition_is_brought_up_and_waited_for() -> None:
    (up, wait), host = restored("aaaa")
    assert isinstance(up, StringCommand)
    words = shlex.split(up.get_raw_value())
    assert words[words.index("-f") + 1] == f"/srv/anvil/{PREVIOUS}"
    assert words[-6:] == ["up", "-d", "--no-deps", "--pull", "missing", "fast"]
    assert isinstance(wait, FunctionCommand)
    assert host.said == ["fast: restored revision aaaa"]


@pytest.mark.parametrize("before", ["", "bbbb"])
def test_without_another_definition_nothing_moves(before: str) -> None:
    commands, host = restored(before)
    assert commands == []
    assert host.noops == ["fast: there is no previous definition to restore"]


@pytest.mark.parametrize(
    ("text", "revision"),
    [
        ('services: {fast: {labels: {anvil.revision: "aaaa"}}}', "aaaa"),
        ("services: {heavy: {}}", ""),
        ("services: {fast: {}}", ""),
        ("", ""),
        ("a: [", ""),
        ("- list", ""),
    ],
)
def test_the_revision_of_the_previous_file(text: str, revision: str) -> None:
    content = base64.b64encode(text.encode()).decode()
    host: Any = FakeHost({f"FileText /r/{PREVIOUS}": {"status": "ok", "content": content}})
    assert _revision_before(host, "/r", "fast") == revision
