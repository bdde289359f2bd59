"""Ctrl-C ends every command with 130 and no traceback."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys


def test_ctrl_c_is_130() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        argv = [sys.executable, "-m", "anvil", "decisions", "--url", url]
        with subprocess.Popen(argv, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as command:
            caller, _ = silent.accept()  # it has asked and waits for an answer that never comes
            with caller:
                caller.recv(1)
                command.send_signal(signal.SIGINT)
                _, said = command.communicate(timeout=20)
    assert command.returncode == 130
    assert "Traceback" not in said
