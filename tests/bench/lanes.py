"""What is measured: our router and its peers, each started in front of one port of the upstream."""

from __future__ import annotations

import http.client
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from tests.bench import processes
from tests.bench.tools import Missing, cache

ROOT = Path(__file__).parents[2]
VLLM_ROUTER = "vllm-router==0.1.17"
TOKEN_VARIABLE = "ANVIL_BENCH_TOKEN"
TOKEN = "bench-0123456789abcdef"
READY_TIMEOUT_S = 30.0
LANES = ("nginx", "vllm-router", "anvil")


class Command(NamedTuple):
    """How to start a lane, and the path that answers 200 once it serves."""

    argv: list[str]
    ready_path: str
    env: Mapping[str, str] = {}


class Lane(NamedTuple):
    """A running lane. ``started_s`` is from its start to its first 200."""

    name: str
    port: int
    root: int
    started_s: float

    def pids(self) -> set[int]:
        return processes.tree({self.root} | processes.listeners(self.port))

    def cpu_ns(self) -> int:
        return processes.cpu_ns(self.pids())

    def rss_mib(self) -> float:
        return processes.memory_kib(self.pids())[0] / 1024

    def pss_mib(self) -> float:
        return processes.memory_kib(self.pids())[1] / 1024


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def command(name: str, port: int, upstream: int, folder: Path, *, store: bool = False) -> Command:
    """Raises Missing when this machine does not have the peer."""
    if name == "nginx":
        return _nginx(port, upstream, folder)
    if name == "vllm-router":
        return _vllm_router(port, upstream)
    return _anvil(port, upstream, folder, store)


@contextmanager
def running(name: str, start: Command, port: int, folder: Path) -> Iterator[Lane]:
    """Start a lane, wait until it serves, stop it. Raises RuntimeError with the end of its log when it does not."""
    log = folder / f"{name}.log"
    with log.open("wb") as sink:
        began = time.perf_counter()
        process = subprocess.Popen(
            start.argv, stdout=sink, stderr=sink, stdin=subprocess.DEVNULL, cwd=ROOT, env={**os.environ, **start.env}
        )
        try:
            _await_ready(process, port, start.ready_path, log)
            yield Lane(name, port, process.pid, time.perf_counter() - began)
        finally:
            _stop(process)


def _await_ready(process: subprocess.Popen[bytes], port: int, path: str, log: Path) -> None:
    deadline = time.perf_counter() + READY_TIMEOUT_S
    while time.perf_counter() < deadline:
        if process.poll() is not None:
            break
        if _status(port, path) == 200:
            return
        time.sleep(0.005)
    tail = log.read_text(errors="replace")[-2000:]
    raise RuntimeError(f"{log.stem} does not answer 200 on {path} (exit code {process.poll()}); its log ends:\n{tail}")


def _status(port: int, path: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return 0
    finally:
        connection.close()


def _stop(process: subprocess.Popen[bytes]) -> None:
    left = processes.tree({process.pid})
    process.terminate()
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        for pid in left:
            _kill(pid)
        process.wait()


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, 9)


# ------------------------------------------------------------------------------------------------------- nginx

_NGINX = """\
{user}worker_processes 1;
daemon off;
pid {folder}/nginx.pid;
error_log stderr warn;
events {{ worker_connections 4096; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  client_body_buffer_size 4m;
  client_max_body_size 50m;
  keepalive_requests 100000000;
  upstream model {{ server 127.0.0.1:{upstream}; keepalive 512; keepalive_requests 100000000; }}
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location / {{
      proxy_pass http://model;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_buffering off;
    }}
  }}
}}
"""


