"""Facts over canned output: what each tool says, and what it says when it cannot say anything."""

from __future__ import annotations

import base64
import http.server
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyinfra.api.command import StringCommand

from anvil.hosts.cache import NamedByContainers, VolumeModels
from anvil.hosts.containers import AttachedContainers, ComposeServices, Container, ContainerLogs
from anvil.hosts.docker import DockerDaemon, documents
from anvil.hosts.files import FileText
from anvil.hosts.gpus import NvidiaGpus
from anvil.hosts.http_reply import Reply, authorisation
from anvil.hosts.images import ImagePresent
from anvil.hosts.objects import DockerObject
from anvil.hosts.ports import PortOwners
from anvil.hosts.probe import Endpoint, Http
from anvil.hosts.releases import RouterHealth
from anvil.hosts.shell import captured, reading, script
from anvil.hosts.weights import HfSnapshot


def said(text: str, code: int = 0) -> list[str]:
    """What `captured` prints on a host for that output and exit status."""
    return base64.encodebytes(f"{text}\n{code}".encode()).decode().splitlines()


def run(command: StringCommand) -> list[str]:
    done = subprocess.run(
        ["sh", "-c", command.get_raw_value()], capture_output=True, check=True, stdin=subprocess.DEVNULL
    )
    return done.stdout.decode().splitlines()


@settings(deadline=None)  # a shell each time
@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])))
def test_arguments_arrive_as_they_are(argument: str) -> None:
    got = reading(run(captured('printf %s "$1"', argument)))
    assert (got.code, got.text) == (0, argument)


def test_both_streams_the_status_and_odd_bytes() -> None:
    got = reading(run(captured("printf 'a\\377b'; echo c >&2; exit 7")))
    assert (got.code, got.text) == (7, "a\ufffdbc\n")


def test_a_flood_is_bounded() -> None:
    got = reading(run(captured("head -c 9000000 /dev/zero | tr '\\0' x")))
    assert got.code == 0
    assert 4_000_000 < len(got.text) <= 4 << 20


def test_a_hung_command_is_ended() -> None:
    assert reading(run(captured("limited 1 sleep 30"))).code == 124


def test_what_is_no_capture_reads_as_a_failure() -> None:
    assert reading(["bash: sh: not found"]).code == 1


def test_a_script_is_never_interpolated() -> None:
    assert script('echo "$1"', "$(id)").get_raw_value() == """sh -c 'echo "$1"' anvil '$(id)'"""


INSPECT = {
    "Name": "/vllm-fast",
    "RestartCount": 2,
    "Image": "sha256:1",
    "State": {
        "Status": "running",
        "Health": {"Status": "healthy"},
        "StartedAt": "2026-11-24T05:00:00.123456789Z",
        "Pid": 9,
    },
    "Config": {
        "Image": "repo:tag",
        "Labels": {
            "com.docker.compose.project": "home",
            "com.docker.compose.service": "fast",
            "anvil.revision": "aaaa",
            "anvil.env": "e1",
        },
    },
}


def test_compose_services() -> None:
    answer = ComposeServices().process(said(f"clock 1795496460\nWARNING: odd\n{json.dumps([INSPECT], indent=2)}\n"))
    fast = answer.of("fast")
    assert (fast.state, fast.health, fast.restart_count, fast.revision, fast.env) == (
        "running",
        "healthy",
        2,
        "aaaa",
        "e1",
    )
    assert (fast.container, fast.project, fast.pid, fast.age_s) == ("vllm-fast", "home", 9, 60.0)
    assert answer.of("heavy").state == "absent"


@pytest.mark.parametrize(
    ("text", "code", "status"),
    [
        ("", 127, "tool_missing"),
        (
            "Cannot connect to the Docker daemon at unix:///s. Is the docker daemon running?",
            1,
            "daemon_down",
        ),
        ("", 124, "error"),
        ("permission denied", 1, "error"),
    ],
)
def test_the_four_ways_docker_does_not_answer(text: str, code: int, status: str) -> None:
    for fact in (ComposeServices, Container, DockerDaemon):
        assert fact().process(said(text, code)).status == status
    expected = "daemon_down" if status == "daemon_down" else "error"
    assert ComposeServices().process(said(text, code)).of("fast").state == expected


