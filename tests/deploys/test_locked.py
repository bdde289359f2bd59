"""One changing command under the lock: its exit status, its words, its holder, and what a dropped link does to it."""

from __future__ import annotations

import fcntl
import subprocess
import time
from pathlib import Path

import pytest

from anvil.hosts import docker

SLOW = 'for each in 1 2 3; do echo "step $each" >&2; sleep 0.1; done; touch "$1"'


def shell(folder: Path, *argv: str, finish: bool = True) -> list[str]:
    return ["sh", "-c", docker.locked(str(folder), *argv, who="me@here", finish=finish).get_raw_value()]


@pytest.mark.parametrize("finish", [True, False])
def test_the_exit_status_and_both_streams_come_through(tmp_path: Path, finish: bool) -> None:
    argv = shell(tmp_path, "sh", "-c", "echo one; printf two >&2; exit 7", finish=finish)
    done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=30, check=False)
    assert done.returncode == 7
    assert done.stdout.split() == ["one", "two"]
    assert (tmp_path / ".lock").read_text().startswith("me@here, pid ")


@pytest.mark.parametrize("finish", [True, False])
def test_a_dropped_link_cuts_short_only_what_may_be(tmp_path: Path, finish: bool) -> None:
    """A pull may end there; a service that is being replaced must not be left half way."""
    made = tmp_path / "made"
    argv = shell(tmp_path, "sh", "-c", SLOW, "slow", str(made), finish=finish)
    running = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert running.stdout is not None
    assert running.stdout.readline() == b"step 1\n"
    running.stdout.close()
    running.wait(30)
    assert made.exists() is finish


def test_a_held_lock_is_busy_and_names_its_holder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(docker, "_LOCKED", docker._LOCKED.replace("flock -w 30", "flock -w 0"))
    lock = tmp_path / ".lock"
    lock.write_text("other@there, pid 9, since then\n")
    with lock.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        began = time.monotonic()
        done = subprocess.run(shell(tmp_path, "true"), capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, time.monotonic() - began < 20) == (docker.BUSY, True)
    assert "is held by other@there, pid 9" in done.stderr
