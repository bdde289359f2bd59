"""``anvil probe`` against whatever may listen where a router should."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from anvil.cli import probe

TOKEN = "canary-token-value-0000000000"


@contextmanager
def listening(answer: bytes, *, endless: bool = False) -> Iterator[tuple[str, list[bytes]]]:
    """The URL of something that answers every request so, and the requests."""
    seen: list[bytes] = []

    def serve(server: socket.socket) -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            with connection:
                seen.append(connection.recv(65536))
                try:
                    connection.sendall(answer)
                    while endless:
                        connection.sendall(b"x" * 65536)
                except OSError:
                    pass

    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=serve, args=(server,), daemon=True).start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}", seen
        server.shutdown(socket.SHUT_RDWR)


@pytest.fixture(autouse=True)
def token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANVIL_ROUTER_TOKEN", TOKEN)


def test_a_redirect_is_an_answer_and_takes_no_token_elsewhere(capsys: pytest.CaptureFixture[str]) -> None:
    with listening(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi") as (elsewhere, seen):
        moved = f"HTTP/1.1 307 X\r\nlocation: {elsewhere}/healthz\r\ncontent-length: 0\r\n\r\n".encode()
        with listening(moved) as (url, asked):
            assert probe.run(["--url", url]) == 1
    assert TOKEN.encode() in asked[0]
    assert seen == []


def test_an_answer_that_breaks_off_is_none(capsys: pytest.CaptureFixture[str]) -> None:
    for status in (b"200", b"503"):
        with listening(b"HTTP/1.1 " + status + b" X\r\ncontent-length: 20\r\n\r\nhalf") as (url, _):
            assert probe.run(["--url", url]) == 3
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith(f"no answer from {url}/healthz: ")


def test_an_answer_without_end_is_none(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "LIMIT", 1 << 20)
    with listening(b"HTTP/1.1 200 OK\r\n\r\n", endless=True) as (url, _):
        assert probe.run(["--url", url]) == 3
    assert "does not end" in capsys.readouterr().err


@pytest.mark.parametrize("url", ["127.0.0.1:8000", "ftp://x", "http://", "http://[bad"])
def test_what_is_no_url_is_a_usage_error(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        probe.run(["--url", url])
    assert stopped.value.code == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
