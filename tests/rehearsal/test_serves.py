"""What a serve's life meets on a real host: a trial beside it, another mode, odd values, a gate it does not pass."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.rehearsal.lab import TOPOLOGY, Lab, Run

pytestmark = [pytest.mark.rehearsal, pytest.mark.timeout(900)]

PRODUCTION = ("llamacpp-fast", "llamacpp-heavy", "anvil-router")
IMAGE = "anvil-rehearsal/llama:b10434"
WEIGHTS = "SmolLM2-135M-Instruct.Q4_1.gguf"
ODD = "a b 'c' \"d\" $(touch /tmp/owned) `touch /tmp/owned` $HOME {{ x }} {% y %} \\ é 🐉 #;|&<>*"
MODES = """
[modes.flexibility]
serves  = ["fast"]
presets = { chat = ["fast-local"] }
[modes.agentic]
serves  = ["heavy"]
presets = { chat = ["heavy-local"] }
"""


def started(lab: Lab) -> Mapping[str, str]:
    return {each: lab.inspect(each)["State"]["StartedAt"] for each in PRODUCTION}


def current(lab: Lab) -> str:
    return lab.ssh("forge", "sudo readlink /srv/anvil/router/current").strip().split("/")[-1]


@pytest.fixture
def put_back(lab: Lab, second: Run) -> Iterator[None]:
    """The rehearsal's own topology stands again, whatever the test did."""
    yield
    run = lab.deploy("full.py", "-y")
    assert run.code == 0, run.story


def test_a_trial_comes_and_goes_and_production_never_notices(lab: Lab, second: Run) -> None:
    before = started(lab)
    words = [f"model={WEIGHTS}", "gpu=gaming", f"image={IMAGE}", "context=512", "served=new one"]
    data = [each for word in words for each in ("--data", word)]
    assert lab.deploy("experiment.py", "--dry", *data).code == 0
    assert "experiment" not in lab.ssh("forge", "docker ps -a --format '{{.Names}}'; sudo ls /srv/anvil/experiments")
    up = lab.deploy("experiment.py", "-y", *data)
    assert up.code == 0, up.story
    found = lab.inspect("llamacpp-experiment-30005")
    assert found["Config"]["Labels"]["com.docker.compose.project"] == "rehearsal-experiment-30005"
    assert found["HostConfig"]["RestartPolicy"]["Name"] == "no"
    assert "new one" in lab.ssh("forge", "curl -s http://127.0.0.1:30005/v1/models")
    assert lab.deploy("experiment.py", "-y", *data).changed == []
    assert lab.deploy("full.py", "-y").changed == []  # production's own deploy sees nothing of it
    gone = lab.deploy("experiment.py", "-y", "--data", "present=false")
    assert gone.code == 0, gone.story
    assert "experiment" not in lab.ssh("forge", "docker ps -a --format '{{.Names}}'; sudo ls /srv/anvil/experiments")
    assert lab.deploy("experiment.py", "-y", "--data", "present=false").changed == []
    assert started(lab) == before


def test_another_mode_and_back_is_the_same_release(lab: Lab, put_back: None, tmp_path: Path) -> None:
    file = tmp_path / "topology.toml"
    file.write_text(TOPOLOGY.replace("schema ", 'mode = "flexibility"\nschema ', 1) + MODES)
    first = lab.deploy("full.py", "-y", topology=file)
    assert first.code == 0, first.story
    flexible = current(lab)
    assert lab.inspect("llamacpp-heavy")["State"]["Status"] == "exited"

    switched = lab.deploy("full.py", "-y", "--data", "mode=agentic", topology=file)
    assert switched.code == 0, switched.story
    left, entered = lab.inspect("llamacpp-fast")["State"], lab.inspect("llamacpp-heavy")["State"]
    assert (left["Status"], entered["Status"]) == ("exited", "running")
    assert left["FinishedAt"] < entered["StartedAt"]
    about = json.loads(lab.ssh("forge", "sudo cat /srv/anvil/router/current/release.json"))
    assert (about["mode"], about["id"]) == ("agentic", current(lab))
    assert current(lab) != flexible

    back = lab.deploy("full.py", "-y", topology=file)
    assert back.code == 0, back.story
    assert current(lab) == flexible
    assert json.loads(lab.ask("/healthz")[1])["release"] == flexible


