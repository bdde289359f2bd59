"""Runs that are cut off: the controller killed at every operation of full.py, the SSH link dropped in the middle."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.rehearsal.lab import Lab, Run

pytestmark = [pytest.mark.rehearsal, pytest.mark.timeout(900)]

# Everything a first run makes. The weights stay: they came with the lab.
EMPTY = """docker rm -f $(docker ps -aq --filter label=com.docker.compose.project) >/dev/null
docker network rm anvil && docker volume rm anvil-router-state && sudo rm -rf /srv/anvil"""
# Operations whose command takes long enough to be met half way, and how the host shows that it is.
MIDDLE = {
    "Serves | Up fast": "pgrep -f '[c]ompose.* up .*fast'",
    "Router | Stage": "sudo sh -c 'ls -d /srv/anvil/router/releases/.*-*'",
    "Router | Live": "pgrep -f '[g]o-live.sh'",
}
PADDING = 2_000_000  # bytes; long enough on the way for the link to drop in between


def started(lab: Lab, container: str) -> str:
    return str(lab.inspect(container)["State"]["StartedAt"])


def current(lab: Lab) -> str:
    return lab.ssh("forge", "sudo readlink /srv/anvil/router/current").strip().split("/")[-1]


def test_a_controller_killed_at_any_operation_is_made_good_by_the_next_run(lab: Lab, second: Run) -> None:
    """One host built up by runs that each die one operation later than the one before, so every operation is met:
    the next run may change what was cut off and must leave alone what that one had finished, and the last of all has
    nothing left to do."""
    operations = [str(each["name"]) for each in second.operations]
    lab.ssh("forge", EMPTY)
    interrupted = ""
    for place, operation in enumerate(operations):
        middle = next((seen for name, seen in MIDDLE.items() if operation.startswith(name)), "")
        for seen in ("", middle) if middle else ("",):
            told = lab.deploy_to("full.py", operation, seen)
            assert list(told) == operations[:place]
            changed = {name for name, outcome in told.items() if outcome != "No changes"}
            assert changed <= {interrupted}, told
            assert "Error" not in told.values()
            interrupted = ""
        interrupted = operation
    last = lab.deploy("full.py", "-y")
    assert (last.code, [each["name"] for each in last.operations]) == (0, operations), last.story
    assert set(last.changed) <= {interrupted}
    assert lab.deploy("full.py", "-y").changed == []
    assert json.loads(lab.ask("/healthz")[1])["release"] == current(lab)


def test_a_link_that_drops_while_a_file_is_written_leaves_the_old_file(lab: Lab, second: Run, tmp_path: Path) -> None:
    line = 'served_model    = "tiny-fast"'
    large = lab.topology(tmp_path, line, f'{line}\nenv = {{ PADDING = "{"x " * (PADDING // 2)}" }}')
    look = "sudo sha256sum /srv/anvil/compose.yaml /srv/anvil/compose.previous.yaml; sudo ls -A /srv/anvil"
    before = lab.ssh("forge", look)
    with lab.link_dropped("sudo sh -c 'ls /srv/anvil/.anvil-*'"):
        run = lab.deploy("full.py", "-y", topology=large)
    assert run.code == 1
    lab.wait("forge", "! sudo sh -c 'ls /srv/anvil/.anvil-*'", 10)
    assert lab.ssh("forge", look) == before
    assert lab.deploy("full.py", "-y").changed == []


def test_a_link_that_drops_during_a_promotion_leaves_a_settled_release(lab: Lab, second: Run, tmp_path: Path) -> None:
    before, serve = current(lab), started(lab, "llamacpp-fast")
    changed = lab.topology(tmp_path, 'review       = ["heavy-local"]', 'review       = ["heavy-local", "fast-local"]')
    swung = f"[ $(sudo readlink /srv/anvil/router/current) != releases/{before} ]"
    with lab.link_dropped(swung):
        assert lab.deploy("router.py", "-y", topology=changed).code == 1
    lab.wait("forge", "! pgrep -f '[g]o-live.sh'", 5 + 60)
    last = json.loads(lab.ssh("forge", "sudo tail -n 1 /srv/anvil/router/promotions.jsonl"))
    assert (last["outcome"], last["id"], last["previous"]) == ("DONE", current(lab), before)
    assert json.loads(lab.ask("/healthz")[1])["release"] == current(lab)
    again = lab.deploy("router.py", "-y", topology=changed)
    assert (again.code, again.changed) == (0, []), again.story
    assert lab.deploy("full.py", "-y").code == 0
    assert (current(lab), started(lab, "llamacpp-fast")) == (before, serve)
    assert lab.deploy("full.py", "-y").changed == []


def test_a_link_that_drops_while_a_serve_comes_up_leaves_a_whole_serve(lab: Lab, second: Run, tmp_path: Path) -> None:
    """Once in the middle of its replacement, which the host finishes by itself, and once while it loads."""
    heavy, router = started(lab, "llamacpp-heavy"), started(lab, "anvil-router")
    line = 'served_model    = "tiny-fast"'
    changed = lab.topology(tmp_path, line, f'{line}\nextra_args = ["--no-warmup"]')
    two = "[ $(docker ps -aq --filter label=anvil.name=fast | wc -l) -ge 2 ]"
    with lab.link_dropped(two):
        assert lab.deploy("full.py", "-y", topology=changed).code == 1
    lab.wait("forge", f"! {two} && docker ps --filter name=^llamacpp-fast$ | grep -w fast", 30)
    assert "--no-warmup" in lab.inspect("llamacpp-fast")["Config"]["Cmd"]
    old = lab.inspect("llamacpp-fast")["Id"]
    loads = f"docker ps -q --no-trunc --filter name=^llamacpp-fast$ --filter health=starting | grep -v {old}"
    with lab.link_dropped(loads):
        assert lab.deploy("full.py", "-y").code == 1
    run = lab.deploy("full.py", "-y")
    assert run.code == 0, run.story
    assert set(run.changed) <= {"Serves | Ready fast"}
    assert "--no-warmup" not in lab.inspect("llamacpp-fast")["Config"]["Cmd"]
    assert (started(lab, "llamacpp-heavy"), started(lab, "anvil-router")) == (heavy, router)
    assert lab.deploy("full.py", "-y").changed == []
