"""Runs one cell of the lane where only loopback exists, and one client with a clean environment of its own."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Outcome:
    """How a client ended; ``code`` is None when it had to be stopped."""

    code: int | None
    stdout: str
    stderr: str
    seconds: float

    @property
    def said(self) -> str:
        return f"{self.stdout}\n{self.stderr}"


def isolation() -> tuple[list[str], str]:
    """The words to put before a command so that it runs in fresh network, process and mount namespaces, and why not
    when they are empty. The namespaces end with the command, whatever it leaves running."""
    if shutil.which("unshare") is None or shutil.which("ip") is None:
        return [], "unshare or ip is not on PATH"
    user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    words = ["unshare", *user, "--net", "--pid", "--mount-proc", "--fork", "--kill-child"]
    words += ["sh", "-c", 'ip link set lo up && exec "$@"', "sh"]
    tried = subprocess.run([*words, "true"], capture_output=True, text=True, check=False)
    if tried.returncode:
        return [], (tried.stderr.strip() or "unshare failed") + ("" if not user else " (not root)")
    return words, ""


def run(
    argv: list[str], env: dict[str, str], cwd: Path, limit_s: float, interrupt: Callable[[], bool] | None = None
) -> Outcome:
    """The command with exactly this environment, no input, and an end: its whole process group dies at ``limit_s``.

    It gets the signal of Ctrl-C once ``interrupt`` says so.
    """
    started = time.monotonic()
    with (cwd / ".stdout").open("w+b") as out, (cwd / ".stderr").open("w+b") as err:
        process = subprocess.Popen(
            argv, env=env, cwd=cwd, stdin=subprocess.DEVNULL, stdout=out, stderr=err, start_new_session=True
        )
        try:
            if interrupt is not None:
                _interrupt(process, interrupt, started + limit_s)
            code: int | None = process.wait(max(0.0, started + limit_s - time.monotonic()))
        except subprocess.TimeoutExpired:
            code = None
        finally:
            _kill(process)
        seconds = time.monotonic() - started
        out.seek(0)
        err.seek(0)
        return Outcome(code, out.read().decode(errors="replace"), err.read().decode(errors="replace"), seconds)


def _interrupt(process: subprocess.Popen[bytes], due: Callable[[], bool], deadline: float) -> None:
    while not due() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGINT)


def _kill(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
