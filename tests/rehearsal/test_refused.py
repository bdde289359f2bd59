"""What a host cannot do right now: no room on its disk, another operator at work, an image nobody has. Nothing moves."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.rehearsal.lab import TOPOLOGY, Lab, Run

pytestmark = [pytest.mark.rehearsal, pytest.mark.timeout(900)]

CONTAINERS = ("llamacpp-fast", "llamacpp-heavy", "anvil-router")
REVIEW = 'review       = ["heavy-local"]', 'review       = ["heavy-local", "fast-local"]'
SERVED = 'served_model    = "tiny-fast"'
MISSING = f"127.0.0.1:9/none:1@sha256:{'0' * 64}"  # nothing listens there: the pull is refused
# The root of the deployment on a disk of its own, which is filled up to the last byte.
SMALL = """mkdir -p /mnt/small && mount -t tmpfs -o size=4m,mode=755 small /mnt/small
cp -a /srv/anvil/. /mnt/small/ && mount --bind /mnt/small /srv/anvil && docker restart -t 5 anvil-router"""
LARGE = "umount /srv/anvil && umount /mnt/small && docker restart -t 5 anvil-router"
FILL = "cat /dev/zero > /srv/anvil/filler || truncate -s -LEFT /srv/anvil/filler"
HOLD = """exec 9>>/srv/anvil/.lock && flock 9 && echo 'ada@desk, pid 1, since noon' >/srv/anvil/.lock && touch /tmp/holding
while [ -e /tmp/holding ]; do sleep 0.1; done"""


def moved(lab: Lab) -> list[str]:
    """What a promotion or an up would move: the links of the releases and the starts of the containers."""
    links = "sudo sh -c 'cd /srv/anvil/router; readlink current; readlink previous || true'"
    return [*lab.ssh("forge", links).split(), *(str(lab.inspect(each)["State"]["StartedAt"]) for each in CONTAINERS)]


@contextmanager
def small_disk(lab: Lab) -> Iterator[None]:
    lab.ssh("forge", f"sudo sh -ec '{SMALL}'")
    try:
        lab.wait("forge", "docker exec anvil-router anvil probe", 60)
        yield
    finally:
        lab.ssh("forge", f"sudo sh -c '{LARGE}'")
        lab.wait("forge", "docker exec anvil-router anvil probe", 60)


def test_a_full_disk_aborts_and_leaves_what_is_live(lab: Lab, second: Run, tmp_path: Path) -> None:
    look = "cd /srv/anvil && sudo find . ! -name filler ! -name .lock ! -name go-live.log -type f -exec sha256sum {} +"
    folders = "; sudo find /srv/anvil -type d"
    changed = lab.topology(
        tmp_path, REVIEW[0], 'review       = ["fast-local", "heavy-local"]'
    )  # staged by no other test
    (tmp_path / "serve").mkdir()
    serve = lab.topology(tmp_path / "serve", SERVED, f'{SERVED}\nextra_args = ["--no-warmup"]')
    with small_disk(lab):
        before, files = moved(lab), lab.ssh("forge", look + folders)
        # No room at all for a compose file; a little for a release, but not enough.
        for left, file, topology in ((0, "full.py", serve), (8192, "router.py", changed)):
            lab.ssh("forge", f"sudo sh -c '{FILL.replace('LEFT', str(left))}' 2>/dev/null")
            run = lab.deploy(file, "-y", topology=topology)
            assert (run.code, "No space left on device" in run.story) == (1, True), run.story
            assert (moved(lab), lab.ssh("forge", look + folders)) == (before, files)
        assert "REJECTED: the files could not be written; nothing was staged" in run.story
        lab.ssh("forge", "sudo rm /srv/anvil/filler")
        run = lab.deploy("router.py", "-y", topology=changed)
        assert run.code == 0, run.story
        assert lab.deploy("full.py", "-y").code == 0
        assert lab.deploy("full.py", "-y").changed == []
    assert lab.deploy("full.py", "-y").changed == []


@contextmanager
def held(lab: Lab) -> Iterator[None]:
    """Another operator, at work for as long as this lasts."""
    words = ["ssh", "-F", str(lab.config("forge")), "forge", f'sudo sh -c "{HOLD}"']
    with subprocess.Popen(words):
        try:
            lab.wait("forge", "[ -e /tmp/holding ]", 40)
            yield
        finally:
            lab.ssh("forge", "sudo rm -f /tmp/holding")


def test_a_promotion_and_an_up_wait_for_each_other_and_not_for_ever(lab: Lab, second: Run, tmp_path: Path) -> None:
    changed, before = lab.topology(tmp_path, *REVIEW), moved(lab)
    anew = ("serves.py", "-y", "--data", "recreate=fast")

    def both() -> list[Run]:
        with ThreadPoolExecutor(2) as operators:
            promotion = operators.submit(lab.deploy, "router.py", "-y", topology=changed)
            up = operators.submit(lab.deploy, *anew)
            return [promotion.result(), up.result()]

    with held(lab):
        for run in both():
            assert run.code == 1
            assert "busy: " in run.story
            assert "ada@desk, pid 1, since noon" in run.story
    assert moved(lab) == before
    assert [run.code for run in both()] == [0, 0]
    after = moved(lab)
    assert (after[0] != before[0], after[2] != before[2]) == (True, True)  # the release, and the start of `fast`
    assert lab.deploy("full.py", "-y").code == 0
    assert lab.deploy("full.py", "-y").changed == []


@pytest.mark.parametrize(
    ("whose", "line"),
    [("fast", 'image           = "anvil-rehearsal/llama:b10434"'), ("router", 'image    = "anvil-router:rehearsal"')],
)
def test_an_image_nobody_has_stops_the_run_before_anything_moves(
    lab: Lab, second: Run, tmp_path: Path, whose: str, line: str
) -> None:
    before, changed = moved(lab), tmp_path / "topology.toml"
    head, own, tail = TOPOLOGY.partition(line)  # the first one is that of `fast`
    wanted = own.replace(own.split('"')[1], MISSING)
    changed.write_text(head + wanted + tail.replace('"never"', '"missing"', 1))
    run = lab.deploy("full.py", "-y", topology=changed)
    assert run.code == 1
    assert f"{MISSING}: " in run.story
    assert "127.0.0.1:9" in run.story.partition("connection refused")[0]
    assert f"Starting operation: Images | Image of {'the router' if whose == 'router' else whose}" in run.story
    assert "Starting operation: Serves |" not in run.story
    assert moved(lab) == before
    assert set(lab.deploy("full.py", "-y").changed) <= {"Machine | Compose file"}
    assert lab.deploy("full.py", "-y").changed == []
