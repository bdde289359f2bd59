"""Every rule of operations.md 4: one topology it passes (the example), and topologies it must name."""

from __future__ import annotations

from typing import Any

import pytest

from anvil.topology.check import check, lines
from anvil.topology.finding import Finding
from tests.unit.topology.example import CLOUD, EXAMPLE, GONE, LOCAL, findings, topology

UUID = "GPU-11111111-2222-3333-4444-555555555555"
DIGEST = "@sha256:" + "1" * 64
THIRD: dict[str, Any] = {
    "machine": "forge",
    "engine": "llamacpp",
    "image": f"engine:1{DIGEST}",
    "model_file": "/w.gguf",
    "served_model": "third",
    "port": 30009,
    "context": 8192,
    "state": "down",
}
TWIN: dict[str, Any] = {
    "machine": "forge",
    "gpu": "gaming",
    "engine": "vllm",
    "image": f"v:1{DIGEST}",
    "volume": "weights",
    "repo": "nvidia/Qwen3.6-27B-NVFP4",
    "quantization": "modelopt_fp4",
    "served_model": "twin",
    "port": 30010,
    "context": 8192,
    "state": "down",
}
SWAP: dict[str, Any] = {
    "serves/heavy/swap_group": "big",
    "serves/other": {**THIRD, "state": "up", "gpu": "pro", "swap_group": "big", "memory_need_gb": 90},
    "tiers/other": {"serve": "other"},
    "modes/flexibility/serves": ["heavy", "fast", "other"],
}
MULTIPLEXER: dict[str, Any] = {"machine": "forge", "port": 8100, "docker_socket": True}

