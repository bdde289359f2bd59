"""deploy/multiplexer.py by the command a user types, against a scripted docker that starts the real multiplexer."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

REPO = Path(__file__).resolve().parents[2]
TOKEN = "canary-77c0-token-of-some-length"
DOCKER = r"""#!{python}
import json, os, pathlib, subprocess, sys
here = pathlib.Path(__file__).parent
file = here / "containers.json"
held = json.loads(file.read_text()) if file.exists() else {{}}
words = sys.argv[1:]
with (here / "asked").open("a") as asked:
    asked.write(" ".join(words) + "\n")
if words[:2] == ["ps", "-aq"]:
    print("\n".join(held))
elif words[0] == "inspect":
    names = [word for word in words[1:] if word in held]
    print(json.dumps([held[name] for name in names]))
    if not names:
        print("Error: No such object", file=sys.stderr)
        raise SystemExit(1)
elif words[:2] == ["image", "inspect"]:
    print(json.dumps([{{"Id": "sha256:1", "RepoDigests": []}}]))
elif words[:2] == ["compose", "version"]:
    print("2.40.0")
elif words[0] == "info":
    print("{{}}")
elif words[0] == "compose" and "up" in words:
    import yaml
    service = words[-1]
    made = yaml.safe_load(pathlib.Path(words[words.index("-f") + 1]).read_text())["services"][service]
    name, started = made["container_name"], "--no-start" not in words
    labels = {{**made["labels"], "com.docker.compose.project": words[2], "com.docker.compose.service": service}}
    state = {{"Status": "running" if started else "created", "StartedAt": "2026-11-24T10:00:00.0Z" if started else ""}}
    held[name] = {{"Name": "/" + name, "State": state, "Config": {{"Labels": labels}}, "RestartCount": 0}}
    file.write_text(json.dumps(held))
    if started:
        inside, folder = made["command"][-1], made["volumes"][0].split(":")[0]
        argv = [sys.executable, "-m", "anvil", *made["command"][:-1], inside.replace("/etc/anvil", folder)]
        log = open(here / "log", "w")
        env = {{**os.environ, "ANVIL_ROUTER_TOKEN": "{token}", "PYTHONPATH": "{repo}"}}
        child = subprocess.Popen(argv, stdout=log, stderr=log, env=env, start_new_session=True)
        (here / "pid").write_text(str(child.pid))
"""
TOPOLOGY = """
schema = "anvil.topology/v1"
deployment = "try"
mapping_version = "1"
[machines.here]
platform = "linux"
root = "{root}"
owner = ""
sudo = false
[serves.fast]
machine = "here"
engine = "llamacpp"
image = "llama@sha256:{digest}"
model_file = "/dev/null"
served_model = "tiny-fast"
port = {fast}
context = 4096
swap_group = "card"
preflight = "off"
[serves.heavy]
machine = "here"
engine = "llamacpp"
image = "llama@sha256:{digest}"
model_file = "/dev/null"
served_model = "tiny-heavy"
port = {heavy}
context = 8192
swap_group = "card"
preflight = "off"
[tiers.fast-local]
serve = "fast"
[tiers.heavy-local]
serve = "heavy"
[presets]
chat = ["fast-local", "heavy-local"]
[router]
machine = "here"
image = "anvil-router@sha256:{digest}"
port = {router}
token = ["ANVIL_ROUTER_TOKEN"]
[multiplexer]
machine = "here"
port = {port}
docker_socket = true
"""


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [int(each.getsockname()[1]) for each in sockets]
    for each in sockets:
        each.close()
    return ports


class House:
    def __init__(self, folder: Path) -> None:
        self.folder, self.root = folder, folder / "root"
        self.fast, self.heavy, self.router, self.port = free_ports(4)
        docker = folder / "docker"
        docker.write_text(DOCKER.format(python=sys.executable, token=TOKEN, repo=REPO))
        docker.chmod(0o755)
        (folder / ".profile").write_text(f"PATH={folder}:$PATH\n")
        self.said = ""
        text = TOPOLOGY.format(
            root=self.root, digest="1" * 64, fast=self.fast, heavy=self.heavy, router=self.router, port=self.port
        )
        (self.folder / "topology.toml").write_text(text)

    def play(self, *more: str) -> int:
        plain = {name: value for name, value in os.environ.items() if not name.startswith("ANVIL_")}
        env = {
            **plain, "ANVIL_TOPOLOGY": str(self.folder / "topology.toml"), "HOME": str(self.folder),
            "PATH": f"{self.folder}:{plain['PATH']}", "ANVIL_ROUTER_TOKEN": TOKEN,
        }  # fmt: skip
        words = [sys.executable, "-m", "pyinfra", "-y", "inventory/local.py", "deploy/multiplexer.py", *more]
        ran = subprocess.run(words, cwd=REPO, env=env, capture_output=True, text=True, timeout=50)
        self.said = ran.stdout + ran.stderr
        return ran.returncode

    def states(self) -> dict[str, str]:
        held = json.loads((self.folder / "containers.json").read_text())
        return {name: made["State"]["Status"] for name, made in held.items()}

    def ups(self) -> list[str]:
        asked = (self.folder / "asked").read_text().splitlines()
        return [line.partition("secrets.env ")[2] for line in asked if " up " in line]

    def get(self, path: str, token: str = "") -> Any:
        headers = {"authorization": f"Bearer {token}"} if token else {}
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", headers=headers)
        with urllib.request.urlopen(request, timeout=5) as answer:
            return json.load(answer)

    def end(self) -> None:
        pid = self.folder / "pid"
        if pid.exists():
            os.kill(int(pid.read_text()), signal.SIGTERM)


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    made = House(tmp_path)
    yield made
    made.end()


@pytest.mark.timeout(120)
def test_members_are_created_and_the_multiplexer_runs(house: House) -> None:
    assert house.play() == 0, house.said
    assert house.states() == {"llamacpp-fast": "created", "llamacpp-heavy": "created", "anvil-multiplexer": "running"}
    assert house.ups() == [
        "up --no-start --no-deps --pull missing fast",
        "up --no-start --no-deps --pull missing heavy",
        "up -d --no-deps --pull missing multiplexer",
    ]
    assert "holds the docker socket, which equals root on here" in house.said
    assert TOKEN not in house.said
    assert [row["id"] for row in house.get("/v1/models", TOKEN)["data"]] == ["tiny-fast", "tiny-heavy"]
    health = house.get("/healthz")
    assert [row["container"] for row in health["registry"]] == ["llamacpp-fast", "llamacpp-heavy"]

    assert house.play() == 0, house.said
    assert len(house.ups()) == 3, "a second run changes nothing"
    assert "holds the docker socket" in house.said
