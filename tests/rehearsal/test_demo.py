"""The newcomer's first command, with the real engine from the cache: what it shows, refuses and leaves behind."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from anvil.lab import demo_show, engine

ROOT = Path(__file__).parents[2]
pytestmark = [pytest.mark.real_engine, pytest.mark.timeout(420)]


@pytest.fixture(scope="module", autouse=True)
def _cached() -> None:
    """Nothing is downloaded but in CI."""
    missing = [parcel.title for parcel in (engine.ENGINE, engine.TINY) if not parcel.folder.is_dir()]
    if missing and engine.own_engine(os.environ) is None and not os.environ.get("CI"):
        pytest.skip(f"not in the cache: {', '.join(missing)}; `scripts/demo --once` fetches it")


def free_ports() -> tuple[int, int]:
    """One for the router, and the first of two neighbours for the engines."""
    while True:
        with socket.socket() as a, socket.socket() as b, socket.socket() as c:
            a.bind(("127.0.0.1", 0))
            b.bind(("127.0.0.1", 0))
            first = int(b.getsockname()[1])
            try:
                c.bind(("127.0.0.1", first + 1))
            except OSError:
                continue
            return int(a.getsockname()[1]), first


def command(*words: str) -> list[str]:
    router, engines = free_ports()
    return [str(ROOT / "scripts/demo"), "--port", str(router), "--engine-port", str(engines), *words]


def processes_of(root: str) -> list[str]:
    """Command lines that name the folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_text(errors="replace").replace("\0", " ")
        except OSError:
            continue
        if root in line:
            found.append(line)
    return found


def root_in(output: str) -> str:
    found = re.search(r"ANVIL_TOPOLOGY=(\S+)/demo\.toml", output)
    assert found, output
    return found[1]


@pytest.fixture(scope="module")
def once() -> str:
    done = subprocess.run(
        command("--once"), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=400, check=False
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_every_dialect_gives_text_of_the_model(once: str) -> None:
    answers = re.findall(r"^  (/v1/\S+(?: \(stream\))?) \[fast-local, 200, [\d.]+ s\] (.+)$", once, re.MULTILINE)
    paths = ("/v1/chat/completions", "/v1/messages", "/v1/responses")
    assert [what for what, _ in answers[:6]] == [f"{path}{mode}" for path in paths for mode in ("", " (stream)")]
    assert all(text.strip() not in ("", demo_show.QUESTION) for _, text in answers)


def test_an_answer_falls_back_from_fast_to_heavy(once: str) -> None:
    assert "failed check not_truncated" in once
    assert re.search(r"\[heavy-local, 200, [\d.]+ s\] \S+", once)


def test_planning_ends_in_the_honest_503(once: str) -> None:
    assert "[no tier, 503, " in once
    assert "dropped heavy-local: its quality verdict for this work class is deny" in once


def test_the_second_deploy_changes_nothing(once: str) -> None:
    first, second = re.findall(r"^(?:first|second) deploy: (\d+) changed$", once, re.MULTILINE)
    assert int(first) > 0
    assert int(second) == 0


def test_the_lines_for_clients_hold_no_token(once: str) -> None:
    assert "CODEX_HOME=" in once
    assert "OPENCLAW_CONFIG_PATH=" in once
    assert 'ANTHROPIC_AUTH_TOKEN="${ANVIL_ROUTER_TOKEN}" claude' in once


def test_nothing_is_left(once: str) -> None:
    root = root_in(once)
    assert not Path(root).exists()
    assert processes_of(root) == []


def test_ctrl_c_in_the_middle_leaves_nothing() -> None:
    child = subprocess.Popen(
        command("--once"), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )
    with child:
        assert child.stdout is not None
        output = ""
        for line in child.stdout:
            output += line
            if line.startswith("first deploy:"):  # everything runs, the second deploy is under way
                os.killpg(child.pid, signal.SIGINT)
        assert child.wait(60) == 130, output
    root = root_in(output)
    assert output.rstrip().endswith("scripts/demo: interrupted; what this run had started is stopped")
    assert not Path(root).exists()
    assert processes_of(root) == []


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        yield int(other.getsockname()[1])


def test_a_port_in_use_is_one_line(taken: int) -> None:
    words = [str(ROOT / "scripts/demo"), "--once", "--port", str(taken)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith(f"scripts/demo: port {taken} on 127.0.0.1 is in use")
    assert done.stdout == ""


def test_up_again_and_down(tmp_path: Path) -> None:
    """Left up, the second run has nothing to change at all; --down leaves nothing running."""
    words, environment = command(), os.environ | {"ANVIL_ROOT": str(tmp_path)}
    try:
        for changed in (False, True):
            done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=200, check=False)
            assert done.returncode == 0, done.stdout + done.stderr
            assert ("first deploy: 0 changed" in done.stdout) is changed
        assert processes_of(str(tmp_path)) != []
    finally:
        subprocess.run([words[0], "--down"], env=environment, capture_output=True, timeout=120, check=True)
    assert [line for line in processes_of(str(tmp_path)) if "pytest" not in line.split()[:3]] == []
