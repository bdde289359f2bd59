"""OpenClaw: the part of its document that is ours (contract operations.md 12.1, O1-O7). The merge is openclaw_merge."""

from __future__ import annotations

from typing import Any, Literal

from msgspec import Struct

from anvil.harness.json5_document import dumped
from anvil.harness.model import Document, File, Harness, Model, Router, title

PROVIDER, PRIMARY = "anvil", "chat"
PATH = "~/.openclaw/openclaw.json"
# Release generations that were run: the model map is an allowlist in the first, modelPolicy in the second.
VERSIONS = ("2026.6", "2026.9")


class Plugin(Struct, frozen=True):
    """The intent plugin as the topology declares it. ``id`` is the plugin's own manifest id, ``path`` is absolute."""

    id: str
    path: str
    token_env: str
    cloud_classes: tuple[str, ...] = ()
    route: Literal["off", "advise"] = "off"
    deadline_ms: int = 250
    log: str | None = None


def document(
    router: Router,
    *,
    primary: str = PRIMARY,
    provider: str = PROVIDER,
    timeout_s: int | None = None,
    plugin: Plugin | None = None,
    router_url: str | None = None,
) -> dict[str, Any]:
    """The owned document. ``router_url`` is the router as the gateway reaches it, with or without /v1."""
    base = (router_url or router.base_url).rstrip("/").removesuffix("/v1").rstrip("/")
    ours: dict[str, Any] = {
        "baseUrl": f"{base}/v1",
        "apiKey": f"${{{router.token_env}}}",
        "api": "openai-completions",
    }
    if timeout_s is not None:
        ours["timeoutSeconds"] = timeout_s
    ours["models"] = [model_row(model) for model in router.models]
    found: dict[str, Any] = {
        "models": {"mode": "merge", "providers": {provider: ours}},
        "agents": {"defaults": {"model": {"primary": f"{provider}/{router.pick(primary)}"}}},
    }
    if plugin is not None:
        found["plugins"] = _plugin(plugin, base, provider, router.pick(primary))
    return found


def model_row(model: Model) -> dict[str, Any]:
    """One preset. Only ``compat`` makes OpenClaw send reasoning_effort; ``reasoning`` shows the selector (O3)."""
    return {
        "id": model.id,
        "name": f"Anvil · {title(model.id)}",
        "reasoning": True,
        "input": list(model.input),
        "contextWindow": model.context_window,
        "maxTokens": model.max_output_tokens,
        "compat": {"supportsReasoningEffort": True},
    }


def _plugin(plugin: Plugin, base: str, provider: str, primary: str) -> dict[str, Any]:
    config: dict[str, Any] = {
        "routerUrl": base,
        "tokenEnv": plugin.token_env,
        "cloudClasses": list(plugin.cloud_classes),
        "route": plugin.route,
        "deadlineMs": plugin.deadline_ms,
    }
    if plugin.log is not None:
        config["decisionLog"] = plugin.log
    if provider != PROVIDER:
        config["provider"] = provider
    if (
        primary != PRIMARY
    ):  # Any other preset would look chosen by somebody, and the plugin would leave every turn alone.
        config["primaryPreset"] = primary
    entry = {"enabled": True, "hooks": {"allowConversationAccess": True}, "config": config}
    return {"load": {"paths": [plugin.path]}, "entries": {plugin.id: entry}}


def render(router: Router, version: str) -> Document:
    del version  # the owned part is the same in both generations; the merge knows the difference
    content = document(router)
    return Document(
        env={router.token_env: f"${{{router.token_env}}}"},
        files=(File(PATH, "json5", "deep", content, dumped(content)),),
        notes=(
            f"The gateway's own process needs {router.token_env}: for example a line in ~/.openclaw/.env.",
            "Keep a fallback outside anvil in agents.defaults.model.fallbacks, for the day the router fails.",
            "Where agents.defaults.modelPolicy.allow is not empty, it needs anvil/*; `anvil harness apply` adds it.",
        ),
    )


HARNESS = Harness("openclaw", "json5", PATH, render, VERSIONS)
