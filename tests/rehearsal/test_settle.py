"""Routers that do not settle, as real images: the release before answers again, or somebody is told that none does."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.rehearsal.lab import ROUTER, Lab, Run

pytestmark = [pytest.mark.rehearsal, pytest.mark.timeout(900)]

OWN = "anvil-router:rehearsal"
# Its loader accepts every release; what its server does is the fault.
DYING = r"""
FROM anvil-router:rehearsal
USER 0
RUN mv /opt/anvil/bin/anvil /opt/anvil/bin/anvil-real \
 && printf '%s\n' '#!/bin/sh' 'if [ "$1" = serve ] && WHEN; then timeout -s KILL SECONDS anvil-real "$@"; exit 1; fi' \
      'exec anvil-real "$@"' > /opt/anvil/bin/anvil \
 && chmod 755 /opt/anvil/bin/anvil
USER 10001:10001
"""
LYING = r"""
FROM anvil-router:rehearsal
USER 0
RUN printf '%s\n' 'honest = healthz' 'def healthz(runtime):' '    HEALTH' \
      >> "$(/opt/anvil/bin/python3 -c 'import anvil.router.control as c; print(c.__file__)')"
USER 10001:10001
"""
DOOM = "/var/lib/anvil/doom"  # in the volume that every router has
OLD_RELEASE = 'return Plain(200, b"{\\"status\\":\\"ok\\",\\"release\\":\\"0123456789abcdef\\"}")'
REVIEW = 'review       = ["heavy-local"]', 'review       = ["heavy-local", "fast-local"]'

PATIENT = "settle_s = 5", "settle_s = 20"

Build = Callable[[str, str], str]


@pytest.fixture
def build(lab: Lab, second: Run) -> Iterator[Build]:
    """Build an image by a tag from a Dockerfile; gone after the test."""
    made: list[str] = []

    def build(tag: str, dockerfile: str) -> str:
        made.append(f"anvil-router:{tag}")
        lab.ssh("forge", f"docker build -q -t {made[-1]} - <<'DOCKERFILE'\n{dockerfile}\nDOCKERFILE")
        return made[-1]

    yield build
    lab.ssh("forge", f"docker image rm -f {' '.join(made)}", check=False)


def dying(seconds: float, when: str = "true") -> str:
    return DYING.replace("SECONDS", str(seconds)).replace("WHEN", when)


def live(lab: Lab) -> tuple[str, str]:
    """The release on disk and the one that answers on the published address."""
    status, text = lab.ask("/healthz")
    assert status == 200, text
    on_disk = lab.ssh("forge", "sudo readlink /srv/anvil/router/current").strip().split("/")[-1]
    return on_disk, json.loads(text)["release"]


def serves(lab: Lab) -> list[str]:
    return [str(lab.inspect(f"llamacpp-{name}")["State"]["StartedAt"]) for name in ("fast", "heavy")]


def outcome(lab: Lab) -> str:
    return str(json.loads(lab.ssh("forge", "sudo tail -n 1 /srv/anvil/router/promotions.jsonl"))["outcome"])


def rolled_back(lab: Lab, image: str, topology: Path | None = None) -> Run:
    """Promote an image that does not settle: what answered before answers again, and no serve noticed."""
    before, running = live(lab), serves(lab)
    run = lab.deploy("router.py", "-y", "--data", f"image={image}", topology=topology)
    assert run.code == 1
    assert "did not settle" in run.story
    assert (outcome(lab), live(lab)) == ("ROLLED_BACK", before)
    assert lab.inspect("anvil-router")["Config"]["Image"] == OWN
    assert lab.inspect("anvil-router")["State"]["Status"] == "running"
    assert serves(lab) == running
    return run


def settled_again(lab: Lab) -> None:
    """Of the more patient topology only its script was left."""
    assert lab.deploy("full.py", "-y").changed == ["Router | Go-live script"]
    assert lab.deploy("full.py", "-y").changed == []


def test_restarts_of_the_past_excuse_no_crash_and_condemn_no_release(lab: Lab, build: Build, tmp_path: Path) -> None:
    """A router that was reloaded is still restarted when it crashes. After five restarts a good release settles, one
    that dies after 1 s does not."""
    changed = lab.topology(tmp_path, *REVIEW)
    forth = lab.deploy("router.py", "-y", topology=changed)
    assert forth.code == 0, forth.story
    kill = "sudo kill -9 $(docker inspect -f '{{.State.Pid}}' anvil-router)"
    back = "docker inspect -f '{{.RestartCount}} {{.State.Status}}' anvil-router"
    first = lab.inspect("anvil-router")["RestartCount"]
    for times in range(first + 1, first + 6):
        lab.ssh("forge", kill)
        lab.wait("forge", f'[ "$({back})" = "{times} running" ]', 30)
    lab.wait("forge", f"curl -fs {ROUTER}/healthz", 30)
    good = lab.deploy("full.py", "-y")
    assert (good.code, outcome(lab)) == (0, "DONE"), good.story
    assert lab.inspect("anvil-router")["RestartCount"] == first + 5  # reloaded, not replaced
    rolled_back(lab, build("dies-1", dying(1)))
    assert lab.deploy("full.py", "-y").changed == []


@pytest.mark.parametrize("seconds", [5, 15])
def test_a_router_that_dies_while_it_is_watched_is_rolled_back(
    lab: Lab, build: Build, tmp_path: Path, seconds: int
) -> None:
    topology = lab.topology(tmp_path, *PATIENT)
    rolled_back(lab, build(f"dies-{seconds}", dying(seconds)), topology)
    settled_again(lab)


def test_a_router_that_never_says_that_it_is_well_is_rolled_back(lab: Lab, build: Build) -> None:
    """It is given a minute, as one that is slow to start is."""
    run = rolled_back(lab, build("unwell", LYING.replace("HEALTH", 'return Plain(500, b"{}")')))
    assert "did not answer within 60 s" in run.story
    assert lab.deploy("full.py", "-y").changed == []


def test_a_router_that_comes_to_answer_as_another_release_is_rolled_back(
    lab: Lab, build: Build, tmp_path: Path
) -> None:
    topology = lab.topology(tmp_path, *PATIENT)
    lie = f"{OLD_RELEASE} if time.time() - runtime.started > 12 else honest(runtime)"
    run = rolled_back(lab, build("old", LYING.replace("HEALTH", lie)), topology)
    assert "answered as release 0123456789abcdef" in run.story
    settled_again(lab)


def test_a_fallback_that_dies_too_is_degraded_and_the_next_good_release_works(
    lab: Lab, build: Build, tmp_path: Path
) -> None:
    before, running, topology = live(lab), serves(lab), lab.topology(tmp_path, *PATIENT)
    fallback = build("doomed", dying(2, f"[ -e {DOOM} ]"))
    good = lab.deploy("router.py", "-y", "--data", f"image={fallback}")
    assert good.code == 0, good.story
    lab.ssh("forge", f"docker exec anvil-router touch {DOOM}")
    try:
        # It lives long enough for the one before to be gone.
        late = build("dies-12", dying(12))
        run = lab.deploy("router.py", "-y", "--data", f"image={late}", topology=topology)
        assert (run.code, outcome(lab)) == (1, "DEGRADED"), run.story
        assert "ROLLBACK FAILED" in run.story
        assert "docker logs --tail 60 anvil-router" in run.story
    finally:
        lab.ssh("forge", f"docker run --rm -v anvil-router-state:/var/lib/anvil --entrypoint rm {OWN} -f {DOOM}")
    back = lab.deploy("full.py", "-y")
    assert (back.code, outcome(lab), live(lab)) == (0, "DONE", before), back.story
    assert serves(lab) == running
    assert lab.deploy("full.py", "-y").changed == []


def test_a_first_promotion_that_crashes_leaves_nothing_live(lab: Lab, build: Build) -> None:
    before, running = live(lab), serves(lab)
    lab.ssh("forge", "docker rm -f anvil-router; sudo sh -c 'cd /srv/anvil/router; rm -rf current previous releases/*'")
    run = lab.deploy("router.py", "-y", "--data", f"image={build('dies-2', dying(2))}")
    assert run.code == 1
    assert "no release to fall back to; the router is stopped" in run.story
    there = lab.ssh("forge", "sudo ls /srv/anvil/router").split()
    assert ("releases" in there, "current" in there, "previous" in there) == (True, False, False)
    assert lab.inspect("anvil-router")["State"]["Status"] == "exited"
    assert lab.deploy("full.py", "-y").code == 0
    assert (live(lab), serves(lab)) == (before, running)
    assert lab.deploy("full.py", "-y").changed == []