@pytest.mark.parametrize(
    ("mode", "joined", "existing", "detached"),
    [
        ("anvil", {"anvil": {"NetworkID": "n1"}}, "n0 n1", False),
        ("anvil", {}, "n0 n1", True),  # let go of while it runs
        ("anvil", {"anvil": {"NetworkID": "n1"}}, "n0 n2", True),  # removed, and made anew under its name
        ("anvil", {"anvil": {"NetworkID": "n1"}}, "", False),  # nobody knows which networks there are
        ("anvil", {"anvil": {"NetworkID": ""}}, "n0 n1", False),  # created, never started
        ("host", {"host": {"NetworkID": "n9"}}, "n0", False),
        ("container:12ab", {}, "n0", False),
        ("bridge", {}, "n0", False),
    ],
)
def test_a_container_without_its_network_is_detached(
    mode: str, joined: dict[str, object], existing: str, detached: bool
) -> None:
    found = {**INSPECT, "HostConfig": {"NetworkMode": mode}, "NetworkSettings": {"Networks": joined}}
    text = f"clock 1\nnetworks {existing}\n{json.dumps([found], indent=2)}\n"
    assert ComposeServices().process(said(text)).of("fast").detached is detached
    after = f"clock 1\n{json.dumps([found], indent=2)}\nnetworks {existing}\n"
    assert Container().process(said(after)).container.detached is detached


DOCKER_FACTS = (
    ImagePresent, DockerObject, ContainerLogs, AttachedContainers, HfSnapshot, VolumeModels, NamedByContainers, RouterHealth,
)  # fmt: skip


@pytest.mark.parametrize("fact", DOCKER_FACTS, ids=lambda fact: fact.__name__)
@pytest.mark.parametrize(
    ("text", "code", "status"),
    [
        ("", 127, "tool_missing"),
        ("error during connect: Get http://docker: connection refused", 1, "daemon_down"),
        ("", 124, "error"),
        ("Got permission denied while trying to connect", 1, "error"),
    ],
)
def test_every_fact_of_docker_tells_them_apart(fact: type, text: str, code: int, status: str) -> None:
    """I12, 7.1; a result never fails the host, and says why."""
    answer = fact().process(said(text, code))
    assert answer.status == status
    assert answer.error


@pytest.mark.parametrize(
    ("fact", "text"),
    [
        (ImagePresent, "[]\nError response from daemon: No such image: x"),
        (DockerObject, "[]\nError response from daemon: network x not found"),
        (DockerObject, "Error response from daemon: get x: no such volume"),
        (RouterHealth, "Error response from daemon: No such container: anvil-router"),
    ],
)
def test_what_is_not_there_is_absent(fact: type, text: str) -> None:
    assert fact().process(said(text, 1)).status == "absent"


@pytest.mark.parametrize(
    ("told", "status", "error"),
    [
        ("Error response from daemon: No such image: vllm:1", "absent", "its image is not on this host"),
        ("Cannot connect to the Docker daemon. Is the docker daemon running?", "daemon_down", "Is the docker"),
    ],
)
def test_nothing_runs_to_look_at_weights_without_their_image(
    told: str, status: str, error: str, tmp_path: Path
) -> None:
    """7.1: in a container of an image that is present."""
    docker = tmp_path / "docker"
    docker.write_text(f'#!/bin/sh\n[ "$1" = image ] || touch {tmp_path}/ran\necho "{told}" >&2\nexit 1\n')
    docker.chmod(0o755)
    line = HfSnapshot().command("cache", "vllm:1", "org/name", "main").get_raw_value()
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run(["sh", "-c", line], env=environment, capture_output=True, text=True, check=True)
    answer = HfSnapshot().process(done.stdout.splitlines())
    assert (answer.status, error in answer.error) == (status, True)
    assert not (tmp_path / "ran").exists()


