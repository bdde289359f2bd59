"""The structs of router.toml (contract 4), every default filled in, and the silence limits that follow from them."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

Role = Literal["fast", "heavy", "cloud"]


class ServerConfig(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`[server]` (contract 4.2). Times in seconds, sizes in bytes."""

    auth_env: tuple[str, ...] = ()
    max_body_bytes: int = 33_554_432
    max_concurrency: int = 64
    control_concurrency: int = 32
    max_per_client: int = 0
    header_timeout_s: float = 10.0
    body_deadline_s: float = 60.0
    body_min_rate: int = 1024
    idle_timeout_s: float = 120.0
    drain_timeout_s: float = 30.0
    public_url: str | None = None
    dashboard: bool = True
    open_metrics: bool = False


class Limits(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    max_attempts: int = 3
    token_ceiling: int = 0
    request_deadline_s: float = 600.0
    connect_timeout_s: float = 3.0
    queue_timeout_s: float = 30.0
    buffer_cap_bytes: int = 33_554_432
    buffer_pool_bytes: int = 536_870_912
    verify_budget_s: float = 5.0


class BreakerConfig(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    threshold: int = 2
    cooldown_s: float = 60.0
    retry_after_cap_s: float = 60.0
    retry_after_default_s: float = 5.0


class DecisionsConfig(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    ring_size: int = 10_000
    store_path: str = ""
    store_queue: int = 10_000
    store_days: int = 30
    store_max_mb: int = 512


class TierConfig(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`[[router.tiers]]` (contract 4.5). ``role``, ``vision`` and friends hold the effective value after defaults."""

    id: str
    base_url: str
    dialect: Literal["openai", "anthropic"]
    context_limit: int
    privacy: Literal["local", "cloud"]
    tool_support: bool
    auth_env: str
    model: str | None = None
    role: Role | None = None
    swap_group: str | None = None
    vision: bool | None = None
    documents: bool = False
    tokenizer: Literal["auto", "anthropic", "vllm", "none"] = "auto"
    image_tokens: int = 4096
    stable_prefix: bool = True
    late_system: Literal["user", "system"] = "user"
    reasoning_field: str = ""
    max_tokens_field: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    cost_input_per_mtok: float | None = None
    cost_output_per_mtok: float | None = None
    extra_body: dict[str, object] | None = None
    extra_body_defaults: dict[str, object] | None = None
    engine: str | None = None
    quantization: str | None = None
    params: dict[str, object] | None = None
    timeout: float | None = None
    max_concurrency: int | None = None

    @property
    def local(self) -> bool:
        return self.privacy == "local"


class RouterConfig(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`[router]` with its tables, plus the `[server]` it was loaded with (contract 4.3, 4.4)."""

    mapping_version: str
    tiers: tuple[TierConfig, ...]
    presets: dict[str, tuple[str, ...]] = {}
    preset_classes: dict[str, str] = {}
    metered_cloud: tuple[str, ...] = ()
    exhaustion_status: int = 503
    cost_sync: bool = False
    relay_timeout: float = 20.0
    head_timeout_s: float = 120.0
    answer_timeout_s: float = 300.0
    verify_local_min: bool = True
    profile_path: str | None = None
    hold_ping_s: float = 0.0
    swap_idle_s: float = 300.0
    pins: bool = True
    observer: str | None = None
    limits: Limits = Limits()
    breaker: BreakerConfig = BreakerConfig()
    decisions: DecisionsConfig = DecisionsConfig()
    server: ServerConfig = ServerConfig()


class ConfigError(Exception):
    """Every problem of one file, each a line ``FILE: TABLE: sentence`` with a fix."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class Silence(Struct, frozen=True):
    """How long a tier may be silent, in seconds: before the first byte of a streamed answer, between its reads once it
    flows, and for a whole answer that is not streamed (reconciliation 10)."""

    head_s: float
    gap_s: float
    answer_s: float


CLOUD_SILENCE_S = 120.0


def silence(config: RouterConfig, tier: TierConfig) -> Silence:
    """The limits in force for a tier: its own ``timeout`` for all three, else the router's (local) or 120 s (cloud).

    A cloud answer that is not streamed is given the longer of the two: it is silent until it is finished.
    """
    if tier.timeout is not None:
        return Silence(tier.timeout, tier.timeout, tier.timeout)
    if tier.local:
        return Silence(config.head_timeout_s, config.relay_timeout, config.answer_timeout_s)
    return Silence(CLOUD_SILENCE_S, CLOUD_SILENCE_S, max(CLOUD_SILENCE_S, config.answer_timeout_s))
