"""The rehearsal's hosts and what a test may ask of them: run a deploy, run a command, look at what changed on disk."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
TOKEN = "rehearsal-token-of-32-characters"
NUMBER = int(os.environ.get("ANVIL_LAB_NETWORK") or 0)  # labs with different numbers run side by side
NETWORK = f"10.231.{NUMBER}"
HOSTS = f"hosts-{NUMBER}" if NUMBER else "hosts"
ROUTER = f"http://{NETWORK}.21:8000"
DEPLOY_SECONDS = 600  # OpenClaw's own commands take seconds each, and minutes on a machine that is busy
TOPOLOGY = (
    Path(__file__)
    .with_name("topology.toml")
    .read_text()
    .replace("10.231.0.", f"{NETWORK}.")
    .replace("/hosts/", f"/{HOSTS}/")
)
STARTING = "--> Starting operation: "  # pyinfra's own words for what it is at
OUTCOMES = ("No changes", "Success", "Error")
DROP = r"""pid=$$ mine=' '
while [ "$pid" -gt 1 ]; do mine="$mine$pid " pid=$(ps -o ppid= -p "$pid" | tr -d ' '); done
for try in $(seq 6000); do if CONDITION; then break; fi; sleep 0.01; done >/dev/null 2>&1
for each in $(pgrep -u anvil '^sshd'); do
  case $mine in *" $each "*) ;; *) sudo kill -9 "$each" && echo dropped ;; esac
