"""Talking to docker: one way to ask (bounded, classified) and one way to change (locked, with a clean environment)."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from pyinfra.api.command import StringCommand
from pyinfra.api.facts import FactBase

from anvil.hosts.shell import (
    COMMAND_SECONDS,
    NOT_FOUND,
    TIMED_OUT,
    Answer,
    Reading,
    Status,
    captured,
    reading,
    streamed,
)

LOCK_SECONDS = 30  # How long one operator waits for another before giving up.
BUSY = 12

HAVE_DOCKER = f"command -v docker >/dev/null 2>&1 || exit {NOT_FOUND}\n"
_DOWN = (
    "cannot connect to the docker daemon",
    "is the docker daemon running",
    "error during connect",
    "connection refused",
)
_ABSENT = ("no such object", "no such container", "no such image", "no such network", "no such volume", "not found")

# What has begun is finished when the link drops: compose cut short leaves a service half replaced and down.
_FINISHED = """trap '' HUP PIPE
finished() {
  exec 4>&1
  code=$({ { step "$@" 2>&1 3>&- 4>&-; echo $? >&3; } | relay >&4; } 3>&1)
  return "$code"
}
relay() { while IFS= read -r line || [ -n "$line" ]; do printf '%s\\n' "$line" || :; done; }
"""

# The operator's own variables must not leak into compose interpolation: only PATH, HOME and DOCKER_HOST go along.
_LOCKED = f"""umask 077
lock=$1 seconds=$2 who=$3; shift 3
exec 9>>"$lock" || exit 1
flock -w {LOCK_SECONDS} 9 || {{ echo "busy: $lock is held by $(cat "$lock")" >&2; exit {BUSY}; }}
printf '%s, pid %s, since %s\\n' "$who" "$$" "$(date -u +%Y-%m-%dT%H:%M:%SZ)" > "$lock"
step() {{ timeout "$seconds" env -i PATH="$PATH" HOME="$HOME" ${{DOCKER_HOST:+DOCKER_HOST="$DOCKER_HOST"}} "$@" 9>&-; }}
"""


_INFO = f"""info=$(limited {COMMAND_SECONDS} docker info --format '{{{{json .}}}}'); code=$?
printf '%s\\n' "$info"; [ $code -eq 0 ] || exit $code
printf '\\ncompose '; docker compose version --short 2>/dev/null || echo
root=$(printf %s "$info" | sed -n 's/.*"DockerRootDir":"\\([^"]*\\)".*/\\1/p')
printf 'free '; df -Pk "${{root:-/}}" 2>/dev/null | awk 'NR == 2 {{print $4}}'
"""


def locked(
    root: str,
    *argv: str,
    seconds: int = 600,
    first: tuple[str, ...] = (),
    who: str = "anvil",
    finish: bool = True,
) -> StringCommand:
    """One changing command under `<root>/.lock`, its output shown as it comes; `first` is one to run before it.

    With `finish` it runs to its end although the link drops.
    """
    lead = "".join(f' "${{{index}}}"' for index in range(1, len(first) + 1))
    step = "finished" if finish else "step"
    text = f"{step}{lead} </dev/null || exit 1\nshift {len(first)}\n" if first else ""
    whole = f'{_FINISHED if finish else ""}{_LOCKED}{text}{step} "$@" </dev/null'
    return streamed(whole, f"{root}/.lock", seconds, who, *first, *argv)


def ask(text: str, *arguments: str | int) -> StringCommand:
    """A reading script that may use `limited`; docker missing is exit status 127."""
    return captured(HAVE_DOCKER + text, *arguments)


def classify(got: Reading) -> tuple[Status, str]:
    """What a docker command's exit status and text mean."""
    text = got.text.strip()
    lower = text.lower()
    if got.code == 0:
        return "ok", ""
    if got.code == NOT_FOUND:
        return "tool_missing", "docker is not installed"
    if got.code == TIMED_OUT:
        return "error", f"docker timed out after {COMMAND_SECONDS} s"
    said = _words(text)
    if any(mark in lower for mark in _DOWN):
        return "daemon_down", said(_DOWN)
    if any(mark in lower for mark in _ABSENT):
        return "absent", said(_ABSENT)
    return "error", said() or f"docker exit status {got.code}"


def _words(text: str) -> Callable[..., str]:
    """What docker said to people: a daemon that is down still has a whole document of zeroes printed beside it."""
    plain = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith(("{", "["))]

    def said(marks: Sequence[str] = ()) -> str:
        telling = [line for line in plain if any(mark in line.lower() for mark in marks)]
        return (telling[-1] if telling else "\n".join(plain) or text)[-2000:]

    return said


def documents(text: str) -> list[Any]:
    """Every JSON value that begins a line of docker's output (an array counts as its items)."""
    found: list[Any] = []
    decoder = json.JSONDecoder()
    position = 0
    while position < len(text):
        try:
            value, end = decoder.raw_decode(text, position)
        except ValueError:
            value, end = [], position
        found.extend(value if isinstance(value, list) else [value] if isinstance(value, dict) else [])
        newline = text.find("\n", end)
        position = len(text) if newline < 0 else newline + 1
    return found


class DaemonAnswer(Answer, frozen=True, kw_only=True):
    """Versions as text, `free_bytes` on the docker root folder's disk, `runtimes` registered with the daemon."""

    server: str = ""
    compose: str = ""
    runtimes: tuple[str, ...] = ()
    root_dir: str = ""
    free_bytes: int = 0
    cgroup: str = ""


class DockerDaemon(FactBase[DaemonAnswer]):
    def command(self) -> StringCommand:
        return ask(_INFO)

    def process(self, output: list[str]) -> DaemonAnswer:
        got = reading(output)
        status, error = classify(got)
        if status != "ok":
            return DaemonAnswer(status=status, error=error)
        info = next((value for value in documents(got.text) if isinstance(value, dict)), {})
        if not info.get("ServerVersion"):
            return DaemonAnswer(
                status="daemon_down", error="; ".join(info.get("ServerErrors") or ["no answer from the daemon"])
            )
        words = dict(line.split(" ", 1) for line in got.lines if line.startswith(("compose ", "free ")))
        return DaemonAnswer(
            status="ok",
            server=info["ServerVersion"],
            compose=words.get("compose", "").strip().removeprefix("v"),
            runtimes=tuple(sorted(info.get("Runtimes") or {})),
            root_dir=info.get("DockerRootDir", ""),
            free_bytes=int(words.get("free", "0").strip() or 0) * 1024,
            cgroup=str(info.get("CgroupVersion", "")),
        )
