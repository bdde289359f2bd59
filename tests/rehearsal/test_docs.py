"""docs/deploy.md typed by an operator, from its first command to its last, against the rehearsal's hosts.

Every command of the page is run, in its order: those of the fenced blocks and those in the text. What the lab cannot
have (a vLLM image, a newer release, another host's name) is replaced by the table below, and nothing is left out.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.rehearsal.lab import ROOT, ROUTER, TOKEN, TOPOLOGY, Lab, Run
from tests.rehearsal.page import PAGE, PYINFRA, Step, steps
from tests.rehearsal.test_promotion import CRASHING

pytestmark = [pytest.mark.rehearsal, pytest.mark.timeout(1500)]

LLAMA, WEIGHTS = "anvil-rehearsal/llama:b10434", "SmolLM2-135M-Instruct.Q4_1.gguf"
# What the page says -> what the lab has instead. `{house}` is a folder, `{id}` a release of the host.
INSTEAD = {
    "me@forge": "anvil@forge",
    "house/topology.toml": "{house}/topology.toml",
    "--out house": "--out {house}",
    "git pull": "git --version",  # the checkout at hand is what is rehearsed
    "scripts/router-image": "scripts/router-image --base anvil-rehearsal/python:3.11 --tag anvil-router:rehearsal",
    "http://forge:8000": ROUTER,
    "model=Qwen/Qwen3-8B": f"model={WEIGHTS} --data image={LLAMA} --data context=512",
    "nvidia/Qwen3-32B-NVFP4": f"/models/{WEIGHTS} --registry {{house}}/recipes.toml --volume weights",
    "image=anvil-router:1.1.0": "image=anvil-router:rehearsal",
    "release=ID": "release={id}",
    "name=CONTAINER": "name=llamacpp-fast",
    "confirm=DEPLOYMENT": "confirm=rehearsal",
}
# Nothing of ours but the weights and what the lab stands in for: the engine's image and the router's base.
BARE = "docker rm -f $(docker ps -aq); docker network rm anvil; docker volume rm anvil-router-state; sudo rm -rf /srv/anvil"


@dataclass
class Operator:
    """A login with a home of its own, whose shell keeps what was exported; between commands it edits the topology."""

    lab: Lab
    home: Path
    used: set[str] = field(default_factory=set)

    @property
    def house(self) -> Path:
        return self.home / "house"

    @property
    def topology(self) -> Path:
        return self.house / "topology.toml"

    def prepare(self) -> None:
        ssh = self.home / "bin" / "ssh"
        ssh.parent.mkdir()
        ssh.write_text(f'#!/bin/sh\nexec /usr/bin/ssh -F "{self.lab.config("forge")}" "$@"\n')  # their ~/.ssh/config
        ssh.chmod(0o755)

    def environment(self) -> dict[str, str]:
        cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
        data = os.environ.get("XDG_DATA_HOME") or str(Path.home() / ".local" / "share")
        own = {"HOME": str(self.home), "XDG_CACHE_HOME": cache, "XDG_DATA_HOME": data}
        return self.lab.environment(None, TOKEN) | own | {"PATH": f"{self.home / 'bin'}:{os.environ['PATH']}"}

    def typed(self, text: str) -> str:
        for old, new in INSTEAD.items():
            if old in text:
                self.used.add(old)
                own = {"house": self.house} | ({"id": self.release()} if "{id}" in new else {})
                text = text.replace(old, new.format(**own))
        return text

    def release(self) -> str:
        return self.lab.ssh("forge", "sudo readlink /srv/anvil/router/current").strip().split("/")[-1]

    def run(self, text: str, *, code: int = 0) -> subprocess.CompletedProcess[str]:
        kept = self.home / "exported"
        shell = f'[ ! -f "{kept}" ] || . "{kept}"\n{self.typed(text)}\nstatus=$?; export -p > "{kept}"; exit $status'
        with self.lab.step(text):
            done = subprocess.run(
                ["sh", "-c", shell],
                cwd=ROOT,
                env=self.environment(),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=600,
                check=False,
            )
        assert done.returncode == code, f"{text}\nended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
        return done

    def edit(self, old: str, new: str) -> None:
        text = self.topology.read_text()
        assert text.count(old) == 1, old
        self.topology.write_text(text.replace(old, new))

    def accepted(self, name: str) -> bool:
        """Whether the router takes the value of a token variable of this login."""
        ask = f'[ ! -f ~/.anvil_env ] || . ~/.anvil_env; printf %s "${{{name}}}"'
        token = self.run(ask).stdout
        assert len(token) >= 24
        return self.lab.ask("/v1/models", token=token)[0] == 200


def before(operator: Operator, step: Step) -> None:
    """What the page's text asks people to do before a command."""
    lab, house = operator.lab, operator.house
    if step.text == "scripts/install":
        lab.ssh("forge", BARE)
    elif step.section == "A model more" and "recipes apply" in step.text and not (house / "recipes.toml").exists():
        capture = f".venv/bin/anvil recipes capture llamacpp-fast --host forge --registry {house}/recipes.toml --write"
        operator.run(capture)
    elif step.section == "The router's release" and "router.py --dry" in step.text:
        lab.ssh("forge", "docker tag anvil-router:rehearsal anvil-router:next")
        operator.edit('image    = "anvil-router:rehearsal"', 'image    = "anvil-router:next"')
    elif step.section == "Another token" and step.text.startswith(".venv/bin/pyinfra") and "router.py" in step.text:
        first, both = 'token    = ["ANVIL_ROUTER_TOKEN"]', 'token    = ["ANVIL_ROUTER_TOKEN_B", "ANVIL_ROUTER_TOKEN"]'
        if first in operator.topology.read_text():
            operator.edit(first, both)
            operator.run('echo "ANVIL_ROUTER_TOKEN_B=$(.venv/bin/anvil token new)" >> ~/.anvil_env')
        else:
            assert operator.accepted("ANVIL_ROUTER_TOKEN_B")
            assert operator.accepted("ANVIL_ROUTER_TOKEN")
            operator.edit(both, 'token    = ["ANVIL_ROUTER_TOKEN_B"]')
    elif step.section == "A promotion that failed" and "logs.py" in step.text and "name=anvil-router" in step.text:
        assert not operator.accepted("ANVIL_ROUTER_TOKEN")
        lab.ssh("forge", f"docker build -q -t anvil-router:crashing - <<'DOCKERFILE'\n{CRASHING}\nDOCKERFILE")
        told = operator.run(f"{PYINFRA}deploy/promote.py -y --data image=anvil-router:crashing", code=1)
        assert re.search(r"did not settle.*back on release", told.stderr + told.stdout, re.S), told