def test_an_absent_container_is_absent() -> None:
    gone = said("clock 1\n[]\nError: No such container: x", 1)
    assert Container().process(gone).status == "absent"


def test_a_state_nobody_knows() -> None:
    odd = {**INSPECT, "State": {"Status": "hibernating"}}
    assert Container().process(said(json.dumps([odd]))).container.state == "unknown"


@given(st.lists(st.dictionaries(st.text(), st.integers())), st.lists(st.text(st.characters(exclude_characters="\n[{"))))
def test_documents_are_found_between_warnings(values: list[dict[str, int]], noise: list[str]) -> None:
    lines = [json.dumps(value) for value in values]
    mixed = [line for pair in zip(lines, noise + [""] * len(lines), strict=False) for line in pair]
    assert documents("\n".join(mixed)) == values


def test_docker_daemon() -> None:
    info = {
        "ServerVersion": "28.2.2",
        "Runtimes": {"runc": {}, "nvidia": {}},
        "DockerRootDir": "/d",
        "CgroupVersion": "2",
    }
    got = DockerDaemon().process(said(f"{json.dumps(info)}\n\ncompose v2.40.3\nfree 1024\n"))
    assert (got.server, got.compose, got.runtimes, got.free_bytes) == ("28.2.2", "2.40.3", ("nvidia", "runc"), 1 << 20)
    down = DockerDaemon().process(said('{"ServerErrors":["Cannot connect"]}\ncompose 2\nfree 1\n'))
    assert (down.status, down.error) == ("daemon_down", "Cannot connect")


@pytest.mark.parametrize(
    ("line", "status"),
    [
        ("Cannot connect to the Docker daemon at unix:///s. Is the docker daemon running?", "daemon_down"),
        ("permission denied while trying to connect to the docker API at unix:///s", "error"),
    ],
)
def test_a_document_of_zeroes_is_not_what_docker_said(line: str, status: str) -> None:
    """`docker info --format json` of 28.2: exit status 1, the reason on one stream, the empty document on the other."""
    for order in ((line, '{"ID":"","ServerVersion":""}'), ('{"ID":"","ServerVersion":""}', line)):
        answer = DockerDaemon().process(said("\n".join(order), 1))
        assert (answer.status, answer.error) == (status, line)


SMI = """0, GPU-1, NVIDIA RTX PRO 6000, 97887, 60000, 580.1, 12.0
1, GPU-2, NVIDIA GeForce RTX 5090, 32607, [N/A], 580.1, 12.0
--
4242, GPU-1, 59000
77, GPU-1, [N/A]
--
4242,vllm-heavy
"""


def test_nvidia_gpus() -> None:
    got = NvidiaGpus().process(said(SMI))
    assert (got.cards["GPU-1"].free_mib, got.cards["GPU-2"].used_mib, got.cards["GPU-1"].compute) == (37887, 0, "12.0")
    assert [(p.pid, p.used_mib, p.container) for p in got.processes] == [(4242, 59000, "vllm-heavy"), (77, 0, "")]
    assert NvidiaGpus().process(said("", 127)).status == "tool_missing"
    assert NvidiaGpus().process(said("Failed to initialize NVML", 9)).error == "Failed to initialize NVML"


LISTENERS = """LISTEN 0 4096 127.0.0.1:30003 0.0.0.0:* users:(("docker-proxy",pid=11,fd=7))
LISTEN 0 128 [::]:22 [::]:*
LISTEN 0 5 *:8123 *:* users:(("python3",pid=99,fd=3))
HEX 0100007F:1F40
--
vllm-fast|127.0.0.1:30003->30003/tcp
many|0.0.0.0:9000-9002->9000-9002/tcp, :::9000-9002->9000-9002/tcp
none|
"""


