"""What is looked at and put away: logs, captured recipes, caches and weights, trials in the way, the end of it all."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from anvil.render import compose
from anvil.render.engine import interpolated
from anvil.render.env import Secrets
from anvil.topology import load
from tests.rehearsal.lab import ROOT, TOKEN, TOPOLOGY, Lab, Run

pytestmark = [pytest.mark.rehearsal, pytest.mark.timeout(900)]

PYTHON, LLAMA = "anvil-rehearsal/python:3.11", "anvil-rehearsal/llama:b10434"
WEIGHTS = "SmolLM2-135M-Instruct.Q4_1.gguf"
SLEEPER = f"docker run -d --entrypoint python3 {{options}} {PYTHON} -c 'import time; time.sleep(600)'"
# Stands in for a serve's image: a hub whose sizes are known, and the pull of a machine without a way out.
HUB = r"""
FROM anvil-rehearsal/python:3.11
RUN mkdir -p /hub/huggingface_hub \
 && printf '%s\n' 'class File:' '    rfilename, size, lfs, blob_id = "model.safetensors", 10**15, None, "b1"' \
      'class HfApi:' '    def model_info(self, repo, **more):' '        if repo != "org/huge": raise OSError("no way to the hub")' \
      '        return type("Info", (), {"siblings": [File]})' > /hub/huggingface_hub/__init__.py \
 && printf '%s\n' '#!/usr/bin/python3' 'import urllib.request' 'urllib.request.urlopen("https://huggingface.co", timeout=5)' \
      > /usr/local/bin/hf \
 && chmod 755 /usr/local/bin/hf
