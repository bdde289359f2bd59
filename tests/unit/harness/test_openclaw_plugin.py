"""The plugin's part of OpenClaw's document, held against the plugin's own manifest."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from anvil.harness import openclaw
from anvil.harness.openclaw_merge import merge
from tests.unit.harness.samples import FIVE

FOLDER = Path(__file__).resolve().parents[3] / "templates" / "openclaw-anvil-intent-router"
MANIFEST = json.loads((FOLDER / "openclaw.plugin.json").read_text(encoding="utf-8"))


def config(**more: Any) -> dict[str, Any]:
    plugin = openclaw.Plugin(MANIFEST["id"], "/p", "T", ("planning",), "advise", 300, "~/d.jsonl")
    found = openclaw.document(FIVE, plugin=plugin, **more)["plugins"]["entries"][MANIFEST["id"]]["config"]
    return dict(found)


def test_only_keys_of_the_manifest_are_written() -> None:
    known = set(MANIFEST["configSchema"]["properties"])
    assert set(config(primary="review", provider="house")) <= known


@pytest.mark.parametrize(("primary", "written"), [("chat", None), ("review", "review"), ("unknown", None)])
def test_a_primary_of_your_own_is_what_nobody_chose(primary: str, written: str | None) -> None:
    assert FIVE.models[0].id == "chat"
    assert config(primary=primary).get("primaryPreset") == written


def test_a_provider_of_your_own_is_named() -> None:
    assert "provider" not in config()
    assert config(provider="house")["provider"] == "house"


@pytest.mark.parametrize(
    ("model", "primary", "warned"),
    [
        (None, "chat", False),
        ("anvil/chat", "chat", False),
        ({"primary": "anvil/chat"}, "chat", False),
        ({"primary": "openai/gpt"}, "chat", False),
        ({"primary": "anvil/planning"}, "chat", True),
        ("anvil/planning", "chat", True),
        ("anvil/planning", "planning", False),
        ("mine", "chat", True),
    ],
)
def test_a_plugin_that_would_leave_every_turn_alone_is_told(model: Any, primary: str, warned: bool) -> None:
    plugin = openclaw.Plugin(MANIFEST["id"], "/p", "T")
    models = {"anvil/planning": {"alias": "mine"}}
    current = {"gateway": {}, "agents": {"defaults": {"models": models} | ({"model": model} if model else {})}}
    wanted, notes = merge(current, openclaw.document(FIVE, primary=primary, plugin=plugin))
    assert any("leave every turn alone" in str(note) for note in notes) is warned
    again, _ = merge(wanted, openclaw.document(FIVE, primary=primary, plugin=plugin))
    assert again == wanted
