"""OpenClaw itself with the intent plugin, in front of the real router. Uses what lies in the clients' cache."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from anvil.deploys.gateway_document import PLUGIN, plugin_id, plugin_texts
from anvil.harness import openclaw
from anvil.harness.json5_document import dumped
from anvil.harness.model import Model, Router
from tests.clients.conversation import behaviour
from tests.clients.stage import CONTEXT_LIMIT, TOKEN, TOKEN_NAME, ScriptedStage, stage
from tests.clients.test_openclaw_config import RELEASES, Cli, node
from tests.router.conftest import PRESETS
from tests.router.tier import Tier

pytestmark = [pytest.mark.clients, pytest.mark.timeout(400)]

TURN_LIMIT_S = 300  # 2026.9 asks an exhausted router eight times, which takes two minutes.


@dataclass
class Scene:
    """One release with our document and plugin, its router, and a native provider to fall back on."""

    cli: Cli
    stage: ScriptedStage
    native: Tier
    log: Path

    def say(self, words: str, *more: str) -> str:
        """All that the agent prints for one turn of the user."""
        argv = [*self.cli.argv, "agent", "--local", "--session-id", f"s-{abs(hash(words))}", "--message", words]
        done = subprocess.run(
            [*argv, "--json", *more],
            env=self.cli.env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=TURN_LIMIT_S,
            check=False,
        )
        assert done.returncode == 0, (done.stdout + done.stderr)[-2000:]
        return done.stdout

    def decided(self) -> list[tuple[Any, ...]]:
        """What the plugin wrote of each call of the hook."""
        lines = [json.loads(line) for line in self.log.read_text(encoding="utf-8").splitlines()]
        return [(line["destination"], line["modelOverride"], line["reason"]) for line in lines]

    def asked(self) -> list[tuple[str, str | None, int]]:
        """(endpoint, model, status) of every request the router has seen, oldest first."""
        records = sorted(self.stage.router.decisions(limit=1000), key=lambda record: str(record["id"]))
        return [(record["endpoint"], record["caller_model"], record["status"]) for record in records]

    def native_models(self) -> list[str]:
        return [str(request.json["model"]) for request in self.native.seen if request.path.endswith("/completions")]


def document(router: str, native: str, folder: Path, log: Path) -> dict[str, Any]:
    models = tuple(Model(name, name, CONTEXT_LIMIT, 8192, ("text",)) for name in PRESETS)
    plugin = openclaw.Plugin(
        plugin_id(), str(folder / "plugin"), TOKEN_NAME, ("quick-edit",), "advise", deadline_ms=2000, log=str(log)
    )
    made = openclaw.document(Router(router, TOKEN_NAME, models), plugin=plugin)
    row = {"id": "big", "name": "Big", "input": ["text"], "contextWindow": CONTEXT_LIMIT, "maxTokens": 8192}
    provider = {"baseUrl": native, "apiKey": "native-key", "api": "openai-completions", "models": [row]}
    made["models"]["providers"]["native"] = provider
    made["update"] = {"checkOnStart": False}
    primary = {"primary": "anvil/chat", "fallbacks": ["native/big"]}
    made["agents"]["defaults"] |= {"workspace": str(folder / "work"), "skipBootstrap": True, "model": primary}
    return made


@pytest.fixture(params=RELEASES or ["none"])
def scene(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Scene]:
    if not RELEASES or node() is None:
        pytest.skip("no openclaw and node in the clients' cache")
    (tmp_path / "plugin").mkdir()
    for name, text in plugin_texts().items():
        (tmp_path / "plugin" / name).write_text(text, encoding="utf-8")
    cli = Cli(RELEASES[request.param], tmp_path)
    cli.env[TOKEN_NAME] = TOKEN
    native = Tier(behaviour("native", "good")).start()
    try:
        with stage(tmp_path / "router", "openai") as made:
            assert isinstance(made, ScriptedStage)
            log = tmp_path / "decisions.jsonl"
            cli.config.write_text(dumped(document(made.url, native.url, tmp_path, log)))
            yield Scene(cli, made, native, log)
    finally:
        native.stop()


def test_the_plugin_loads_with_its_hook_and_its_grant(scene: Scene) -> None:
    answer = scene.cli.ask("config", "validate", "--json")
    assert (answer["valid"], answer["warnings"]) == (True, [])
    told = scene.cli.ask("plugins", "inspect", PLUGIN.name, "--runtime", "--json")
    assert told["plugin"]["status"] == "loaded"
    assert [hook["name"] for hook in told["typedHooks"]] == ["before_model_resolve"]
    assert told["policy"]["allowConversationAccess"] is True


def test_a_key_that_the_manifest_lacks_is_refused(scene: Scene) -> None:
    made = json.loads(scene.cli.config.read_text())
    made["plugins"]["entries"][PLUGIN.name]["config"]["model"] = "x"
    assert scene.cli.problems(json.dumps(made))


def test_turns_go_where_the_router_says(scene: Scene) -> None:
    scene.stage.begin("good", "good")
    assert "FAST-ANSWER" in scene.say("please review this function")
    assert scene.decided() == [("anvil", "review", "route")]
    assert scene.asked() == [("route", None, 200), ("chat", "review", 200)]
    # No profile trusts these tiers with a plan, so the router has nobody for it.
    assert "NATIVE-ANSWER" in scene.say("make a roadmap for the migration")
    assert scene.decided()[1:] == [("native", "big", "route")]
    assert "NATIVE-ANSWER" in scene.say("fix the roof")
    assert scene.decided()[2:] == [("native", "big", "cloud-class")]
    assert scene.asked()[2:] == [("route", None, 503), ("route", None, 200)]
    assert set(scene.native_models()) == {"big"}


def test_a_model_that_the_user_chose_stands(scene: Scene) -> None:
    scene.stage.begin("good", "good")
    assert "HEAVY-ANSWER" in scene.say("please review the house", "--model", "anvil/long-context")
    assert scene.decided() == [("native", None, "chosen")]
    assert scene.asked() == [("chat", "long-context", 200)]


def test_an_exhausted_router_hands_over_to_the_native_provider(scene: Scene) -> None:
    scene.stage.begin("http500", "http500")
    assert "NATIVE-ANSWER" in scene.say("please review this function")
    first, *others = scene.decided()
    assert first == ("anvil", "review", "route")
    assert others
    assert set(others) == {("native", None, "again")}
    advice, *tries = scene.asked()
    assert advice == ("route", None, 200)
    assert tries
    assert set(tries) == {("chat", "review", 503)}
    assert set(scene.native_models()) == {"big"}
