"""The known-good definitions of operations.md 6.5 (F1-F6): the templates express each exactly."""

from __future__ import annotations

import shlex
from typing import Any

import pytest
import yaml

from anvil.render import argv, compose
from anvil.render.env import Secrets
from anvil.topology.model import Topology
from tests.unit.topology.example import GONE, findings, topology

IMAGE = "engine:1@sha256:" + "1" * 64
MODELS = {"name": "models", "kind": "directory", "mount": "/models"}


def serve(**keys: Any) -> dict[str, Any]:
    return {"machine": "forge", "gpu": "pro", "image": IMAGE, "volume": "models", "state": "down", **keys}


def rendered(made: Topology, name: str) -> dict[str, Any]:
    """The service as compose will read it."""
    text = compose.text(compose.document(made, "forge", Secrets()))
    service: dict[str, Any] = yaml.safe_load(text)["services"][name]
    return service


def line(service: dict[str, Any]) -> str:
    return shlex.join(service["entrypoint"] + service["command"])


def test_f1_heavy_is_the_service_of_the_contract() -> None:
    """Section 5.2 word for word; only the two hashes are ours."""
    expected = yaml.safe_load(
        """
        image: vllm/vllm-openai:nightly@sha256:1111111111111111111111111111111111111111111111111111111111111111
        container_name: vllm-gptoss120
        pull_policy: missing
        restart: unless-stopped
        stop_grace_period: 60s
        ipc: host
        entrypoint: ["vllm"]
        command: ["serve","openai/gpt-oss-120b","--served-model-name","gpt-oss-120b","--kv-cache-dtype","fp8",
                  "--tool-call-parser","openai","--enable-auto-tool-choice","--gpu-memory-utilization","0.88",
                  "--max-model-len","131072","--host","0.0.0.0","--port","30002"]
        environment:
          CUDA_DEVICE_ORDER: "PCI_BUS_ID"
          CUDA_VISIBLE_DEVICES: "GPU-11111111-2222-3333-4444-555555555555"
          FLASHINFER_CUDA_ARCH_LIST: "12.0f"
          VLLM_USE_V2_MODEL_RUNNER: "0"
          HF_TOKEN: "${HF_TOKEN:-}"
        ports: ["127.0.0.1:30002:30002"]
        volumes: ["weights:/root/.cache/huggingface"]
        healthcheck:
          test: ["CMD","python3","-c",
                 "import urllib.request as u; u.urlopen('http://127.0.0.1:30002/health', timeout=3)"]
          interval: 10s
          timeout: 5s
          retries: 3
          start_period: 900s
        logging: { driver: json-file, options: { max-size: 50m, max-file: "3" } }
        deploy: { resources: { reservations: { devices: [ { driver: nvidia,
          device_ids: ["GPU-11111111-2222-3333-4444-555555555555"], capabilities: [gpu] } ] } } }
        labels: { anvil.deployment: home, anvil.role: serve, anvil.name: heavy }
        """
    )
    service = rendered(topology(), "heavy")
    hashes = {service["labels"].pop("anvil.revision"), service["labels"].pop("anvil.env")}
    assert service == expected
    assert all(len(each) == 16 and int(each, 16) >= 0 for each in hashes)
    assert list(service["environment"]) == sorted(service["environment"])


def test_the_file_around_the_services() -> None:
    document = yaml.safe_load(compose.text(compose.document(topology(), "forge", Secrets())))
    assert {key: value for key, value in document.items() if key != "services"} == {
        "name": "home",
        "networks": {"default": {"name": "anvil", "external": True}},
        "volumes": {"weights": {"name": "vllm-hfcache", "external": True}},
    }
    assert list(document["services"]) == ["heavy", "fast"]


def test_f2_fast() -> None:
    assert line(rendered(topology(), "fast")) == (
        "vllm serve nvidia/Qwen3.6-27B-NVFP4 --served-model-name qwen36-27b --quantization modelopt_fp4"
        " --kv-cache-dtype fp8 --tool-call-parser qwen3_coder --reasoning-parser qwen3 --enable-auto-tool-choice"
        " --trust-remote-code --max-num-seqs 4 --gpu-memory-utilization 0.85 --max-model-len 32768"
        " --host 0.0.0.0 --port 30003"
    )


