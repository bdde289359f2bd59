"""One real router in front of a fast and a heavy tier, scripted or real, for the clients of one cell."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.clients.conversation import Mode, behaviour
from tests.clients.engines import WINDOW, started
from tests.router.conftest import Running, config_toml, start_router, tier_toml
from tests.router.tier import Tier

TOKEN_NAME = "ANVIL_ROUTER_TOKEN"
TOKEN = "anvil-clients-token"
CONTEXT_LIMIT = 131_072
GENERATION = ("chat", "messages", "responses")
_SETTLE_S = 5.0


@dataclass
class Stage:
    """A router and its decision records since ``begin``."""

    router: Running
    _since: str = field(default="", init=False)

    @property
    def url(self) -> str:
        return self.router.url

    def begin(self, fast: Mode, heavy: Mode) -> None:
        """Count records from here; tiers that can be told how to behave are told."""
        newest = self.router.decisions(limit=1)
        self._since = newest[0]["id"] if newest else ""

    def records(self) -> list[dict[str, Any]]:
        """The decision records of generation requests since ``begin``, oldest first, once none is under way."""
        deadline = time.monotonic() + _SETTLE_S
        while self._in_flight() and time.monotonic() < deadline:
            time.sleep(0.05)
        found = self.router.decisions(limit=1000, **({"after": self._since} if self._since else {}))
        found = [record for record in found if record["endpoint"] in GENERATION]
        return sorted(found, key=lambda record: str(record["id"]))

    def _in_flight(self) -> int:
        tiers = self.router.client.get("/readyz").json()["tiers"]
        return sum(tier["in_flight"] for tier in tiers)

    def handed(self, harness: str) -> dict[str, Any]:
        """The configuration of a client that the router itself hands out."""
        answer = self.router.client.get(f"/v1/harness/{harness}").raise_for_status()
        document: dict[str, Any] = answer.json()
        return document

    def bodies(self) -> list[str]:
        """What reached the tiers since ``begin``, where the tiers can tell."""
        return []


@dataclass
class ScriptedStage(Stage):
    """``fast`` and ``heavy`` behave as each scenario says."""

    fast: Tier
    heavy: Tier
    _seen: tuple[int, int] = field(default=(0, 0), init=False)

    def begin(self, fast: Mode, heavy: Mode) -> None:
        super().begin(fast, heavy)
        self.fast.behaviour = behaviour("fast", fast)
        self.heavy.behaviour = behaviour("heavy", heavy)
        self._seen = (len(self.fast.seen), len(self.heavy.seen))

    def bodies(self) -> list[str]:
        seen = self.fast.seen[self._seen[0] :] + self.heavy.seen[self._seen[1] :]
        return [request.body.decode(errors="replace") for request in seen]


def stage(folder: Path, tiers: str) -> AbstractContextManager[Stage]:
    """Starts tiers and router. ``tiers`` is the dialect that scripted tiers speak, or "engine" for real models."""
    folder.mkdir(parents=True, exist_ok=True)
    return _engines(folder) if tiers == "engine" else _scripted(folder, tiers)


@contextmanager
def _scripted(folder: Path, dialect: str) -> Iterator[Stage]:
    fast, heavy = (Tier(behaviour(name, "good")).start() for name in ("fast", "heavy"))
    try:
        tables = [
            tier_toml(f"{role}-local", tier.url, role=role, dialect=dialect, context_limit=CONTEXT_LIMIT)
            for role, tier in (("fast", fast), ("heavy", heavy))
        ]
        with _router(folder, tables) as router:
            yield ScriptedStage(router, fast, heavy)
    finally:
        fast.stop()
        heavy.stop()


@contextmanager
def _engines(folder: Path) -> Iterator[Stage]:
    with started(folder) as engines:
        tables = [
            tier_toml(f"{role}-local", url, role=role, model=role, context_limit=WINDOW, extra_body={"temperature": 0})
            for role, url in engines.items()
        ]
        with _router(folder, tables) as router:
            yield Stage(router)


@contextmanager
def _router(folder: Path, tables: list[str]) -> Iterator[Running]:
    """It asks for a token, as a real one does. Scenarios share it, so failures must not open its breakers."""
    text = config_toml(*tables, server=f'auth_env = "{TOKEN_NAME}"', router="[router.breaker]\nthreshold = 1000")
    router = start_router(folder, text, {TOKEN_NAME: TOKEN})
    router.client.headers["authorization"] = f"Bearer {TOKEN}"
    try:
        yield router
    finally:
        router.stop(expect=None)
