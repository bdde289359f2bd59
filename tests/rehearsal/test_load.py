"""Callers at 20 requests a second while the router changes under them: settings, profile, image, and one that crashes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.rehearsal.lab import Lab, Run
from tests.rehearsal.load import HANDOVER, RATE, Traffic, engine, traffic
from tests.rehearsal.test_promotion import CRASHING

pytestmark = [pytest.mark.rehearsal, pytest.mark.timeout(900)]

REVIEW = 'review       = ["heavy-local"]'
SLOWEST_S = 5.0  # a loaded machine; on a quiet one the slowest answer took 0.4 s


@pytest.fixture(scope="module")
def own(lab: Lab, second: Run, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A topology with `handover` whose `chat` is answered by the scripted engine, live; afterwards the rehearsal's own."""
    file = tmp_path_factory.mktemp("load") / "topology.toml"
    file.write_text(HANDOVER)
    with engine(lab):
        run = lab.deploy("router.py", "-y", topology=file)
        assert run.code == 0, run.story
        yield file
    run = lab.deploy("full.py", "-y")
    assert run.code == 0, run.story
    assert "anvil-router-" not in lab.ssh("forge", "docker ps -a --format '{{.Names}}'")  # one container again
    assert lab.deploy("full.py", "-y").changed == []


def container(lab: Lab, name: str = "anvil-router") -> str:
    return str(lab.inspect(name)["Id"])


def nobody_noticed(seen: Traffic) -> None:
    assert seen.failed == [], seen.story
    assert seen.kinds["long streams"] > 0  # some were on their way at the moment of the swap
    assert len(seen.answered) > RATE
    assert max(seen.answered) < SLOWEST_S, seen.story


def test_nobody_notices_a_promotion_a_rollback_or_a_profile(lab: Lab, own: Path, tmp_path: Path) -> None:
    before = container(lab)
    changed = tmp_path / "topology.toml"
    changed.write_text(HANDOVER.replace(REVIEW, 'review       = ["heavy-local", "fast-local"]'))
    profile = tmp_path / "candidate.json"
    row = {"tier_id": "heavy-local", "work_class": "planning", "decision": "allow", "quality_score": 0.9}
    schema = "anvil-serving.router.profile_bootstrap/v2"
    profile.write_text(json.dumps({"schema": schema, "mode": "live", "eval_max": 25.0, "entries": [row]}))
    with traffic(lab) as seen:
        runs = [
            lab.deploy("router.py", "-y", topology=changed),
            lab.deploy("rollback.py", "-y", topology=own),
            lab.deploy("promote.py", "-y", "--data", f"profile={profile}", topology=own),
            lab.deploy("router.py", "-y", "--data", "profile=inventory", topology=own),
        ]
    assert [run.code for run in runs] == [0, 0, 0, 0], [run.story for run in runs if run.code]
    nobody_noticed(seen)
    assert container(lab) == before  # reloaded in place each time


def test_nobody_notices_another_router_image(lab: Lab, own: Path) -> None:
    """Another image is another container; the published port is held apart, so callers never meet the gap."""
    before, socket = container(lab), container(lab, "anvil-router-socket")
    lab.ssh(
        "forge",
        "docker build -q -t anvil-router:next - <<'DOCKERFILE'\nFROM anvil-router:rehearsal\nLABEL x=y\nDOCKERFILE",
    )
    try:
        with traffic(lab) as seen:
            up = lab.deploy("router.py", "-y", "--data", "image=anvil-router:next", topology=own)
        assert up.code == 0, up.story
        nobody_noticed(seen)
        assert container(lab) != before
        assert lab.inspect("anvil-router")["Config"]["Image"] == "anvil-router:next"
        with traffic(lab) as seen:
            back = lab.deploy("rollback.py", "-y", topology=own)
        assert back.code == 0, back.story
        nobody_noticed(seen)
        assert lab.inspect("anvil-router")["Config"]["Image"] == "anvil-router:rehearsal"
        assert container(lab, "anvil-router-socket") == socket
        assert "anvil-router-next" not in lab.ssh("forge", "docker ps -a --format '{{.Names}}'")
    finally:
        lab.ssh("forge", "docker image rm -f anvil-router:next", check=False)


def test_a_lost_holder_of_the_port_comes_back_alone(lab: Lab, own: Path) -> None:
    before, release = container(lab), json.loads(lab.ask("/healthz")[1])["release"]
    lab.ssh("forge", "docker rm -f anvil-router-socket")
    run = lab.deploy("router.py", "-y", topology=own)
    assert (run.code, run.changed) == (0, [f"Router | Live {release}"]), run.story
    assert (lab.ask("/healthz")[0], container(lab)) == (200, before)
    assert lab.deploy("router.py", "-y", topology=own).changed == []


def test_an_image_that_crashes_costs_at_most_what_it_had_accepted(lab: Lab, own: Path) -> None:
    """It dies while it shares the callers with the router it was to replace: only its own requests can be lost."""
    before = container(lab)
    lab.ssh("forge", f"docker build -q -t anvil-router:crashing - <<'DOCKERFILE'\n{CRASHING}\nDOCKERFILE")
    try:
        with traffic(lab) as seen:
            run = lab.deploy("router.py", "-y", "--data", "image=anvil-router:crashing", topology=own)
    finally:
        lab.ssh("forge", "docker image rm -f anvil-router:crashing", check=False)
    assert run.code == 1
    assert "did not settle" in run.story
    last = json.loads(lab.ssh("forge", "sudo tail -n 1 /srv/anvil/router/promotions.jsonl"))
    assert last["outcome"] == "ROLLED_BACK"
    assert "ConnectError" not in seen.kinds, seen.story  # nobody was refused
    assert len(seen.failed) <= RATE, seen.story
    assert container(lab) == before  # the router that ran was never stopped
