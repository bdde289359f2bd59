"""The logger that is put into an operator's document for a check, and what is left when it is out again."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from anvil.harness.fire_logger import ID, with_logger, without_logger
from anvil.harness.json5_document import same
from anvil.harness.refusal import Refusal
from tests.unit.harness.gateway_documents import GENERATIONS, documents

PATH, LOG = "/home/u/.anvil/plugins/anvil-fire-logger", "/home/u/.openclaw/logs/anvil-fires.jsonl"


def test_it_is_named_granted_and_told_its_log() -> None:
    assert with_logger({}, PATH, LOG)["plugins"] == {
        "entries": {ID: {"enabled": True, "hooks": {"allowConversationAccess": True}, "config": {"log": LOG}}},
        "load": {"paths": [PATH]},
    }
    allowed = with_logger({"plugins": {"allow": ["x"]}}, PATH, LOG)
    assert allowed["plugins"]["allow"] == ["x", ID]


@pytest.mark.parametrize(
    ("plugins", "problem"),
    [({"deny": [ID]}, "plugins.deny"), ({"enabled": False}, "plugins.enabled is false"), ([], "plugins is an array")],
)
def test_where_it_may_not_run_it_refuses(plugins: Any, problem: str) -> None:
    with pytest.raises(Refusal, match=problem):
        with_logger({"plugins": plugins}, PATH, LOG)


def test_it_comes_out_of_every_document_without_a_trace() -> None:
    for generation in GENERATIONS:
        for each in documents(generation):
            before = copy.deepcopy(each.document)
            once = with_logger(each.document, PATH, LOG)
            assert same(with_logger(once, PATH, LOG), once)
            after = without_logger(once, PATH)
            assert same(each.document, before)
            assert same(_without_empty(after), _without_empty(before))
            assert same(without_logger(before, PATH), before)


def _without_empty(document: dict[str, Any]) -> dict[str, Any]:
    """Nothing, null and empty mean the same to a gateway where plugins are named."""
    found = copy.deepcopy(document)
    plugins = found.get("plugins")
    if isinstance(plugins, dict):
        load = plugins.get("load")
        if isinstance(load, dict) and not load.get("paths"):
            load.pop("paths", None)
        for key in [key for key in ("entries", "load") if not plugins.get(key)]:
            plugins.pop(key, None)
    if not found.get("plugins"):
        found.pop("plugins", None)
    return found
