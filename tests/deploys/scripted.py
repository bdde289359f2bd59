"""A compose machine on @local whose docker, curl, nvidia-smi and ss are scripted, and whole deploy files run on it."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pyinfra.api import Config, Inventory, State
from pyinfra.api.connect import connect_all, disconnect_all
from pyinfra.api.exceptions import PyinfraError
from pyinfra.api.operations import run_ops
from pyinfra.api.state import StateStage
from pyinfra.context import ctx_config, ctx_host, ctx_inventory, ctx_state

from anvil.deploys import inventory
from anvil.topology import load

REPO = Path(__file__).resolve().parents[2]
DOCKER = Path(__file__).parent / "programs" / "docker.py"
DIGEST = "@sha256:" + "1" * 64
CARD = "GPU-11111111-2222-3333-4444-555555555555"
TOPOLOGY = """
schema = "anvil.topology/v1"
deployment = "home"
mapping_version = "1"
[machines.forge]
platform = "linux"
root = "{root}"
owner = ""
sudo = false
[machines.forge.gpus.pro]
uuid = "GPU-11111111-2222-3333-4444-555555555555"
model = "card"
vram_gb = 24
compute = "8.9"
[volumes.weights]
name = "hf"
kind = "hf-cache"
mount = "/root/.cache/huggingface"
[serves.fast]
machine = "forge"
gpu = "pro"
engine = "vllm"
image = "vllm:1{digest}"
volume = "weights"
repo = "org/fast"
served_model = "fast-1"
port = 30003
context = 32768
gpu_memory = 0.4
preflight = "required"
[serves.heavy]
machine = "forge"
gpu = "pro"
engine = "vllm"
image = "vllm:1{digest}"
volume = "weights"
repo = "org/heavy"
served_model = "heavy-1"
port = 30002
context = 65536
gpu_memory = 0.4
preflight = "off"
[tiers.fast-local]
serve = "fast"
[tiers.heavy-local]
serve = "heavy"
[presets]
chat = ["fast-local", "heavy-local"]
planning = ["heavy-local"]
[router]
machine = "forge"
image = "anvil-router:1{digest}"
settle_s = 1
[modes.flexibility]
serves = ["fast", "heavy"]
[modes.agentic]
serves = ["heavy"]
[modes.agentic.presets]
chat = ["heavy-local"]
planning = ["heavy-local"]
"""


def without(text: str, serve: str) -> str:
    """The topology with its modes, and one serve and its tier, left out."""
    text = text.partition("[modes.")[0]
    for table in (f"[serves.{serve}]", f"[tiers.{serve}-local]"):
        before, _, after = text.partition(table)
        text = before + after[after.index("\n[") :]
    return text.replace(f'"{serve}-local", ', "")


class Ran:
    """What one deploy did: an error, what was said, the operations that changed something, docker's changing calls."""

    def __init__(self, error: str, said: str, changed: list[str], planned: list[str], calls: list[list[str]]) -> None:
        self.error, self.said, self.changed, self.planned, self.calls = error, said, changed, planned, calls

    @property
    def story(self) -> str:
        return f"{self.said}\n{self.error}"


class Machine:
    """One host in a folder. ``text`` is its topology; ``state`` steers the scripted programs."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.root, self.state = folder, folder / "root", folder / "state"
        self.name = "forge"
        self.text = TOPOLOGY.format(root=self.root, digest=DIGEST)
        self.state.mkdir()
        (folder / "bin").mkdir()
        for name in ("docker", "curl", "nvidia-smi", "ss"):
            program = folder / "bin" / name
            program.write_text(f"#!{sys.executable} -SE\n{DOCKER.read_text()}")
            program.chmod(0o755)
        (self.state / "packages").write_text(str(Path(yaml.__file__).parents[1]))  # compose reads YAML
        self.cards(used=0)

    def cards(self, used: int, uuid: str = CARD, holders: str = "") -> None:
        (self.state / "gpus").write_text(f"0, {uuid}, card, 24564, {used}, 580.1, 8.9\n")
        (self.state / "processes").write_text(holders)

    def containers(self) -> dict[str, Any]:
        file = self.state / "containers.json"
        return dict(json.loads(file.read_text())) if file.exists() else {}

    def container(self, name: str, **fields: Any) -> None:
        """Change a container's row, or put a foreign one there."""
        found = self.containers()
        row = found.get(name) or {
            "name": name, "image": "other:1", "definition": {}, "created": "2026-01-01T00:00:00Z", "pid": 4999,
            "started": "2026-01-01T00:00:00Z", "status": "running", "command": [], "labels": {}, "published": ":",
        }  # fmt: skip
        (self.state / "containers.json").write_text(json.dumps({**found, name: {**row, **fields}}))

    def calls(self) -> list[list[str]]:
        file = self.state / "calls"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    def deploy(self, name: str, /, dry: bool = False, secrets: Mapping[str, str] | None = None, **data: str) -> Ran:
        """One file of deploy/, in this process, as `pyinfra -y` (or `--dry`) would run it."""
        environ = {"PATH": f"{self.folder}/bin:{os.environ['PATH']}", "HOME": str(self.folder)}
        environ |= {"ANVIL_ROUTER_TOKEN": "t" * 32} if secrets is None else secrets
        kept = dict(os.environ)
        os.environ.clear()
        os.environ.update(environ)
        before = len(self.calls())
        try:
            error, said, changed, planned = self._run(name, dry, data)
        finally:
            os.environ.clear()
            os.environ.update(kept)
        return Ran(error, said, changed, planned, self.calls()[before:])

    def _run(self, name: str, dry: bool, data: Mapping[str, str]) -> tuple[str, str, list[str], list[str]]:
        file = self.folder / "topology.toml"
        file.write_text(self.text)
        heard = Heard()
        try:
            topology = load.loads(self.text, os.environ, str(file))
            found = inventory.Checked(topology, str(file))
            hosts = [("@local", {"topology": found, "machine": self.name, "_sudo": False})]
            state = State(
                Inventory((hosts, {}), override_data=dict(data)), Config(FAIL_PERCENT=0), check_for_changes=dry
            )
        except PyinfraError as error:
            return str(error), "", [], []
        state.current_exec_filename = f"deploy/{name}.py"
        state.current_stage = StateStage.Prepare
        host = next(iter(state.inventory))
        host.log = host.log_styled = heard  # type: ignore[method-assign]  # what people read
        connect_all(state)
        error = ""
        try:
            with (
                ctx_state.use(state),
                ctx_host.use(host),
                ctx_inventory.use(state.inventory),
                ctx_config.use(state.config),
            ):
                exec(compile((REPO / "deploy" / f"{name}.py").read_text(), f"deploy/{name}.py", "exec"), {})
            if not dry:
                run_ops(state)
        except PyinfraError as problem:
            error = str(problem)
        finally:
            disconnect_all(state)
        order = [each for each in state.get_op_order() if each in state.ops[host]]
        metas = {each: state.ops[host][each].operation_meta for each in order}
        names = {each: ", ".join(state.get_op_meta(each).names) for each in order}
        changed = [names[each] for each, meta in metas.items() if meta.is_complete() and meta.did_change()]
        return error, heard.text, changed, list(names.values())


class Heard:
    """Stands for the host's log."""

    def __init__(self) -> None:
        self.text = ""

    def __call__(self, message: str, *_: Any, **__: Any) -> None:
        self.text += f"{message}\n"
