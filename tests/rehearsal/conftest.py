"""One pair of hosts for the whole session; the runs every test builds on are made once, in this order.

Run it with `scripts/rehearse`. ANVIL_REHEARSAL_KEEP=1 leaves the hosts up. On a machine that cannot play hosts the
tests are skipped with the reason; in CI (CI=true) that is a failure.
"""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.rehearsal.lab import NUMBER, ROOT, TOPOLOGY, Lab, Run, why_not


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Refuse to start beside another rehearsal: both would use the same hosts."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"rehearsal{NUMBER or ''}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pytest.fail("another rehearsal is running on this machine")
        yield


@pytest.fixture(scope="session")
def say(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Progress past pytest's capture."""
    capture = request.config.pluginmanager.get_plugin("capturemanager")
    assert capture is not None

    def say(text: str) -> None:
        with capture.global_and_fixture_disabled():
            print(f"\n{text}", end="", flush=True)

    return say


@pytest.fixture(scope="session")
def lab(say: Callable[[str], None]) -> Iterator[Lab]:
    if reason := why_not():
        (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)
    where = subprocess.run(
        [sys.executable, "molecule/hosts", "where"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    made = Lab(Path(where.stdout.strip()), say)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that a stopped run still removes its hosts
    with alone(made.folder):
        made.own_topology.write_text(TOPOLOGY)
        try:
            with made.step("caches: Debian roots, Compose plugin, key"):
                subprocess.run([sys.executable, "molecule/hosts", "base"], cwd=ROOT, check=True, capture_output=True)
            made.up("forge", 21, "--nvidia")
            made.up("mini", 22, "--plain")
            made.images()
            yield made
        finally:
            if not os.environ.get("ANVIL_REHEARSAL_KEEP"):
                made.down()


@pytest.fixture(scope="session")
def dry(lab: Lab) -> tuple[Run, dict[str, object], dict[str, object]]:
    """A dry run on hosts that have nothing yet, and what was on `forge` before and after it."""
    before = lab.snapshot("forge")
    run = lab.deploy("full.py", "--dry", "--diff")
    return run, before, lab.snapshot("forge")


@pytest.fixture(scope="session")
def first(lab: Lab, dry: object) -> Run:
    return lab.deploy("full.py", "-y")


@pytest.fixture(scope="session")
def second(lab: Lab, first: Run) -> Run:
    return lab.deploy("full.py", "-y")


FAILED = pytest.StashKey[bool]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Remember what became of a test's body, for `put_right`."""
    report = yield
    if report.when == "call":
        item.stash[FAILED] = report.failed
    return report


@pytest.fixture(autouse=True)
def put_right(request: pytest.FixtureRequest) -> Iterator[None]:
    """After a test that failed half way, the rehearsal's own topology stands again: the next one is judged by itself.

    A module with a topology of its `own` goes on with that one, and puts the rehearsal's back at its end.
    """
    yield
    used = request.fixturenames
    if request.node.stash.get(FAILED, False) and "second" in used and "own" not in used:
        lab: Lab = request.getfixturevalue("lab")
        lab.deploy("full.py", "-y", "--data", "profile=inventory")
