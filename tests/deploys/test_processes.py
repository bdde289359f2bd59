"""The process runtime against a real supervisord on @local."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from anvil.hosts.containers import ServicesAnswer
from anvil.hosts.decision import Options, WantedService
from anvil.hosts.processes import (
    ProcessRuntime,
    ProcessServices,
    program_kept,
    supervisor_running,
    supervisor_stopped,
)
from anvil.hosts.readiness import Expectation
from anvil.hosts.services import container_retired, service_ready, service_stopped, service_up
from anvil.hosts.supervisor import SUPERVISORD_CONF, Program, usable_root
from anvil.hosts.text_file import directory, text_file
from tests.deploys.play import Run, fact, play

ENGINE = """
import http.server, json, os, sys
class H(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        said = {"data": [{"id": "tiny", "max_model_len": 4096}], "env": dict(os.environ), "argv": sys.argv[2:]}
        body = json.dumps(said).encode()
        self.send_response(200); self.end_headers(); self.wfile.write(body)
    def log_message(self, *a): pass
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), H).serve_forever()
"""
ODD = "a 'b' \"c\" $HOME ;#%(x)s"


def alive(pid: int) -> bool:
    """One that ended may wait for init to take note of it."""
    told = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False).stdout
    return bool(told.strip()) and not told.strip().startswith("Z")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Box:
    """One machine root with a supervisord, and the operations on it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "engine.py").write_text(ENGINE)
        self.ports = {"fast": free_port(), "slow": free_port()}

    def prepared(self) -> Run:
        folder = f"{self.root}/supervisor"
        parts = [(directory, {"path": f"{folder}/{part}", "mode": "750"}) for part in ("programs", "run", "logs")]
        conf = (text_file, {"path": f"{folder}/supervisord.conf", "text": SUPERVISORD_CONF})
        return play(*parts, conf, (supervisor_running, {"root": str(self.root), "python": sys.executable}))

    def runtime(self, *extra: str) -> ProcessRuntime:
        programs = {
            name: Program(
                name=name, argv=(sys.executable, "engine.py", str(port), *extra), env={"ODD": ODD},
                cwd=str(self.root), secrets=("HF_TOKEN",), stop_timeout_s=5, steady_s=0,
            )
            for name, port in self.ports.items()
        }  # fmt: skip
        return ProcessRuntime(root=str(self.root), python=sys.executable, programs=programs)

    def up(self, name: str, revision: str, *extra: str, options: Options | None = None, **wanted: Any) -> Run:
        service = self.wanted(name, revision, **wanted)
        ready = {"runtime": self.runtime(*extra), "wanted": service, "expected": self.expected(name)}
        arguments = {"runtime": self.runtime(*extra), "wanted": service, "options": options}
        return play((service_up, arguments), (service_ready, ready))

    def wanted(self, name: str, revision: str, **more: Any) -> WantedService:
        return WantedService(name=name, container=name, revision=revision, **more)

    def expected(self, name: str, **more: Any) -> Expectation:
        url = f"http://127.0.0.1:{self.ports[name]}"
        return Expectation(
            **{"health_url": f"{url}/health", "models_url": f"{url}/v1/models", "model": "tiny", "timeout_s": 15,
               "every_s": 0.2, **more}
        )  # fmt: skip

    def services(self) -> ServicesAnswer:
        answer = fact(ProcessServices, sys.executable, f"{self.root}/supervisor")
        assert isinstance(answer, ServicesAnswer)
        return answer

    def pid(self, name: str) -> int:
        return self.services().services[name].pid


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    made = Box(tmp_path_factory.mktemp("box"))
    try:
        assert made.services().status == "daemon_down"
        assert made.prepared().total_changed == 5
        assert made.prepared().total_changed == 0
        yield made
    finally:
        play((supervisor_stopped, {"root": str(made.root), "python": sys.executable}))
        assert made.services().status == "daemon_down"


def test_a_service_comes_up_once_and_survives_the_run(box: Box) -> None:
    (box.root / "secrets.env").write_text("HF_TOKEN='it is; #1'\nOTHER='not for it'\n")
    assert box.up("fast", "aaaa", "--odd", "x ; # %(y)s").changed()[0]
    assert box.up("fast", "aaaa", "--odd", "x ; # %(y)s").changed() == [False, False]
    told = json.load(urllib.request.urlopen(f"http://127.0.0.1:{box.ports['fast']}/"))
    assert told["argv"] == ["--odd", "x ; # %(y)s"]
    assert told["env"]["ODD"] == ODD
    assert told["env"]["HF_TOKEN"] == "it is; #1"
    assert "OTHER" not in told["env"]
    assert not any("it is; #1" in f.read_text() for f in (box.root / "supervisor" / "programs").iterdir())


def test_only_what_differs_restarts(box: Box) -> None:
    box.up("fast", "aaaa")
    fast = box.pid("fast")
    assert box.up("slow", "aaaa").error == ""
    slow = box.pid("slow")
    assert box.pid("fast") == fast
    assert box.up("fast", "bbbb").error == ""
    assert box.pid("fast") != fast
    assert (box.pid("slow"), box.services().services["fast"].revision) == (slow, "bbbb")
    assert box.up("slow", "aaaa", options=Options(recreate=True)).error == ""
    assert box.pid("slow") != slow
    gone = (container_retired, {"runtime": box.runtime(), "container": "slow"})
    fast = box.pid("fast")
    assert play(gone).changed() == [True]
    assert play(gone).changed() == [False]
    assert (box.pid("fast"), set(box.services().services)) == (fast, {"fast"})


