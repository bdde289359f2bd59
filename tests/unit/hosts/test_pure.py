"""The judgements and texts of the hosts' vocabulary, without pyinfra."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anvil.hosts.containers import ServiceState, State
from anvil.hosts.decision import Options, WantedService, decide
from anvil.hosts.probe import EndpointAnswer
from anvil.hosts.processes import _service
from anvil.hosts.readiness import Expectation, Verdict, judge, wait
from anvil.hosts.releases import ReleaseFiles, ReleaseState, health
from anvil.hosts.secrets import SecretNames
from anvil.hosts.supervisor import Program, argv_of, launcher, program_conf
from anvil.hosts.weights import _LOOK, CACHE, HfSnapshot
from tests.unit.hosts.test_facts import run, said

EXPECTED = Expectation(health_url="h", models_url="m", model="tiny", window=4096)
READY = EndpointAnswer(status="ok", health=200, models={"tiny": 4096})


def live(state: State = "running", **more: Any) -> ServiceState:
    return ServiceState(state=state, **more)


@pytest.mark.parametrize(
    ("state", "answer", "verdict", "why"),
    [
        (live(), READY, "ready", ""),
        (live(), EndpointAnswer(status="ok", health=200, models={"tiny": 0}), "ready", ""),
        (live(), EndpointAnswer(status="ok", health=503), "waiting", "loading"),
        (live(), EndpointAnswer(status="absent"), "waiting", "no answer yet"),
        (live(), EndpointAnswer(status="ok", health=500), "waiting", "health answers 500"),
        (live(), EndpointAnswer(status="ok", health=200), "waiting", "model list is empty"),
        (live(), EndpointAnswer(status="ok", health=200, models={"other": 0}), "failed", "serves other, not tiny"),
        (live(), EndpointAnswer(status="ok", health=200, models={"tiny": 2048}), "failed", "window is 2048"),
        (live(), EndpointAnswer(status="tool_missing", error="no client"), "failed", "no client"),
        (live(restart_count=3), READY, "failed", "restarted (3 restarts)"),
        (live("exited", exit_code=137), READY, "failed", "exit code 137"),
        (live("restarting"), READY, "failed", "restarting"),
        (live("daemon_down", error="gone"), READY, "failed", "gone"),
        (live("created"), READY, "waiting", "created"),
    ],
)
def test_readiness(state: ServiceState, answer: EndpointAnswer, verdict: str, why: str) -> None:
    got = judge(state, answer, EXPECTED, restarts=2)
    assert got.state == verdict
    assert why in got.why


def test_waiting_ends_at_the_limit_and_says_what_it_waited_for() -> None:
    looks = iter([Verdict(state="waiting", why="loading")] * 1000)
    got = wait(lambda: next(looks), lambda line: None, lambda: "", timeout_s=0.05, every_s=0.01)
    assert (got.state, got.why) == ("failed", "not ready after 0 s: loading")
    after = iter([Verdict(state="waiting"), Verdict(state="ready")])
    assert wait(lambda: next(after), lambda line: None, lambda: "", 5, 0.01).state == "ready"


def test_a_long_wait_says_something_every_fifteen_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    """9.3: with the time that passed and the last line of the log."""
    clock = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    monkeypatch.setattr("gevent.sleep", lambda seconds: clock.__setitem__(0, clock[0] + seconds))
    told: list[str] = []
    looks = iter([*[Verdict(state="waiting", why="loading")] * 12, Verdict(state="ready")])
    assert wait(lambda: next(looks), told.append, lambda: "shard 3 of 9", 900, 5.0).state == "ready"
    assert told == [f"loading, {seconds} s: shard 3 of 9" for seconds in (15, 30, 45)]


words = st.text(st.characters(exclude_characters="\0\n\r", exclude_categories=["Cs"]), max_size=20)


@given(argument=words, value=words)
def test_a_launcher_hands_every_word_on_as_it_is(
    tmp_path_factory: pytest.TempPathFactory, argument: str, value: str
) -> None:
    root = tmp_path_factory.mktemp("r")
    (root / "supervisor" / "run").mkdir(parents=True)
    program = Program(name="p", argv=("printf", "%s|%s", argument, "end"), env={"V": value}, cwd=str(root))
    done = subprocess.run(["sh", "-c", launcher(str(root), program, "rev", "env")], capture_output=True, check=True)
    assert done.stdout.decode() == f"{argument}|end"
    assert (root / "supervisor" / "run" / "p").read_text() == "rev env 1\n"
    assert argv_of(launcher(str(root), program, "rev", "env")) == list(program.argv)


def test_the_settings_of_a_program_hold_fixed_words_only() -> None:
    program = Program(name="p", argv=("x", "; rm", "%(ENV_HOME)s"), env={"A": "%"}, cwd="/")
    lines = msgspec.structs.replace(program, argv=("sh", "-ec", 'a\nexec "$@"', "anvil-prestart", "it's"))
    assert argv_of(launcher("/r", lines, "rev", "env")) == list(lines.argv)
    assert argv_of("") == argv_of("#!/bin/sh\n") == argv_of("cd / || exit 1\nexec 'x") == []
    assert "%" not in program_conf("/srv/anvil", program)
    assert "; rm" not in program_conf("/srv/anvil", program)


@pytest.mark.parametrize(
    ("restart", "again"),
    [("no", "false"), ("on-failure", "unexpected"), ("always", "true"), ("unless-stopped", "true")],
)
def test_a_process_is_restarted_as_a_container_would_be(restart: str, again: str) -> None:
    program = Program(name="p", argv=("x",), env={}, cwd="/", restart=restart)
    assert f"\nautorestart={again}\n" in program_conf("/srv/anvil", program)


def test_a_process_has_no_container_whose_name_could_be_wrong() -> None:
    """A container left under another name is made anew; a process would be, at every run."""
    row = {"name": "fast", "statename": "RUNNING", "now": 9, "start": 2, "exitstatus": 0, "pid": 7}
    live = _service(row, ["aaaa", "e1", "1"])
    wanted = WantedService(name="fast", container="llamacpp-fast", revision="aaaa", env_digest="e1")
    assert decide(live, wanted, Options()).verb == "nothing"


def test_release_state(tmp_path: Path) -> None:
    def look() -> Any:
        return ReleaseState().process(run(ReleaseState().command(str(tmp_path / "router"))))

    assert look().status == "absent"
    for name, source in (("a" * 16, "inventory"), ("b" * 16, "candidate")):
        folder = tmp_path / "router" / "releases" / name
        folder.mkdir(parents=True)
        (folder / "release.json").write_text(json.dumps({"id": name, "source": source}, indent=1))
        (folder / "router.toml").write_text(name)
    (tmp_path / "router" / "releases" / ".half").mkdir()
    assert (look().current, look().ids) == ("", ("a" * 16, "b" * 16))
    (tmp_path / "router" / "current").symlink_to("releases/" + "b" * 16)
    (tmp_path / "router" / "previous").symlink_to("releases/" + "a" * 16)
    got = look()
    assert (got.current, got.previous) == ("b" * 16, "a" * 16)
    assert got.sources == {"a" * 16: "inventory", "b" * 16: "candidate"}
    files = ReleaseFiles().process(run(ReleaseFiles().command(str(tmp_path / "router"), "a" * 16)))
    assert set(files.digests) == {"release.json", "router.toml"}


def test_health() -> None:
    assert health('{"status":"ok","release":"r","config_hash":"c","uptime_s":3}').release == "r"
    assert health("<html>").status == "error"


def test_secret_names_never_values(tmp_path: Path) -> None:
    file = tmp_path / "secrets.env"
    command = SecretNames().command(str(file))
    assert SecretNames().process(run(command)).status == "absent"
    file.write_text("A='canary'\nB='x=y'\n")
    output = run(command)
    assert SecretNames().process(output).names == ("A", "B")
    assert SecretNames().process(output).lengths == {"A": 6, "B": 3}
    assert "canary" not in str(SecretNames().process(output))


def snapshot(cache: Path) -> Any:
    script = _LOOK.replace(CACHE, str(cache))
    done = subprocess.run(["sh", "-c", script, "look", "org--name", "main"], capture_output=True, text=True, check=True)
    return HfSnapshot().process(said(done.stdout))


def test_a_snapshot_is_complete_absent_or_half_way(tmp_path: Path) -> None:
    assert snapshot(tmp_path).status == "absent"
    repo = tmp_path / "hub" / "models--org--name"
    for part in ("refs", "blobs", "snapshots/c0ffee"):
        (repo / part).mkdir(parents=True)
    (repo / "refs" / "main").write_text("c0ffee")
    assert not snapshot(tmp_path).complete
    (repo / "blobs" / "1").write_text("weights")
    (repo / "snapshots" / "c0ffee" / "model.safetensors").symlink_to("../../blobs/1")
    got = snapshot(tmp_path)
    assert (got.status, got.commit, got.complete) == ("ok", "c0ffee", True)
    (repo / "blobs" / "2.incomplete").write_text("")
    assert snapshot(tmp_path).incomplete == ("blobs/2.incomplete",)
    (repo / "blobs" / "2.incomplete").unlink()
    (repo / "blobs" / "1").unlink()
    assert not snapshot(tmp_path).complete