def after(operator: Operator, step: Step, told: subprocess.CompletedProcess[str]) -> None:
    """What the page promises of a command, as far as the lab can see it."""
    if "anvil init" in step.text:
        assert "openai/gpt-oss-20b" in operator.topology.read_text()
        operator.topology.write_text(TOPOLOGY)  # from here on, the house is the lab
    elif step.text == f"{PYINFRA}deploy/full.py -y" and step.section != "A model more":
        again = json.loads(operator.run(f"{step.text} --json").stdout)
        assert again["results"]["totals"]["success"] == 0, again
    elif step.text.endswith("--write"):
        operator.edit('served_model = "tiny-fast"', 'served_model = "tiny-small"')  # the recipe is that of `fast`
    elif "harness show codex" in step.text:
        assert 'env_key = "ANVIL_ROUTER_TOKEN_B"' in told.stdout
    elif "deploy/doctor.py" in step.text:
        assert "[PASS] forge: docker" in told.stdout + told.stderr
    elif "experiment.py" in step.text and "present=false" not in step.text:
        assert "experiment" in operator.lab.ssh("forge", "curl -s http://127.0.0.1:30005/v1/models")


@pytest.fixture
def operator(lab: Lab, second: Run, tmp_path: Path) -> Iterator[Operator]:
    made = Operator(lab, tmp_path)
    made.prepare()
    yield made
    run = lab.deploy("full.py", "-y", "--data", "retire=llamacpp-small")
    lab.ssh("forge", "docker image rm -f anvil-router:crashing anvil-router:next", check=False)
    assert run.code == 0, run.story
    assert lab.deploy("full.py", "-y").changed == []


def test_every_command_of_the_page_does_what_it_says(operator: Operator) -> None:
    page = steps(PAGE)
    upgrade = "The router's release"
    started = ""
    for step in page:
        if step.kind == "toml":
            operator.topology.write_text(operator.topology.read_text() + step.text)
            operator.edit('chat         = ["fast-local"', 'chat         = ["small-local", "fast-local"')
            continue
        if step.section == upgrade and not started:
            started = operator.lab.inspect("llamacpp-heavy")["State"]["StartedAt"]
        before(operator, step)
        after(operator, step, operator.run(step.text))
        if step.section == upgrade:  # a serve is never touched
            assert operator.lab.inspect("llamacpp-heavy")["State"]["StartedAt"] == started
    assert operator.used == set(INSTEAD), "the page no longer says what the table replaces"
    assert operator.lab.ssh("forge", "docker ps -aq") == ""