# code, level, table, a word of the sentence, the change that provokes it
CASES: list[tuple[str, str, str, str, dict[str, Any]]] = [
    ("T01", "error", "presets.chat", "'fast-locl' is no tier", {"presets/chat": ["fast-locl"]}),
    ("T01", "error", "presets.chat", "listed twice", {"presets/chat": ["fast-local", "fast-local"]}),
    ("T01", "error", "modes.agentic.presets.chat", "is no tier", {"modes/agentic/presets/chat": ["gone"]}),
    ("T01", "error", "tiers.fast_local", "shares the variable", {"tiers/fast_local": {"serve": "fast"}}),
    ("T02", "warn", "serves.third", "no tier uses it", {"serves/third": {**THIRD, "state": "up"}}),
    ("T02", "error", "tiers.fast-local.serve", "'fats' is no serve", {"tiers/fast-local/serve": "fats"}),
    ("T02", "error", "tiers.fast-local.serve", "on loopback of mini", {"serves/fast/machine": "mini", "serves/fast/gpu": GONE}),
    ("T02", "warn", "tiers.ollama.base_url", "let it listen on 100.64.0.10", {"tiers/ollama": {"base_url": "http://127.0.0.1:11434/v1", "model": "m", "context_limit": 9}}),
    ("T03", "error", "serves.fast", "served_model gpt-oss-120b", {"serves/fast/served_model": "gpt-oss-120b"}),
    ("T03", "error", "serves.fast", "container name vllm-gptoss120", {"serves/fast/container": "vllm-gptoss120"}),
    ("T03", "error", "serves.fast", "container name anvil-router", {"serves/fast/container": "anvil-router"}),
    ("T03", "error", "serves.fast", "container name anvil-router-socket", {"router/handover": True, "serves/fast/container": "anvil-router-socket"}),
    ("T03", "error", "serves.fast", "container name heavy is already taken", {"serves/fast/container": "heavy"}),
    ("T03", "error", "serves.llamacpp-third", "container name llamacpp-third", {"serves/third": THIRD, "serves/llamacpp-third": {**THIRD, "served_model": "fourth", "port": 30011}}),
    ("T03", "error", "serves.router", "choose another", {"serves/router": THIRD}),
    ("T03", "error", "serves.fast", "machine 'forg' is not declared", {"serves/fast/machine": "forg"}),
    ("T04", "error", "serves.fast", "port 30002", {"serves/fast/port": 30002}),
    ("T04", "error", "serves.fast", "port 8000", {"serves/fast/port": 8000}),
    ("T05", "error", "tiers.fast-local.context_limit", "32769 is more", {"tiers/fast-local/context_limit": 32769}),
    ("T06", "error", "router.token", "needs a token", {"router/token": []}),
    ("T06", "error", "router.publish", "no IP address", {"router/publish": "forge.lan"}),
    ("T06", "warn", "router.publish", "use 100.64.0.10", {"router/publish": "0.0.0.0"}),
    ("T07", "error", "gateways.mini.router_url", "reaches only mini", {"gateways/mini/router_url": "http://127.0.0.1:8000/v1"}),
    ("T07", "error", "gateways.mini.router_url", "end in /v1", {"gateways/mini/router_url": "http://100.64.0.10:8000"}),
    ("T07", "error", "gateways.mini.router_url", "port 9000", {"gateways/mini/router_url": "http://100.64.0.10:9000/v1"}),
    ("T07", "error", "gateways.mini.router_url", "http://", {"gateways/mini/router_url": "ftp://100.64.0.10:8000/v1"}),
    ("T07", "error", "gateways.mini.router_url", "not a URL", {"gateways/mini/router_url": "http://a:b/v1"}),
    ("T07", "error", "gateways.mini.primary", "'talk' is no preset", {"gateways/mini/primary": "talk"}),
    ("T07", "error", "gateways.mini.probe_presets", "'talk' is no", {"gateways/mini/probe_presets": ["talk"]}),
    ("T08", "error", "serves.fast.gpu", "no card 'amber'", {"serves/fast/gpu": "amber"}),
    ("T08", "error", "serves.fast.gpu", "required for this engine", {"serves/fast/gpu": GONE}),
    ("T08", "error", "serves.fast.gpu", "named twice", {"serves/fast/gpu": ["gaming", "gaming"]}),
    ("T08", "error", "machines.forge.gpus.pro", "1.73 of this card in mode flexibility", {"serves/fast/gpu": "pro"}),
    ("T08", "error", "machines.forge.gpus.pro", "1.82", {"serves/third": {**THIRD, "state": "up", "gpu": "pro", "memory_need_gb": 90}, "modes/flexibility/serves": GONE}),
    ("T09", "error", "tiers.cloud.base_url", "https", {"tiers/cloud": {**CLOUD, "base_url": "http://api.example.com"}}),
    ("T09", "warn", "tiers.cloud", "no prices", {"tiers/cloud": {k: v for k, v in CLOUD.items() if "cost" not in k}}),
    ("T09", "error", "router.settings.metered_cloud", "its work class is bounded-edit", {"router/settings/metered_cloud": ["quick-edit"]}),
    ("T09", "error", "router.settings.metered_cloud", "'x' is no work class; known: chat", {"router/settings/metered_cloud": ["x"]}),
    ("T09", "error", "router.settings.metered_cloud", "expected a list", {"router/settings/metered_cloud": "planning"}),
    ("T09", "error", "router.settings.metered_cloud", "expected a list", {"router/settings/metered_cloud": True, "tiers/cloud": CLOUD, "presets/chat": ["cloud"]}),
    ("T09", "error", "router.settings.metered_cloud", "['x'] is no work class", {"router/settings/metered_cloud": [["x"]]}),
    ("T09", "error", "gateways.mini.plugin.cloud_classes", "'x' is no preset and no work class; known: chat", {"gateways/mini/plugin/cloud_classes": ["x"]}),
    ("T10", "warn", "presets.review", 'add "review"', {"tiers/cloud": CLOUD, "presets/review": ["heavy-local", "cloud"]}),
    ("T11", "error", "serves.fast.volume", "'weight' is no volume", {"serves/fast/volume": "weight"}),
    ("T11", "error", "serves.fast.volume", "required", {"serves/fast/volume": GONE}),
    ("T11", "error", "serves.fast", "exactly one of repo and path", {"serves/fast/path": "/root/.cache/huggingface/x"}),
    ("T11", "error", "serves.fast", "exactly one of repo and path", {"serves/fast/repo": GONE}),
    ("T11", "error", "serves.fast.repo", "no repository id", {"serves/fast/repo": "--enable-lora"}),
    ("T11", "error", "serves.fast.repo", "no repository id", {"serves/fast/repo": "/mnt/models/x"}),
    ("T11", "error", "serves.fast.path", "leaves the volume", {"serves/fast/repo": GONE, "serves/fast/path": "../x"}),
    ("T11", "error", "serves.fast.path", "not under the volume's mount", {"serves/fast/repo": GONE, "serves/fast/path": "/models/x"}),
    ("T11", "error", "serves.third.model_file", "needs a volume", {"serves/third": {**THIRD, "model_file": "x.gguf"}}),
    ("T12", "error", "machines.forge.root", "Windows drive", {"machines/forge/root": "/mnt/c/anvil"}),
    ("T12", "warn", "machines.forge.memory_gb", "heavy needs more than 48 GB", {"machines/forge/memory_gb": 32}),
    ("T12", "warn", "machines.forge.memory_gb", "heavy needs more than 48 GB", {"machines/forge/memory_gb": GONE}),
    ("T13", "warn", "tiers.fast-local.timeout", "below gateways.mini.timeout_s", {"gateways/mini/timeout_s": 240}),
    ("T13", "warn", "tiers.fast-local.timeout", "above router.settings.relay_timeout", {"router/settings/relay_timeout": 300}),
    ("T14", "error", "serves.fast", "modelopt_fp4", {"serves/fast/quantization": GONE}),
    ("T14", "error", "serves.fast", "must not name a quantization", {"serves/fast/repo": "RedHatAI/Qwen3.6-27B-NVFP4"}),
    ("T14", "warn", "serves.fast", "MoE kernels are immature", {"serves/fast/repo": "nvidia/Qwen3.6-30B-A3B-NVFP4"}),
    ("T14", "error", "serves.heavy.tool_parser", "is a qwen3 parser", {"serves/heavy/tool_parser": "qwen3_coder"}),
    ("T14", "error", "tiers.heavy-local.thinking", "reasoning_effort", {"tiers/heavy-local/thinking": "off"}),
    ("T14", "error", "tiers.fast-local.thinking", "say it in extra_body", {"serves/fast/family": GONE}),
    ("T14", "error", "serves.fast.extra_args", "decode", {"serves/fast/extra_args": ["--cuda-graph-max-bs", "8"]}),
    ("T14", "error", "serves.fast.extra_args", "no server flag", {"serves/fast/extra_args": ["--chat-template-kwargs={}"]}),
    ("T14", "error", "serves.fast.extra_args", "secret on a command line", {"serves/fast/extra_args": ["--api-key", "x"]}),
    ("T14", "error", "serves.fast.extra_args", "is derived", {"serves/fast/extra_args": ["--max-model-len=1"]}),
    ("T14", "error", "serves.fast.extra_args", "is derived", {"serves/fast/extra_args": ["--max_model_len", "1"]}),
    ("T14", "error", "serves.fast.extra_args", "secret on a command line", {"serves/fast/extra_args": ["--api_key=x"]}),
    ("T14", "error", "serves.fast.reasoning_parser", "is a qwen3 parser, the family is glm", {"serves/fast/family": "glm", "serves/fast/reasoning_parser": "qwen3"}),
    ("T14", "warn", "serves.fast", "FP8 MoE has hung", {"serves/fast/repo": "Qwen/Qwen3-30B-A3B-FP8", "serves/fast/quantization": GONE}),
    ("T14", "warn", "serves.fast", "block FP8 has slow", {"serves/fast/repo": "Qwen/Qwen3-32B-FP8-block", "serves/fast/quantization": GONE}),
    ("T14", "warn", "serves.fast", "cute_dsl", {"serves/fast/repo": "olka-fi/Qwen3.5-27B-MXFP4", "serves/fast/quantization": "compressed-tensors"}),
    ("T14", "warn", "serves.fast.extra_args", "CUDA graphs off", {"serves/fast/extra_args": ["--enforce-eager"]}),
    ("T14", "warn", "serves.fast.extra_args", "kind directory", {"serves/fast/extra_args": ["--weight-loader-disable-mmap"]}),
    ("T14", "warn", "serves.fast.extra_args", "kind directory; it is left out", {"serves/fast/engine": "sglang", "serves/fast/extra_args": ["--weight-loader-disable-mmap"]}),
    ("T14", "warn", "serves.fast.start_timeout_s", "570 s", {"serves/fast/engine": "sglang", "serves/fast/start_timeout_s": 600, "serves/fast/speculative": {"algorithm": "NEXTN"}}),
    ("T15", "error", "serves.fast.env.X", "looks like a secret", {"serves/fast/env": {"X": "hf_" + "abc"}}),
    ("T15", "error", "serves.fast.env.X", "looks like a secret", {"serves/fast/env": {"X": "AKIA" + "1234567890ABCDEF"}}),
    ("T15", "error", "serves.fast.env.X", "looks like a secret", {"serves/fast/env": {"X": "a1" * 20}}),
    ("T15", "error", "serves.fast.env.X", "looks like a secret", {"serves/fast/env": {"X": "ASIA" + "1234567890ABCDEF"}}),
    ("T15", "error", "serves.fast.env.X", "looks like a secret", {"serves/fast/env": {"X": "sk-" + "abc"}}),
    ("T15", "error", "serves.fast.env.X", "looks like a secret", {"serves/fast/env": {"X": "ghp_" + "abc"}}),
    ("T15", "error", "serves.fast.env.X", "looks like a secret", {"serves/fast/env": {"X": "aB3/xY9-" * 5}}),
    ("T15", "error", "serves.fast", "command-line word", {"serves/fast/prestart": ["export X=sk-" + "abc"]}),
    ("T15", "error", "serves.fast", "command-line word", {"serves/fast/extra_args": ["--x", "Bearer " + "abc"]}),
    ("T15", "error", "serves.fast.env.HF_TOKEN", "keep one", {"serves/fast/env": {"HF_TOKEN": "x"}}),
    ("T15", "error", "serves.fast.env", "no variable name", {"serves/fast/env": {"A B": "x"}}),
    ("T17", "error", "gateways.mini.router_url", "127.0.0.1", {"gateways/mini/router_url": "http://localhost:8000/v1"}),
    ("T17", "error", "serves.fast.extra_args[0]", "127.0.0.1", {"serves/fast/extra_args": ["--x=Localhost"]}),
    ("T18", "error", "presets.fast-local", "also a tier id", {"presets/fast-local": ["heavy-local"]}),
    ("T18", "warn", "presets.nightly", "know only planning", {"presets/nightly": ["heavy-local"]}),
    ("T19", "error", "serves.heavy.swap_group", "needs a [multiplexer]", SWAP),
    ("T19", "error", "serves.heavy.swap_group", "not on one machine and card", {**SWAP, "serves/other/gpu": "gaming", "multiplexer": MULTIPLEXER}),
    ("T19", "warn", "serves.heavy.swap_group", "nothing swaps", {"serves/heavy/swap_group": "big", "multiplexer": MULTIPLEXER}),
    ("T19", "error", "multiplexer.docker_socket", "equals root", {**SWAP, "multiplexer": {**MULTIPLEXER, "docker_socket": False}}),
    ("T19", "error", "router.token", "multiplexer needs a token", {**SWAP, "multiplexer": MULTIPLEXER, "router/token": [], "router/publish": "127.0.0.1"}),
    ("T19", "warn", "multiplexer.ram_cap_gb", "limits nothing", {**SWAP, "multiplexer": {**MULTIPLEXER, "ram_cap_gb": 9}}),
    ("T19", "warn", "multiplexer", "nothing to do", {"multiplexer": MULTIPLEXER}),
    ("T20", "error", "mode", "not declared", {"modes/flexibility": GONE}),
    ("T20", "error", "modes.agentic.serves", "'hevy' is no serve", {"modes/agentic/serves": ["hevy"]}),
    ("T20", "error", "modes.agentic.tiers", "'x' is no tier", {"modes/agentic/tiers": ["heavy-local", "x"]}),
    ("T20", "error", "modes.agentic.presets.chat", "leaves out", {"modes/agentic/presets/chat": ["fast-local"]}),
    ("T20", "error", "modes.agentic.presets", "quick-edit uses fast-local", {"modes/agentic/presets": GONE}),
    ("T21", "warn", "serves.twin.repo", "already on card gaming", {"serves/twin": TWIN}),
    *[
        ("T12", "error", "machines.forge.root", "is the system's own", {"machines/forge/root": root})
        for root in ("/srv", "/tmp", "/home/alice", "/Users/alice", "/usr/local", "/var/lib", "/proc/1/x", "/root/.")
    ],
    ("T12", "error", "machines.forge.root", "write /srv/anvil", {"machines/forge/root": "/srv/anvil/"}),
    ("T12", "error", "machines.forge.root", "write /srv/anvil", {"machines/forge/root": "/srv//anvil"}),
    ("T12", "error", "machines.forge.owner", 'write owner = ""', {"machines/forge/sudo": False, "machines/forge/ssh": {"user": "me"}}),
    ("T12", "error", "machines.forge.address", "neither a host name", {"machines/forge/address": "100.64.0.10:22"}),
    ("T12", "error", "machines.forge.address", "neither a host name", {"machines/forge/address": "http://forge"}),
    ("T12", "error", "machines.forge.ssh.hostname", "user or port goes", {"machines/forge/ssh": {"hostname": "me@forge"}}),
    ("T11", "error", "serves.fast.repo", "write Qwen/Qwen3-8B", {"serves/fast/repo": "https://huggingface.co/Qwen/Qwen3-8B"}),
    ("T11", "error", "serves.fast.repo", "as the hub shows it", {"serves/fast/repo": "https://example.com/x"}),
    ("T11", "warn", "serves.fast.volume", "into which no repository is pulled", {"volumes/d": {"name": "d", "kind": "directory", "mount": "/d"}, "serves/fast/volume": "d"}),
    ("T11", "warn", "serves.fast.volume", 'env = { HF_HOME = "/hub" }', {"volumes/d": {"name": "d", "kind": "hf-cache", "mount": "/hub"}, "serves/fast/volume": "d"}),
    ("T14", "error", "serves.fast.extra_args", 'write "--swap-space", "4"', {"serves/fast/extra_args": ["--swap-space 4"]}),
    ("T14", "warn", "serves.heavy.family", "did you mean 'gpt-oss'", {"serves/heavy/family": "gptoss"}),
    ("T14", "warn", "serves.heavy.family", "did you mean 'llama'", {"serves/heavy/family": "llama3"}),
    ("T22", "error", "serves.fast.image", "required on a compose machine", {"serves/fast/image": GONE}),
    ("T22", "error", "router.image", "required on a compose machine", {"router/image": GONE}),
    ("T22", "error", "serves.fast.image", "pin it", {"serves/fast/image": "vllm/vllm-openai:latest"}),
    ("T22", "error", "serves.fast.image", "pin it", {"serves/fast/image": "vllm/vllm-openai"}),
    ("T22", "error", "serves.fast.image", "no image reference", {"serves/fast/image": "v:1@sha256:<64 hex>"}),
    ("T22", "error", "serves.fast.image", "no image reference", {"serves/fast/image": "-v:1"}),
    ("T22", "warn", "serves.fast.image", "no digest", {"serves/fast/image": "local/vllm:7"}),
    ("T23", "error", "router.settings.tiers", "is derived", {"router/settings/tiers": []}),
    ("T23", "error", "router.server.auth_env", "is derived", {"router/server": {"auth_env": "X"}}),
]  # fmt: skip

