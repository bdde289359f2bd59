"""OpenClaw itself accepts what we render and merge. Uses what lies in the clients' cache; installs nothing."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from anvil.harness import openclaw
from anvil.harness.json5_document import dumped, parse
from anvil.harness.json5_edit import written
from anvil.harness.openclaw_features import Features, features
from anvil.harness.openclaw_merge import merge
from tests.clients.cache import root
from tests.unit.harness.samples import FIVE

pytestmark = [pytest.mark.clients, pytest.mark.timeout(300)]

ID = "openclaw-anvil-intent-router"
LIMIT_S = 120


def releases() -> dict[str, Path]:
    """Version -> launcher of every OpenClaw in the cache."""
    found = {}
    for package in sorted(root().glob("openclaw*/node_modules/openclaw/package.json")):
        found[str(json.loads(package.read_text())["version"])] = package.with_name("openclaw.mjs")
    return found


def node() -> Path | None:
    return next(iter(sorted(root().glob("node*/node_modules/node/bin/node"))), None)


RELEASES = releases()


class Cli:
    """One release with a configuration file, state and home of its own."""

    def __init__(self, launcher: Path, folder: Path) -> None:
        self.config = folder / "openclaw.json"
        (folder / "state").mkdir()
        found = node()
        assert found is not None
        self.argv = [str(found), str(launcher)]
        self.env = {
            "HOME": str(folder),
            "PATH": f"{found.parent}{os.pathsep}/usr/bin:/bin",
            "OPENCLAW_CONFIG_PATH": str(self.config),
            "OPENCLAW_STATE_DIR": str(folder / "state"),
            "ANVIL_ROUTER_TOKEN": "a-token-of-the-test-lane",
            "OPENAI_API_KEY": "unused",
        }

    def ask(self, *words: str) -> Any:
        done = subprocess.run(
            [*self.argv, *words],
            env=self.env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
        )
        assert "{" in done.stdout, done.stderr[-800:]
        return json.loads(done.stdout[done.stdout.index("{") :])

    def problems(self, text: str) -> list[Any]:
        self.config.write_text(text)
        answer = self.ask("config", "validate", "--json")
        return [] if answer["valid"] else answer.get("issues", ["invalid"])

    def features(self) -> Features:
        return features(self.ask("config", "schema"))


@pytest.fixture(params=RELEASES or ["none"])
def cli(request: pytest.FixtureRequest, tmp_path: Path) -> Cli:
    if not RELEASES or node() is None:
        pytest.skip(f"no openclaw and node in {root()}")
    return Cli(RELEASES[request.param], tmp_path)


def plugin(folder: Path) -> openclaw.Plugin:
    """The smallest plugin whose manifest allows our keys."""
    keys = ("routerUrl", "tokenEnv", "cloudClasses", "route", "deadlineMs", "decisionLog")
    schema = {"type": "object", "additionalProperties": False, "properties": {key: {} for key in keys}}
    place = folder / "plugin"
    place.mkdir()
    manifest = {"id": ID, "name": ID, "activation": {"onStartup": True}, "configSchema": schema}
    (place / "openclaw.plugin.json").write_text(json.dumps(manifest))
    package = {"name": ID, "version": "1.0.0", "type": "module", "openclaw": {"extensions": ["./index.mjs"]}}
    (place / "package.json").write_text(json.dumps(package))
    (place / "index.mjs").write_text("export default {};\n")
    return openclaw.Plugin(ID, str(place), "ANVIL_ROUTER_TOKEN", ("planning",), "advise", log="~/decisions.jsonl")


OPERATORS = """// mine
{
  gateway: {mode: 'local', bind: 'loopback', port: 47190, auth: {mode: 'token', token: 'gw-test-token'}}, // keep
  models: {providers: {
    anvil: {baseUrl: 'http://10.1.1.5:8000/v1', apiKey: 'literal', headers: {'x-site': 'a'}, models: [
      {id: 'planning', name: 'old', contextWindow: 32000, compat: {supportsStore: false}}, {id: 'retired', name: 'r'}]},
  }},
  agents: {defaults: {
    model: {primary: 'openai/gpt-5.5', fallbacks: ['openai/gpt-5.4-mini']},
    models: {'openai/gpt-5.5': {alias: 'big'}, 'anvil/planning': {alias: 'plan', params: {x: 1}}, 'anvil/retired': {}},
  }},
}
"""


def test_the_owned_document_is_accepted(cli: Cli, tmp_path: Path) -> None:
    assert cli.problems(dumped(openclaw.document(FIVE))) == []
    whole = openclaw.document(FIVE, timeout_s=600, plugin=plugin(tmp_path))
    assert cli.problems(dumped(whole)) == []


def test_it_would_say_if_a_key_were_wrong(cli: Cli) -> None:
    broken = openclaw.document(FIVE)
    broken["models"]["providers"]["anvil"]["context_window"] = 1
    assert cli.problems(dumped(broken))


def test_a_merged_document_is_accepted_with_its_comments(cli: Cli, tmp_path: Path) -> None:
    known = cli.features()
    document, _ = parse(OPERATORS.encode())
    if known.has_model_policy:
        document["agents"]["defaults"]["modelPolicy"] = {"allow": ["openai/*"]}
    text = written(OPERATORS.encode(), document)
    wanted, _ = merge(document, openclaw.document(FIVE, plugin=plugin(tmp_path)), known)
    text = written(text.encode(), wanted)
    assert "// mine" in text
    assert "}, // keep" in text
    assert cli.problems(text) == []
    allowed = wanted["agents"]["defaults"].get("modelPolicy", {}).get("allow")
    assert allowed == (["openai/*", "anvil/*"] if known.has_model_policy else None)


def test_it_lists_every_preset_with_its_window(cli: Cli) -> None:
    cli.config.write_text(dumped(openclaw.document(FIVE)))
    listed = cli.ask("models", "list", "--provider", "anvil", "--json")
    found = {row["key"]: row.get("contextWindow") for row in listed["models"]}
    assert found == {f"anvil/{model.id}": model.context_window for model in FIVE.models}


def test_its_schema_tells_its_features(cli: Cli) -> None:
    known = cli.features()
    assert known.provider_keys is not None
    assert {"baseUrl", "apiKey", "api", "models", "timeoutSeconds"} <= known.provider_keys
    assert known.model_keys is not None
    assert set(openclaw.model_row(FIVE.models[0])) <= known.model_keys
    assert known.plugin_entry_keys is not None
    assert {"enabled", "hooks", "config"} <= known.plugin_entry_keys
