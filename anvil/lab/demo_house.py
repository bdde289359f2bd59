"""The demo's house: its folder, its token, its topology, and the pyinfra runs that bring it up and take it down."""

from __future__ import annotations

import os
import re
import secrets
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomli_w

from anvil.lab.engine import CHAT_TEMPLATE, Engine

REPOSITORY = Path(__file__).parents[2]
INVENTORY = "inventory/local.py"
TOPOLOGY = REPOSITORY / "inventory" / "local.toml"
TOKEN = "ANVIL_ROUTER_TOKEN"  # noqa: S105 - a variable's name
NEEDED_BYTES = 200_000_000  # releases, decision store and rotated logs
HEAVY_WINDOW = 32_768  # tokens, what Qwen2.5-Coder-0.5B was trained for
HEAVY_PREDICT = 2048  # tokens; a small model may repeat itself until its window is full
HEAVY_TIMEOUT_S = 550  # two cores read a client's long prompt for minutes; under the router's request deadline
STOP_SECONDS = 30
STARTING_SECONDS = 1.5
_STEP = "--> Starting operation: "


class Failed(Exception):
    """The demo cannot go on; the text is one line that says why and what to do."""


@dataclass(frozen=True)
class House:
    """Everything lives under ``root``; the engines listen on ``engine_port`` and the next one."""

    root: Path
    port: int
    engine_port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def ports(self) -> tuple[int, int, int]:
        return self.port, self.engine_port, self.engine_port + 1

    @property
    def topology(self) -> Path:
        return self.root / "demo.toml"

    @property
    def variables(self) -> Path:
        """What a shell needs to use the house; holds the token, so it is private."""
        return self.root / "demo.env"

    def running(self) -> bool:
        """Whether this house's supervisord answers."""
        with socket.socket(socket.AF_UNIX) as line:
            return line.connect_ex(str(self.root / "supervisor" / "sock")) == 0

    # ---------------------------------------------------------------------------------------- before it stands

    def require_ports(self) -> None:
        """Raises Failed when another program listens where this house wants to; its own processes do not count."""
        if len(set(self.ports)) < len(self.ports):
            raise Failed(f"--port {self.port} is also an engine's: choose another with --engine-port")
        mine = _ports_of(self.topology) if self.running() else set()
        for port in self.ports:
            if port not in mine and _taken(port):
                option = "--port" if port == self.port else "--engine-port"
                raise Failed(
                    f"port {port} on 127.0.0.1 is in use by another program: stop it (`scripts/demo --down` if it is"
                    f" a demo you left up), or choose another with {option}"
                )

    def require_space(self) -> None:
        """Raises Failed when the disk that holds ``root`` is nearly full."""
        free = shutil.disk_usage(next(path for path in (self.root, *self.root.parents) if path.exists())).free
        if free < NEEDED_BYTES:
            raise Failed(
                f"{self.root} has {free / 1e6:.0f} MB free, the demo needs {NEEDED_BYTES / 1e6:.0f} MB:"
                " make room or name another folder in ANVIL_ROOT"
            )

    def write(self, engine: Engine, fast: Path, heavy: Path | None) -> str:
        """Write topology and variables; returns the token, made once and kept. Raises Failed."""
        try:
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise Failed(f"{self.root}: {error.strerror}: name another folder in ANVIL_ROOT") from None
        document = adapted(tomllib.loads(TOPOLOGY.read_text(encoding="utf-8")), self, engine, fast, heavy)
        _replace(self.topology, f"# scripts/demo makes this from inventory/local.toml.\n{tomli_w.dumps(document)}")
        token = _token_in(self.variables) or secrets.token_urlsafe(32)
        values = {TOKEN: token, "ANVIL_ROUTER_URL": self.url, "ANVIL_TOPOLOGY": str(self.topology)}
        lines = [f"export {name}={shlex.quote(value)}\n" for name, value in values.items()]
        _replace(self.variables, "".join(lines))
        return token

    # ---------------------------------------------------------------------------------------------- pyinfra

    def deploy(self, token: str, step: Callable[[str], None]) -> tuple[int, list[str]]:
        """Run deploy/full.py: how many operations changed something, and the table of what stands. Raises Failed."""
        output = self.pyinfra(token, ["deploy/full.py"], step)
        return changes(output), standing(output)

    def down(self) -> None:
        """Stop everything of this house and make sure of it; files stay. Raises Failed."""
        if not self._came_up():
            return
        # The variable must be there, its value decides nothing when services are removed.
        token, asked = _token_in(self.variables) or secrets.token_urlsafe(32), ["--data", f"confirm={self._name()}"]
        try:
            self.pyinfra(token, ["deploy/teardown.py", *asked], lambda _: None)
        finally:
            self._stop_supervisor()
        left = [str(port) for port in sorted(_ports_of(self.topology)) if _taken(port)]
        if left:
            raise Failed(f"after the teardown something still listens on 127.0.0.1 port {', '.join(left)}")

    def _came_up(self) -> bool:
        """Whether supervisord runs; one that was just being started, when the run was stopped, gets a moment."""
        if not (self.root / "supervisor" / "supervisord.conf").exists():
            return False
        end = time.monotonic() + STARTING_SECONDS
        while not self.running():
            if time.monotonic() > end:
                return False
            time.sleep(0.1)
        return True

    def _name(self) -> str:
        return str(tomllib.loads(TOPOLOGY.read_text(encoding="utf-8"))["deployment"])

    def pyinfra(self, token: str, words: list[str], step: Callable[[str], None]) -> str:
        """What ``pyinfra -y inventory/local.py WORDS`` of this house prints. Raises Failed when it does not exit 0."""
        program = str(Path(sys.executable).with_name("pyinfra"))
        argv = [program, "-y", INVENTORY, *words, "--data", "env_file=none"]
        kept = {name: value for name, value in os.environ.items() if not name.startswith("ANVIL_")}
        environment = kept | {TOKEN: token, "ANVIL_TOPOLOGY": str(self.topology), "PYTHONUNBUFFERED": "1"}
        lines: list[str] = []
        with _session(argv, environment) as process:
            assert process.stdout is not None
            for line in process.stdout:
                lines.append(line)
                if line.startswith(_STEP):
                    step(line.removeprefix(_STEP).strip())
        if process.returncode != 0:
            told = "".join(lines[-60:]).rstrip()
            raise Failed(f"{told}\npyinfra {words[0]} failed with {process.returncode}: the lines above say where")
        return "".join(lines)

    def _stop_supervisor(self) -> None:
        """Last resort, where the teardown could not be run to its end."""
        pid = _supervisor_pid(self.root / "supervisor")
        if pid is None:
            return
        os.kill(pid, signal.SIGTERM)
        end = time.monotonic() + STOP_SECONDS
        while _supervisor_pid(self.root / "supervisor") is not None:
            if time.monotonic() > end:
                raise Failed(f"supervisord (process {pid}) of {self.root} did not stop: kill {pid}")
            time.sleep(0.1)


