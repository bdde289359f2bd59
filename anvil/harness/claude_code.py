"""Claude Code: the ``env`` block and token helper of its settings (measured with 2.1.330)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from anvil.harness.json5_document import dumped
from anvil.harness.model import Document, File, Harness, Router

PATH = "~/.claude/settings.json"
_STRONGER = (
    "ANTHROPIC_AUTH_TOKEN",
    "ANTHROPIC_API_KEY",
    *map("CLAUDE_CODE_USE_{}".format, ("BEDROCK", "VERTEX", "FOUNDRY")),
)


def render(router: Router, version: str) -> Document:
    del version
    main, small, helper = (router.pick(preset, "chat") for preset in ("planning", "quick-edit", "review"))
    # An unknown model is taken for one with a million tokens; main loop and sub-agents share this bound.
    window = min((model.context_window for model in router.models if model.id in (main, helper)), default=0)
    settings = {
        "ANTHROPIC_BASE_URL": router.base_url,
        "ANTHROPIC_MODEL": main,
        "ANTHROPIC_DEFAULT_HAIKU_MODEL": small,
        "CLAUDE_CODE_SUBAGENT_MODEL": helper,
        "CLAUDE_CODE_MAX_CONTEXT_TOKENS": str(window),
        "CLAUDE_CODE_ENABLE_GATEWAY_MODEL_DISCOVERY": "1",
        "CLAUDE_CODE_ATTRIBUTION_HEADER": "0",
    }
    # Values of the env block are literal, "${NAME}" would be sent as it stands; the helper reads the variable.
    content = {"apiKeyHelper": f"printenv {router.token_env}", "env": settings}
    return Document(
        env={**settings, "ANTHROPIC_AUTH_TOKEN": f"${{{router.token_env}}}"},
        files=(File(PATH, "json", "deep", content, dumped(content)),),
        notes=(
            f"apiKeyHelper reads {router.token_env} from the environment that starts Claude Code.",
            "Instead of the file, the variables of env may be exported in a shell.",
        ),
    )


def conflicts(settings: Mapping[str, Any]) -> tuple[str, ...]:
    """What stands in the operator's own file and keeps Claude Code from the router or from its token (measured)."""
    env = settings.get("env")
    found = [name for name in _STRONGER if isinstance(env, Mapping) and env.get(name)]
    return tuple(
        f"WARN env.{name} stays in the file, and Claude Code may use it in place of ours: take it out" for name in found
    )


HARNESS = Harness("claude-code", "json", PATH, render)