ENV PYTHONPATH=/hub
"""
CACHED = """
[volumes.cache]
name = "rehearsal-cache"
kind = "hf-cache"
mount = "/root/.cache/huggingface"
[serves.cached]
machine = "forge"
gpu = "gaming"
engine = "vllm"
image = "anvil-rehearsal/hub:1"
pull = "never"
volume = "cache"
repo = "org/tiny"
served_model = "cached"
port = 30008
context = 2048
gpu_memory = 0.1
preflight = "off"
[tiers.cached-local]
serve = "cached"
"""
# One complete snapshot as `hf download` lays it out: blobs by digest, links by name, the commit under refs.
SNAPSHOT = """
d=/c/hub/models--org--tiny; mkdir -p $d/blobs $d/refs $d/snapshots/c0ffee
printf '{"model_type": "llama", "max_position_embeddings": 4096}' > $d/blobs/b0
head -c 300000000 /dev/zero > $d/blobs/b1
ln -s ../../blobs/b0 $d/snapshots/c0ffee/config.json; ln -s ../../blobs/b1 $d/snapshots/c0ffee/model.safetensors
printf c0ffee > $d/refs/main
"""


def anvil(lab: Lab, *words: str, topology: Path | None = None) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "anvil", *words]
    env = lab.environment(topology, TOKEN)
    return subprocess.run(argv, cwd=ROOT, env=env, capture_output=True, text=True, timeout=120, check=False)


def started(lab: Lab) -> list[str]:
    return [lab.inspect(each)["State"]["StartedAt"] for each in ("llamacpp-fast", "llamacpp-heavy", "anvil-router")]


def in_volume(lab: Lab, script: str) -> str:
    return lab.ssh("forge", f"docker run --rm -v rehearsal-cache:/c --entrypoint sh {PYTHON} -c '{script}'")


def test_the_last_lines_of_one_container(lab: Lab, second: Run) -> None:
    say = "docker exec llamacpp-fast sh -c 'echo told-outwards >/proc/1/fd/1; echo told-of-trouble >/proc/1/fd/2'"
    lab.ssh("forge", say)
    run = lab.deploy("logs.py", "--data", "name=fast")
    assert run.code == 0, run.story
    assert {"told-outwards", "told-of-trouble", "llama_server"} <= set(run.story.replace(":", " ").split())
    few = lab.deploy("logs.py", "--data", "name=llamacpp-fast", "--data", "tail=1")
    assert few.story.count("told-") == 1, few.story
    lab.ssh("forge", "sleep 2")
    later = lab.deploy("logs.py", "--data", "name=fast", "--data", "since=1s")
    assert (later.code, "told-" in later.story) == (0, False), later.story
    same = anvil(lab, "logs", "fast", "--tail", "1000")
    assert {"told-outwards", "told-of-trouble"} <= set(same.stdout.split()), same.stderr
    told = {
        "": "logs.py needs --data name=CONTAINER; there are: fast, heavy, router",
        "fast,heavy": "shows one container, not 2: fast, heavy",
        "slow": "no service is called so; there are: fast, heavy, router",
    }
    for name, sentence in told.items():
        refused = lab.deploy("logs.py", *(("--data", f"name={name}") if name else ()))
        assert (refused.code, sentence in refused.story) == (1, True), refused.story
    lab.ssh("forge", "docker rm -f llamacpp-fast")
    try:
        absent = lab.deploy("logs.py", "--data", "name=fast")
        assert (absent.code, "llamacpp-fast does not exist" in absent.story) == (1, True), absent.story
        assert anvil(lab, "logs", "fast").returncode == 1
    finally:
        assert lab.deploy("full.py", "-y").code == 0
    assert lab.deploy("full.py", "-y").changed == []


def test_a_recipe_of_a_running_container_is_the_topologys_definition(lab: Lab, second: Run, tmp_path: Path) -> None:
    registry = tmp_path / "recipes.toml"
    words = ("recipes", "capture", "llamacpp-fast", "--host", "forge", "--registry", str(registry), "--write")
    captured = anvil(lab, *words)
    assert captured.returncode == 0, captured.stderr
    (row,) = tomllib.loads(registry.read_text())["recipe"]
    assert (row["hardware"]["gpu"], row["serve"]["port"], row["status"]) == ("rtx_5090_32gb", 30003, "unverified")
    missing = anvil(lab, "recipes", "capture", "nobody", "--host", "forge")
    assert (missing.returncode, "No such container" in missing.stderr) == (1, True), missing.stderr

    place = ("--machine", "forge", "--gpu", "gaming", "--port", "30003", "--name", "again", "--volume", "weights")
    applied = anvil(lab, "recipes", "apply", row["model"], *place, "--registry", str(registry))
    assert applied.returncode == 0, applied.stderr
    site = load.loads(TOPOLOGY + "\n" + applied.stdout, {"ANVIL_LAB": str(lab.folder)}, "again.toml")
    made = {name: interpolated(compose.service(site, name, Secrets.of({}))) for name in ("fast", "again")}
    same = ("image", "entrypoint", "command", "environment", "ports", "volumes", "deploy", "ipc", "shm_size")
    assert {key: made["again"].get(key) for key in same} == {key: made["fast"].get(key) for key in same}


@pytest.fixture
def cache(lab: Lab, second: Run) -> Iterator[None]:
    """An image with a hub of its own, and a volume of the topology's kind; both go, and the own topology stands."""
    lab.ssh("forge", f"docker build -q -t anvil-rehearsal/hub:1 - <<'DOCKERFILE'\n{HUB}\nDOCKERFILE")
    yield
    run = lab.deploy("full.py", "-y")
    lab.ssh("forge", "docker volume rm -f rehearsal-cache; docker image rm -f anvil-rehearsal/hub:1", check=False)
    assert run.code == 0, run.story
    assert lab.deploy("full.py", "-y").changed == []