PROCESS_CASES: list[tuple[str, str, str, dict[str, Any]]] = [
    ("T22", "serves.fast.image", "no meaning", {"serves/fast/image": f"a:1{DIGEST}"}),
    ("T22", "serves.fast.volume", "no meaning", {"serves/fast/volume": "w", "volumes/w": {"name": "w", "kind": "directory", "mount": "/m"}}),
    ("T22", "serves.fast.model_file", "absolute path", {"serves/fast/model_file": "tiny.gguf"}),
    ("T22", "serves.fast.chat_template_file", "absolute path", {"serves/fast/chat_template_file": "t.jinja"}),
    ("T22", "multiplexer", "needs containers", {"multiplexer": {**MULTIPLEXER, "machine": "here"}}),
    ("T22", "serves.x.container_port", "one port", {"serves/x": {"machine": "here", "engine": "custom", "argv": ["a"], "served_model": "x", "port": 30999, "context": 9, "container_port": 80}}),
]  # fmt: skip


def matching(found: list[Finding], code: str, level: str, table: str, word: str) -> list[Finding]:
    return [
        each for each in found if (each.code, each.level, each.table) == (code, level, table) and word in each.sentence
    ]


@pytest.mark.parametrize(("code", "level", "table", "word", "changes"), CASES)
def test_each_rule_names_what_breaks_it(code: str, level: str, table: str, word: str, changes: dict[str, Any]) -> None:
    found = findings(changes)
    assert len(matching(found, code, level, table, word)) == 1, found


