"""A real OpenSSH server on 127.0.0.1 for one user, with the commands it allows."""

from __future__ import annotations

import getpass
import os
import pwd
import shutil
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

SFTP_ONLY = "ForceCommand internal-sftp"
CONFIG = """
ListenAddress 127.0.0.1:{port}
HostKey {folder}/host
AuthorizedKeysFile {folder}/user.pub
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
MaxStartups 100
AllowUsers {user}
{more}
"""


def binary() -> str | None:
    return shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")


def user() -> str:
    """Somebody for whom permissions count: root may read and write everything."""
    return "nobody" if os.getuid() == 0 else getpass.getuser()


def own(path: Path) -> Path:
    """Give a path to that somebody."""
    if os.getuid() == 0:
        found = pwd.getpwnam(user())
        os.chown(path, found.pw_uid, found.pw_gid)
    return path


class Sshd:
    """`folder` must be one that the user may enter. `more` is the rest of its configuration."""

    def __init__(self, folder: Path, more: str) -> None:
        sshd = binary()
        assert sshd is not None
        folder.mkdir(mode=0o755)
        for name in ("host", "user"):
            argv = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)]
            subprocess.run(argv, check=True, stdin=subprocess.DEVNULL)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = int(free.getsockname()[1])
        if os.getuid() == 0:
            Path("/run/sshd").mkdir(exist_ok=True)  # where it drops its privileges
        (folder / "config").write_text(CONFIG.format(port=self.port, folder=folder, user=user(), more=more))
        words = (folder / "host.pub").read_text().split()[:2]
        self.known_hosts = folder / "known_hosts"
        self.known_hosts.write_text(f"[127.0.0.1]:{self.port} {' '.join(words)}\n")
        self.key = folder / "user"
        self._log = (folder / "log").open("wb")
        argv = [sshd, "-D", "-e", "-f", str(folder / "config")]
        self._process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stderr=self._log)
        self._wait(folder)

    def _wait(self, folder: Path) -> None:
        deadline = time.monotonic() + 20
        while "Server listening" not in (folder / "log").read_text():
            assert self._process.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(10)
        self._log.close()

    @property
    def data(self) -> dict[str, Any]:
        """pyinfra's connection data."""
        return {
            "ssh_port": self.port,
            "ssh_user": user(),
            "ssh_key": str(self.key),
            "ssh_known_hosts_file": str(self.known_hosts),
            "ssh_strict_host_key_checking": "yes",
            "ssh_look_for_keys": False,
            "ssh_allow_agent": False,
        }

    @property
    def table(self) -> str:
        """The same as a topology's `ssh` table."""
        rows = {"hostname": "127.0.0.1", "port": self.port, "user": user(), "key": str(self.key)}
        rows["known_hosts"] = str(self.known_hosts)
        return (
            "{"
            + ", ".join(f"{key} = {value if isinstance(value, int) else f'{value!r}'}" for key, value in rows.items())
            + "}"
        )
