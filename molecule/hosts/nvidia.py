"""A host that looks as if it had two NVIDIA cards: enough for facts, `--gpus` and device reservations, no CUDA."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

FILES = Path(__file__).resolve().parent / "files"
CARDS = [
    {
        "index": 0,
        "uuid": "GPU-11111111-2222-3333-4444-555555555555",
        "name": "NVIDIA RTX PRO 6000 Blackwell Workstation Edition",
        "memory.total": 97887,
        "memory.used": 512,
        "driver_version": "580.95.05",
        "compute_cap": "12.0",
    },
    {
        "index": 1,
        "uuid": "GPU-66666666-7777-8888-9999-aaaaaaaaaaaa",
        "name": "NVIDIA GeForce RTX 5090",
        "memory.total": 32607,
        "memory.used": 256,
        "driver_version": "580.95.05",
        "compute_cap": "12.0",
    },
]
# With the hook on its PATH at start dockerd grants GPU requests; the container then sees NVIDIA_VISIBLE_DEVICES.
TOOLS = ("nvidia-smi", "nvidia-container-runtime-hook")
RUNTIMES = {"runtimes": {"nvidia": {"path": "/usr/sbin/runc"}}}


def install(root: Path) -> None:
    """Write cards, tool, hook and runtime below a host's root. Tests edit /etc/nvidia-cards.json to lose a card."""
    (root / "etc/nvidia-cards.json").write_text(json.dumps({"cards": CARDS, "processes": []}, indent=1))
    for tool in TOOLS:
        shutil.copy(FILES / tool, root / "usr/bin" / tool)
        (root / "usr/bin" / tool).chmod(0o755)
    (root / "etc/docker").mkdir(exist_ok=True)
    (root / "etc/docker/daemon.json").write_text(json.dumps(RUNTIMES))