@pytest.mark.parametrize(("code", "table", "word", "changes"), PROCESS_CASES)
def test_process_machines_have_rules_of_their_own(code: str, table: str, word: str, changes: dict[str, Any]) -> None:
    found = findings(changes, LOCAL)
    assert len(matching(found, code, "error", table, word)) == 1, found


def test_a_process_machine_has_nothing_to_restore() -> None:
    found = findings({"serves/fast/on_failure": "restore"}, LOCAL)
    assert len(matching(found, "T22", "warn", "serves.fast.on_failure", "no earlier definition")) == 1, found


@pytest.mark.parametrize("file", [EXAMPLE, LOCAL])
def test_the_shipped_topologies_have_no_findings(file: Any) -> None:
    assert findings(file=file) == []


GOOD: list[dict[str, Any]] = [
    {"router/publish": "127.0.0.1", "router/token": [], "gateways": {}},
    {"router/publish": "::1", "router/token": [], "gateways": {}},
    {"gateways/mini/machine": "forge", "gateways/mini/router_url": "http://127.0.0.1:8000/v1"},
    {"gateways/mini/router_url": "https://forge.example:8000/v1/"},
    {"tiers/cloud": CLOUD, "presets/planning": ["heavy-local", "cloud"], "router/settings/metered_cloud": ["planning"]},
    {"tiers/fast-local/context_limit": 32768},
    {"serves/third": THIRD},
    {"serves/third": {**THIRD, "model_file": "x.gguf", "volume": "weights"}},
    {"serves/fast/repo": GONE, "serves/fast/path": "models/x"},
    {"serves/fast/repo": GONE, "serves/fast/path": "/root/.cache/huggingface/x"},
    {"serves/fast/gpu": "pro", "serves/fast/state": "down"},
    {"serves/fast/env": {"X": "/usr/lib/x86_64-linux-gnu/libtcmalloc_minimal.so.4", "Y": UUID}},
    {
        "serves/fast/env": {
            "X": "meta-llama/Llama-3_1-Nemotron-Ultra-253B-v1-FP8-Dynamic",
            "Y": "GPU-11a1b111-2c22-3333-44f4-5555e5a55555",
        }
    },
    {"gateways/mini/plugin/cloud_classes": ["quick-edit", "bounded-edit", "long-context"]},
    {"machines/forge/owner": "1000:1000"},
    {"machines/forge/owner": "Mary.Ann:staff"},
    {"serves/fast/repo": "RedHatAI/Qwen3.6-27B-NVFP4", "serves/fast/quantization": GONE},
    {"serves/heavy/tool_parser": ""},
    {"serves/heavy/family": "smollm"},
    *[
        {"tiers/lan": {"base_url": url, "model": "m", "context_limit": 9}}
        for url in ("http://10.0.0.9:11434/v1", "http://[::1/v1", "http://a:b/v1")
    ],
    {
        "volumes/d": {"name": "d", "kind": "hf-cache", "mount": "/hub"},
        "serves/fast/volume": "d",
        "serves/fast/env": {"HF_HOME": "/hub"},
    },
    *[
        {"machines/forge/sudo": False, "machines/forge/ssh": ssh, "machines/forge/owner": owner}
        for ssh, owner in (
            ({"user": "root"}, "root:root"),
            ({"user": "me"}, ""),
            ({"user": "me"}, "me:docker"),
            ({}, "x"),
        )
    ],
    *[
        {"machines/forge/root": root}
        for root in ("/data", "/anvil", "/home/alice/anvil", "/var/lib/anvil", "/opt/anvil")
    ],
    *[{"machines/mini/address": host} for host in ("mini", "mini_2.lan.", "2001:db8::1", "fe80::1%eth0", "10.0.0.2")],
    {"serves/fast/repo": "gpt2"},
    {"serves/fast/extra_args": ['--hf-overrides={"a": 1}', "--chat-template", "a b"]},
    {"machines/forge/platform": "linux", "machines/forge/memory_gb": GONE},
    {**SWAP, "multiplexer": MULTIPLEXER},
]


