"""Which keys each table of router.toml has, and the rule of each (contract 4.2 to 4.5)."""

from __future__ import annotations

from anvil.router.config import rules as r
from anvil.router.config.rules import Rule

# other tools own these; the router does not look at them (4.1)
IGNORED = frozenset({"claude_logs", "hf_extra_roots", "model_dirs", "gpu_index", "served_model_name", "modes"})

SECONDS = r.number(0, above=True)
MAX_BODY = r.integer(1024, 1_073_741_824)
MAX_CONCURRENCY = r.integer(1, 4096)

SERVER: dict[str, Rule] = {
    "auth_env": r.env_names,
    "max_body_bytes": MAX_BODY,
    "max_concurrency": MAX_CONCURRENCY,
    "control_concurrency": r.integer(1, 4096),
    "max_per_client": r.integer(0),
    "header_timeout_s": r.number(1, 60),
    "body_deadline_s": r.number(1, 3600),
    "body_min_rate": r.integer(0),
    "idle_timeout_s": r.number(0, above=True),
    "drain_timeout_s": r.number(0, 3600),
    "public_url": r.public_url,
    "dashboard": r.boolean,
    "open_metrics": r.boolean,
}

ENVIRONMENT: dict[str, tuple[str, Rule]] = {
    "ANVIL_MAX_BODY_BYTES": ("max_body_bytes", MAX_BODY),
    "ANVIL_MAX_CONCURRENCY": ("max_concurrency", MAX_CONCURRENCY),
}

# tables and lists inside [router] that are read by their own functions
NESTED = ("tiers", "presets", "preset_classes", "metered_cloud", "limits", "breaker", "decisions")

ROUTER: dict[str, Rule] = {
    "mapping_version": r.text,
    "exhaustion_status": r.integer(400, 599),
    "cost_sync": r.boolean,
    "relay_timeout": SECONDS,
    "head_timeout_s": SECONDS,
    "answer_timeout_s": SECONDS,
    "verify_local_min": r.boolean,
    "profile_path": r.text,
    "hold_ping_s": r.zero_or(r.number(1, 60), "0 or a number from 1 to 60"),
    "swap_idle_s": r.number(0),
    "pins": r.boolean,
    "observer": r.observer,
}

LIMITS: dict[str, Rule] = {
    "max_attempts": r.integer(1, 20),
    "token_ceiling": r.integer(0),
    "request_deadline_s": SECONDS,
    "connect_timeout_s": SECONDS,
    "queue_timeout_s": r.number(0),
    "buffer_cap_bytes": r.integer(1),
    "buffer_pool_bytes": r.integer(1),
    "verify_budget_s": SECONDS,
}

BREAKER: dict[str, Rule] = {
    "threshold": r.integer(1),
    "cooldown_s": SECONDS,
    "retry_after_cap_s": r.number(0),
    "retry_after_default_s": r.number(0),
}

DECISIONS: dict[str, Rule] = {
    "ring_size": r.integer(1),
    "store_path": r.any_text,
    "store_queue": r.integer(1),
    "store_days": r.integer(0),
    "store_max_mb": r.integer(1),
}

TIER_REQUIRED = ("id", "base_url", "dialect", "context_limit", "privacy", "tool_support", "auth_env")

TIER: dict[str, Rule] = {
    "id": r.text,
    "base_url": r.base_url,
    "dialect": r.one_of("openai", "anthropic"),
    "context_limit": r.integer(1),
    "privacy": r.one_of("local", "cloud"),
    "tool_support": r.boolean,
    "auth_env": r.env_name,
    "model": r.optional_text,
    "role": r.one_of("fast", "heavy", "cloud"),
    "swap_group": r.optional_text,
    "vision": r.boolean,
    "documents": r.boolean,
    "tokenizer": r.one_of("auto", "anthropic", "vllm", "none"),
    "image_tokens": r.integer(1),
    "stable_prefix": r.boolean,
    "late_system": r.one_of("user", "system"),
    "reasoning_field": r.any_text,
    "max_tokens_field": r.one_of("max_tokens", "max_completion_tokens"),
    "cost_input_per_mtok": r.number(0),
    "cost_output_per_mtok": r.number(0),
    "extra_body": r.json_table,
    "extra_body_defaults": r.json_table,
    "engine": r.optional_text,
    "quantization": r.optional_text,
    "params": r.json_table,
    "timeout": SECONDS,
    "max_concurrency": r.integer(1),
}
