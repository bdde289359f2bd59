"""The whole multiplexer over two real llama.cpp serves: 50 swaps, a killed child, a stream. Figures: pytest -s."""

from __future__ import annotations

import os
import signal
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import msgspec
import pytest

from anvil.lab import engine, fetch
from anvil.lab.fetch import Unavailable

pytestmark = [pytest.mark.real_engine, pytest.mark.timeout(180)]
NAMES = ("alpha", "beta")
CONTEXT = {"alpha": 1024, "beta": 2048}


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


@dataclass
class Engines:
    """The llama-server processes of this test, seen from outside."""

    ports: dict[str, int]
    parent: int = 0
    most: int = 0
    stopped: threading.Event = field(default_factory=threading.Event)

    def alive(self) -> list[int]:
        """The multiplexer starts nothing else here: nvidia-smi is only asked about rows with vram_gb."""
        tasks = Path(f"/proc/{self.parent}/task")
        try:
            return [int(pid) for task in tasks.iterdir() for pid in (task / "children").read_text().split()]
        except OSError:
            return []

    def watch(self) -> None:
        while not self.stopped.wait(0.01):
            self.most = max(self.most, len(self.alive()))


@pytest.fixture
def parts() -> tuple[engine.Engine, Path]:
    if not (engine.own_engine(os.environ) or engine.ENGINE.folder.is_dir()) or not engine.TINY.folder.is_dir():
        pytest.skip(f"engine or weights are not in {fetch.cache()}: fetch them with scripts/demo")
    try:
        return engine.engine(), engine.weights("tiny")
    except Unavailable as why:
        pytest.skip(str(why))


def toml(made: engine.Engine, model: Path, ports: dict[str, int], listen: int) -> str:
    text = [f'listen = "127.0.0.1:{listen}"\nruntime = "process"\nmin_resident_s = 0\ndrain_timeout_s = 5\n']
    for name, port in ports.items():
        words = [made.binary, "-m", model, "--host", "127.0.0.1", "--port", port, "-a", name, "-c", CONTEXT[name]]
        words += ["-t", 1, "-np", 1, "-cram", 0, "--offline", "--no-warmup", "-fit", "off"]
        variables = {k: v for k, v in made.environment({}).items()}
        text.append(
            f'[[registry]]\nname = "{name}"\ncontainer = "{name}"\nport = {port}\nest_weight_gb = 0.2\n'
            f"start_timeout_s = 30\ncommand = {msgspec.json.encode([*map(str, words)]).decode()}\n"
            + "".join(f'environment.{key} = "{value}"\n' for key, value in variables.items())
        )
    return "".join(text)


@contextmanager
def running(folder: Path, text: str, url: str) -> Iterator[subprocess.Popen[bytes]]:
    file = folder / "multiplexer.toml"
    file.write_text(text)
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "anvil", "multiplexer", "--config", str(file)], stdout=log, stderr=log
        )
    try:
        for _ in range(100):
            try:
                httpx.get(f"{url}/healthz", trust_env=False)
                break
            except httpx.ConnectError:
                time.sleep(0.1)
        yield process
    finally:
        process.terminate()
        assert process.wait(15) == 0, (folder / "log").read_text()


def ask(client: httpx.Client, name: str, **more: object) -> tuple[float, httpx.Response]:
    body = {"model": name, "max_tokens": 4, "messages": [{"role": "user", "content": "Say hello"}], **more}
    begun = time.perf_counter()
    answer = client.post("/v1/chat/completions", json=body)
    return time.perf_counter() - begun, answer


def test_fifty_alternating_requests_over_two_real_serves(tmp_path: Path, parts: tuple[engine.Engine, Path]) -> None:
    listen = free_port()
    engines = Engines({name: free_port() for name in NAMES})
    url = f"http://127.0.0.1:{listen}"
    with running(tmp_path, toml(*parts, engines.ports, listen), url) as process:
        engines.parent = process.pid
        watcher = threading.Thread(target=engines.watch, daemon=True)
        watcher.start()
        with httpx.Client(base_url=url, timeout=40, trust_env=False) as client:
            seconds = []
            for turn in range(50):
                name = NAMES[turn % 2]
                took, answer = ask(client, name)
                assert answer.status_code == 200, answer.text
                assert answer.json()["model"] == name
                # the engine itself says which of the two it is
                props = httpx.get(f"http://127.0.0.1:{engines.ports[name]}/props", trust_env=False).json()
                assert props["default_generation_settings"]["n_ctx"] == CONTEXT[name]
                seconds.append(took)
            resident, _ = ask(client, NAMES[1])
            (child,) = engines.alive()
            killed(child)
            recovered, answer = ask(client, NAMES[1])
            assert answer.status_code == 200, answer.text
            assert engines.alive() != [child]
            streamed = len(stream(client))
            health = client.get("/healthz").json()
        rss = int((Path("/proc") / str(process.pid) / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        engines.stopped.set()
        watcher.join()
        (last,) = engines.alive()
    print(
        f"\nmultiplexer: 50 swaps, {statistics.median(seconds):.2f} s median, {max(seconds):.2f} s max; resident"
        f" {resident:.3f} s; after a kill {recovered:.2f} s; {streamed} pieces of a stream; most engines at once"
        f" {engines.most}; {rss / 1e6:.0f} MB; last swap {health['last_swap']}"
    )
    assert engines.most == 1
    assert streamed > 3
    assert not Path(f"/proc/{last}").exists(), "the multiplexer took its engine along"


def killed(pid: int) -> None:
    """A request that meets the dying engine itself is honestly lost; the next one is not."""
    os.kill(pid, signal.SIGKILL)
    while (file := Path(f"/proc/{pid}/stat")).exists() and file.read_text().rpartition(")")[2].split()[0] != "Z":
        time.sleep(0.01)


def stream(client: httpx.Client) -> list[bytes]:
    """The pieces of a streamed answer as they came."""
    body = {"model": NAMES[1], "stream": True, "max_tokens": 16, "messages": [{"role": "user", "content": "Count"}]}
    with client.stream("POST", "/v1/chat/completions", json=body) as answer:
        pieces = [piece for piece in answer.iter_raw() if piece]
    assert pieces[-1].endswith(b"data: [DONE]\n\n")
    return pieces