@pytest.mark.parametrize("changes", GOOD)
def test_what_is_right_is_not_reported(changes: dict[str, Any]) -> None:
    assert findings(changes) == []


def test_a_machine_that_is_not_declared_is_one_finding() -> None:
    assert [each.code for each in findings({"router/machine": "nowhere"}) if each.level == "error"] == ["T03"]


def test_swap_group_members_count_once() -> None:
    """0.88 of the card and 90 of 96 GB would be too much together, one at a time they fit (T08)."""
    assert not [each for each in findings({**SWAP, "multiplexer": MULTIPLEXER}) if each.code == "T08"]


def test_a_card_may_be_shared_by_serves_of_different_modes() -> None:
    changes = {"serves/fast/gpu": "pro", "modes/flexibility/serves": ["fast"]}
    assert not [each for each in findings(changes) if each.code == "T08"]


ODD: list[Any] = [True, 5, 0.5, "x", [], ["x"], [1], [["x"]], [{"a": 1}], {}, {"nightly": 1}, {"nightly": ["chat"]}]
OPEN_KEYS = [
    "metered_cloud",
    "preset_classes",
    "relay_timeout",
    "decisions",
    "limits",
    "breaker",
    "exhaustion_status",
    "head_timeout_s",
    "pins",
]


@pytest.mark.parametrize("key", OPEN_KEYS)
def test_no_value_of_an_open_key_breaks_a_rule(key: str) -> None:
    """The router's own decoder judges `router.settings`; the rules that look there must not fall over it."""
    pool = {"tiers/cloud": CLOUD, "presets/nightly": ["cloud", "heavy-local"]}
    for value in ODD:
        found = findings({**pool, f"router/settings/{key}": value})
        assert all(each.sentence for each in found)


