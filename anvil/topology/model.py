"""What exists: the typed topology (contract operations.md 3.2). Pure data, frozen, unknown keys are errors.

Names live in the dictionary keys (`topology.serves["fast"]`). Values are what the file says, with the documented
defaults; everything computed from more than one table is in ``derived``.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

Name = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9-]{0,30}$")]
TierId = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9._-]{0,62}$")]
EnvName = Annotated[str, Meta(pattern=r"^(?!(?:AKIA|ASIA)[0-9A-Z]{16}$)[A-Z][A-Z0-9_]*$")]
ContainerName = Annotated[str, Meta(pattern=r"^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,127}$")]
VolumeName = Annotated[str, Meta(pattern=r"^[a-zA-Z0-9][a-zA-Z0-9_.-]*$")]
GpuUuid = Annotated[str, Meta(pattern=r"^GPU-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")]
Root = Annotated[str, Meta(pattern=r"^(?!.*(?:^|/)\.\.(?:/|$))/[A-Za-z0-9._/-]+$")]
Owner = Annotated[str, Meta(pattern=r"^([A-Za-z0-9_][A-Za-z0-9_.-]*(:[A-Za-z0-9_][A-Za-z0-9_.-]*)?)?$")]
Text = Annotated[str, Meta(min_length=1)]
Port = Annotated[int, Meta(ge=1024, le=65535)]
Count = Annotated[int, Meta(gt=0)]
Amount = Annotated[float, Meta(gt=0)]
Price = Annotated[float, Meta(ge=0)]
Fraction = Annotated[float, Meta(ge=0.05, le=0.98)]
SpeculativeAlgorithm = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]+$")]
Preference = Annotated[tuple[TierId, ...], Meta(min_length=1)]
Mode = Literal["agentic", "flexibility"]
Pull = Literal["missing", "never"]

# What a pattern asks for, in words for error messages.
SHAPES: dict[Any, str] = {
    Name: "a name of lower-case letters, digits and -, such as heavy-2",
    TierId: "an id of lower-case letters, digits and . _ -, such as fast-local",
    EnvName: "the name of an environment variable such as ANVIL_ROUTER_TOKEN, never its value",
    ContainerName: "a container name",
    VolumeName: "a docker volume name (no / \\ :)",
    GpuUuid: "a GPU UUID as nvidia-smi -L prints it (GPU-xxxxxxxx-…)",
    Root: "an absolute path of letters, digits and . _ / - without ..",
    Owner: "a user, user:group, or the same in numbers, as chown takes them",
}


class Ssh(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How the controller reaches the machine; absent keys fall to the machine's address and the user's own ssh
    settings."""

    hostname: Text | None = None
    port: Annotated[int, Meta(ge=1, le=65535)] | None = None
    user: Text | None = None
    key: Text | None = None
    known_hosts: Text | None = None


