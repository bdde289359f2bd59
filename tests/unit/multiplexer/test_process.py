"""The whole command: it starts an engine on demand, drains on SIGTERM, takes the engine along, says a taken port."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

ENGINE = """
import http.server, os, sys, time
class H(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.send_header("content-length", "0"); self.end_headers()
    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200); self.send_header("x-pid", "1"); self.end_headers()
        for piece in (str(os.getpid()), "|", "end"):
            self.wfile.write(piece.encode()); self.wfile.flush(); time.sleep(0.4)
    def log_message(self, *a): pass
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), H).serve_forever()
"""


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


@contextmanager
def running(folder: Path, text: str, port: int) -> Iterator[subprocess.Popen[str]]:
    file = folder / "multiplexer.toml"
    file.write_text(f'listen = "127.0.0.1:{port}"\n{text}')
    process = subprocess.Popen(
        [sys.executable, "-m", "anvil", "multiplexer", "--config", str(file)], stderr=subprocess.PIPE, text=True
    )
    try:
        for _ in range(400):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            assert process.poll() is None, process.stderr and process.stderr.read()
            time.sleep(0.05)
        yield process
    finally:
        process.kill()
        process.communicate()


def test_a_stream_in_progress_ends_before_the_process_does(tmp_path: Path) -> None:
    port, engine = free_port(), free_port()
    command = json.dumps([sys.executable, "-c", ENGINE, str(engine)])
    row = f'[[registry]]\nname = "a"\ncontainer = "a"\nport = {engine}\ncommand = {command}\n'
    with running(tmp_path, 'runtime = "process"\n' + row, port) as process:
        url = f"http://127.0.0.1:{port}/v1/completions"
        with httpx.stream("POST", url, json={"model": "a"}, timeout=20, trust_env=False) as answer:
            pieces = answer.iter_text()
            pid = int(next(pieces))
            process.send_signal(signal.SIGTERM)
            assert "".join(pieces) == "|end"
        assert process.wait(10) == 0
        assert not Path(f"/proc/{pid}").exists()
    assert pid != os.getpid()


def test_without_docker_it_says_so_and_a_taken_port_ends_the_second(tmp_path: Path) -> None:
    port = free_port()
    row = '[[registry]]\nname = "a"\ncontainer = "a"\nport = 1\n'
    text = f'docker_socket = "{tmp_path}/none.sock"\n' + row
    with running(tmp_path, text, port) as process:
        answer = httpx.post(f"http://127.0.0.1:{port}/v1/messages", json={"model": "a"}, trust_env=False)
        assert (answer.status_code, answer.json()["error"]["type"]) == (503, "backend_unavailable")
        assert "none.sock" in answer.json()["error"]["message"]
        second = [sys.executable, "-m", "anvil", "multiplexer", "--config", str(tmp_path / "multiplexer.toml")]
        ended = subprocess.run(second, capture_output=True, text=True, timeout=20)
        assert (ended.returncode, len(ended.stderr.splitlines())) == (1, 1)
        assert f"cannot listen on 127.0.0.1:{port}" in ended.stderr
        process.terminate()
        assert process.wait(10) == 0