def test_f3_sglang_agentic() -> None:
    agentic = serve(
        engine="sglang",
        image="lmsysorg/sglang:v1@sha256:" + "2" * 64,
        path="/models/qwen35-awq",
        served_model="qwen35-awq-local",
        family="qwen3",
        port=30000,
        context=131072,
        gpu_memory=0.88,
        language_only=True,
        speculative={"algorithm": "NEXTN", "steps": 3, "topk": 1, "draft_tokens": 4},
        extra_args=["--attention-backend", "triton", "--cuda-graph-max-bs-decode", "8"],
    )
    service = rendered(topology({"volumes/models": MODELS, "serves/agentic": agentic}), "agentic")
    assert line(service) == (
        "python3 -m sglang.launch_server --model-path /models/qwen35-awq --served-model-name qwen35-awq-local"
        " --kv-cache-dtype fp8_e5m2 --tool-call-parser qwen3_coder --reasoning-parser qwen3 --language-only"
        " --context-length 131072 --max-running-requests 16 --mem-fraction-static 0.88 --enable-metrics"
        " --speculative-algorithm NEXTN --speculative-num-steps 3 --speculative-eagle-topk 1"
        " --speculative-num-draft-tokens 4 --attention-backend triton --cuda-graph-max-bs-decode 8"
        " --host 0.0.0.0 --port 30000"
    )
    assert service["volumes"] == ["models:/models:ro"]
    assert service["shm_size"] == "16g"
    assert "ipc" not in service
    assert service["container_name"] == "sglang-agentic"


@pytest.mark.parametrize(("kind", "more"), [("directory", {"read_only": True}), ("hf-cache", {})])
def test_a_volume_of_one_letter_is_no_drive_of_windows(kind: str, more: dict[str, bool]) -> None:
    """Compose takes `w:/models` for a bind of drive W."""
    made = topology({"volumes/w": {**MODELS, "kind": kind}, "serves/fast/volume": "w"})
    written = {"type": "volume", "source": "w", "target": "/models", **more}
    assert rendered(made, "fast")["volumes"] == [written]


@pytest.mark.parametrize(("kind", "there"), [("directory", True), ("hf-cache", False)])
def test_the_cure_for_bind_mounts_stays_off_a_cache_volume(kind: str, there: bool) -> None:
    flags = ["--weight-loader-disable-mmap", "--enable-p2p-check"]
    asked = serve(engine="sglang", path="x", served_model="x", port=30000, context=9, extra_args=flags)
    command = rendered(topology({"volumes/models": {**MODELS, "kind": kind}, "serves/x": asked}), "x")["command"]
    assert ("--weight-loader-disable-mmap" in command, "--enable-p2p-check" in command) == (there, True)


def test_f4_small_vllm() -> None:
    small = serve(
        engine="vllm", path="/models/gpt-oss-20b", served_model="gpt-oss-20b", port=30001, context=65536,
        gpu_memory=0.90, tool_parser="openai",
    )  # fmt: skip
    assert line(rendered(topology({"volumes/models": MODELS, "serves/small": small}), "small")) == (
        "vllm serve /models/gpt-oss-20b --served-model-name gpt-oss-20b --tool-call-parser openai"
        " --enable-auto-tool-choice --gpu-memory-utilization 0.90 --max-model-len 65536 --host 0.0.0.0 --port 30001"
    )


def test_f5_glm() -> None:
    glm = serve(
        engine="vllm", path="glm47-flash-awq", served_model="glm-4.7-flash", family="glm", port=30005, context=65536,
        gpu_memory=0.92,
    )  # fmt: skip
    assert line(rendered(topology({"volumes/models": MODELS, "serves/glm": glm}), "glm")) == (
        "vllm serve /models/glm47-flash-awq --served-model-name glm-4.7-flash --tool-call-parser glm47"
        " --reasoning-parser glm45 --enable-auto-tool-choice --gpu-memory-utilization 0.92 --max-model-len 65536"
        " --host 0.0.0.0 --port 30005"
    )


