"""What each client is told. The values are those that were measured with the real clients."""

from __future__ import annotations

import json
import subprocess
import tomllib
from typing import Any

import pytest
import yaml

from anvil.harness import HARNESSES, render
from anvil.harness.model import MAX_OUTPUT, Router, max_output, title
from tests.unit.harness.samples import FIVE, model, router

URL = "http://100.64.0.10:8000"
NAMES = ("openclaw", "claude-code", "codex", "opencode", "pi", "aider", "cline", "continue", "openai", "anthropic")


def content(name: str, described: Router = FIVE) -> Any:
    return render(name, described).files[0].content


def test_the_ten_clients() -> None:
    assert tuple(HARNESSES) == NAMES
    assert all(known.name == name for name, known in HARNESSES.items())


@pytest.mark.parametrize("name", NAMES)
def test_every_text_says_what_its_content_says(name: str) -> None:
    (file,) = render(name, FIVE).files
    assert file.path == HARNESSES[name].path
    assert file.format == HARNESSES[name].format
    read = {"json": json.loads, "json5": json.loads, "toml": tomllib.loads, "yaml": yaml.safe_load, "env": _in_a_shell}
    expected = {key: value.replace("${ANVIL_ROUTER_TOKEN}", "tok") for key, value in file.content.items()} if (
        file.format == "env"
    ) else file.content  # fmt: skip
    assert read[file.format](file.text) == expected
    assert file.text.endswith("\n")


def _in_a_shell(text: str) -> dict[str, str]:
    done = subprocess.run(
        ["sh", "-c", f"{text}\nenv"], env={"ANVIL_ROUTER_TOKEN": "tok"}, capture_output=True, text=True, check=True
    )
    pairs = (line.split("=", 1) for line in done.stdout.splitlines())
    return {name: value for name, value in pairs if name.startswith(("OPENAI", "ANTHROPIC"))}


@pytest.mark.parametrize("name", NAMES)
def test_only_servable_presets_and_their_windows_appear(name: str) -> None:
    text = render(name, router("review", "chat", window=4096)).files[0].text
    assert not {"planning", "long-context", "quick-edit"} & set(text.replace('"', " ").replace("/", " ").split())
    assert "131072" not in text


@pytest.mark.parametrize("name", NAMES)
def test_a_token_appears_by_name_only(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANVIL_ROUTER_TOKEN", "canary-value")
    document = render(name, FIVE)
    assert "canary-value" not in repr(document)
    assert "ANVIL_ROUTER_TOKEN" in repr(document.env) + document.files[0].text


def test_claude_code_reads_its_token_through_a_helper() -> None:
    # the real client sends "${NAME}" of an env block as it stands; the helper's output arrives as the token
    assert content("claude-code") == {
        "apiKeyHelper": "printenv ANVIL_ROUTER_TOKEN",
        "env": {
            "ANTHROPIC_BASE_URL": URL,
            "ANTHROPIC_MODEL": "planning",
            "ANTHROPIC_DEFAULT_HAIKU_MODEL": "quick-edit",
            "CLAUDE_CODE_SUBAGENT_MODEL": "review",
            "CLAUDE_CODE_MAX_CONTEXT_TOKENS": "131072",
            "CLAUDE_CODE_ENABLE_GATEWAY_MODEL_DISCOVERY": "1",
            "CLAUDE_CODE_ATTRIBUTION_HEADER": "0",
        },
    }
    assert render("claude-code", FIVE).env["ANTHROPIC_AUTH_TOKEN"] == "${ANVIL_ROUTER_TOKEN}"


def test_claude_codes_window_fits_its_main_model_and_its_helpers_only() -> None:
    described = Router(URL, "T", (model("planning", 100), model("review", 90), model("quick-edit", 10)))
    assert content("claude-code", described)["env"]["CLAUDE_CODE_MAX_CONTEXT_TOKENS"] == "90"


def test_codex() -> None:
    assert content("codex") == {
        "model": "planning",
        "model_provider": "anvil",
        "model_context_window": 131_072,
        "model_providers": {
            "anvil": {
                "name": "anvil",
                "base_url": f"{URL}/v1",
                "env_key": "ANVIL_ROUTER_TOKEN",
                "wire_api": "responses",
                "request_max_retries": 1,
                "stream_max_retries": 1,
                "http_headers": {"x-anvil-namespaces": "joined"},
            }
        },
    }


def test_opencode() -> None:
    found = content("opencode")
    assert (found["model"], found["small_model"]) == ("anvil/chat", "anvil/quick-edit")
    provider = found["provider"]["anvil"]
    assert provider["npm"] == "@ai-sdk/openai-compatible"
    assert provider["options"] == {"baseURL": f"{URL}/v1", "apiKey": "{env:ANVIL_ROUTER_TOKEN}"}
    assert provider["models"]["planning"] == {
        "name": "Planning",
        "reasoning": True,
        "limit": {"context": 131_072, "output": 32_000},
    }


def test_pi() -> None:
    provider = content("pi")["providers"]["anvil"]
    assert provider["apiKey"] == "ANVIL_ROUTER_TOKEN"
    assert provider["baseUrl"] == f"{URL}/v1"
    assert provider["models"][1] == {
        "id": "quick-edit", "name": "Quick Edit", "reasoning": True, "input": ["text"], "contextWindow": 131_072,
        "maxTokens": 8192, "cost": {"input": 0, "output": 0, "cacheRead": 0, "cacheWrite": 0},
    }  # fmt: skip


def test_aider() -> None:
    assert render("aider", FIVE).env == {
        "OPENAI_API_BASE": f"{URL}/v1",
        "OPENAI_API_KEY": "${ANVIL_ROUTER_TOKEN}",
        "AIDER_MODEL": "openai/quick-edit",
        "AIDER_WEAK_MODEL": "openai/chat",
    }
    assert content("aider")["openai/planning"]["max_input_tokens"] == 131_072


@pytest.mark.parametrize(("name", "base"), [("openai", f"{URL}/v1"), ("anthropic", URL)])
def test_sdks_get_the_base_url_they_expect(name: str, base: str) -> None:
    assert render(name, FIVE).env[f"{name.upper()}_BASE_URL"] == base


def test_images_appear_where_a_tier_takes_them() -> None:
    seeing = Router(URL, "T", (model("chat", images=True),))
    assert content("openclaw", seeing)["models"]["providers"]["anvil"]["models"][0]["input"] == ["text", "image"]
    assert content("pi", seeing)["providers"]["anvil"]["models"][0]["input"] == ["text", "image"]
    assert content("opencode", seeing)["provider"]["anvil"]["models"]["chat"]["modalities"]["input"] == [
        "text",
        "image",
    ]
    assert content("continue", seeing)["models"][0]["capabilities"] == ["tool_use", "image_input"]
    assert content("aider", seeing)["openai/chat"]["supports_vision"] is True
    assert content("cline", seeing)["Supports Images"] is True


@pytest.mark.parametrize("preset", [*MAX_OUTPUT, "mine"])
def test_output_budgets_stay_inside_the_window(preset: str) -> None:
    assert max_output(preset, 1000) == 1000
    assert max_output(preset, 10**6) == MAX_OUTPUT.get(preset, 8192)


@pytest.mark.parametrize(
    ("preset", "name"),
    [("long-context", "Long Context"), ("my_own", "My Own"), ("night shift", "Night Shift"), ("x", "X")],
)
def test_names_for_people(preset: str, name: str) -> None:
    assert title(preset) == name