def test_weights_that_are_there_are_not_pulled_and_others_fail_honestly(lab: Lab, cache: None, tmp_path: Path) -> None:
    before = started(lab)
    file = tmp_path / "topology.toml"
    file.write_text(TOPOLOGY + CACHED)
    absent = lab.deploy("weights.py", "-y", topology=file)
    assert absent.code == 1, absent.story
    assert "free space is not checked, the hub did not tell the size" in absent.story, absent.story
    assert "org/tiny: not in the volume" in absent.story
    assert "URLError" in absent.story  # the pull's own words

    in_volume(lab, SNAPSHOT.replace("'", "'\\''"))
    complete = lab.deploy("weights.py", "-y", topology=file)
    assert (complete.code, complete.changed) == (0, []), complete.story
    indexed = anvil(
        lab,
        "models",
        "index",
        "--volume",
        "rehearsal-cache",
        "--host",
        "forge",
        "--out",
        str(tmp_path / "library"),
        "--json",
        topology=file,
    )
    assert indexed.returncode == 0, indexed.stderr
    (model,) = json.loads(indexed.stdout)["models"]
    assert (model["repo"], model["facts"]["format"], model["facts"]["context"]) == ("org/tiny", "safetensors", 4096)
    assert model["path"] == "rehearsal-cache:models--org--tiny/snapshots/c0ffee"
    plan = lab.deploy("cache_prune.py", "-y", topology=file)
    assert "rehearsal-cache: 1 kept; 0 models, 0 bytes to remove" in plan.story, plan.story

    in_volume(lab, "echo x > /c/hub/models--org--tiny/blobs/b2.incomplete")
    incomplete = lab.deploy("weights.py", "-y", topology=file)
    assert incomplete.code == 1
    assert "org/tiny: 1 files are incomplete" in incomplete.story
    assert in_volume(lab, "ls /c/hub/models--org--tiny/snapshots/c0ffee").split() == [
        "config.json",
        "model.safetensors",
    ]
    file.write_text(file.read_text().replace("org/tiny", "org/huge"))
    full = lab.deploy("weights.py", "-y", topology=file)
    assert full.code == 1
    assert "org/huge: 1050000.0 GB are needed on docker's disk" in full.story
    assert in_volume(lab, "ls /c/hub").split() == ["models--org--tiny"]
    assert started(lab) == before


def test_a_trial_that_would_be_in_the_way_is_refused(lab: Lab, second: Run) -> None:
    before = started(lab)
    words = [f"model={WEIGHTS}", "gpu=gaming", f"image={LLAMA}", "context=512"]
    data = [each for word in words for each in ("--data", word)]
    taken = lab.deploy("experiment.py", "-y", *data, "--data", "port=30003")
    assert (taken.code, "belongs to serve fast on forge" in taken.story) == (1, True), taken.story
    lab.ssh("forge", SLEEPER.format(options="--name squatter -p 127.0.0.1:30005:30005"))
    try:
        busy = lab.deploy("experiment.py", "-y", *data)
        assert busy.code == 1
        assert "port 30005 is taken by container squatter" in busy.story
        assert lab.inspect("squatter")["State"]["Status"] == "running"
    finally:
        lab.ssh("forge", "docker rm -f squatter")
    cards = lab.ssh("forge", "cat /etc/nvidia-cards.json")
    full = json.loads(cards)
    full["cards"][1]["memory.used"] = 32600
    tell = "sudo tee /etc/nvidia-cards.json >/dev/null <<'CARDS'\n{}\nCARDS"
    lab.ssh("forge", tell.format(json.dumps(full)))
    try:
        crowded = lab.deploy("experiment.py", "-y", *data, "--data", "memory=0.05")
        assert crowded.code == 1, crowded.story
        assert "has 7 MiB free" in crowded.story
    finally:
        lab.ssh("forge", tell.format(cards))
    assert lab.deploy("experiment.py", "-y", "--data", "present=false").code == 0
    assert "experiment" not in lab.ssh("forge", "docker ps -a --format '{{.Names}}'; sudo ls /srv/anvil/experiments")
    assert started(lab) == before
    assert lab.deploy("full.py", "-y").changed == []


