"""Operations as data: one YAML file per operation, one case per situation, read over `op._inner` with canned facts."""

from __future__ import annotations

import importlib
import inspect
import shlex
import typing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
import yaml
from pyinfra.api.command import FunctionCommand
from pyinfra.context import ctx_host, ctx_state

from anvil.hosts.compose import ComposeRuntime
from anvil.hosts.decision import Options, WantedService
from anvil.hosts.resources import Needs
from anvil.hosts.weights import Weights

STRUCTS = {"weights": Weights, "runtime": ComposeRuntime, "wanted": WantedService, "options": Options, "needs": Needs}
DOCUMENTS = [yaml.safe_load(file.read_text()) for file in sorted(Path(__file__).parent.glob("cases/*.yaml"))]
CASES = [(document["operation"], case) for document in DOCUMENTS for case in document["cases"]]
IDS = [f"{name.rpartition('.')[2]}: {case['case']}" for name, case in CASES]


class FakeHost:
    """Answers facts from the case: `Fact argument...` -> fields of the answer; keeps what was said."""

    def __init__(self, facts: dict[str, Any]) -> None:
        self.facts, self.said, self.noops = facts, list[str](), list[str]()

    def get_fact(self, cls: Any, *arguments: Any) -> Any:
        asked = shlex.join([cls.__name__, *map(str, arguments)])
        assert asked in self.facts, f"the case has no answer to: {asked}"
        return msgspec.convert(self.facts[asked], typing.get_type_hints(cls.process)["return"])

    def noop(self, description: str) -> None:
        self.noops.append(description)

    def log(self, message: str, **_: Any) -> None:
        self.said.append(message)

    log_styled = log


def told(command: Any, host: FakeHost) -> str:
    """A command as the case writes it: the words a script was given, or what a failing function says."""
    if isinstance(command, FunctionCommand):
        before = len(host.said)
        assert command.function(None, host, *command.args, **command.kwargs) is False
        return "fails: " + "; ".join(host.said[before:])
    words = shlex.split(command.get_raw_value())
    return shlex.join(words[words.index("anvil") + 1 :])


def arguments_of(case: dict[str, Any]) -> dict[str, Any]:
    given = case["arguments"].items()
    return {key: msgspec.convert(value, STRUCTS[key]) if key in STRUCTS else value for key, value in given}


@pytest.mark.parametrize(("name", "case"), CASES, ids=IDS)
def test_case(name: str, case: dict[str, Any]) -> None:
    module, _, operation = name.rpartition(".")
    inner = getattr(importlib.import_module(module), operation)._inner
    arguments = arguments_of(case)
    inspect.signature(inner).bind(**arguments)
    host = FakeHost(case["facts"])
    preparing = case.get("preparing", False)
    config = SimpleNamespace(DIFF=False)
    state = SimpleNamespace(is_executing=not preparing, check_for_changes=preparing, config=config)
    with ctx_host.use(host), ctx_state.use(state):
        commands = [told(command, host) for command in inner(**arguments)]
    assert commands == case.get("commands", [])
    assert host.noops == case.get("noop", [])
    for words in case.get("says", []):
        assert any(words in line for line in host.said), host.said
