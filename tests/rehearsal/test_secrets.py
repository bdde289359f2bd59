"""No value of a secret is anywhere but where it is used: not in what a run prints, lists, logs or leaves behind.

Canaries stand for the router's token, a serve's HF_TOKEN and a cloud key. They are looked for plain, as base64, as
their first eight characters and as sha256. Where they must be: secrets.env and the environment of the containers that
use them (operations.md S7).
"""

from __future__ import annotations

import base64
import hashlib
import os
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.rehearsal.lab import ROOT, TOPOLOGY, Lab, Run, pyinfra

pytestmark = [pytest.mark.rehearsal, pytest.mark.timeout(900)]

CANARIES = {
    "ANVIL_ROUTER_TOKEN": "Qr7-canary-of-the-routers-own-token-0001",
    "HF_TOKEN": "Hf9-canary-of-the-hub-for-the-heavy-serve",
    "CLOUD_KEY": "Ck3-canary-of-a-cloud-that-nobody-asks-01",
}
ROTATED = "Zt5-canary-of-the-token-after-a-rotation"
EVERYTHING = ("-vvv", "--debug-operations", "--diff", "--json")
CLOUD = """
[tiers.cloud]
cloud = true
base_url = "https://api.example.invalid/v1"
model = "large"
context_limit = 32768
auth_env = "CLOUD_KEY"
cost_input_per_mtok = 1.0
cost_output_per_mtok = 2.0

[presets]
"""
# Every command line on the host, again and again, without this sampler's own.
SAMPLER = r"""
import os, sys, time
seen, mine = set(), {os.getpid(), os.getppid()}
out = open("/run/anvil-sampled", "w")
while not os.path.exists("/run/anvil-sampler-stop"):
    for pid in os.listdir("/proc"):
        if pid.isdigit() and int(pid) not in mine:
            try:
                line = open(f"/proc/{pid}/cmdline", "rb").read()
            except OSError:
                continue
            if line not in seen:
                seen.add(line)
                print(line.replace(b"\0", b" ").decode("utf-8", "replace").replace("\n", " "), file=out, flush=True)
    time.sleep(0.02)
"""
# What the host keeps. The container environments and secrets.env are not among it: that is where the values belong.
KEPT = (
    "sudo journalctl -q --no-pager -o cat; sudo cat /srv/anvil/router/releases/*/* /srv/anvil/router/promotions.jsonl"
    " /srv/anvil/router/go-live.log /srv/anvil/router/go-live.sh /srv/anvil/compose*.yaml /srv/anvil/.lock;"
    " sudo sh -c 'cat /srv/anvil/evidence/*/* /root/.*history /home/anvil/.*history; grep -rIs . /tmp /var/tmp /var/log';"
    " for each in $(docker ps -aq); do docker logs $each; done"
)


def disguises(value: str) -> Mapping[str, str]:
    plain = value.encode()
    # Inside a longer text base64 has three faces; the characters at either end depend on the neighbours.
    faces = {f"base64 {shift}": base64.b64encode(b"." * shift + plain).decode()[4:-4] for shift in range(3)}
    return {
        **faces,
        "plain": value,
        "first eight": value[:8],
        "sha256": hashlib.sha256(plain).hexdigest(),
    }


def found(text: str, values: Mapping[str, str]) -> list[str]:
    """Which canary is in a text, and as what; never the value."""
    return [f"{name} {how}" for name, value in values.items() for how, word in disguises(value).items() if word in text]