def adapted(
    document: dict[str, Any], house: House, engine: Engine, fast: Path, heavy: Path | None
) -> Mapping[str, Any]:
    """inventory/local.toml with this machine's paths and ports; ``heavy`` are other weights for the second tier."""
    document["machines"]["here"]["root"] = str(house.root)
    document["router"] |= {"port": house.port, "python": sys.executable}
    libraries = engine.environment({})
    for place, name in enumerate(("fast", "heavy")):
        serve = document["serves"][name]
        serve |= {"binary": str(engine.binary), "model_file": str(fast), "port": house.engine_port + place}
        serve.pop("chat_template_file", None)
        if libraries:
            serve["env"] = libraries
    document["serves"]["heavy"]["predict"] = HEAVY_PREDICT
    document["tiers"]["heavy-local"]["timeout"] = HEAVY_TIMEOUT_S
    if heavy is not None:
        document["serves"]["heavy"] |= {
            "model_file": str(heavy),
            "chat_template_file": str(CHAT_TEMPLATE),
            "served_model": "qwen-coder-0.5b",
            "context": HEAVY_WINDOW,
            "parallel": 1,
        }
    return document


def changes(output: str) -> int:
    """The second number of pyinfra's grand total: operations that changed something. Raises Failed without one."""
    found = re.search(r"Grand total\s+\d+\s+(\d+|-)", output)
    if found is None:
        raise Failed("pyinfra printed no grand total: its version is not the locked one, run scripts/install")
    return 0 if found[1] == "-" else int(found[1])


def standing(output: str) -> list[str]:
    """The lines of the deploy's closing table."""
    told = output.partition("What stands")[2].partition("No changes")[0]
    lines = [line.partition("] ")[2] for line in told.splitlines() if line.strip().startswith("[")]
    return [line for line in lines if line]


@contextmanager
def _session(argv: list[str], environment: Mapping[str, str]) -> Iterator[subprocess.Popen[str]]:
    """A child in a session of its own, so that Ctrl-C reaches us alone; it never outlives the block."""
    child = subprocess.Popen(
        argv,
        cwd=REPOSITORY,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    with child:
        try:
            yield child
            child.wait()
        finally:
            if child.poll() is None:
                os.killpg(child.pid, signal.SIGKILL)


def _replace(path: Path, text: str) -> None:
    """Write a private file, whole or not at all."""
    new = path.with_name(f"{path.name}.new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_CREAT | os.O_WRONLY | os.O_EXCL, 0o600), "w", encoding="utf-8") as stream:
        stream.write(text)
    new.replace(path)


def _token_in(variables: Path) -> str:
    try:
        found = re.search(rf"^export {TOKEN}=(\S+)$", variables.read_text(encoding="utf-8"), re.MULTILINE)
    except OSError:
        return ""
    return found[1] if found else ""


def _ports_of(topology: Path) -> set[int]:
    """The ports of the house as it was last written."""
    try:
        document = tomllib.loads(topology.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError):
        return set()
    return {document["router"]["port"], *(serve["port"] for serve in document["serves"].values())}


def _taken(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False


def _supervisor_pid(folder: Path) -> int | None:
    """The process of this very supervisord, None when it is gone: a pid file may outlive it."""
    try:
        pid = int((folder / "supervisord.pid").read_text())
        return pid if str(folder) in _command_of(pid) else None
    except (OSError, ValueError):
        return None


def _command_of(pid: int) -> str:
    """The command line of a process, "" when there is none. A slim Linux has no ps, a Mac has no /proc."""
    if Path("/proc/self").exists():
        return Path(f"/proc/{pid}/cmdline").read_text(errors="replace")
    return subprocess.run(["ps", "-o", "command=", "-p", str(pid)], capture_output=True, text=True, check=False).stdout
