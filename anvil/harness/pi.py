"""pi: models.json; ``apiKey`` is the bare name of a variable (measured with 0.73.1)."""

from __future__ import annotations

from typing import Any

from anvil.harness.json5_document import dumped
from anvil.harness.model import Document, File, Harness, Model, Router, title

PATH = "~/.pi/agent/models.json"


def render(router: Router, version: str) -> Document:
    del version
    provider = {
        "baseUrl": f"{router.base_url}/v1",
        "api": "openai-completions",
        "apiKey": router.token_env,
        "models": [_row(model) for model in router.models],
    }
    content = {"providers": {"anvil": provider}}
    return Document(
        env={router.token_env: f"${{{router.token_env}}}"},
        files=(File(PATH, "json", "deep", content, dumped(content)),),
        notes=(
            f"Start it with: pi --provider anvil --model {router.pick('chat')}",
            f'For the Anthropic form: "api": "anthropic-messages" and "baseUrl": "{router.base_url}" (no /v1).',
        ),
    )


def _row(model: Model) -> dict[str, Any]:
    return {
        "id": model.id,
        "name": title(model.id),
        "reasoning": True,
        "input": list(model.input),
        "contextWindow": model.context_window,
        "maxTokens": model.max_output_tokens,
        "cost": {"input": 0, "output": 0, "cacheRead": 0, "cacheWrite": 0},
    }


HARNESS = Harness("pi", "json", PATH, render)
