"""Codex CLI: config.toml; current releases speak the responses API only (measured with 0.169.0)."""

from __future__ import annotations

from typing import Any

from anvil.harness import toml_text
from anvil.harness.model import Document, File, Harness, Router

PATH = "~/.codex/config.toml"


def render(router: Router, version: str) -> Document:
    del version
    preset = router.pick("planning", "chat")
    content: dict[str, Any] = {
        "model": preset,
        "model_provider": "anvil",
        "model_context_window": next((model.context_window for model in router.models if model.id == preset), 0),
        "model_providers": {
            "anvil": {
                "name": "anvil",
                "base_url": f"{router.base_url}/v1",
                "env_key": router.token_env,
                "wire_api": "responses",
                "request_max_retries": 1,
                "stream_max_retries": 1,
                "http_headers": {"x-anvil-namespaces": "joined"},
            }
        },
    }
    return Document(
        env={router.token_env: f"${{{router.token_env}}}"},
        files=(File(PATH, "toml", "deep", content, toml_text.dumps(content)),),
        notes=('"Model metadata not found" is a harmless warning: presets are not in Codex\'s own list.',),
    )


HARNESS = Harness("codex", "toml", PATH, render)