def test_port_owners() -> None:
    owners = PortOwners().process(said(LISTENERS)).owners
    assert str(owners[30003]) == "container vllm-fast"
    assert str(owners[8123]) == "pid 99 python3"
    assert str(owners[22]) == "a process of another user"
    assert str(owners[9002]) == "container many"
    assert [owners[port].addresses for port in (30003, 8123, 22, 9001)] == [
        ("127.0.0.1",), ("*",), ("::",), ("0.0.0.0", "::"),
    ]  # fmt: skip
    assert 8000 in owners


def test_http_and_endpoint() -> None:
    assert Http().process(said('{"a":1}\n200\n')).body == '{"a":1}'
    assert Http().process(said("\n000\n")).status == "absent"
    assert Http().process(said("", 127)).status == "tool_missing"
    models = '{"data":[{"id":"m","max_model_len":4096},{"id":"n"}]}'
    assert Endpoint().process(said(f"200\n{models}\n200\n")).models == {"m": 4096, "n": 0}
    assert Endpoint().process(said("503\n")).health == 503
    assert Endpoint().process(said("200\n[nonsense\n200\n")).models == {}


@pytest.mark.parametrize("lacking", [(), ("curl",), ("curl", "wget"), ("curl", "wget", "python3")])
def test_http_with_whatever_client_the_host_has(lacking: Iterable[str], tmp_path: Path) -> None:
    for tool in {"sh", "curl", "wget", "python3", "tail", "base64", "env", "cat"} - set(lacking):
        (tmp_path / tool).write_text(
            f'#!/bin/sh\nexec {sys.executable if tool == "python3" else shutil.which(tool)} "$@"\n'
        )
        (tmp_path / tool).chmod(0o755)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(503 if self.path == "/health" else 200)
            self.end_headers()
            self.wfile.write(b'{"data":[{"id":"m"}]}\n')

        def log_message(self, *_: object) -> None:
            """Keep the test output clean."""

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        url = f"http://127.0.0.1:{server.server_port}"
        environment = {"PATH": str(tmp_path), "http_proxy": "http://127.0.0.1:1"}

        def ask(command: StringCommand) -> list[str]:
            line = command.get_raw_value()
            return subprocess.run(
                [f"{tmp_path}/sh", "-c", line], env=environment, capture_output=True, text=True
            ).stdout.splitlines()

        loading = Endpoint().process(ask(Endpoint().command(f"{url}/health", f"{url}/v1/models")))
        ready = Endpoint().process(ask(Endpoint().command(f"{url}/ok", f"{url}/v1/models")))
        silent = Http().process(ask(Http().command("http://127.0.0.1:1/")))
    finally:
        server.shutdown()
        server.server_close()
    if "python3" in lacking:
        assert {loading.status, ready.status, silent.status} == {"tool_missing"}
    else:
        assert (loading.health, ready.health, ready.models, silent.code) == (503, 200, {"m": 0}, 0)


def test_file_text_refuses_what_it_cannot_read_whole() -> None:
    assert FileText().process(said("ls: cannot access 'x': No such file or directory", 44)).status == "absent"
    assert FileText().process(said("ls: cannot access 'x': Permission denied", 44)).status == "error"
    assert FileText().process(said("9\nYWJj\n")).status == "error"
    assert FileText().process(said("3\nYWJj\n")).content == b"abc"


def test_a_token_reaches_the_router_as_it_is_written() -> None:
    """curl reads it from a configuration, where quotes and backslashes mean something."""
    token = 'a"b\\c\\"d$e'

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(self.headers["authorization"].encode())

        def log_message(self, *_: object) -> None:
            """Keep the test output clean."""

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.handle_request, daemon=True).start()
        command = Reply().command(f"http://127.0.0.1:{server.server_port}/", 10).get_raw_value()
        told = subprocess.run(
            ["sh", "-c", command], input="".join(authorisation(token)), capture_output=True, text=True
        )
    assert Reply().process(told.stdout.splitlines()).body == f"Bearer {token}"
