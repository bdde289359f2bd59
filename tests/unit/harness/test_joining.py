"""A client's file joined to what a user already has."""

from __future__ import annotations

import json
import tomllib
from datetime import UTC, datetime
from typing import Any

import pytest
import yaml

from anvil.harness import HARNESSES, joining, render
from anvil.harness.joining import Joined, joined
from anvil.harness.openclaw_merge import Options
from anvil.harness.refusal import Refusal
from tests.unit.harness.samples import FIVE, router

FILES = ("openclaw", "claude-code", "codex", "opencode", "pi", "aider", "continue")


def join(name: str, current: bytes | None, described: Any = FIVE, **known: Any) -> Joined:
    return joined(name, render(name, described).files[0], current, Options(), **known)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("current", [None, b"", b"\n"])
def test_a_missing_file_is_written_whole_and_then_in_step(name: str, current: bytes | None) -> None:
    first = join(name, current)
    assert first.text == render(name, FIVE).files[0].text
    assert first.before == ""
    assert join(name, first.text.encode()).text is None


@pytest.mark.parametrize(
    ("name", "current"),
    [
        ("claude-code", {"permissions": {"allow": ["x"]}, "env": {"MINE": "1", "ANTHROPIC_MODEL": "old"}}),
        ("opencode", {"theme": "x", "provider": {"other": {"a": 1}, "anvil": {"options": {"timeout": 9}}}}),
        ("pi", {"providers": {"other": {"a": 1}}}),
        ("aider", {"openai/mine": {"max_input_tokens": 5}}),
    ],
)
def test_foreign_keys_stay(name: str, current: dict[str, Any]) -> None:
    text = join(name, json.dumps(current).encode()).text
    assert text is not None
    found = json.loads(text)
    for path in _leaves(current):
        if "ANTHROPIC_MODEL" not in path:
            assert _at(found, path) == _at(current, path)
    assert join(name, text.encode()).text is None


def _leaves(value: Any, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    if isinstance(value, dict):
        return [leaf for key, item in value.items() for leaf in _leaves(item, (*path, key))]
    return [path]


def _at(value: Any, path: tuple[str, ...]) -> Any:
    for key in path:
        value = value[key]
    return value


def test_presets_that_are_gone_leave_opencode() -> None:
    once = join("opencode", None).text or ""
    twice = json.loads(join("opencode", once.encode(), router("chat")).text or "")
    assert list(twice["provider"]["anvil"]["models"]) == ["chat"]


@pytest.mark.parametrize("name", ["ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "CLAUDE_CODE_USE_BEDROCK"])
def test_what_is_stronger_than_our_token_is_named(name: str) -> None:
    result = join("claude-code", json.dumps({"env": {name: "literal-secret", "OTHER_TOKEN": "x"}}).encode())
    (note,) = result.notes
    assert note.startswith(f"WARN env.{name} stays")
    assert "literal-secret" not in note
    assert join("claude-code", (result.text or "").encode()).notes == (note,)
    assert join("claude-code", b'{"env": {}}').notes == ()


def test_openclaw_follows_its_own_rules() -> None:
    live = {"models": {"providers": {"anvil": {"baseUrl": "http://old/v1", "apiKey": "literal-secret"}}}}
    result = join("openclaw", json.dumps(live).encode())
    assert json.loads(result.text or "")["models"]["providers"]["anvil"]["baseUrl"] == "http://old/v1"
    assert any(note.startswith("WARN models.providers.anvil.baseUrl stays") for note in result.notes)
    assert "literal-secret" not in result.before + result.after


def test_comments_stay_in_a_json5_file() -> None:
    text = join("opencode", b"{\n  // mine\n  theme: 'x',\n}\n").text or ""
    assert "// mine" in text
    assert join("opencode", text.encode()).text is None


def test_a_toml_diff_shows_no_secret() -> None:
    result = join("codex", b'when = 2026-01-01\n[mcp]\napi_key = "literal-secret"\n')
    assert "literal-secret" in (result.text or "")
    assert "literal-secret" not in result.before + result.after
    assert "2026-01-01" in result.before


def test_a_toml_diff_is_toml() -> None:
    result = join("codex", b"[[profiles.a]]\nwhen = 2026-01-01T10:00:00Z\n")
    assert tomllib.loads(result.before) == {"profiles": {"a": [{"when": datetime(2026, 1, 1, 10, tzinfo=UTC)}]}}
    assert tomllib.loads(result.after) == tomllib.loads(result.text or "")


@pytest.mark.parametrize("name", ["claude-code", "opencode", "pi", "aider"])
def test_what_we_write_holds_no_secret_and_is_shown(name: str) -> None:
    first = join(name, None)
    assert json.loads(first.after) == json.loads(first.text or "")
    live = json.dumps({"apiKey": "literal-secret", "mine": {"input_cost_per_token": "literal-secret"}})
    assert "literal-secret" not in join(name, live.encode()).after


def test_a_secret_in_the_place_of_ours_is_hidden() -> None:
    live = {"provider": {"anvil": {"options": {"apiKey": "literal-secret"}}}}
    result = join("opencode", json.dumps(live).encode())
    assert "literal-secret" not in result.before
    assert "{env:" in result.after


def test_a_yaml_file_of_the_users_is_not_rewritten() -> None:
    with pytest.raises(Refusal, match="by hand"):
        join("continue", b"# mine\nmodels: []\n")
    ours = yaml.safe_load(render("continue", FIVE).files[0].text)["models"]
    theirs = "# mine\nname: other\n" + yaml.safe_dump({"models": [{"name": "x"}, *ours]})
    assert join("continue", theirs.encode()).text is None


@pytest.mark.parametrize("text", [b"a: [", b"models: 3", b"- x"])
def test_yaml_that_holds_no_models_refuses(text: bytes) -> None:
    with pytest.raises(Refusal):
        join("continue", text)


def test_without_the_yaml_reader_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Any:
        raise ImportError(name)

    monkeypatch.setattr(joining, "import_module", missing)
    with pytest.raises(Refusal, match="anvil-serving"):
        join("continue", b"models: []")


def test_what_is_in_the_way_of_an_object_refuses_with_its_path() -> None:
    with pytest.raises(Refusal, match=r"^provider\.anvil is not an object"):
        join("opencode", b'{"provider": {"anvil": 3}}')


@pytest.mark.parametrize("name", ["openai", "anthropic"])
def test_variables_are_no_file(name: str) -> None:
    with pytest.raises(Refusal, match="variables"):
        join(name, None)


def test_every_client_with_a_file_of_its_own_is_covered() -> None:
    assert {name for name, known in HARNESSES.items() if known.path.startswith("~/")} == set(FILES)