F6_PRESTART = 'rm -rf "$(python3 -c \'import sysconfig; print(sysconfig.get_path("purelib"))\')/flashinfer/cute_dsl"'


def test_f6_one_off_with_prestart() -> None:
    one_off = serve(
        engine="vllm", volume="weights", repo="olka-fi/Qwen3.5-122B-A10B-MXFP4", served_model="qwen35-122b",
        family="qwen3", quantization="compressed-tensors", trust_remote_code=True, context=16384, max_concurrent=2,
        gpu_memory=0.90, kv_cache_dtype="fp8", port=30004, prestart=[F6_PRESTART], restart="no", start_timeout_s=1200,
    )  # fmt: skip
    changes = {"serves/big": one_off}
    service = rendered(topology(changes), "big")
    script = service["entrypoint"][2].replace("$$", "$")
    assert service["entrypoint"][:2] == ["sh", "-ec"]
    assert service["entrypoint"][3:] == ["anvil-prestart"]
    assert script == F6_PRESTART + '\nexec "$@"'
    assert shlex.join(service["command"]) == (
        "vllm serve olka-fi/Qwen3.5-122B-A10B-MXFP4 --served-model-name qwen35-122b --quantization compressed-tensors"
        " --kv-cache-dtype fp8 --tool-call-parser qwen3_coder --reasoning-parser qwen3 --enable-auto-tool-choice"
        " --trust-remote-code --max-num-seqs 2 --gpu-memory-utilization 0.90 --max-model-len 16384"
        " --host 0.0.0.0 --port 30004"
    )
    assert service["restart"] == "no"
    assert service["healthcheck"]["start_period"] == "1200s"
    assert not [each for each in findings(changes) if each.level == "error"]
    assert [each.code for each in findings({**changes, "serves/big/prestart": GONE})] == ["T14"]


def test_llamacpp_as_a_container() -> None:
    tiny = {
        "machine": "forge", "engine": "llamacpp", "image": IMAGE, "volume": "models", "model_file": "tiny/q4.gguf",
        "served_model": "tiny", "port": 30006, "context": 4096, "parallel": 2, "threads": 2, "predict": 64,
        "chat_template_file": "tiny/chat.jinja", "extra_args": ["-ngl", "99"],
    }  # fmt: skip
    service = rendered(topology({"volumes/models": MODELS, "serves/tiny": tiny}), "tiny")
    assert line(service) == (
        "/app/llama-server -m /models/tiny/q4.gguf --host 0.0.0.0 --port 30006 -a tiny -c 8192 -np 2 -t 2 -n 64"
        " --jinja --chat-template-file /models/tiny/chat.jinja --metrics --offline -cram 0 -ngl 99"
    )
    assert service["healthcheck"]["test"][-1] == "http://127.0.0.1:30006/health"
    assert not {"environment", "deploy", "ipc", "shm_size"} & service.keys()


def test_a_custom_engine_is_taken_at_its_word() -> None:
    own = {
        "machine": "forge", "engine": "custom", "gpu": "pro", "image": "own/engine:3", "pull": "never",
        "argv": ["/bin/serve", "--all"], "container_port": 80, "health_path": "/up", "served_model": "own",
        "port": 30007, "context": 4096, "env": {"A": "1"}, "secret_env": ["OWN_KEY"], "shm_size": "1g",
        "ipc": "private", "health_command": ["/bin/serve", "--health"],
    }  # fmt: skip
    service = rendered(topology({"serves/own": own}), "own")
    assert (service["entrypoint"], service["command"]) == (["/bin/serve"], ["--all"])
    assert service["ports"] == ["127.0.0.1:30007:80"]
    assert service["healthcheck"]["test"] == ["CMD", "/bin/serve", "--health"]
    assert service["pull_policy"] == "never"
    assert service["environment"]["OWN_KEY"] == "${OWN_KEY:-}"
    assert (service["shm_size"], service["ipc"]) == ("1g", "private")


