"""The Docker driver against a scripted daemon on a unix socket: what is asked, and what is made of each answer."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from anvil.multiplexer.config import Row
from anvil.multiplexer.containers import ContainerError, State
from anvil.multiplexer.docker import Docker, unframed

ROW = Row(name="a", container="vllm-a", port=1)


@dataclass
class Daemon:
    path: Path
    asked: list[str] = field(default_factory=list)
    status: int = 204
    body: bytes = b""
    chunked: bool = False

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        self.asked.append(head.split(b" HTTP/1.1")[0].decode())
        if self.chunked:
            framing, body = b"transfer-encoding: chunked", b"%x\r\n%b\r\n0\r\n\r\n" % (len(self.body), self.body)
        else:
            framing, body = b"content-length: %d" % len(self.body), self.body
        writer.write(b"HTTP/1.1 %d X\r\n%b\r\n\r\n%b" % (self.status, framing, body))
        writer.close()


@pytest.fixture
async def daemon(tmp_path: Path) -> AsyncIterator[Daemon]:
    made = Daemon(tmp_path / "docker.sock")
    server = await asyncio.start_unix_server(made.serve, made.path)
    yield made
    server.close()


async def test_only_the_named_container_is_started_and_stopped(daemon: Daemon) -> None:
    docker = Docker(str(daemon.path))
    await docker.start(ROW)
    daemon.status = 304
    await docker.stop(ROW)
    assert daemon.asked == ["POST /containers/vllm-a/start", "POST /containers/vllm-a/stop"]


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_look_at_a_container(daemon: Daemon, chunked: bool) -> None:
    docker = Docker(str(daemon.path))
    daemon.status, daemon.chunked = 200, chunked
    started = "2026-11-24T10:00:00.123456789Z"
    daemon.body = json.dumps(
        {"Id": "x", "State": {"Status": "running", "Running": True, "ExitCode": 0, "StartedAt": started}}
    ).encode()
    assert await docker.inspect(ROW) == State(True, None, started)
    daemon.body = json.dumps({"State": {"Running": False, "ExitCode": 137, "StartedAt": started}}).encode()
    assert await docker.inspect(ROW) == State(False, 137, started)
    daemon.body = json.dumps({"State": {"Running": True, "Restarting": True, "ExitCode": 1}}).encode()
    assert await docker.inspect(ROW) == State(False, 1)
    daemon.status, daemon.body = 404, b'{"message":"No such container: vllm-a"}'
    assert await docker.inspect(ROW) == State(False)
    assert daemon.asked == ["GET /containers/vllm-a/json"] * 4


async def test_the_last_lines_come_without_frames(daemon: Daemon) -> None:
    daemon.status = 200
    daemon.body = b"\x01\0\0\0\0\0\0\x04one\n" + b"\x02\0\0\0\0\0\0\x04two\n"
    assert await Docker(str(daemon.path)).tail(ROW) == "one\ntwo\n"
    assert unframed(b"plain text of a terminal") == b"plain text of a terminal"
    assert unframed(b"") == b""


async def test_a_refusal_says_what_docker_said(daemon: Daemon) -> None:
    daemon.status, daemon.body = 500, b'{"message":"could not select device driver"}'
    with pytest.raises(ContainerError, match="docker answers 500: could not select device driver"):
        await Docker(str(daemon.path)).start(ROW)
    daemon.body = b"plain"
    with pytest.raises(ContainerError, match="500: plain"):
        await Docker(str(daemon.path)).inspect(ROW)


async def test_no_daemon_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ContainerError, match=r"no\.sock: No such file"):
        await Docker(str(tmp_path / "no.sock")).inspect(ROW)


async def test_what_is_not_http_or_not_json_is_no_state(daemon: Daemon) -> None:
    docker = Docker(str(daemon.path))
    daemon.status, daemon.body = 200, b"<html>"
    with pytest.raises(ContainerError, match="not JSON"):
        await docker.inspect(ROW)

    async def rubbish(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-nope\r\n")
        writer.close()

    server = await asyncio.start_unix_server(rubbish, f"{daemon.path}2")
    with pytest.raises(ContainerError):
        await Docker(f"{daemon.path}2").inspect(ROW)
    server.close()
