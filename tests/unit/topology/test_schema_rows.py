"""Every row of the schema table (operations.md 3.2): its default, and how a wrong value or a misspelt key is refused."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
import tomli_w

from anvil.topology import derived
from anvil.topology.load import TopologyError, loads
from anvil.topology.model import (
    CloudTier,
    Custom,
    Gateway,
    Gpu,
    LlamaCpp,
    LocalTier,
    Machine,
    ModeSubset,
    Multiplexer,
    Plugin,
    RouterPlace,
    ServeTier,
    Sglang,
    Speculative,
    Ssh,
    Topology,
    Vllm,
    Volume,
)

CARD = {"uuid": "GPU-11111111-2222-3333-4444-555555555555", "model": "m", "vram_gb": 24, "compute": "8.9"}
ENGINE = {"machine": "m", "gpu": "g", "served_model": "s", "port": 2000, "context": 9, "image": "i:1", "volume": "v"}
LEAST: dict[str, Any] = {
    "schema": "anvil.topology/v1",
    "deployment": "d",
    "mapping_version": "1",
    "machines": {"m": {"platform": "linux", "gpus": {"g": CARD}, "ssh": {}}},
    "volumes": {"v": {"name": "v", "kind": "directory", "mount": "/m"}},
    "serves": {
        "a": {**ENGINE, "engine": "vllm", "path": "x", "speculative": {"algorithm": "ngram"}},
        "b": {**ENGINE, "engine": "sglang", "path": "x"},
        "c": {**ENGINE, "engine": "llamacpp", "model_file": "x"},
        "e": {**ENGINE, "engine": "custom", "argv": ["x"]},
    },
    "tiers": {
        "s": {"serve": "a"},
        "l": {"base_url": "http://127.0.0.1:1/v1", "model": "m", "context_limit": 9},
        "p": {"cloud": True, "base_url": "https://x", "model": "m", "context_limit": 9},
    },
    "presets": {"chat": ["s"]},
    "router": {"machine": "m"},
    "gateways": {"g": {"machine": "m", "router_url": "http://127.0.0.1:8000/v1", "plugin": {}}},
    "modes": {"agentic": {}},
    "multiplexer": {"machine": "m", "port": 8100, "docker_socket": True},
}
TABLES: dict[str, type[msgspec.Struct]] = {
    "": Topology,
    "machines/m": Machine,
    "machines/m/gpus/g": Gpu,
    "machines/m/ssh": Ssh,
    "volumes/v": Volume,
    "serves/a": Vllm,
    "serves/a/speculative": Speculative,
    "serves/b": Sglang,
    "serves/c": LlamaCpp,
    "serves/e": Custom,
    "tiers/s": ServeTier,
    "tiers/l": LocalTier,
    "tiers/p": CloudTier,
    "router": RouterPlace,
    "gateways/g": Gateway,
    "gateways/g/plugin": Plugin,
    "modes/agentic": ModeSubset,
    "multiplexer": Multiplexer,
}
KEYS = [(table, field) for table, struct in TABLES.items() for field in msgspec.structs.fields(struct)]
IDS = [f"{table or 'top'}.{field.name}" for table, field in KEYS]

# key: what 3.2 gives it where the file says nothing
DEFAULTS: dict[str, dict[str, Any]] = {
    "": {"mode": None},
    "machines/m": {"root": "/srv/anvil", "owner": "root:root", "sudo": True, "memory_gb": None, "address": None},
    "serves/a": {
        "state": "up", "container": None, "revision": "main", "include": (), "exclude": (), "family": None,
        "kv_cache_dtype": None, "quantization": None, "tool_parser": None, "reasoning_parser": None,
        "max_concurrent": None, "trust_remote_code": False, "language_only": False, "env": {}, "extra_args": (),
        "prestart": (), "secret_env": ("HF_TOKEN",), "restart": "unless-stopped", "start_timeout_s": 900,
        "stop_timeout_s": 60, "memory_need_gb": None, "preflight": "warn", "needle_tokens": None, "on_failure": "keep",
        "on_env_change": "report", "swap_group": None,
    },
    "serves/b": {"secret_env": ("HF_TOKEN",), "speculative": None},
    "tiers/s": {"role": None, "context_limit": None, "auth_env": None, "timeout": None, "max_concurrency": None,
                "tool_support": True, "thinking": "default", "extra_body": None, "extra_body_defaults": None, "params": None},
    "tiers/p": {"dialect": "openai", "cost_input_per_mtok": None, "cost_output_per_mtok": None},
    "router": {"container": "anvil-router", "publish": "127.0.0.1", "port": 8000, "token": ("ANVIL_ROUTER_TOKEN",),
               "profile": None, "settle_s": 20, "keep_releases": 5, "settings": {}, "server": {}},
    "gateways/g": {"config": "~/.openclaw/openclaw.json", "primary": "chat", "timeout_s": None, "token_delivery": "none",
                   "restart": "auto", "rewrite_json5": False, "version": None, "probe_presets": None, "login_shell": True},
    "gateways/g/plugin": {"cloud_classes": ("planning",), "route": "advise", "deadline_ms": 250, "token": None, "log": None},
    "modes/agentic": {"serves": None, "tiers": None, "presets": None},
    "multiplexer": {"container": "anvil-multiplexer", "drain_timeout_s": 30, "ram_cap_gb": None, "min_resident_s": 20},
}  # fmt: skip


def changed(table: str, key: str, value: Any) -> dict[str, Any]:
    made: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(LEAST))
    at = made
    for name in table.split("/") if table else ():
        at = at[name]
    at[key] = value
    return made


def problems(document: dict[str, Any]) -> list[str]:
    with pytest.raises(TopologyError) as caught:
        loads(tomli_w.dumps(document), {}, "t.toml")
    return caught.value.problems


def called(table: str, key: str) -> str:
    return ".".join((*(table.split("/") if table else ()), key))


@pytest.mark.parametrize(
    ("table", "key", "value"), [(t, k, v) for t, rows in DEFAULTS.items() for k, v in rows.items()]
)
def test_the_default_of(table: str, key: str, value: Any) -> None:
    found: Any = loads(tomli_w.dumps(LEAST), {}, "t.toml")
    for name in table.split("/") if table else ():
        found = found[name] if isinstance(found, dict) else getattr(found, name)
    assert getattr(found, key) == value


def test_defaults_that_follow_from_other_keys() -> None:
    found = loads(tomli_w.dumps(LEAST), {}, "t.toml")
    assert [derived.container(found, name) for name in "abce"] == ["vllm-a", "sglang-b", "llamacpp-c", "custom-e"]
    assert derived.needle_tokens(msgspec.structs.replace(found.serves["a"], context=131072)) == 126976
    assert derived.needle_tokens(msgspec.structs.replace(found.serves["a"], context=262144)) == 128000
    assert derived.auth_env(found, "s") == "ANVIL_S_KEY"
    assert derived.role("fast-local", found.tiers["s"]) == "fast"


@pytest.mark.parametrize(("table", "field"), KEYS, ids=IDS)
def test_a_value_of_another_kind_is_refused_by_table_and_key(table: str, field: Any) -> None:
    """A number where a number goes is the only one that must not be tried: a list of one table fits nowhere."""
    found = problems(changed(table, field.name, [{"x": {}}]))
    where = called(table, field.name)
    assert any(line.startswith((f"t.toml: {where}: ", f"t.toml: {where}[")) for line in found), found


@pytest.mark.parametrize(("table", "field"), KEYS, ids=IDS)
def test_a_misspelt_key_is_refused_with_the_nearest_one(table: str, field: Any) -> None:
    wrong = f"{field.name}x" if field.name not in ("env",) else "envs"
    (line,) = [each for each in problems(changed(table, wrong, 1)) if called(table, wrong) in each]
    assert line == f't.toml: {called(table, wrong)}: unknown key; did you mean "{field.name}"?'


@pytest.mark.parametrize(
    ("table", "names"),
    [
        ("machines", ["Forge", "1a", "a_b", "a" * 32, "a b"]),
        ("volumes", ["V", "a/b", "a:b"]),
        ("serves", ["a.b", "-a"]),
        ("gateways", ["mini.local"]),
        ("tiers", ["A", ".a", "a/b", "a" * 64, "anvil/x"]),
        ("presets", ["anvil/chat", "Chat", "a b"]),
    ],
)
def test_names_have_their_pattern(table: str, names: list[str]) -> None:
    for name in names:
        document = msgspec.json.decode(msgspec.json.encode(LEAST))
        document[table][name] = next(iter(document[table].values()))
        assert any(
            line.startswith(f"t.toml: {table}: expected a") and repr(name) in line for line in problems(document)
        )


@pytest.mark.parametrize(
    ("table", "key", "value", "said"),
    [
        ("machines/m", "platform", "linx", "expected one of 'linux', 'wsl2', 'macos', 'windows', got 'linx'"),
        ("serves/a", "gpu_memory", 0.99, "expected float <= 0.98, got 0.99"),
        ("serves/a", "gpu_memory", 0.01, "expected float >= 0.05, got 0.01"),
        ("serves/a", "port", 80, "expected int >= 1024, got 80"),
        ("serves/a", "port", 65536, "expected int <= 65535, got 65536"),
        ("serves/a", "context", 0, "expected int >= 1, got 0"),
        ("serves/a", "context", "many", "expected int, got str"),
        ("router", "token", ["lower"], "expected the name of an environment variable such as ANVIL_ROUTER_TOKEN"),
        ("volumes/v", "name", "a/b", "expected a docker volume name (no / \\ :), got 'a/b'"),
        ("volumes/v", "kind", "bind", "expected one of 'hf-cache', 'directory', got 'bind'"),
        ("machines/m", "root", "srv", "expected an absolute path of letters, digits and . _ / - without .., got 'srv'"),
        ("machines/m/gpus/g", "uuid", "0", "expected a GPU UUID as nvidia-smi -L prints it (GPU-xxxxxxxx-…), got '0'"),
        ("router", "keep_releases", 1, "expected int >= 2, got 1"),
        ("gateways/g", "restart", "sometimes", "expected one of 'auto', 'always', 'never', got 'sometimes'"),
    ],
)
def test_values_out_of_range(table: str, key: str, value: Any, said: str) -> None:
    (line,) = problems(changed(table, key, value))
    assert line.startswith(f"t.toml: {called(table, key)}")
    assert said in line, line