def test_several_cards_are_one_tensor_parallel_engine() -> None:
    service = rendered(topology({"serves/heavy/gpu": ["gaming", "pro"], "serves/fast/state": "down"}), "heavy")
    uuids = ["GPU-66666666-7777-8888-9999-aaaaaaaaaaaa", "GPU-11111111-2222-3333-4444-555555555555"]
    assert "--tensor-parallel-size 2" in line(service)
    assert service["environment"]["CUDA_VISIBLE_DEVICES"] == ",".join(uuids)
    assert service["deploy"]["resources"]["reservations"]["devices"][0]["device_ids"] == uuids


def test_keys_without_a_value_are_left_out_and_others_are_placed() -> None:
    keys = {
        "serves/fast/revision": "abc123",
        "serves/fast/speculative": {"algorithm": "mtp", "draft_tokens": 2},
        "serves/fast/language_only": True,
        "serves/fast/gpu_memory": 0.875,
        "serves/fast/tool_parser": "",
        "serves/fast/reasoning_parser": "",
        "serves/fast/ipc": "",
        "serves/fast/env": {"VLLM_USE_V2_MODEL_RUNNER": "1"},
    }
    service = rendered(topology(keys), "fast")
    assert " --max-num-seqs 4 --speculative-config " in line(service)
    assert '{"method":"mtp","num_speculative_tokens":2}' in service["command"]
    assert "--language-model-only --revision abc123 --gpu-memory-utilization 0.875" in line(service)
    assert "parser" not in line(service)
    assert "--enable-auto-tool-choice" not in service["command"]
    assert "ipc" not in service
    assert service["environment"]["VLLM_USE_V2_MODEL_RUNNER"] == "1"


@pytest.mark.parametrize("flag", ["--enforce-eager", "--chat-template-kwargs", "--api-key"])
def test_what_is_never_emitted(flag: str) -> None:
    made = topology()
    for name, found in made.serves.items():
        assert flag not in argv.command(found, compose.place(made, found)).words(), name


def test_sglang_extras() -> None:
    changes = {
        "serves/fast/engine": "sglang",
        "serves/fast/kv_cache_dtype": GONE,
        "serves/fast/gpu": ["pro", "gaming"],
        "serves/fast/revision": "abc",
        "serves/fast/speculative": {"algorithm": "NEXTN"},
    }
    words = line(rendered(topology(changes), "fast"))
    assert "--kv-cache-dtype fp8_e5m2 --quantization modelopt_fp4" in words
    assert "--trust-remote-code --tp 2 --revision abc --context-length 32768 --max-running-requests 4" in words
    assert "--enable-metrics --speculative-algorithm NEXTN --host" in words


FAMILIES = {
    "gpt-oss": ("openai", None, None, None),
    "qwen3": ("qwen3_coder", "qwen3", "qwen3_coder", "qwen3"),
    "glm": ("glm47", "glm45", "glm47", "glm45"),
    "llama": ("llama3_json", None, None, None),
    "mistral": ("mistral", None, None, None),
    "hermes": ("hermes", None, None, None),
    "deepseek": ("deepseek_v3", None, None, None),
    "a-new-one": (None, None, None, None),
}


def after(command: list[str], flag: str) -> str | None:
    return command[command.index(flag) + 1] if flag in command else None


@pytest.mark.parametrize("family", FAMILIES)
def test_the_parsers_of_a_family(family: str) -> None:
    """6.4; `--enable-auto-tool-choice` needs a parser and comes with one."""
    asked = serve(path="x", served_model="x", port=30000, context=9, family=family)
    found: list[str | None] = []
    for engine in ("vllm", "sglang"):
        command = rendered(topology({"volumes/models": MODELS, "serves/x": {**asked, "engine": engine}}), "x")[
            "command"
        ]
        found += [after(command, "--tool-call-parser"), after(command, "--reasoning-parser")]
        assert ("--enable-auto-tool-choice" in command) == (engine == "vllm" and found[0] is not None)
    assert tuple(found) == FAMILIES[family]
    none = {**asked, "engine": "vllm", "tool_parser": "", "reasoning_parser": ""}
    bare = rendered(topology({"volumes/models": MODELS, "serves/x": none}), "x")["command"]
    assert not {"--tool-call-parser", "--reasoning-parser", "--enable-auto-tool-choice"} & {*bare}