def test_what_was_edited_by_hand_is_put_back_and_nothing_restarts(box: Box) -> None:
    box.up("fast", "aaaa")
    pid, programs = box.pid("fast"), box.root / "supervisor" / "programs"
    kept = (program_kept, {"runtime": box.runtime(), "wanted": box.wanted("fast", "aaaa")})
    assert play(kept).changed() == [False]
    before = [(programs / f"fast.{end}").read_text() for end in ("sh", "conf")]
    (programs / "fast.sh").write_text(before[0].replace("exec ", "exec false "))
    (programs / "fast.conf").write_text(before[1] + "; mine\n")
    assert play(kept).changed() == [True]
    assert [(programs / f"fast.{end}").read_text() for end in ("sh", "conf")] == before
    assert (play(kept).changed(), box.pid("fast")) == ([False], pid)
    other = (program_kept, {"runtime": box.runtime(), "wanted": box.wanted("fast", "bbbb")})
    assert play(other).changed() == [False]  # it is made anew, and its files with it


@pytest.mark.skipif(shutil.which("setpriv") is None, reason="only Linux ends a process with its parent")
def test_a_supervisord_that_was_killed_leaves_no_orphan(box: Box) -> None:
    box.up("fast", "aaaa")
    pid = box.pid("fast")
    os.kill(int((box.root / "supervisor" / "supervisord.pid").read_text()), signal.SIGKILL)
    end = time.monotonic() + 20
    while alive(pid):
        assert time.monotonic() < end, "the service outlived its supervisord"
        time.sleep(0.1)
    assert box.prepared().changed()[-1]
    assert box.up("fast", "aaaa").error == ""


def test_a_supervisord_that_lost_its_socket_makes_room_for_another(box: Box) -> None:
    box.up("fast", "aaaa")
    old, service = int((box.root / "supervisor" / "supervisord.pid").read_text()), box.pid("fast")
    (box.root / "supervisor" / "sock").unlink()
    assert box.prepared().changed()[-1]
    assert box.up("fast", "aaaa").error == ""
    assert not alive(old)
    assert not alive(service)


def test_a_changed_secret_waits_until_it_is_asked_for(box: Box) -> None:
    box.up("fast", "aaaa", env_digest="e1")
    pid = box.pid("fast")
    assert box.up("fast", "aaaa", env_digest="e2", env_names=("HF_TOKEN",)).total_changed == 0
    assert box.pid("fast") == pid
    assert box.up("fast", "aaaa", env_digest="e2", on_env_change="recreate").total_changed > 0
    assert (box.pid("fast") != pid, box.services().services["fast"].env) == (True, "e2")


def test_stop_and_start_again(box: Box) -> None:
    box.up("fast", "aaaa")
    stop = (service_stopped, {"runtime": box.runtime(), "service": "fast", "container": "fast"})
    assert play(stop).changed() == [True]
    assert play(stop).changed() == [False]
    assert box.services().services["fast"].state == "exited"
    assert box.up("fast", "aaaa").changed()[0]


def test_a_crash_is_restarted_and_counted(box: Box) -> None:
    box.up("fast", "aaaa")
    before = box.services().services["fast"]
    os.kill(before.pid, signal.SIGKILL)
    deadline = time.monotonic() + 10
    while box.services().services["fast"].restart_count == before.restart_count:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert box.services().services["fast"].revision == "aaaa"


def test_a_program_that_dies_fails_with_its_last_words(
    box: Box, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level("INFO")
    (box.root / "engine.py").write_text("raise SystemExit('no weights here')\n")
    run = box.up("fast", "aaaa", options=Options(recreate=True))
    assert run.error
    assert "no weights here" in caplog.text + "".join(capfd.readouterr())
    (box.root / "engine.py").write_text(ENGINE)
    assert box.up("fast", "aaaa", options=Options(recreate=True)).error == ""


def test_the_wrong_model_fails_at_once(box: Box, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    box.up("fast", "aaaa")
    expected = box.expected("fast", model="other", timeout_s=600)
    ready = {"runtime": box.runtime(), "wanted": box.wanted("fast", "aaaa"), "expected": expected}
    assert play((service_ready, ready)).error
    assert "serves tiny, not other" in caplog.text


def test_a_dry_run_on_an_empty_machine_changes_nothing(folder: Path) -> None:
    box = Box(folder)
    up = {"runtime": box.runtime(), "wanted": box.wanted("fast", "aaaa")}
    start = (supervisor_running, {"root": str(box.root), "python": sys.executable})
    assert play(start, (service_up, up), dry=True).error == ""
    assert sorted(path.name for path in box.root.iterdir()) == ["engine.py"]


def test_roots_that_cannot_hold_a_socket_are_named() -> None:
    assert "too long" in usable_root("/" + "a" * 90)
    assert "only letters" in usable_root("/srv/my box")
    assert usable_root("/srv/anvil") == ""
