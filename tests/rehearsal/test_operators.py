"""What operators do beside a plain deploy: strangers' containers in the way, rotated secrets, candidates, two at once."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.rehearsal.lab import Lab, Run

pytestmark = [pytest.mark.rehearsal, pytest.mark.timeout(900)]

IMAGE = "anvil-rehearsal/python:3.11"
# A stranger's container: no compose project, not our labels.
SLEEPER = f"docker run -d --entrypoint python3 {{options}} {IMAGE} -c 'import time; time.sleep(600)'"
ROTATED = "rotated-token-of-thirty-2-characters"


def stranger(lab: Lab, options: str) -> None:
    lab.ssh("forge", SLEEPER.format(options=options))


def started(lab: Lab, *containers: str) -> list[str]:
    return [str(lab.inspect(container)["State"]["StartedAt"]) for container in containers]


@pytest.mark.parametrize("file", ["status.py", "doctor.py"])
def test_looking_needs_nobody_to_press_enter(lab: Lab, second: Run, file: str) -> None:
    run = lab.deploy(file)
    assert (run.code, run.changed) == (0, []), run.story


def test_a_foreign_container_on_a_wanted_port_goes_only_when_named(lab: Lab, second: Run) -> None:
    heavy, router = started(lab, "llamacpp-heavy", "anvil-router")
    lab.ssh("forge", "docker rm -f llamacpp-fast")
    stranger(lab, "--name squatter -p 127.0.0.1:30003:30003")
    try:
        run = lab.deploy("full.py", "-y")
        assert run.code == 1
        assert "port 30003 is taken by container squatter (--data retire=squatter removes it)" in run.story
        assert lab.inspect("squatter")["State"]["Status"] == "running"
        doctor = lab.deploy("doctor.py")
        assert doctor.code == 1
        assert "port 30003 is taken by container squatter" in doctor.story
        named = lab.deploy("full.py", "-y", "--data", "retire=squatter")
        assert named.code == 0, named.story
        assert {"Serves | Retire squatter", "Serves | Up fast"} <= set(named.changed)
    finally:
        lab.ssh("forge", "docker rm -f squatter", check=False)
    assert started(lab, "llamacpp-heavy", "anvil-router") == [heavy, router]
    assert lab.deploy("full.py", "-y").changed == []


def test_a_foreign_container_with_our_name_is_taken_over_only_when_named(lab: Lab, second: Run) -> None:
    heavy = started(lab, "llamacpp-heavy")
    lab.ssh("forge", "docker rm -f llamacpp-fast")
    stranger(lab, "--name llamacpp-fast")
    mine = lab.inspect("llamacpp-fast")["Id"]
    run = lab.deploy("serves.py", "-y")
    assert run.code == 1
    assert "take it over with --data adopt=fast" in run.story
    assert "foreign" in lab.deploy("status.py").story
    assert lab.deploy("serves_down.py", "-y", "--data", "only=fast").changed == []  # a stranger's is not stopped
    assert lab.inspect("llamacpp-fast")["Id"] == mine
    adopted = lab.deploy("adopt.py", "-y", "--data", "adopt=fast")
    assert adopted.code == 0, adopted.story
    assert lab.inspect("llamacpp-fast")["Config"]["Labels"]["anvil.name"] == "fast"
    assert started(lab, "llamacpp-heavy") == heavy
    again = started(lab, "llamacpp-fast")
    assert lab.deploy("adopt.py", "-y", "--data", "adopt=fast").changed == []  # never a needless reload
    assert started(lab, "llamacpp-fast") == again


def test_retire_removes_what_is_named_and_the_router_only_when_confirmed(lab: Lab, second: Run) -> None:
    stranger(lab, "--name leftover")
    run = lab.deploy("retire.py", "-y", "--data", "name=leftover")
    assert (run.code, run.changed) == (0, ["Retire | Retire leftover"]), run.story
    assert lab.deploy("retire.py", "-y", "--data", "name=leftover").changed == []
    refused = lab.deploy("retire.py", "-y", "--data", "name=anvil-router")
    assert refused.code == 1
    assert "confirm=router" in refused.story
    assert lab.inspect("anvil-router")["State"]["Status"] == "running"


def test_a_rotated_token_restarts_the_router_alone(lab: Lab, second: Run) -> None:
    serves = started(lab, "llamacpp-fast", "llamacpp-heavy")
    run = lab.deploy("full.py", "-y", token=ROTATED)
    assert run.code == 0, run.story
    assert lab.ask("/v1/models", token=ROTATED)[0] == 200
    assert lab.ask("/v1/models")[0] == 401
    assert started(lab, "llamacpp-fast", "llamacpp-heavy") == serves
    assert ROTATED not in run.story
    back = lab.deploy("full.py", "-y")
    assert back.code == 0, back.story
    assert lab.ask("/v1/models")[0] == 200
    assert lab.deploy("full.py", "-y").changed == []


def test_a_rotated_secret_of_a_serve_waits_until_somebody_recreates_it(lab: Lab, second: Run, tmp_path: Path) -> None:
    port = "port            = 30002"
    changed = lab.topology(tmp_path, port, f'{port}\nsecret_env = ["HF_TOKEN"]')
    first = lab.deploy("full.py", "-y", topology=changed, HF_TOKEN="first-value")
    assert first.code == 0, first.story
    running = started(lab, "llamacpp-fast", "llamacpp-heavy")
    router = lab.deploy("router.py", "-y", topology=changed, HF_TOKEN="second-value")
    assert router.code == 0, router.story
    assert "env drifted" in router.story
    serves = lab.deploy("serves.py", "-y", topology=changed, HF_TOKEN="second-value")
    assert (serves.code, serves.changed) == (0, []), serves.story
    assert "env of HF_TOKEN changed; pending until recreate=heavy" in serves.story
    assert started(lab, "llamacpp-fast", "llamacpp-heavy") == running
    again = lab.deploy("serves.py", "-y", "--data", "recreate=heavy", topology=changed, HF_TOKEN="second-value")
    assert again.code == 0, again.story
    assert started(lab, "llamacpp-fast") == running[:1]
    assert "HF_TOKEN=second-value" in lab.inspect("llamacpp-heavy")["Config"]["Env"]
    lost = lab.deploy("full.py", "-y", topology=changed, HF_TOKEN="")
    assert lost.code == 1
    assert "secrets.env on forge holds HF_TOKEN, the controller does not" in lost.story
    mistyped = lab.deploy("full.py", "-y", "--data", "drop_secret=HF_TOKN")
    assert (mistyped.code, "drop_secret=HF_TOKN: no machine has such a secret" in mistyped.story) == (1, True)
    back = lab.deploy("full.py", "-y", "--data", "drop_secret=HF_TOKEN")  # no longer wanted, still held by the host
    assert back.code == 0, back.story
    assert lab.deploy("full.py", "-y").changed == []
    assert "second-value" not in "".join(run.story for run in (router, serves, again))


def test_a_missing_or_short_token_is_refused_before_connecting(lab: Lab, second: Run) -> None:
    for token, told in (("", "no value for ANVIL_ROUTER_TOKEN"), ("short", "at least 24 characters")):
        run = lab.deploy("full.py", "-y", token=token)
        assert run.code == 1
        assert told in run.story
        assert "Connecting" not in run.story.partition("containers")[0].partition("NAMES")[0]


def test_a_candidate_profile_stays_until_somebody_decides(lab: Lab, second: Run, tmp_path: Path) -> None:
    candidate = tmp_path / "candidate.json"
    row = {"tier_id": "heavy-local", "work_class": "planning", "decision": "allow", "quality_score": 0.9}
    schema = "anvil-serving.router.profile_bootstrap/v2"
    candidate.write_text(json.dumps({"schema": schema, "mode": "live", "eval_max": 25.0, "entries": [row]}))
    before = started(lab, "anvil-router")
    run = lab.deploy("promote.py", "-y", "--data", f"profile={candidate}")
    assert run.code == 0, run.story
    assert "+ heavy-local/planning: allow 0.9" in run.story
    assert started(lab, "anvil-router") == before  # reloaded, not replaced
    refused = lab.deploy("full.py", "-y")
    assert refused.code == 1
    assert "promoted as a candidate" in refused.story
    assert lab.deploy("full.py", "-y", "--data", "profile=keep").changed == []
    back = lab.deploy("full.py", "-y", "--data", "profile=inventory")
    assert back.code == 0, back.story
    assert lab.deploy("full.py", "-y").changed == []


def test_two_operators_at_once_end_in_one_settled_release(lab: Lab, second: Run, tmp_path: Path) -> None:
    changed = lab.topology(tmp_path, 'review       = ["heavy-local"]', 'review       = ["heavy-local", "fast-local"]')
    with ThreadPoolExecutor(2) as operators:
        runs = [operators.submit(lab.deploy, "router.py", "-y", topology=which) for which in (changed, None)]
    stories = [run.result() for run in runs]
    assert {run.code for run in stories} <= {0, 1}
    assert all(run.code == 0 or "busy" in run.story.lower() for run in stories), [run.story for run in stories]
    status, text = lab.ask("/healthz")
    assert status == 200
    assert lab.ssh("forge", "sudo readlink /srv/anvil/router/current").strip().endswith(json.loads(text)["release"])
    assert lab.deploy("full.py", "-y").code == 0
    assert lab.deploy("full.py", "-y").changed == []
