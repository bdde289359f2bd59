"""One download into a docker volume, for a machine without a topology entry (lab contract 8, operations 10)."""

from __future__ import annotations

import fcntl
import os
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from anvil.lab.machine_shell import Reach

CACHE = "/root/.cache/huggingface"
LOCK_SECONDS = 30
ROOT = "/srv/anvil"  # where deploys have a volume's lock, on a machine that has met one
OWN = ".cache/anvil"  # below the home folder, on one that has not
BUSY = 12
_STDERR = 2
# The token arrives as the first line of stdin, so that neither it nor its variable's name is on any command line.
_REMOTE = """IFS= read -r HF_TOKEN || HF_TOKEN=
export HF_TOKEN
command -v docker >/dev/null || exit 127
lock=$1
[ -z "$3" ] || [ -d "${lock%/*}" ] || { mkdir -p "$HOME/$3" && lock=$HOME/$3/${lock##*/}; }
exec 9>>"$lock" || exit 1
flock -w "$2" 9 || exit 12
shift 3
exec "$@" </dev/null
"""


class Pull(NamedTuple):
    repo: str
    volume: str
    image: str
    revision: str = "main"
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()


class Busy(Exception):
    """Another pull into the volume holds its lock; two dead-lock inside the cache."""


class ToolMissing(Exception):
    """docker or ssh is not installed here."""


Call = Callable[[Sequence[str], Mapping[str, str], bytes | None], int]


def argv(pull: Pull) -> list[str]:
    """The docker command line. HF_TOKEN goes by name only."""
    patterns = [word for each in pull.include for word in ("--include", each)]
    patterns += [word for each in pull.exclude for word in ("--exclude", each)]
    run = ["docker", "run", "--rm", "-e", "HF_TOKEN", "-v", f"{pull.volume}:{CACHE}", "--entrypoint", "hf"]
    return [*run, pull.image, "download", pull.repo, "--revision", pull.revision, *patterns]


def remote_argv(pull: Pull, reach: Reach, root: str | None) -> list[str]:
    """The same on another machine, under the lock that deploys take there."""
    told = [lock_name(root or ROOT, pull), str(LOCK_SECONDS), "" if root else OWN]
    return reach(["sh", "-c", _REMOTE, "anvil-pull", *told, *argv(pull)])


def lock_name(root: str, pull: Pull) -> str:
    return f"{root}/weights-{pull.volume}.lock"


def call(words: Sequence[str], environ: Mapping[str, str], given: bytes | None) -> int:
    """Runs with its progress on our stderr. Raises ToolMissing."""
    try:
        return subprocess.run(words, env=dict(environ), input=given, stdout=_STDERR, check=False).returncode
    except FileNotFoundError:
        raise ToolMissing(f"{words[0]} is not installed here") from None


def pulled(
    pull: Pull, token: str, environ: Mapping[str, str], reach: Reach | None, root: str | None, call: Call = call
) -> int:
    """docker's exit code. The child gets no other secret than HF_TOKEN. Raises Busy, ToolMissing, OSError.

    ``root``: the folder of the lock; None is ROOT where there is one, else OWN of whoever pulls.
    """
    keep = {name: environ[name] for name in ("PATH", "HOME", "DOCKER_HOST", "SSH_AUTH_SOCK") if name in environ}
    if reach is not None:
        code = call(remote_argv(pull, reach, root), keep, token.encode() + b"\n")
        if code == BUSY:
            raise Busy(f"another pull into {pull.volume} is running there")
        return code
    with locked(Path(lock_name(root or _root(Path.home()), pull))):
        return call(argv(pull), {**keep, "HF_TOKEN": token}, None)


def _root(home: Path) -> str:
    if os.path.isdir(ROOT):
        return ROOT
    (home / OWN).mkdir(parents=True, exist_ok=True)
    return str(home / OWN)


@contextmanager
def locked(path: Path, seconds: float = LOCK_SECONDS, sleep: Callable[[float], None] = time.sleep) -> Iterator[None]:
    """Hold the volume's lock. Raises Busy when another holds it for ``seconds``; OSError."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        waited = 0.0
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if waited >= seconds:
                    raise Busy(f"another pull holds {path}") from None
                sleep(0.5)
                waited += 0.5
        yield
    finally:
        os.close(handle)