done
"""
# Written by any login and by the services of the host itself; nothing a deploy is about.
NOISE = ("var/log", "var/lib/systemd", "var/lib/sudo", "home/anvil/.sudo_as_admin_successful")


@dataclass(frozen=True)
class Run:
    """One pyinfra run. ``totals`` and ``results`` are empty when it ended without a result, ``plan`` with `-y`."""

    code: int
    totals: Mapping[str, int]
    operations: list[dict[str, Any]]
    story: str
    plan: list[dict[str, Any]] = field(default_factory=list)

    @property
    def changed(self) -> list[str]:
        """Names of the operations that changed a host."""
        return [each["name"] for each in self.operations if each["success"]]

    def changed_on(self, host: str) -> list[str]:
        """Those that changed this host: machines do some operations together."""
        return [each["name"] for each in self.operations if host in each["success"]]


@dataclass(frozen=True)
class Lab:
    """Two hosts: `forge` runs the serves and the router, `mini` is another machine that asks."""

    folder: Path
    say: Callable[[str], None]

    def config(self, name: str) -> Path:
        return self.folder / HOSTS / name / "ssh_config"

    @contextmanager
    def step(self, what: str) -> Iterator[None]:
        """Say how long it took."""
        began = time.monotonic()
        yield
        self.say(f"  {time.monotonic() - began:6.1f} s  {what}")

    def up(self, name: str, number: int, *options: str) -> None:
        with self.step(f"host {name} at {NETWORK}.{number}"):
            command(sys.executable, "molecule/hosts", "up", name, str(number), *options)

    def down(self) -> None:
        with self.step("hosts removed"):
            command(sys.executable, "molecule/hosts", "down-all")

    def take_down(self, name: str) -> None:
        command(sys.executable, "molecule/hosts", "down", name)

    def images(self) -> None:
        config = str(self.config("forge"))
        with self.step("image anvil-rehearsal/python imported"):
            command("molecule/images/python-base", config, "forge")
        with self.step("image anvil-rehearsal/llama built, weights volume filled"):
            command("molecule/images/llama-server", config, "forge", sys.executable)
        with self.step("image anvil-router built by scripts/router-image"):
            base = ("--base", "anvil-rehearsal/python:3.11", "--tag", "anvil-router:rehearsal")
            command("scripts/router-image", *base, "--on", "forge", "--ssh-config", config)

    def deploy(self, file: str, *options: str, topology: Path | None = None, token: str = TOKEN, **environ: str) -> Run:
        """Run one deploy file over the whole inventory as an operator would, without a question."""
        with self.step(f"pyinfra deploy/{file} {' '.join(options)}"):
            done = subprocess.run(
                pyinfra(file, *options),
                cwd=ROOT,
                env=self.environment(topology, token) | environ,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=DEPLOY_SECONDS,
                check=False,
            )
        run = outcome(done)
        return run if run.code == 0 else replace(run, story=run.story + self.evidence())

    def deploy_until(self, file: str, seen: str, *, topology: Path) -> None:
        """Start a deploy and kill the controller as soon as a command succeeds on `forge`."""
        controller = subprocess.Popen(
            pyinfra(file, "-y"),
            cwd=ROOT,
            env=self.environment(topology, TOKEN),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        with self.step(f"pyinfra deploy/{file} killed on the way"):
            try:
                self.wait("forge", seen, 60)
                assert controller.poll() is None, "the controller ended before it was killed"
            finally:
                controller.kill()
                controller.wait()

    def deploy_to(self, file: str, operation: str, middle: str = "") -> dict[str, str]:
        """Start a deploy and kill the controller as it begins an operation, or once `middle` then succeeds on `forge`.

        Answers what each operation before it did there: "No changes", "Success" or "Error".
        """
        controller = subprocess.Popen(
            pyinfra(file, "-y"),
            cwd=ROOT,
            env=self.environment(None, TOKEN),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        with self.step(f"pyinfra deploy/{file} killed at {operation}{' half way' if middle else ''}"):
            try:
                told = began(controller, operation)
                if middle:
                    self.wait("forge", middle, 60)
                assert controller.poll() is None, "the controller ended before it was killed"
            finally:
                controller.kill()
                controller.communicate()
        return told

    @contextmanager
    def link_dropped(self, condition: str) -> Iterator[None]:
        """Kill every SSH session on `forge` but the one that waits there for `condition`, as soon as it succeeds."""
        words = ["ssh", "-F", str(self.config("forge")), "forge", DROP.replace("CONDITION", condition)]
        with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as waiting:
            try:
                yield
                said, why = waiting.communicate(timeout=30)
                assert "dropped" in said, f"no link was dropped: {said}{why}"
            finally:
                waiting.kill()

    def wait(self, name: str, condition: str, seconds: float) -> None:
        """Until a command succeeds on a host."""
        end = time.monotonic() + seconds
        while self.ssh(name, f"if {condition} >/dev/null; then echo yes; fi") != "yes\n":
            assert time.monotonic() < end, f"{name}: `{condition}` did not come true within {seconds} s"
            time.sleep(0.2)

    def topology(self, folder: Path, old: str, new: str) -> Path:
        """A copy of the rehearsal's topology with one line changed."""
        assert TOPOLOGY.count(old) == 1
        (folder / "topology.toml").write_text(TOPOLOGY.replace(old, new))
        return folder / "topology.toml"

    @property
    def own_topology(self) -> Path:
        """The rehearsal's topology with this lab's addresses; written when the lab is made."""
        return self.folder / f"topology-{NUMBER}.toml"

    def evidence(self) -> str:
        """What to look at after a failure: containers, the router's own words, the promotions."""
        look = (
            "docker ps -a; docker logs --tail 40 anvil-router 2>&1; docker inspect -f '{{json .State}}' anvil-router; "
            "sudo tail -n 3 /srv/anvil/router/promotions.jsonl; uptime"
        )
        return self.ssh("forge", look, check=False)

    def environment(self, topology: Path | None, token: str) -> dict[str, str]:
        chosen = topology or self.own_topology
        return os.environ | {
            "ANVIL_TOPOLOGY": str(chosen),
            "ANVIL_LAB": str(self.folder),
            "ANVIL_ROUTER_TOKEN": token,
        }

    def ssh(self, name: str, script: str, *, check: bool = True, given: str = "", seconds: float = 120) -> str:
        """What a shell script prints on a host, run as its user `anvil`. ``given`` is its standard input."""
        words = ["ssh", "-F", str(self.config(name)), name, script]
        done = subprocess.run(words, input=given, capture_output=True, text=True, timeout=seconds, check=False)
        if check and done.returncode != 0:
            raise AssertionError(f"{name}: `{script[:200]}` ended with {done.returncode}: {done.stderr.strip()}")
        return done.stdout

    def ask(self, path: str, body: Mapping[str, object] | None = None, *, token: str = TOKEN) -> tuple[int, str]:
        """Ask the router from `mini`, as a client on another machine: status and body."""
        words = f"curl -s -m 60 -w '\\n%{{http_code}}' -H 'Authorization: Bearer {token}' {ROUTER}{path}"
        if body is not None:
            words += f" -H 'Content-Type: application/json' -d '{json.dumps(body)}'"
        text, _, status = self.ssh("mini", words).rpartition("\n")
        return int(status), text

    def inspect(self, container: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.ssh("forge", f"docker inspect {container}"))[0]
        return found

    def snapshot(self, name: str) -> dict[str, object]:
        """Everything written on a host since it was made (its overlay's upper folder) and Docker's objects."""
        upper = self.folder / HOSTS / name / "upper"
        files: dict[str, object] = {}
        for path in sorted(upper.rglob("*")):
            inside = path.relative_to(upper)
            if not any(inside.is_relative_to(each) for each in NOISE) and not path.is_dir():
                facts = path.lstat()
                files[str(inside)] = (facts.st_mode, facts.st_size, facts.st_mtime_ns)
        if name == "forge":
            listed = "docker ps -aq; docker network ls -q; docker volume ls -q; docker image ls -aq"
            files["docker"] = sorted(self.ssh("forge", listed).split())
        return files


