"""`harness_sync.py` against the real OpenClaw: the plugin is laid down, granted, loaded, and a second run does nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from anvil.deploys.gateway_document import plugin_texts
from tests.clients.test_openclaw_config import RELEASES, node
from tests.deploys.test_full_local import REPO, TOKEN, House, free_ports

pytestmark = [pytest.mark.clients, pytest.mark.timeout(580)]

GATEWAY_TABLE = """
token_delivery = "openclaw-env"
[gateways.mini.plugin]
cloud_classes = ["planning"]
route = "advise"
deadline_ms = 2000
"""
LAUNCHER = """#!/bin/sh
exec "{node}" "{launcher}" "$@"
"""
READY_S = 120


class RealHouse(House):
    """The same house with a released OpenClaw and its gateway running, as a user's would."""

    def __init__(self, folder: Path, launcher: Path) -> None:
        super().__init__(folder)
        found = node()
        assert found is not None
        self.binary = folder / "openclaw"
        self.binary.write_text(LAUNCHER.format(node=found, launcher=launcher))
        (port,) = free_ports(1)
        auth = {"mode": "token", "token": "gateway-token"}
        self.gateway_settings = {"mode": "local", "bind": "loopback", "port": port, "auth": auth}
        self.document.write_text(json.dumps({"gateway": self.gateway_settings, "update": {"checkOnStart": False}}))
        self.log = folder / "gateway.log"

    @property
    def environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "ANVIL_TOPOLOGY": str(self.topology),
            "ANVIL_ROUTER_TOKEN": TOKEN,
            "HOME": str(self.folder),
        }

    @contextmanager
    def running_gateway(self) -> Iterator[None]:
        with self.log.open("wb") as log:
            started = subprocess.Popen(
                [self.binary, "gateway", "run"],
                env=self.gateway_environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        try:
            self.wait_for("[gateway] ready")
            yield
        finally:
            started.terminate()
            started.wait(30)

    def wait_for(self, words: str, times: int = 1) -> None:
        deadline = time.monotonic() + READY_S
        while self.log.read_text(errors="replace").count(words) < times:
            assert time.monotonic() < deadline, self.log.read_text(errors="replace")[-3000:]
            time.sleep(0.5)

    def decided(self, words: str) -> list[dict[str, Any]]:
        """What the running gateway's plugin wrote of one turn."""
        self.say(words, "s-1")
        written = (self.folder / ".openclaw/logs/anvil-decisions.jsonl").read_text(encoding="utf-8")
        return [json.loads(line) for line in written.splitlines()]

    def watched(self, *messages: str) -> str:
        """All that `harness_verify` says while these messages are sent through the running gateway."""
        said = self.folder / "verify.log"
        argv = [f"{Path(sys.executable).parent}/pyinfra", "inventory/local.py", "deploy/harness_verify.py", "-y"]
        argv += ["--data", f"messages={len(messages)}", "--data", "timeout=200"]
        with said.open("wb") as log:
            started = subprocess.Popen(
                argv, cwd=REPO, env=self.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        try:
            deadline = time.monotonic() + READY_S * 2
            while f"send {len(messages)} messages" not in said.read_text(errors="replace"):
                assert started.poll() is None, said.read_text(errors="replace")[-3000:]
                assert time.monotonic() < deadline, said.read_text(errors="replace")[-3000:]
                time.sleep(0.5)
            for number, words in enumerate(messages):
                self.say(words, f"watched-{number}")
            assert started.wait(300) == 0, said.read_text(errors="replace")[-3000:]
        finally:
            started.kill()
        return said.read_text(errors="replace")

    def say(self, words: str, session: str) -> None:
        """One turn through the running gateway; the scripted engine's answer is no matter here."""
        argv = [str(self.binary), "agent", "--session-id", session, "--message", words, "--json"]
        subprocess.run(argv, env=self.gateway_environment, capture_output=True, timeout=READY_S, check=False)

    @property
    def gateway_environment(self) -> dict[str, str]:
        """It lacks the router's token: only the deploy can have brought it."""
        return {"HOME": str(self.folder), "PATH": os.environ["PATH"]}

    def write(self, context: int = 32768, chat: str = '["fast-local", "heavy-local"]') -> None:
        super().write(context, chat)
        self.topology.write_text(self.topology.read_text() + GATEWAY_TABLE)

    def pyinfra(self, deploy: str, *arguments: str) -> tuple[int, dict[str, Any]]:
        argv = [f"{Path(sys.executable).parent}/pyinfra", "inventory/local.py", f"deploy/{deploy}.py", "--json"]
        done = subprocess.run(
            [*argv, *arguments],
            cwd=REPO,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=280,
            stdin=subprocess.DEVNULL,
            check=False,
        )
        self.said += done.stdout + done.stderr
        return done.returncode, json.loads(done.stdout) if done.stdout.strip() else {}


@pytest.fixture(params=RELEASES or ["none"])
def house(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RealHouse]:
    if not RELEASES or node() is None:
        pytest.skip("no openclaw and node in the clients' cache")
    made = RealHouse(tmp_path, RELEASES[request.param])
    try:
        yield made
    finally:
        if (made.root / "supervisor").is_dir():
            made.totals("teardown", "-y", "--data", "confirm=try")


def test_a_running_gateway_gets_document_plugin_and_token(house: RealHouse) -> None:
    house.totals("serves", "-y")
    house.totals("router", "-y")
    with house.running_gateway():
        house.totals("harness_sync", "-y", "-vv")
        folder = house.folder / ".anvil" / "plugins" / "openclaw-anvil-intent-router"
        assert {path.name: path.read_text(encoding="utf-8") for path in folder.iterdir()} == plugin_texts()
        document = json.loads(house.document.read_text())
        assert document["gateway"] == house.gateway_settings
        assert document["plugins"]["load"]["paths"] == [str(folder)]
        assert (house.document.parent / ".env").read_text() == f"ANVIL_ROUTER_TOKEN={TOKEN}\n"
        again = house.totals("harness_sync", "-y")
        assert (again["success"], again["error"]) == (0, 0)
        first, *_ = house.decided("fix the roof")
        synced = house.document.read_bytes()
        said = house.watched("hello there", "hello again")
        assert "2 messages in 2 sessions judged" in said
        assert json.loads(house.document.read_bytes())["plugins"] == json.loads(synced)["plugins"]
        assert not (house.folder / ".anvil" / "plugins" / "anvil-fire-logger").exists()
    # Only a gateway that was given the token is told what the router thinks; this router has no preset for edits.
    assert (first["reason"], first["intent"], first["modelOverride"]) == ("route", "bounded-edit", "chat")
    assert TOKEN not in house.said
