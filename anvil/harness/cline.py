"""Cline: it keeps its settings inside the editor, so they are entered by hand."""

from __future__ import annotations

from anvil.harness.json5_document import dumped
from anvil.harness.model import Document, File, Harness, Router

PATH = "Cline: Settings > API Configuration"


def render(router: Router, version: str) -> Document:
    del version
    preset = router.pick("planning", "chat")
    model = next((model for model in router.models if model.id == preset), None)
    content = {
        "API Provider": "OpenAI Compatible",
        "Base URL": f"{router.base_url}/v1",
        "OpenAI Compatible API Key": f"${{{router.token_env}}}",
        "Model ID": preset,
        "Supports Images": model is not None and "image" in model.input,
        "Context Window Size": model.context_window if model else 0,
        "Max Output Tokens": model.max_output_tokens if model else 0,
    }
    return Document(
        env={router.token_env: f"${{{router.token_env}}}"},
        files=(File(PATH, "json", "replace", content, dumped(content)),),
        notes=(f"Enter these fields in the editor; the key is the value of {router.token_env}.",),
    )


HARNESS = Harness("cline", "json", PATH, render)
