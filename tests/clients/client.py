"""What the lane must know of a client: how it is configured, how it is asked, and what it is put through."""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from tests.clients import cache
from tests.clients.scenarios import STANDARD, Scenario
from tests.clients.stage import TOKEN, TOKEN_NAME


@dataclass(frozen=True)
class Place:
    """One run: a home and a working folder of its own, and the router's URL (no path)."""

    home: Path
    work: Path
    url: str

    @property
    def v1(self) -> str:
        return f"{self.url}/v1"


class Client(ABC):
    """One row of the table. ``pins`` are the cache folders it needs; ``tiers`` is what the
    tiers speak, or "engine" for real models."""

    name: str
    wire: str
    pins: tuple[str, ...]
    tiers: str = "openai"
    limit_s: float = 60.0
    scenarios: tuple[Scenario, ...] = STANDARD

    harness: str = ""  # its name at /v1/harness
    quiet: ClassVar[dict[str, str]] = {}  # variables that keep it off the network and from retrying for minutes

    def environment(self, place: Place, pointers: dict[str, str]) -> dict[str, str]:
        """The whole environment of a run; ``pointers`` lead the client to the router."""
        path = ["/usr/bin", "/bin"]
        if "node" in self.pins:
            path.insert(0, str(cache.node_bin()))
        base = {
            "HOME": str(place.home),
            "PATH": ":".join(path),
            "TERM": "xterm-256color",
            "LANG": "C.UTF-8",
            TOKEN_NAME: TOKEN,
        }
        return base | self.quiet | pointers

    def pointers(self, place: Place) -> dict[str, str]:
        """The variables that lead the client to the router."""
        return {}

    def take(self, handed: dict[str, Any], place: Place) -> dict[str, str]:
        """Does with an answer of /v1/harness what a user would: puts its files in place, sets the variables of a
        client that has no file for them."""
        in_files = False
        for file in handed["files"]:
            if file["path"].startswith("~/"):
                write(place.home / file["path"][2:], file["text"])
                in_files = in_files or TOKEN_NAME in file["text"]
        if in_files:
            return {}
        return {name: value.replace(f"${{{TOKEN_NAME}}}", TOKEN) for name, value in handed["env"].items()}

    def own_files(self, place: Place) -> dict[str, str]:
        """What a user of this client has below the home before anvil comes: path -> text with the word `mine` in it."""
        return {}

    def furnish(self, place: Place) -> None:  # noqa: B027 - most clients need nothing to work on
        """Write what the working folder holds, however the client is configured."""

    def prepare(self, place: Place) -> None:  # noqa: B027 - clients without a file of their own need nothing
        """Write the client's own configuration."""

    @abstractmethod
    def command(self, place: Place, scenario: Scenario) -> list[str]:
        """The words that ask it once. Without a model in the scenario the configured one is meant."""


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


MCP_SERVER = (sys.executable, str(Path(__file__).parent / "sdk/mcp_server.py"))


def npm_bin(pin: str, name: str) -> str:
    """A program that an npm package brings."""
    return str(cache.folder(pin) / "node_modules/.bin" / name)
