"""Continue: its config.yaml, one model per preset; secrets are read from the environment or ~/.continue/.env."""

from __future__ import annotations

from typing import Any

from anvil.harness import yaml_text
from anvil.harness.model import Document, File, Harness, Model, Router, title

PATH = "~/.continue/config.yaml"


def render(router: Router, version: str) -> Document:
    del version
    content = {
        "name": "Anvil",
        "version": "1.0.0",
        "schema": "v1",
        "models": [_row(router, model) for model in router.models],
    }
    return Document(
        env={router.token_env: f"${{{router.token_env}}}"},
        files=(File(PATH, "yaml", "deep", content, yaml_text.dumps(content)),),
        notes=(f"Continue reads {router.token_env} from its environment or from ~/.continue/.env.",),
    )


def _row(router: Router, model: Model) -> dict[str, Any]:
    return {
        "name": f"Anvil · {title(model.id)}",
        "provider": "openai",
        "model": model.id,
        "apiBase": f"{router.base_url}/v1",
        "apiKey": f"${{{{ secrets.{router.token_env} }}}}",
        "roles": ["chat", "edit", "apply"],
        "capabilities": ["tool_use", *(["image_input"] if "image" in model.input else [])],
        "defaultCompletionOptions": {"contextLength": model.context_window, "maxTokens": model.max_output_tokens},
    }


HARNESS = Harness("continue", "yaml", PATH, render)
