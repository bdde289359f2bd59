"""`anvil socket` and two routers: the published socket outlives each of them, and callers never notice."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from anvil.router import holder as holding
from tests.router import tier as t
from tests.router.conftest import ROOT, config_toml, free_port, tier_toml
from tests.router.test_process import BODY, Routers, Tiers, anvil, until


@dataclass
class Published:
    port: int
    at: str
    process: subprocess.Popen[bytes] = field(init=False)

    def start(self) -> None:
        words = [sys.executable, "-m", "anvil", "socket", "--port", str(self.port), "--at", self.at]
        self.process = subprocess.Popen(words, cwd=ROOT, stderr=subprocess.DEVNULL)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def accepts(self) -> bool:
        with socket.socket() as caller:
            return caller.connect_ex(("127.0.0.1", self.port)) == 0

    def answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/healthz").status_code == 200
        except httpx.TransportError:
            return False


@pytest.fixture
def published(tmp_path: Path) -> Iterator[Published]:
    made = Published(free_port(), str(tmp_path / "router.sock"))
    made.start()
    until(lambda: os.path.exists(made.at))
    yield made
    made.process.terminate()
    assert made.process.wait(10) == 0


def test_one_router_takes_over_from_another_and_no_request_fails(
    published: Published, tier: Tiers, router: Routers
) -> None:
    slow = tier(lambda _: t.chat_stream(*"abcdefgh", pause=0.25))
    quick = tier()
    tiers = tier_toml("fast-local", quick.url), tier_toml("slow-local", slow.url)
    text = config_toml(*tiers, presets={"chat": ["fast-local"], "review": ["slow-local"]})
    assert not published.accepts()  # nobody would answer: callers learn it at once
    first = router(text, None, "--holder", published.at)
    until(published.accepts)
    assert os.stat(published.at).st_mode & 0o777 == 0o600

    failures: list[str] = []
    answered: list[int] = []
    over = threading.Event()

    def ask() -> None:
        with httpx.Client(base_url=published.url, timeout=20, trust_env=False) as kept:
            while not over.is_set():
                try:
                    answered.append(kept.post("/v1/chat/completions", json=BODY).raise_for_status().status_code)
                except httpx.HTTPError as error:
                    failures.append(repr(error))

    caller = threading.Thread(target=ask)
    caller.start()
    body = {**BODY, "model": "review", "stream": True}
    with httpx.stream("POST", f"{published.url}/v1/chat/completions", json=body, timeout=20) as stream:
        lines = stream.iter_lines()
        assert next(lines).startswith((":", "data:"))  # it runs, on the first router
        second = router(text, None, "--holder", published.at)
        first.process.send_signal(signal.SIGUSR1)
        until(lambda: "handed over" in first.logged())
        first.process.terminate()
        assert list(lines)[-2] == "data: [DONE]"  # it ended whole although its router was told to stop
    assert first.process.wait(15) == 0
    count = len(answered)
    until(lambda: len(answered) > count + 5)
    over.set()
    caller.join()
    assert failures == []
    assert len(second.decisions(limit=100)) > 5


def test_callers_wait_for_the_next_router_and_a_dead_holder_is_found_again(
    published: Published, tier: Tiers, router: Routers
) -> None:
    text = config_toml(tier_toml("fast-local", tier().url))
    first = router(text, None, "--holder", published.at)
    until(published.accepts)
    first.stop()
    answers: list[int] = []
    waiting = threading.Thread(target=lambda: answers.append(httpx.get(f"{published.url}/healthz").status_code))
    waiting.start()
    time.sleep(0.3)
    assert answers == []  # in the queue, not refused
    router(text, None, "--holder", published.at)
    waiting.join(10)
    assert answers == [200]
    published.process.kill()
    published.process.wait()
    published.start()
    until(published.answers)


def test_without_a_router_for_a_while_callers_are_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(holding, "LEFT_S", 0.0)
    port, at = free_port(), str(tmp_path / "router.sock")
    with (
        closing(holding.Holder("127.0.0.1", port, at)) as held,
        socket.socket(socket.AF_UNIX) as lease,
        socket.socket() as caller,
        socket.socket() as late,
    ):
        lease.connect(at)
        held.look(1)
        _, (given,), _, _ = socket.recv_fds(lease, 1, 1)
        os.close(given)
        assert caller.connect_ex(("127.0.0.1", port)) == 0
        lease.close()
        held.look(1)
        held.look(0.01)
        assert late.connect_ex(("127.0.0.1", port)) != 0


def test_a_path_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    at = tmp_path / "nowhere" / "router.sock"
    ran = anvil("socket", "--at", str(at))
    assert (ran.returncode, ran.stderr) == (1, f"anvil: {at}: No such file or directory\n")
    assert anvil("socket", "--at", str(at), "--port", "0").returncode == 2