def test_missing_secrets_are_named_only_when_asked_for() -> None:
    changes = {"tiers/cloud": CLOUD, "presets/planning": ["cloud"], "router/settings/metered_cloud": ["planning"]}
    loaded = topology(changes)
    assert check(loaded) == []
    assert check(loaded, {"ANVIL_ROUTER_TOKEN", "ANVIL_CLOUD_KEY"}) == []
    (finding,) = check(loaded, {"ANVIL_CLOUD_KEY"})
    assert (finding.code, finding.table) == ("T16", "machines.forge")
    assert "ANVIL_ROUTER_TOKEN" in finding.sentence
    assert "ANVIL_CLOUD_KEY" in check(loaded, set())[0].sentence


def test_errors_come_first_and_every_error_is_there() -> None:
    found = findings({"presets/nightly": ["heavy-local"], "presets/chat": ["gone"], "serves/fast/port": 8000})
    assert [each.level for each in found] == ["error", "error", "warn"]
    shown = list(lines(found, "inventory/topology.toml"))
    assert shown[0].startswith("inventory/topology.toml: serves.fast: port 8000")


@pytest.mark.parametrize("code", [f"T{number:02}" for number in range(1, 24)])
def test_every_rule_of_the_contract_has_a_case(code: str) -> None:
    assert code == "T16" or any(case[0] == code for case in CASES)