class Gpu(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    uuid: GpuUuid
    model: Text
    vram_gb: Amount
    compute: Annotated[str, Meta(pattern=r"^\d+\.\d+$")]


class Machine(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``owner = ""`` leaves ownership alone. ``root`` holds everything anvil writes there. Sizes in GB."""

    platform: Literal["linux", "wsl2", "macos", "windows"]
    runtime: Literal["compose", "process"] = "compose"
    address: Text | None = None
    root: Root = "/srv/anvil"
    owner: Owner = "root:root"
    sudo: bool = True
    memory_gb: Amount | None = None
    gpus: dict[Name, Gpu] = {}
    ssh: Ssh | None = None


class Volume(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A docker volume that exists outside every compose project; ``mount`` is the path inside a container."""

    name: VolumeName
    kind: Literal["hf-cache", "directory"]
    mount: Root


class Speculative(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    algorithm: SpeculativeAlgorithm
    steps: Count | None = None
    topk: Count | None = None
    draft_tokens: Count | None = None


class ServeCommon(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="engine"):
    """Keys every engine has. ``image`` is needed on compose machines; ``binary`` is the engine program (in the
    container, or on the host of a process machine). Times in seconds, ``context`` in tokens, sizes in GB."""

    machine: Name
    served_model: Text
    port: Port
    context: Count
    # Plain str: a union of the constrained name and a tuple of it crashes msgspec 0.22 at interpreter exit.
    gpu: str | tuple[str, ...] | None = None
    state: Literal["up", "down"] = "up"
    image: Text | None = None
    pull: Pull = "missing"
    container: ContainerName | None = None
    volume: Name | None = None
    family: Text | None = None
    max_concurrent: Count | None = None
    quantization: Text | None = None
    env: dict[str, str] = {}
    extra_args: tuple[str, ...] = ()
    prestart: tuple[str, ...] = ()
    ipc: Literal["host", "private", "shareable", "none", ""] | None = None
    shm_size: Annotated[str, Meta(pattern=r"^\d+[kmgKMG]?b?$")] | None = None
    restart: Literal["no", "always", "on-failure", "unless-stopped"] = "unless-stopped"
    start_timeout_s: Count = 900
    stop_timeout_s: Count = 60
    memory_need_gb: Amount | None = None
    preflight: Literal["off", "warn", "required"] = "warn"
    needle_tokens: Count | None = None
    on_failure: Literal["keep", "restore"] = "keep"
    on_env_change: Literal["report", "recreate"] = "report"
    swap_group: Name | None = None


class ModelServe(ServeCommon, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Keys of the engines that load a model repository (exactly one of ``repo`` and ``path``; path is inside the
    volume)."""

    repo: Text | None = None
    path: Text | None = None
    revision: Text = "main"
    include: tuple[Text, ...] = ()
    exclude: tuple[Text, ...] = ()
    binary: Text | None = None
    gpu_memory: Fraction = 0.9
    kv_cache_dtype: Text | None = None
    tool_parser: str | None = None
    reasoning_parser: str | None = None
    trust_remote_code: bool = False
    language_only: bool = False
    speculative: Speculative | None = None
    secret_env: tuple[EnvName, ...] = ("HF_TOKEN",)


class Vllm(ModelServe, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="vllm"):
    """A vLLM OpenAI server."""


class Sglang(ModelServe, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="sglang"):
    """An SGLang server."""


class LlamaCpp(ServeCommon, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="llamacpp"):
    """A llama.cpp ``llama-server``, on CPU or GPU. ``context`` is one slot's window: the engine is given context x
    parallel.

    ``model_file`` and ``chat_template_file`` are paths inside the volume (relative) or the container (absolute); on a
    process machine they are absolute host paths. ``predict`` is how many tokens the engine generates for a request
    that names no cap (measured on b10434: a cap in the request wins).
    """

    model_file: Text
    binary: Text | None = None
    parallel: Count = 1
    threads: Count | None = None
    predict: Count | None = None
    chat_template_file: str | None = None
    health_command: tuple[Text, ...] | None = None
    secret_env: tuple[EnvName, ...] = ()


class Custom(ServeCommon, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="custom"):
    """Any engine with an OpenAI-compatible /v1: the whole command line is written out. ``container_port`` defaults
    to ``port``."""

    argv: Annotated[tuple[Text, ...], Meta(min_length=1)]
    health_path: Annotated[str, Meta(pattern=r"^/[!-~]*$")] = "/health"
    health_command: tuple[Text, ...] | None = None
    container_port: Annotated[int, Meta(ge=1, le=65535)] | None = None
    secret_env: tuple[EnvName, ...] = ()


Serve = Vllm | Sglang | LlamaCpp | Custom


class TierCommon(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="form"):
    """Keys every tier has; most ride to the router's tier of the same key unchanged (contract router.md 4.5).

    ``form`` is derived by the loader from the keys present (`serve`, `cloud`, neither); it is never written in the
    file.
    """

    role: Literal["fast", "heavy", "cloud"] | None = None
    auth_env: EnvName | None = None
    timeout: Amount | None = None
    max_concurrency: Count | None = None
    tool_support: bool = True
    extra_body: dict[str, Any] | None = None
    extra_body_defaults: dict[str, Any] | None = None
    params: dict[str, Any] | None = None
    vision: bool | None = None
    documents: bool | None = None
    tokenizer: Literal["auto", "anthropic", "vllm", "none"] | None = None
    image_tokens: Count | None = None
    stable_prefix: bool | None = None
    late_system: Literal["user", "system"] | None = None
    reasoning_field: str | None = None
    max_tokens_field: Literal["max_tokens", "max_completion_tokens"] | None = None


class ServeTier(TierCommon, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="serve"):
    """A tier answered by a serve of this topology: address, model and window are derived from it."""

    serve: Name
    context_limit: Count | None = None
    thinking: Literal["default", "off"] = "default"


class LocalTier(TierCommon, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="local"):
    """A local endpoint that anvil does not manage."""

    base_url: Text
    model: Text
    context_limit: Count
    dialect: Literal["openai", "anthropic"] = "openai"
    engine: Text | None = None
    quantization: Text | None = None


class CloudTier(TierCommon, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="cloud"):
    """A paid API. Costs in USD per million tokens."""

    cloud: bool
    base_url: Text
    model: Text
    context_limit: Count
    dialect: Literal["openai", "anthropic"] = "openai"
    cost_input_per_mtok: Price | None = None
    cost_output_per_mtok: Price | None = None


Tier = ServeTier | LocalTier | CloudTier


class RouterPlace(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where the router runs. ``token`` lists accepted token variables, first = the clients' one; empty = open,
    loopback only.

    ``image`` is needed on a compose machine, ``python`` is the interpreter on a process machine. ``settings`` and
    ``server`` are the router's own keys, judged by the router's own decoder at read-back. ``handover`` (compose) has
    the published port held by a container of its own, so that another router image refuses no caller.
    """

    machine: Name
    image: Text | None = None
    pull: Pull = "missing"
    container: ContainerName = "anvil-router"
    publish: Text = "127.0.0.1"
    port: Port = 8000
    token: tuple[EnvName, ...] = ("ANVIL_ROUTER_TOKEN",)
    profile: Text | None = None
    python: Text = "python3"
    settings: dict[str, Any] = {}
    server: dict[str, Any] = {}
    handover: bool = False
    settle_s: Count = 20
    keep_releases: Annotated[int, Meta(ge=2)] = 5


class Plugin(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    path: Text = "~/.anvil/plugins/openclaw-anvil-intent-router"
    cloud_classes: tuple[Text, ...] = ("planning",)
    route: Literal["off", "advise"] = "advise"
    deadline_ms: Annotated[int, Meta(ge=50, le=2000)] = 250
    token: EnvName | None = None
    log: Text | None = None


class Gateway(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """An OpenClaw gateway whose document follows the router."""

    machine: Name
    router_url: Text
    config: Text = "~/.openclaw/openclaw.json"
    primary: Text = "chat"
    timeout_s: Count | None = None
    token_delivery: Literal["none", "openclaw-env"] = "none"  # noqa: S105 - a way of delivery, no secret
    restart: Literal["auto", "always", "never"] = "auto"
    rewrite_json5: bool = False
    version: Text | None = None
    probe_presets: tuple[Text, ...] | None = None
    login_shell: bool = True
    plugin: Plugin | None = None


class ModeSubset(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What is active in a mode; a missing key means everything."""

    serves: tuple[Name, ...] | None = None
    tiers: tuple[TierId, ...] | None = None
    presets: dict[TierId, Preference] | None = None


class Multiplexer(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One card, several models, one resident (contract operations.md 16). Times in seconds."""

    machine: Name
    port: Port
    docker_socket: bool
    container: ContainerName = "anvil-multiplexer"
    drain_timeout_s: Annotated[int, Meta(ge=0)] = 30
    ram_cap_gb: Amount | None = None
    min_resident_s: Annotated[int, Meta(ge=0)] = 20


class Topology(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The one source of truth (`inventory/topology.toml`)."""

    schema: Literal["anvil.topology/v1"]
    deployment: Name
    mapping_version: Text
    machines: dict[Name, Machine]
    router: RouterPlace
    mode: Mode | None = None
    volumes: dict[Name, Volume] = {}
    serves: dict[Name, Serve] = {}
    tiers: dict[TierId, Tier] = {}
    presets: dict[TierId, Preference] = {}
    gateways: dict[Name, Gateway] = {}
    modes: dict[Mode, ModeSubset] = {}
    multiplexer: Multiplexer | None = None


# Keys that people write into a table where they have no place, and what to write instead.
ELSEWHERE: dict[type[Struct], dict[tuple[str, ...], str]] = {
    ServeTier: {
        ("base_url", "model", "dialect", "cloud", "engine", "quantization"): (
            "a tier of a serve takes it from there; leave it out, or leave out serve"
        )
    },
    LocalTier: {("cost_input_per_mtok", "cost_output_per_mtok"): "only a cloud tier has it; add cloud = true"},
    RouterPlace: {
        ("limits", "breaker", "decisions", "preset_classes", "metered_cloud", "relay_timeout", "head_timeout_s"): (
            "it belongs below [router.settings]"
        ),
        ("auth_env", "tokens", "api_key"): "token lists the names of the variables",
        ("presets", "tiers"): "it is a table of its own, outside [router]",
    },
    Ssh: {("password", "passphrase"): "a deploy types none: log in with a key, or with ssh-agent"},
    Machine: {
        ("host", "hostname", "ip", "user", "port", "key", "identity_file"): (
            "how the controller logs in stands below [machines.NAME.ssh]; address is what other machines use"
        )
    },
}