def test_every_key_of_vllm_in_the_order_of_the_contract() -> None:
    """6.1."""
    whole = serve(
        engine="vllm", gpu=["pro", "gaming"], path="x", served_model="s", quantization="awq", kv_cache_dtype="fp8",
        family="qwen3", trust_remote_code=True, max_concurrent=3, language_only=True, revision="abc", gpu_memory=0.5,
        context=9, port=30000, extra_args=["--seed", "1"],
        speculative={"algorithm": "ngram", "draft_tokens": 4},
    )  # fmt: skip
    assert line(rendered(topology({"volumes/models": MODELS, "serves/x": whole}), "x")) == (
        "vllm serve /models/x --served-model-name s --quantization awq --kv-cache-dtype fp8"
        " --tool-call-parser qwen3_coder --reasoning-parser qwen3 --enable-auto-tool-choice --trust-remote-code"
        " --tensor-parallel-size 2 --max-num-seqs 3"
        """ --speculative-config '{"method":"ngram","num_speculative_tokens":4}' --language-model-only"""
        " --revision abc --gpu-memory-utilization 0.50 --max-model-len 9 --seed 1 --host 0.0.0.0 --port 30000"
    )


def test_every_key_of_sglang_in_the_order_of_the_contract() -> None:
    """6.2."""
    whole = serve(
        engine="sglang", gpu=["pro", "gaming"], path="x", served_model="s", quantization="awq", kv_cache_dtype="fp8_e4m3",
        family="glm", trust_remote_code=True, max_concurrent=3, language_only=True, gpu_memory=0.5, context=9, port=30000,
        extra_args=["--seed", "1"], speculative={"algorithm": "NEXTN", "steps": 3, "topk": 1, "draft_tokens": 4},
    )  # fmt: skip
    assert line(rendered(topology({"volumes/models": MODELS, "serves/x": whole}), "x")) == (
        "python3 -m sglang.launch_server --model-path /models/x --served-model-name s --kv-cache-dtype fp8_e4m3"
        " --quantization awq --tool-call-parser glm47 --reasoning-parser glm45 --trust-remote-code --tp 2"
        " --language-only --context-length 9 --max-running-requests 3 --mem-fraction-static 0.50 --enable-metrics"
        " --speculative-algorithm NEXTN --speculative-num-steps 3 --speculative-eagle-topk 1"
        " --speculative-num-draft-tokens 4 --seed 1 --host 0.0.0.0 --port 30000"
    )


@pytest.mark.parametrize(
    ("changes", "environment"),
    [
        ({}, {"FLASHINFER_CUDA_ARCH_LIST": "12.0f", "VLLM_USE_V2_MODEL_RUNNER": "0"}),
        ({"machines/forge/platform": "linux"}, {"FLASHINFER_CUDA_ARCH_LIST": "12.0f"}),
        ({"machines/forge/gpus/pro/compute": "9.0"}, {"VLLM_USE_V2_MODEL_RUNNER": "0"}),
        ({"serves/heavy/env": {"FLASHINFER_CUDA_ARCH_LIST": "9"}}, {"FLASHINFER_CUDA_ARCH_LIST": "9", "VLLM_USE_V2_MODEL_RUNNER": "0"}),
    ],
)  # fmt: skip
def test_the_environment_of_vllm(changes: dict[str, Any], environment: dict[str, str]) -> None:
    """6.1: an explicit value wins over a default."""
    found = rendered(topology(changes), "heavy")["environment"]
    always = {"CUDA_DEVICE_ORDER", "CUDA_VISIBLE_DEVICES", "HF_TOKEN"}
    assert {key: value for key, value in found.items() if key not in always} == environment