def test_odd_values_arrive_as_they_are_and_are_never_run(lab: Lab, put_back: None, tmp_path: Path) -> None:
    odd = json.dumps(ODD, ensure_ascii=False)
    line = 'served_model    = "tiny-fast"'
    more = f'{line}\nenv = {{ ODD = {odd} }}\nextra_args = ["--dry-sequence-breaker", {odd}]'
    changed = lab.topology(tmp_path, line, more)
    run = lab.deploy("full.py", "-y", "--diff", topology=changed)
    assert run.code == 0, run.story
    config = lab.inspect("llamacpp-fast")["Config"]
    assert f"ODD={ODD}" in config["Env"]
    assert config["Cmd"][config["Cmd"].index("--dry-sequence-breaker") + 1] == ODD
    assert lab.ssh("forge", "docker exec llamacpp-fast printenv ODD") == f"{ODD}\n"
    assert lab.deploy("full.py", "-y", topology=changed).changed == []
    owned = "[ ! -e /tmp/owned ] && docker exec llamacpp-fast sh -c '[ ! -e /tmp/owned ]' && echo never"
    assert lab.ssh("forge", owned) == "never\n"
    assert not Path("/tmp/owned").exists()


def test_a_serve_that_fails_its_gate_is_taken_back(lab: Lab, put_back: None, tmp_path: Path) -> None:
    before, router = lab.inspect("llamacpp-fast")["Config"]["Labels"]["anvil.revision"], started(lab)["anvil-router"]
    release = current(lab)
    changed = tmp_path / "topology.toml"
    # Without its template the engine refuses tools at once, which the gate is about.
    gated = 'preflight = "required"\non_failure = "restore"\nextra_args = ["--no-jinja"]'
    changed.write_text(TOPOLOGY.replace('preflight       = "off"', gated, 1))  # the first one is that of `fast`
    run = lab.deploy("full.py", "-y", topology=changed)
    assert run.code == 1
    assert "fast: preflight failed:" in run.story
    assert f"restored revision {before}" in run.story
    found = lab.inspect("llamacpp-fast")
    assert (found["State"]["Status"], found["Config"]["Labels"]["anvil.revision"]) == ("running", before)
    assert (current(lab), started(lab)["anvil-router"]) == (release, router)
    kept = lab.ssh("forge", "sudo sh -c 'cat $(ls -t /srv/anvil/evidence/preflight/fast-*.json | head -n 1)'")
    report = json.loads(kept)
    assert (report["base_url"], report["passed"]) == ("http://fast:30003/v1", False)


def test_leftovers_go_and_nothing_else(lab: Lab, second: Run) -> None:
    before, root = started(lab), "/srv/anvil"
    left = f"{root}/router/releases/.half {root}/experiments/30099"
    lab.ssh("forge", f"sudo mkdir -p {left}; sudo touch -d '3 days ago' {left}")
    there = f"sudo ls -A {root} {root}/router/releases {root}/experiments {root}/evidence/preflight"
    listed = lab.ssh("forge", there)
    dry = lab.deploy("gc.py", "--dry")
    assert f"{root}/router/releases/.half: never finished" in dry.story
    assert lab.ssh("forge", there) == listed
    assert lab.deploy("gc.py", "-y").code == 0
    assert set(listed.split()) - set(lab.ssh("forge", there).split()) == {".half", "30099"}
    assert lab.deploy("gc.py", "-y").changed == []
    assert started(lab) == before


def test_a_cache_is_pruned_only_of_what_nobody_names(lab: Lab, second: Run, tmp_path: Path) -> None:
    before = started(lab)
    cached = lab.topology(tmp_path, 'kind  = "directory"', 'kind  = "hf-cache"')
    half = "d=/c/hub/models--org--$m/blobs; mkdir -p $d; echo x > $d/1.incomplete; touch -d 2001-01-01 $d/1.incomplete"
    volume = "docker run --rm -v rehearsal-weights:/c --entrypoint sh anvil-rehearsal/python:3.11 -c"
    lab.ssh("forge", f"{volume} 'for m in gone kept; do {half}; done'")
    try:
        data = ("--data", "protect=org/kept")
        plan = lab.deploy("cache_prune.py", "-y", *data, topology=cached)
        assert (plan.code, plan.changed) == (0, []), plan.story
        assert "1 kept; 1 models, 2 bytes to remove" in plan.story
        run = lab.deploy("cache_prune.py", "-y", *data, "--data", "execute=true", topology=cached)
        assert run.code == 0, run.story
        assert lab.ssh("forge", f"{volume} 'ls /c/hub; ls /c'").split() == ["models--org--kept", WEIGHTS, "hub"]
        again = lab.deploy("cache_prune.py", "-y", *data, "--data", "execute=true", topology=cached)
        assert (again.code, again.changed) == (0, []), again.story
        misspelt = lab.deploy("cache_prune.py", "-y", "--data", "protect=org/kep", topology=cached)
        assert misspelt.code == 1
        assert "no volume of this machine holds it" in misspelt.story
    finally:
        lab.ssh("forge", f"{volume} 'rm -rf /c/hub'")
    assert started(lab) == before
