"""Running programs: one door, so that every failure says which command failed and what it said."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path


class Refusal(Exception):
    """This machine cannot do it, or a command failed; the text is for people."""


def run(*argv: str | Path, text: str | None = None) -> str:
    """Run one command to its end and return what it printed; raises Refusal with its last error lines."""
    words = [str(word) for word in argv]
    done = subprocess.run(words, input=text, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode != 0:
        tail = "\n".join((done.stderr or done.stdout).strip().splitlines()[-12:])
        raise Refusal(f"`{' '.join(words)[:200]}` ended with {done.returncode}:\n{tail}")
    return done.stdout


def quiet(*argv: str | Path) -> bool:
    """Run a command whose failure is an answer; returns whether it succeeded."""
    return subprocess.run([str(word) for word in argv], capture_output=True, check=False).returncode == 0


def pipe(first: Sequence[str | Path], second: Sequence[str | Path], output: Path) -> None:
    """`first | second > output`, both ends checked."""
    with output.open("wb") as sink, subprocess.Popen([str(w) for w in first], stdout=subprocess.PIPE) as source:
        done = subprocess.run([str(w) for w in second], stdin=source.stdout, stdout=sink, check=False)
    if source.returncode or done.returncode:
        raise Refusal(f"`{first[0]} | {second[0]} > {output}` failed")


def eventually(test: Callable[[], bool], seconds: float, pause: float = 0.1) -> bool:
    """Ask until the answer is yes or the time is over."""
    end = time.monotonic() + seconds
    while not (answer := test()) and time.monotonic() < end:
        time.sleep(pause)
    return answer


def need_packages(programs: dict[str, str]) -> None:
    """Install the Debian packages whose programs are missing, saying so."""
    missing = sorted({package for program, package in programs.items() if shutil.which(program) is None})
    if not missing:
        return
    if shutil.which("apt-get") is None:
        raise Refusal(f"missing here: {', '.join(missing)}, and there is no apt-get to install them with")
    say(f"installing missing Debian packages: apt-get install {' '.join(missing)}")
    run("apt-get", "update", "-q")
    run("apt-get", "install", "-y", "-q", "--no-install-recommends", *missing)


def say(text: str) -> None:
    """Progress is for people: stderr, at once."""
    print(text, file=sys.stderr, flush=True)
