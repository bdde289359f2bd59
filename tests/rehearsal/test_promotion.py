"""Promotions that go wrong on a real host: the router that answered before answers again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.rehearsal.lab import TOKEN, Lab, Run

pytestmark = [pytest.mark.rehearsal, pytest.mark.timeout(900)]

# Its loader accepts every release, its server dies shortly after it has begun to answer.
CRASHING = r"""
FROM anvil-router:rehearsal
USER 0
RUN mv /opt/anvil/bin/anvil /opt/anvil/bin/anvil-real \
 && printf '%s\n' '#!/bin/sh' 'if [ "$1" = serve ]; then timeout -s KILL 3 anvil-real "$@"; exit 1; fi' 'exec anvil-real "$@"' \
      > /opt/anvil/bin/anvil \
 && chmod 755 /opt/anvil/bin/anvil
USER 10001:10001
"""


@pytest.fixture(scope="module")
def crashing(lab: Lab, second: Run) -> Iterator[str]:
    """An image whose router crashes after three seconds."""
    lab.ssh("forge", f"docker build -q -t anvil-router:crashing - <<'DOCKERFILE'\n{CRASHING}\nDOCKERFILE")
    yield "anvil-router:crashing"
    lab.ssh("forge", "docker image rm -f anvil-router:crashing", check=False)


def live(lab: Lab) -> tuple[str, str]:
    """The release on disk and the one that answers."""
    status, text = lab.ask("/healthz")
    assert status == 200, text
    return lab.ssh("forge", "sudo readlink /srv/anvil/router/current").strip().split("/")[-1], json.loads(text)[
        "release"
    ]


def test_a_router_that_crashes_is_rolled_back(lab: Lab, crashing: str) -> None:
    before, serves = live(lab), lab.inspect("llamacpp-fast")["State"]["StartedAt"]
    run = lab.deploy("router.py", "-y", "--data", f"image={crashing}")
    assert run.code == 1
    assert "did not settle" in run.story
    assert live(lab) == before
    assert lab.inspect("anvil-router")["Config"]["Image"] == "anvil-router:rehearsal"
    assert lab.inspect("llamacpp-fast")["State"]["StartedAt"] == serves
    last = json.loads(lab.ssh("forge", "sudo tail -n 1 /srv/anvil/router/promotions.jsonl"))
    assert last["outcome"] == "ROLLED_BACK"
    assert last["samples"]
    assert lab.deploy("full.py", "-y").changed == []


def test_a_crash_in_the_run_that_drops_a_token_is_rolled_back_to_a_router_that_has_it(
    lab: Lab, crashing: str, tmp_path: Path
) -> None:
    one = 'token    = ["ANVIL_ROUTER_TOKEN"]'
    both = lab.topology(tmp_path, one, 'token    = ["ANVIL_ROUTER_TOKEN_B", "ANVIL_ROUTER_TOKEN"]')
    second = {"ANVIL_ROUTER_TOKEN_B": TOKEN[::-1]}
    run = lab.deploy("router.py", "-y", topology=both, **second)
    assert run.code == 0, run.story
    before = live(lab)
    (tmp_path / "dropped").mkdir()
    dropped = lab.topology(tmp_path / "dropped", one, 'token    = ["ANVIL_ROUTER_TOKEN_B"]')
    run = lab.deploy("router.py", "-y", "--data", f"image={crashing}", topology=dropped, **second)
    assert (run.code, "ROLLBACK FAILED" in run.story, live(lab)) == (1, False, before), run.story
    assert lab.ask("/v1/models")[0] == 200
    run = lab.deploy("router.py", "-y", topology=dropped, **second)
    assert run.code == 0, run.story
    assert lab.ask("/v1/models")[0] == 401
    assert "ANVIL_ROUTER_TOKEN=" not in lab.ssh("forge", "sudo cat /srv/anvil/secrets.env")
    run = lab.deploy("full.py", "-y")
    assert run.code == 0, run.story
    assert lab.deploy("full.py", "-y").changed == []


def test_a_release_its_loader_refuses_is_rejected_before_anything_moves(lab: Lab, second: Run) -> None:
    before, started = live(lab), lab.inspect("anvil-router")["State"]["StartedAt"]
    staged = "sudo ls -A /srv/anvil/router/releases"
    releases = lab.ssh("forge", staged)
    lab.ssh("forge", "docker tag anvil-rehearsal/llama:b10434 anvil-router:not-a-router")
    run = lab.deploy("router.py", "-y", "--data", "image=anvil-router:not-a-router")
    assert run.code == 1
    assert "REJECTED" in run.story
    assert live(lab) == before
    assert lab.inspect("anvil-router")["State"]["StartedAt"] == started
    assert lab.ssh("forge", staged) == releases  # no half-staged folder stays behind


def test_a_changed_preset_is_promoted_without_a_new_container(lab: Lab, second: Run, tmp_path: Path) -> None:
    before, started = live(lab), lab.inspect("anvil-router")["State"]["StartedAt"]
    changed = lab.topology(tmp_path, 'review       = ["heavy-local"]', 'review       = ["heavy-local", "fast-local"]')
    run = lab.deploy("router.py", "-y", topology=changed)
    assert run.code == 0, run.story
    after = live(lab)
    assert after[0] == after[1] != before[0]
    assert lab.inspect("anvil-router")["State"]["StartedAt"] == started  # a new worker, the same container
    back = lab.deploy("rollback.py", "-y")
    assert back.code == 0, back.story
    assert live(lab) == before


def test_a_controller_that_dies_leaves_a_release_that_answers(lab: Lab, second: Run, tmp_path: Path) -> None:
    changed = lab.topology(tmp_path, 'planning     = ["heavy-local"]', 'planning     = ["heavy-local", "fast-local"]')
    lab.deploy_until("router.py", "pgrep -f '[g]o-live.sh'", topology=changed)
    lab.wait("forge", "! pgrep -f '[g]o-live.sh'", 120)
    on_disk, answering = live(lab)
    assert on_disk == answering
    assert lab.deploy("full.py", "-y").code == 0
    assert lab.deploy("full.py", "-y").changed == []
