"""Files on a host that runs no command for us, by SFTP alone. The only module that touches paramiko.

SFTP has no compare-and-swap: the live bytes are read once more right before the rename, and what does not exist yet is
put in its place by a rename that refuses to replace anything.
"""

from __future__ import annotations

import posixpath
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from paramiko import SFTPAttributes, SFTPClient, SSHException
from pyinfra.api.command import StringCommand
from pyinfra.api.exceptions import OperationError
from pyinfra.api.host import Host

from anvil.hosts.shell import Struct

MAX_BYTES = 24 << 20
MAX_LINKS = 20
_WINDOWS_DRIVE = re.compile(r"/[A-Za-z]:(/|$)")
_BACKSLASH_PATH = re.compile(r"[A-Za-z]:\\|~\\")


class SftpError(OperationError):
    """Reading or writing failed; the text names the path and what to do."""


class LiveFile(Struct, frozen=True):
    """Exact bytes, permission bits and numeric owner ("uid:gid") of one file."""

    content: bytes
    mode: int
    uid: int
    gid: int


def runs_commands(on: Host) -> bool:
    """Whether this connection gives a POSIX shell. An account for SFTP only answers something else, or nothing."""
    done, output = on.run_shell_command(StringCommand("echo", "anvil"), print_output=False, print_input=False)
    return done and output.stdout.strip() == "anvil"


@contextmanager
def files(on: Host) -> Iterator[Files]:
    """Raises SftpError when the connection is no SSH or the server has no SFTP."""
    client = getattr(on.connector, "client", None)
    if client is None:
        raise SftpError(f"{on.name} is not reached over SSH: nothing can be written by SFTP")
    try:
        opened: SFTPClient = client.open_sftp()
    except (SSHException, EOFError, OSError) as error:
        raise SftpError(
            f"{on.name} gives neither a shell nor SFTP ({error}): allow `Subsystem sftp` for this user"
        ) from None
    with opened:
        yield Files(opened)