@pytest.fixture(scope="module")
def own(lab: Lab, second: Run, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A topology with all three; afterwards the rehearsal's own again."""
    file = tmp_path_factory.mktemp("secrets") / "topology.toml"
    port = "port            = 30002"
    file.write_text(TOPOLOGY.replace(port, f'{port}\nsecret_env = ["HF_TOKEN"]').replace("\n[presets]\n", CLOUD))
    yield file
    run = lab.deploy("full.py", "-y")
    assert run.code == 0, run.story
    assert lab.deploy("full.py", "-y").changed == []


@contextmanager
def sampled(lab: Lab) -> Iterator[list[str]]:
    """Every command line that ran on `forge` meanwhile."""
    lab.ssh("forge", "sudo rm -f /run/anvil-sampler-stop /run/anvil-sampled")
    lab.ssh("forge", f"sudo systemd-run -q --unit anvil-sampler python3 -c '{SAMPLER}'")
    lines: list[str] = []
    try:
        yield lines
    finally:
        time.sleep(0.1)
        lab.ssh("forge", "sudo touch /run/anvil-sampler-stop")
        lines += lab.ssh("forge", "sudo cat /run/anvil-sampled").splitlines()


def told(lab: Lab, topology: Path, file: str, *options: str, **environ: str) -> str:
    """Everything a run prints, on both streams, with every flag that makes it talk."""
    words = [word for word in pyinfra(file, *options) if word != "--json"]
    words[1:1] = [flag for flag in EVERYTHING if flag != "--debug-operations" or "--dry" in options]
    values = {**CANARIES, **environ}
    done = subprocess.run(
        words,
        cwd=ROOT,
        env=lab.environment(topology, values["ANVIL_ROUTER_TOKEN"]) | values,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout + done.stderr


def test_no_run_shows_a_value_and_no_process_carries_one(lab: Lab, own: Path, tmp_path: Path) -> None:
    changed = tmp_path / "topology.toml"
    changed.write_text(own.read_text().replace('review       = ["heavy-local"]', 'review       = ["fast-local"]'))
    settings = tmp_path / "settings.toml"
    settings.write_text("[limits]\nrequest_deadline_s = 300\n")
    runs = [
        ("full.py", "--dry"),
        ("full.py", "-y"),
        ("serves.py", "-y"),
        ("promote.py", "-y", "--data", f"settings={settings}"),
        ("rollback.py", "-y"),
        ("status.py",),
        ("doctor.py",),
        ("logs.py", "-y", "--data", "name=router"),
    ]
    texts: dict[str, str] = {}
    with sampled(lab) as lines:
        for file, *options in runs:
            with lab.step(f"{file} {options}, saying everything"):
                texts[f"{file} {options}"] = told(lab, own, file, *options)
        texts["router.py rotated"] = told(lab, changed, "router.py", "-y", ANVIL_ROUTER_TOKEN=ROTATED)
    values = {**CANARIES, "rotated": ROTATED}
    assert {name: hits for name, text in texts.items() if (hits := found(text, values))} == {}
    assert any("docker compose" in line for line in lines), "the sampler saw nothing"
    assert any("go-live.sh" in line for line in lines)
    assert found("\n".join(lines), values) == []


def test_the_host_keeps_no_value_but_where_it_is_used(lab: Lab, own: Path) -> None:
    values = {**CANARIES, "rotated": ROTATED}
    secrets = lab.ssh("forge", "sudo cat /srv/anvil/secrets.env")
    assert {name for name, value in values.items() if value in secrets} == {"HF_TOKEN", "CLOUD_KEY", "rotated"}
    assert lab.ssh("forge", "sudo stat -c '%a %U' /srv/anvil/secrets.env") == "600 root\n"
    assert f"HF_TOKEN={CANARIES['HF_TOKEN']}" in lab.inspect("llamacpp-heavy")["Config"]["Env"]
    assert found("\n".join(lab.inspect("llamacpp-fast")["Config"]["Env"]), values) == []
    kept = lab.ssh("forge", f"({KEPT}) 2>&1", check=False)
    assert "promotions" in kept or '"outcome"' in kept
    assert found(kept, values) == []


def test_a_traceback_shows_no_value(lab: Lab, own: Path) -> None:
    """A run that ends in an error of a tool, with everything it says."""
    environ = lab.environment(own, CANARIES["ANVIL_ROUTER_TOKEN"]) | CANARIES | {"PYTHONFAULTHANDLER": "1"}
    environ |= {"TMPDIR": os.environ.get("TMPDIR", "/tmp")}
    words = [*pyinfra("router.py", "-y"), "-vvv", "--data", "image=anvil-router:absent"]
    done = subprocess.run(
        words, cwd=ROOT, env=environ, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 1
    assert found(done.stdout + done.stderr, CANARIES) == []
