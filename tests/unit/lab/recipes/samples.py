"""Documents of `docker inspect`, as a daemon of 2026 answers them, and a topology with two cards."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from anvil.lab.recipes.docker import Ended
from anvil.topology import load
from anvil.topology.model import Topology

ROOT = Path(__file__).parents[4]
DIGEST = "sha256:" + "ab" * 32
CARD = "GPU-11111111-2222-3333-4444-555555555555"
CANARY = "hf_canaryCANARYcanary123456"


def topology() -> Topology:
    return load.load(ROOT / "inventory/topology.toml", {})


def container(**changes: Any) -> dict[str, Any]:
    config = {
        "Image": "vllm/vllm-openai:nightly",
        "Entrypoint": ["vllm"],
        "Cmd": [
            "serve", "openai/gpt-oss-120b", "--served-model-name", "gpt-oss-120b", "--kv-cache-dtype", "fp8",
            "--tool-call-parser", "openai", "--enable-auto-tool-choice", "--gpu-memory-utilization", "0.88",
            "--max-model-len=131072", "--host", "0.0.0.0", "--port", "8000",
        ],
        "Env": [
            f"HF_TOKEN={CANARY}", f"VLLM_API_KEY={CANARY}", f"VLLM_NOTE={CANARY}", "PATH=/usr/bin",
            "VLLM_USE_V2_MODEL_RUNNER=0", f"CUDA_VISIBLE_DEVICES={CARD}",
        ],
    }  # fmt: skip
    host = {
        "IpcMode": "host",
        "ShmSize": 16 << 30,
        "PortBindings": {"8000/tcp": [{"HostIp": "127.0.0.1", "HostPort": "30002"}]},
        "DeviceRequests": [{"Driver": "nvidia", "DeviceIDs": [CARD]}],
    }
    base = {"Name": "/vllm-gptoss120", "Image": "sha256:" + "cd" * 32, "Config": config, "HostConfig": host}
    for key, value in changes.items():
        (config if key in config else host)[key] = value
    return base


class Docker:
    """Answers `docker ... inspect` from documents and keeps what it was asked."""

    def __init__(self, found: dict[str, Any] | None) -> None:
        self.found = found
        self.asked: list[list[str]] = []

    def __call__(self, words: Any) -> Ended:
        self.asked.append(list(words))
        if self.found is None:
            return Ended(1, "[]", f"Error response from daemon: No such container: {words[-1]}\n")
        image = {"RepoDigests": [f"vllm/vllm-openai@{DIGEST}"]}
        return Ended(0, json.dumps([image if "image" in " ".join(words).split() else self.found]), "")
