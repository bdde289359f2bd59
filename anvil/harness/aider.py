"""aider: variables, and a metadata file that tells it the windows (measured with 0.86.2)."""

from __future__ import annotations

from anvil.harness.json5_document import dumped
from anvil.harness.model import Document, File, Harness, Router

PATH = "~/.aider.model.metadata.json"


def render(router: Router, version: str) -> Document:
    del version
    content = {
        f"openai/{model.id}": {
            "max_input_tokens": model.context_window,
            "max_output_tokens": model.max_output_tokens,
            "input_cost_per_token": 0,
            "output_cost_per_token": 0,
            "litellm_provider": "openai",
            "mode": "chat",
            "supports_vision": "image" in model.input,
        }
        for model in router.models
    }
    return Document(
        env={
            "OPENAI_API_BASE": f"{router.base_url}/v1",
            "OPENAI_API_KEY": f"${{{router.token_env}}}",
            "AIDER_MODEL": f"openai/{router.pick('quick-edit', 'chat')}",
            "AIDER_WEAK_MODEL": f"openai/{router.pick('chat')}",
        },
        files=(File(PATH, "json", "deep", content, dumped(content)),),
        notes=("Export the variables in the shell that starts aider; openai/ is dropped on the wire.",),
    )


HARNESS = Harness("aider", "json", PATH, render)
