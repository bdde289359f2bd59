"""opencode: opencode.json, an OpenAI-compatible provider with its windows (measured with 1.18.33)."""

from __future__ import annotations

from typing import Any

from anvil.harness.json5_document import dumped
from anvil.harness.model import Document, File, Harness, Model, Router, title

PATH = "~/.config/opencode/opencode.json"


def render(router: Router, version: str) -> Document:
    del version
    content: dict[str, Any] = {
        "$schema": "https://opencode.ai/config.json",
        "model": f"anvil/{router.pick('chat')}",
        # Without it the title of a session is asked of somebody else's cloud.
        "small_model": f"anvil/{router.pick('quick-edit', 'chat')}",
        "provider": {
            "anvil": {
                "npm": "@ai-sdk/openai-compatible",
                "name": "Anvil",
                "options": {"baseURL": f"{router.base_url}/v1", "apiKey": f"{{env:{router.token_env}}}"},
                "models": {model.id: _row(model) for model in router.models},
            }
        },
    }
    return Document(
        env={router.token_env: f"${{{router.token_env}}}"},
        files=(File(PATH, "json", "deep", content, dumped(content), owns=("provider.anvil.models",)),),
        notes=("The same text may stand as opencode.json in a project's folder.",),
    )


def _row(model: Model) -> dict[str, Any]:
    row: dict[str, Any] = {
        "name": title(model.id),
        "reasoning": True,  # without it a chosen variant sends no reasoning_effort
        "limit": {"context": model.context_window, "output": model.max_output_tokens},
    }
    if "image" in model.input:
        row |= {"attachment": True, "modalities": {"input": list(model.input), "output": ["text"]}}
    return row


HARNESS = Harness("opencode", "json", PATH, render)
