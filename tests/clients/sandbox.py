"""Runs one cell of the lane where only loopback exists, and one client with a clean environment of its own."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
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


def run(argv: list[str], env: dict[str, str], cwd: Path, limit_s: float) -> Outcome:
    """The command with exactly this environment, no input, and an end: its whole process group dies at ``limit_s``."""
    started = time.monotonic()
    with (cwd / ".stdout").open("w+b") as out, (cwd / ".stderr").open("w+b") as err:
        process = subprocess.Popen(
            argv, env=env, cwd=cwd, stdin=subprocess.DEVNULL, stdout=out, stderr=err, start_new_session=True
        )
        try:
            code: int | None = process.wait(limit_s)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            _kill(process)
        seconds = time.monotonic() - started
        out.seek(0)
        err.seek(0)
        return Outcome(code, out.read().decode(errors="replace"), err.read().decode(errors="replace"), seconds)


def _kill(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
