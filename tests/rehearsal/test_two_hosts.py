"""Two GPU hosts in one inventory: `forge2` runs a serve of its own, which the router on `forge` reaches as any endpoint.

Serves are on loopback (D1), so an operator who wants one from elsewhere lays the way himself: here a relay on `forge2`.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.rehearsal.lab import HOSTS, NETWORK, ROOT, TOPOLOGY, Lab, Run, command

pytestmark = [pytest.mark.rehearsal, pytest.mark.timeout(900)]

ADDRESS, RELAYED = f"{NETWORK}.23", 31004
RELAY = """
import socket, threading
def copy(a, b):
    try:
        while data := a.recv(65536):
            b.sendall(data)
        b.shutdown(socket.SHUT_WR)
    except OSError:
        pass
door = socket.create_server(("ADDRESS", PORT))
while True:
    caller = door.accept()[0]
    engine = socket.create_connection(("127.0.0.1", 30004))
    for pair in ((caller, engine), (engine, caller)):
        threading.Thread(target=copy, args=pair, daemon=True).start()
""".replace("ADDRESS", ADDRESS).replace("PORT", str(RELAYED))
LIMIT_S = 60.0  # on a machine that does other things too; the figure that counts is printed


def two_hosts() -> str:
    """The rehearsal's topology with a second machine, its serve, and a tier for what the relay offers."""
    head, fast, rest = TOPOLOGY.partition("[serves.fast]")
    serve = rest.partition("\n\n")[0]
    forge = "[machines.forge]" + head.partition("[machines.forge]")[2].partition("[machines.mini]")[0]
    machine = (
        forge.replace("machines.forge", "machines.forge2")
        .replace(f"{NETWORK}.21", ADDRESS)
        .replace(f"/{HOSTS}/forge/", f"/{HOSTS}/forge2/")
    )
    far = serve.replace('"forge"', '"forge2"').replace('"tiny-fast"', '"tiny-far"').replace("30003", "30004")
    far = far.replace("predict         = 24\n", "")
    tier = f'[tiers.far]\nbase_url = "http://{ADDRESS}:{RELAYED}/v1"\nmodel = "tiny-far"\ncontext_limit = 2048\n\n'
    text = f"{head}{machine}[serves.far]{far}\n\n{fast}{rest}".replace("[presets]", f"{tier}[presets]")
    return text.replace('review       = ["heavy-local"]', 'review       = ["far"]')


@pytest.fixture(scope="module")
def own(lab: Lab, second: Run, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The second host, up, with its image; gone afterwards, and the rehearsal's own topology again."""
    file = tmp_path_factory.mktemp("two") / "topology.toml"
    file.write_text(two_hosts())
    lab.up("forge2", 23, "--nvidia")
    try:
        config = str(lab.config("forge2"))
        with lab.step("images of forge2"):
            command("molecule/images/python-base", config, "forge2")
            command("molecule/images/llama-server", config, "forge2", sys.executable)
        lab.ssh("forge2", f"sudo systemd-run -q --unit relay python3 -c '{RELAY}'")
        yield file
    finally:
        subprocess.run([sys.executable, "molecule/hosts", "down", "forge2"], cwd=ROOT, check=True, capture_output=True)
        run = lab.deploy("full.py", "-y")
        assert run.code == 0, run.story
    assert lab.deploy("full.py", "-y").changed == []


@pytest.fixture(scope="module")
def built(lab: Lab, own: Path) -> Run:
    return lab.deploy("full.py", "-y", topology=own)


def started(lab: Lab, host: str, name: str) -> str:
    return lab.ssh(host, f"docker inspect -f '{{{{.State.StartedAt}}}}' {name}")


def changed_on(run: Run) -> dict[str, set[str]]:
    return {each["name"]: set(each["success"]) for each in run.operations if each["success"]}


def test_one_run_brings_up_both_and_the_next_has_nothing_to_do(lab: Lab, own: Path, built: Run) -> None:
    assert built.code == 0, built.story
    changed = changed_on(built)
    assert changed["Serves | Up far"] == {"forge2"}
    assert "forge2" in changed["Machine | Network"]
    assert all(hosts == {"forge"} for name, hosts in changed.items() if name.startswith("Router |"))
    began = time.monotonic()
    again = lab.deploy("full.py", "-y", topology=own)
    took = time.monotonic() - began
    lab.say(f"           full.py with nothing to do on two GPU hosts and one other: {took:.1f} s")
    assert (again.code, again.changed) == (0, [])
    assert took < LIMIT_S
    assert "router" not in lab.ssh("forge2", "docker ps -a --format '{{.Names}}'")
    assert lab.ssh("forge2", "sudo ls /srv/anvil/router/releases") == ""


def test_the_router_reaches_the_other_hosts_serve_only_where_somebody_laid_a_way(
    lab: Lab, own: Path, built: Run
) -> None:
    body = {"model": "review", "messages": [{"role": "user", "content": "Say hello"}], "max_tokens": 8}
    status, text = lab.ask("/v1/chat/completions", body)
    assert status == 200, f"{text}\n{lab.ask('/v1/decisions?limit=1')[1]}"
    (record,) = json.loads(lab.ask("/v1/decisions?limit=1")[1])["data"]
    assert "far" in json.dumps(record)
    refused = f"curl -s -m 5 -o /dev/null http://{ADDRESS}:30004/health || echo closed"
    assert lab.ssh("mini", refused) == "closed\n"


def test_a_limit_touches_one_host_alone(lab: Lab, own: Path, built: Run, tmp_path: Path) -> None:
    both = tmp_path / "topology.toml"
    text = own.read_text()
    assert text.count("threads         = 1\n") == 3
    both.write_text(text.replace("threads         = 1\n", "threads         = 2\n"))
    before = started(lab, "forge", "llamacpp-fast")
    run = lab.deploy("full.py", "-y", "--limit", "forge2", topology=both)
    assert run.code == 0, run.story
    assert {host for hosts in changed_on(run).values() for host in hosts} == {"forge2"}
    assert started(lab, "forge", "llamacpp-fast") == before
    back = lab.deploy("full.py", "-y", topology=own)
    assert back.code == 0, back.story
    assert {host for hosts in changed_on(back).values() for host in hosts} == {"forge2"}


def test_a_host_that_cannot_be_reached_stops_the_others_before_anything_moves(
    lab: Lab, own: Path, built: Run, tmp_path: Path
) -> None:
    lost = tmp_path / "topology.toml"
    where = f'address  = "{ADDRESS}"'
    text = own.read_text().replace("threads         = 1\n", "threads         = 2\n")
    assert text.count(where) == 1
    lost.write_text(text.replace(where, f'address  = "{NETWORK}.99"'))
    before = lab.snapshot("forge")
    run = lab.deploy("full.py", "-y", topology=lost)
    assert (run.code, run.changed) == (1, [])
    assert "forge2" in run.story
    assert "Traceback" not in run.story
    assert lab.snapshot("forge") == before