def test_a_leftover_trial_goes_by_its_name_and_its_folder_by_age(lab: Lab, second: Run) -> None:
    words = [f"model={WEIGHTS}", "gpu=gaming", f"image={LLAMA}", "context=512", "port=30009"]
    assert lab.deploy("experiment.py", "-y", *(each for word in words for each in ("--data", word))).code == 0
    assert lab.deploy("gc.py", "-y").changed == []  # it runs
    gone = lab.deploy("retire.py", "-y", "--data", "name=llamacpp-experiment-30009")
    assert (gone.code, gone.changed) == (0, ["Retire | Retire llamacpp-experiment-30009"]), gone.story
    root = "/srv/anvil"
    old = " ".join(f"{root}/router/releases/{n:016x}" for n in range(20))
    reports = f"{root}/evidence/preflight/fast-0000000000000000.json"
    lab.ssh(
        "forge",
        f"sudo mkdir -p {old}; sudo touch {reports}; sudo touch -d '40 days ago' {reports} {old} {root}/experiments/30009",
    )
    linked = lab.ssh("forge", f"sudo readlink {root}/router/current {root}/router/previous")
    run = lab.deploy("gc.py", "-y")
    assert run.code == 0, run.story
    left = lab.ssh("forge", f"sudo ls {root}/router/releases {root}/experiments {root}/evidence/preflight").split()
    assert not {"30009", "fast-0000000000000000.json"} & set(left)
    assert {each.split("/")[-1] for each in linked.split()} <= set(left)
    assert sum(name.startswith("00000000000000") for name in left) <= 10
    assert lab.deploy("gc.py", "-y").changed == []
    lab.ssh("forge", f"sudo rm -rf {old}")
    assert lab.deploy("full.py", "-y").changed == []


def test_the_end_takes_what_is_ours_and_names_what_is_not(lab: Lab, second: Run) -> None:
    refused = lab.deploy("teardown.py", "-y")
    assert (refused.code, "add --data confirm=rehearsal" in refused.story) == (1, True), refused.story
    lab.ssh("forge", SLEEPER.format(options="--name stranger --network anvil"))
    try:
        done = lab.deploy("teardown.py", "-y", "--data", "confirm=rehearsal")
        assert done.code == 0, done.story
        assert "left: stranger of no project is on network anvil" in done.story
        assert lab.ssh("forge", "docker ps -a --format '{{.Names}}'").split() == ["stranger"]
        kept = lab.ssh("forge", "docker volume ls -q; docker network ls --format '{{.Name}}'; sudo ls /srv/anvil")
        assert {"rehearsal-weights", "anvil-router-state", "anvil", "secrets.env", "router"} <= set(kept.split())
        again = lab.deploy("teardown.py", "-y", "--data", "confirm=rehearsal")
        assert (again.code, again.changed) == (0, []), again.story
    finally:
        lab.ssh("forge", "docker rm -f stranger", check=False)
        back = lab.deploy("full.py", "-y")
    assert back.code == 0, back.story
    assert lab.deploy("full.py", "-y").changed == []


def test_a_serve_that_the_topology_dropped_is_named_until_somebody_retires_it(
    lab: Lab, second: Run, tmp_path: Path
) -> None:
    document = TOPOLOGY.replace("serves.fast]", "serves.quick]").replace('serve = "fast"', 'serve = "quick"')
    renamed = tmp_path / "topology.toml"
    renamed.write_text(document)
    doctor = lab.deploy("doctor.py", topology=renamed)
    assert (
        "serve fast — is running and no longer in the topology; --data retire=llamacpp-fast removes it" in doctor.story
    )
    blocked = lab.deploy("serves.py", "-y", topology=renamed)
    assert blocked.code == 1
    assert "port 30003 is taken by container llamacpp-fast (--data retire=llamacpp-fast removes it)" in blocked.story
    assert "leftover  --data retire=llamacpp-fast removes it" in lab.deploy("status.py", topology=renamed).story
    taken = lab.deploy("full.py", "-y", "--data", "retire=llamacpp-fast", topology=renamed)
    assert taken.code == 0, taken.story
    back = lab.deploy("full.py", "-y", "--data", "retire=llamacpp-quick")
    assert back.code == 0, back.story
    assert lab.deploy("full.py", "-y").changed == []
    assert yaml.safe_load(lab.ssh("forge", "sudo cat /srv/anvil/compose.yaml"))["services"].keys() == {"fast", "heavy"}