class Files:
    """The files one SFTP session reaches. Every method raises SftpError."""

    def __init__(self, client: SFTPClient) -> None:
        self._client = client

    def expanded(self, path: str) -> str:
        """`~` is the folder a session begins in; `C:\\x` is what SFTP calls `/C:/x`."""
        if _BACKSLASH_PATH.match(path):
            path = path.replace("\\", "/")
        if re.match(r"[A-Za-z]:/", path):
            return f"/{path}"
        with _named(path):
            return posixpath.join(self._client.normalize("."), path[2:]) if path.startswith("~/") else path

    def resolved(self, path: str) -> str:
        """`~` and links followed. The folder must exist."""
        found = self.expanded(path)
        for _ in range(MAX_LINKS):
            if not self._is_link(found):
                break
            with _named(found):
                found = posixpath.join(posixpath.dirname(found), self._client.readlink(found) or "")
        else:
            raise SftpError(f"{path}: its links go in a circle")
        if self._stat(posixpath.dirname(found)) is None:
            raise SftpError(f"{path}: its folder does not exist: nothing is set up for this user")
        return found

    def read(self, path: str) -> LiveFile | None:
        """None when it does not exist; what may not be read is never taken for absent."""
        found = self._stat(path)
        if found is None:
            return None
        if not stat.S_ISREG(found.st_mode or stat.S_IFREG):
            raise SftpError(f"{path}: cannot be read: it is no regular file")
        if (found.st_size or 0) > MAX_BYTES:
            raise SftpError(f"{path}: the file is too large to read")
        with _named(path), self._client.open(path, "rb") as file:
            content = file.read(MAX_BYTES + 1)
        return LiveFile(
            content=content,
            mode=stat.S_IMODE(found.st_mode or 0o600),
            uid=-1 if found.st_uid is None else found.st_uid,
            gid=-1 if found.st_gid is None else found.st_gid,
        )

    def put(self, path: str, content: bytes, live: LiveFile | None, mode: int) -> None:
        """The file whole or not at all, private from its first byte, over the very bytes in `live` (None: absent)."""
        candidate = f"{path}.anvil-candidate"
        try:
            self._fill(candidate, content, live.mode if live else mode, live)
            again = self.read(path)
            if (again and again.content) != (live and live.content):
                raise SftpError(f"{path} changed meanwhile, nothing was written: run again")
            with _named(path, "cannot be replaced"):
                if live is None:
                    self._client.rename(candidate, path)
                else:
                    self._client.posix_rename(candidate, path)
        finally:
            self.remove(candidate)
        if (written := self.read(path)) is None or written.content != content:
            raise SftpError(f"{path}: read back, it does not hold what was written")

    def keep(self, path: str, live: LiveFile) -> None:
        """A copy with exactly these bytes at `path`; one that is whole already is left alone."""
        held = self.read(path)
        if held is None or held.content != live.content:
            self.put(path, live.content, held, live.mode)
        with suppress(OSError):  # only the order of backups hangs on it
            self._client.utime(path, None)

    def make_folder(self, path: str) -> None:
        """With its parents."""
        if self._stat(path) is not None:
            return
        self.make_folder(posixpath.dirname(path))
        with _named(path, "cannot be made"):
            self._client.mkdir(path)

    def below(self, folder: str) -> dict[str, LiveFile]:
        """Every regular file below a folder, by its path within it; nothing when there is no folder."""
        if self._stat(folder) is None:
            return {}
        with _named(folder):
            rows = self._client.listdir_attr(folder)
        found: dict[str, LiveFile] = {}
        for row in rows:
            inner = posixpath.join(folder, row.filename)
            if stat.S_ISDIR(row.st_mode or 0):
                found.update({f"{row.filename}/{name}": each for name, each in self.below(inner).items()})
            elif (each := self.read(inner)) is not None:
                found[row.filename] = each
        return found

    def newest_first(self, folder: str, prefix: str, length: int) -> list[str]:
        """Names in a folder that begin with `prefix` and are `length` characters longer, by their time."""
        with _named(folder):
            rows = self._client.listdir_attr(folder)
        ours = [row for row in rows if row.filename.startswith(prefix) and len(row.filename) == len(prefix) + length]
        return [row.filename for row in sorted(ours, key=lambda row: row.st_mtime or 0, reverse=True)]

    def remove(self, path: str) -> None:
        with suppress(OSError):
            self._client.remove(path)

    def _is_link(self, path: str) -> bool:
        with _named(path), suppress(FileNotFoundError):
            return stat.S_ISLNK(self._client.lstat(path).st_mode or 0)
        return False

    def _stat(self, path: str) -> SFTPAttributes | None:
        with _named(path), suppress(FileNotFoundError):
            return self._client.stat(path)
        return None

    def _fill(self, path: str, content: bytes, mode: int, like: LiveFile | None) -> None:
        self.remove(path)
        with _named(path, "cannot be written (is the folder writable, the disk full?)"):
            with self._client.open(path, "wx") as file:
                file.chmod(mode)
                made = file.stat()
                if like is not None and like.uid >= 0 and (made.st_uid, made.st_gid) != (like.uid, like.gid):
                    file.chown(like.uid, like.gid)
                file.write(content)
            if self._client.stat(path).st_size != len(content):
                raise OSError("the text was cut short")


def as_native(path: str) -> str:
    """How the host's own programs write a path that SFTP gives: `C:/x` for `/C:/x`."""
    return path[1:] if _WINDOWS_DRIVE.match(path) else path


@contextmanager
def _named(path: str, problem: str = "cannot be read") -> Iterator[None]:
    """Any failure inside becomes one sentence with the path."""
    try:
        yield
    except SftpError:
        raise
    except (OSError, SSHException, EOFError) as error:
        raise SftpError(f"{path}: {problem}: {error.args[-1] if error.args else error}") from None