def _nginx(port: int, upstream: int, folder: Path) -> Command:
    program = shutil.which("nginx", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")
    if program is None:
        raise Missing("no nginx: this run cannot compare with a plain proxy; run: apt-get install nginx-light")
    config = folder / "nginx.conf"
    user = "user root;\n" if os.geteuid() == 0 else ""
    config.write_text(_NGINX.format(user=user, folder=folder, upstream=upstream, port=port))
    return Command([program, "-e", "stderr", "-p", str(folder), "-c", str(config)], "/")


# -------------------------------------------------------------------------------------------------- vllm-router


def _vllm_router(port: int, upstream: int) -> Command:
    program = _peer_folder() / "bin/vllm-router"
    if not program.exists():
        _install_vllm_router()
    argv = [
        *[str(program), "--worker-urls", f"http://127.0.0.1:{upstream}", "--policy", "round_robin"],
        *["--host", "127.0.0.1", "--port", str(port), "--prometheus-port", str(free_port())],
    ]
    return Command(argv, "/health")


def _peer_folder() -> Path:
    return cache() / VLLM_ROUTER.replace("==", "-")


def _install_vllm_router() -> None:
    """Into a folder of its own; the same package for every run. Raises Missing when PyPI does not give it."""
    folder, fresh = _peer_folder(), _peer_folder().with_name(_peer_folder().name + ".new")
    print(f"installing {VLLM_ROUTER} from PyPI into {folder} (once)", file=sys.stderr)
    uv = shutil.which("uv")
    make = [uv, "venv", "-q", "--clear", str(fresh)] if uv else [sys.executable, "-m", "venv", "--clear", str(fresh)]
    pip = [uv, "pip", "install", "-q", "--python"] if uv else [str(fresh / "bin/python"), "-m", "pip", "install", "-q"]
    install = [*pip, str(fresh / "bin/python"), VLLM_ROUTER] if uv else [*pip, VLLM_ROUTER]
    try:
        subprocess.run(make, check=True, timeout=120)
        subprocess.run(install, check=True, timeout=600)
    except (OSError, subprocess.SubprocessError) as error:
        shutil.rmtree(fresh, ignore_errors=True)
        raise Missing(f"no {VLLM_ROUTER}: PyPI did not give it ({error}); this run cannot judge its ratios") from None
    shutil.rmtree(folder, ignore_errors=True)
    fresh.rename(folder)
    _repoint(folder, fresh)


def _repoint(folder: Path, old: Path) -> None:
    """Console scripts name their interpreter by absolute path; the folder has just been renamed."""
    script = folder / "bin/vllm-router"
    script.write_text(script.read_text().replace(str(old), str(folder)))


# -------------------------------------------------------------------------------------------------------- anvil

_ANVIL = """\
[server]
auth_env = "{token}"
max_concurrency = 1024

[router]
mapping_version = "bench"
{store}
[[router.tiers]]
id = "fast-local"
base_url = "http://127.0.0.1:{upstream}/v1"
dialect = "openai"
context_limit = 131072
privacy = "local"
tool_support = true
auth_env = "FAST_KEY"
model = "tiny-coder"

[[router.tiers]]
id = "heavy-local"
base_url = "http://127.0.0.1:{upstream}/v1"
dialect = "openai"
context_limit = 131072
privacy = "local"
tool_support = true
auth_env = "HEAVY_KEY"
model = "big-coder"

[router.presets]
chat = ["fast-local", "heavy-local"]
quick-edit = ["fast-local", "heavy-local"]
review = ["fast-local", "heavy-local"]
"""


def anvil_config(upstream: int, folder: Path, *, store: bool = False) -> Path:
    """Write the configuration under test: two local tiers, token, records and metrics on, everything else default."""
    table = f'[router.decisions]\nstore_path = "{folder}/decisions.sqlite"\n' if store else ""
    path = folder / "router.toml"
    path.write_text(_ANVIL.format(token=TOKEN_VARIABLE, upstream=upstream, store=table))
    return path


def _anvil(port: int, upstream: int, folder: Path, store: bool) -> Command:
    config = anvil_config(upstream, folder, store=store)
    argv = [sys.executable, "-m", "anvil", "serve", "--config", str(config), "--port", str(port)]
    return Command(argv, "/healthz", {TOKEN_VARIABLE: TOKEN})
