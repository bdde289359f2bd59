"""What the lane must know of a client: how it is configured, how it is asked, and what it is put through."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path

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

    def environment(self, place: Place) -> dict[str, str]:
        """The whole environment of a run; clients add to it."""
        path = ["/usr/bin", "/bin"]
        if "node" in self.pins:
            path.insert(0, str(cache.node_bin()))
        return {
            "HOME": str(place.home),
            "PATH": ":".join(path),
            "TERM": "xterm-256color",
            "LANG": "C.UTF-8",
            TOKEN_NAME: TOKEN,
        }

    def prepare(self, place: Place) -> None:  # noqa: B027 - clients without a file of their own need nothing
        """Write the client's own configuration."""

    @abstractmethod
    def command(self, place: Place, scenario: Scenario) -> list[str]:
        """The words that ask it once."""


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def npm_bin(pin: str, name: str) -> str:
    """A program that an npm package brings."""
    return str(cache.folder(pin) / "node_modules/.bin" / name)
