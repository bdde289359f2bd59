"""A client configured as a user would do it: `anvil harness apply` over the files that the user already has."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.clients.client import Client, Place, write
from tests.clients.stage import TOKEN, TOKEN_NAME

ROOT = Path(__file__).parents[2]
MINE = "mine"  # every file of the user's own holds this word, and has to keep it
_EXPORT = re.compile(r'^export (\w+)="(.*)"$', re.MULTILINE)


@dataclass(frozen=True)
class Applied:
    """What the user's shell exports after `anvil harness apply`, and what already went wrong."""

    environment: dict[str, str]
    problems: tuple[str, ...]


def apply(client: Client, place: Place) -> Applied:
    """Lay down the user's own files and bring them in step with the router."""
    for path, text in client.own_files(place).items():
        write(place.home / path, text)
    done = _anvil(client, place, "apply", "--mkdir")
    exported = {name: value.replace(f"${{{TOKEN_NAME}}}", TOKEN) for name, value in _EXPORT.findall(done.stderr)}
    return Applied(exported, (*_failed("apply", done), *check(client, place)))


def check(client: Client, place: Place) -> tuple[str, ...]:
    """What is out of step now: nothing, also after the client ran and wrote its own files."""
    return (*_failed("check", _anvil(client, place, "check")), *_lost(client, place))


def _anvil(client: Client, place: Place, verb: str, *options: str) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-m", "anvil", "harness", verb, client.harness, *options]
    words += ["--url", place.url, "--home", str(place.home)]
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(place.home), "LANG": "C.UTF-8", TOKEN_NAME: TOKEN}
    return subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False)


def _failed(verb: str, done: subprocess.CompletedProcess[str]) -> Iterator[str]:
    if done.returncode:
        yield f"anvil harness {verb} ended with {done.returncode}: {done.stderr.strip()[-300:]}"


def _lost(client: Client, place: Place) -> Iterator[str]:
    for path, text in client.own_files(place).items():
        kept = (place.home / path).read_text()
        if kept.count(MINE) < text.count(MINE):
            yield f"~/{path} lost what is the user's own"
