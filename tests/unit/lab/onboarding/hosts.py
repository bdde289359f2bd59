"""A PATH on which only what a test puts there exists, so that no real docker, ssh or card is asked."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from molecule.hosts.nvidia import CARDS, FILES

TOOLS = ("sh", "uname", "sed", "awk", "df", "du", "cut", "head", "grep", "hostname", "timeout", "python3")
PRO, GAMING = CARDS[0]["uuid"], CARDS[1]["uuid"]

DOCKER = """#!/bin/sh
case "$1 $2" in
  "version --format") echo 27.3.1 ;;
  "compose version") echo 2.29.7 ;;
  "info --format") echo '{"nvidia":{},"runc":{}}' ;;
  "image ls") echo "vllm/vllm-openai:v0.31.0@sha256:%(digest)s" ;;
  "volume ls") echo models-cache ;;
  "volume inspect") echo "%(volume)s" ;;
  *) echo "unexpected: $*" >&2; exit 9 ;;
esac
"""
SSH = """#!/bin/sh
printf '%%s\\n' "$@" >"%(log)s"
%(fail)s
while [ "$1" != -- ]; do shift; done
shift 2
exec sh -c "$*"
"""


def path(folder: Path) -> Path:
    """A folder for PATH with the ordinary tools alone."""
    made = folder / "bin"
    made.mkdir()
    for tool in TOOLS:
        found = shutil.which(tool)
        assert found is not None, tool
        (made / tool).symlink_to(found)
    return made


def script(folder: Path, name: str, text: str) -> None:
    (folder / name).write_text(text)
    (folder / name).chmod(0o755)


def with_cards(folder: Path, cards: list[dict[str, object]] = CARDS) -> None:  # type: ignore[assignment]
    state = folder / "cards.json"
    state.write_text(json.dumps({"cards": cards, "processes": []}))
    text = (FILES / "nvidia-smi").read_text().replace("/etc/nvidia-cards.json", str(state))
    script(folder, "nvidia-smi", text)


def with_docker(folder: Path, repos: tuple[str, ...] = ()) -> None:
    """A daemon with one engine image and one volume, ``models-cache``, that holds the repositories."""
    volume = folder / "volume"
    for repo in repos:
        snapshot = volume / "hub" / f"models--{repo.replace('/', '--')}" / "snapshots" / "abc"
        snapshot.mkdir(parents=True)
        (snapshot / "model.safetensors").write_bytes(b"x" * 4096)
    volume.mkdir(exist_ok=True)
    script(folder, "docker", DOCKER % {"digest": "3" * 64, "volume": volume})


def with_ssh(folder: Path, fail: str = "") -> Path:
    log = folder / "ssh.log"
    script(folder, "ssh", SSH % {"log": log, "fail": fail})
    return log