def began(controller: subprocess.Popen[str], operation: str) -> dict[str, str]:
    """Read the controller's progress until it begins an operation: what the ones before it did on `forge`."""
    assert controller.stderr is not None
    told: dict[str, str] = {}
    name, lines = "", []
    for line in controller.stderr:
        lines.append(line)
        if line.startswith(STARTING):
            name = line.removeprefix(STARTING).strip()
            if name == operation:
                return told
            told[name] = ""
        elif (done := line.strip().removeprefix("[forge] ")) in OUTCOMES and name:
            told[name] = done
    raise AssertionError(f"{operation} was never begun:\n{''.join(lines[-60:])}")


def pyinfra(file: str, *options: str) -> list[str]:
    """The command an operator would type, its answers as JSON."""
    program = str(Path(sys.executable).with_name("pyinfra"))
    return [program, "inventory/hosts.py", f"deploy/{file}", "--json", *options, "--data", "env_file=none"]


def outcome(done: subprocess.CompletedProcess[str]) -> Run:
    """Read `--json`; a run that ended in an error before any operation prints none."""
    try:
        document = json.loads(done.stdout)
    except ValueError:
        return Run(done.returncode, {}, [], done.stderr)
    results = document["results"] or {"totals": {}, "operations": []}  # a dry run has none
    return Run(done.returncode, results["totals"], results["operations"], done.stderr, document["plan"] or [])


def command(*words: str) -> None:
    """Run one of the lab's programs from the repository root; its whole output is in the failure."""
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=900, check=False)
    if done.returncode != 0:
        raise AssertionError(f"`{' '.join(words)}` ended with {done.returncode}:\n{done.stdout}\n{done.stderr}")


def why_not() -> str | None:
    """Why this machine cannot rehearse, or None."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "rehearsal hosts need root on Linux: run `sudo scripts/rehearse`"
    if shutil.which("apt-get") is None and shutil.which("systemd-nspawn") is None:
        return "rehearsal hosts need systemd-nspawn, and there is no apt-get to install it with"
    return None
