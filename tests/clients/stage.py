"""One real router in front of a fast and a heavy scripted tier, for the clients of one cell."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.clients.conversation import Mode, behaviour
from tests.router.conftest import Running, config_toml, start_router, tier_toml
from tests.router.tier import Received, Tier

TOKEN_NAME = "ANVIL_ROUTER_TOKEN"
TOKEN = "anvil-clients-token"
CONTEXT_LIMIT = 131_072
GENERATION = ("chat", "messages", "responses")
_SETTLE_S = 5.0


@dataclass
class Stage:
    """``fast`` and ``heavy`` are told per scenario how to behave; records and requests count from ``begin``."""

    router: Running
    fast: Tier
    heavy: Tier
    _since: str = field(default="", init=False)
    _seen: tuple[int, int] = field(default=(0, 0), init=False)

    @property
    def url(self) -> str:
        return self.router.url

    def begin(self, fast: Mode, heavy: Mode) -> None:
        self.fast.behaviour = behaviour("fast", fast)
        self.heavy.behaviour = behaviour("heavy", heavy)
        newest = self.router.decisions(limit=1)
        self._since = newest[0]["id"] if newest else ""
        self._seen = (len(self.fast.seen), len(self.heavy.seen))

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

    def requests(self) -> list[Received]:
        """What reached the tiers since ``begin``."""
        return self.fast.seen[self._seen[0] :] + self.heavy.seen[self._seen[1] :]


@contextmanager
def stage(folder: Path, dialect: str = "openai") -> Iterator[Stage]:
    """Starts tiers and router; ``dialect`` is what the tiers speak. The router asks for a token, as a real one does."""
    fast, heavy = (Tier(behaviour(name, "good")).start() for name in ("fast", "heavy"))
    folder.mkdir(parents=True, exist_ok=True)
    text = config_toml(
        tier_toml("fast-local", fast.url, role="fast", dialect=dialect, context_limit=CONTEXT_LIMIT),
        tier_toml("heavy-local", heavy.url, role="heavy", dialect=dialect, context_limit=CONTEXT_LIMIT),
        server=f'auth_env = "{TOKEN_NAME}"',
        router="[router.breaker]\nthreshold = 1000",  # scenarios share the router and must not rest its tiers
    )
    router = start_router(folder, text, {TOKEN_NAME: TOKEN})
    router.client.headers["authorization"] = f"Bearer {TOKEN}"
    try:
        yield Stage(router, fast, heavy)
    finally:
        router.stop(expect=None)
        fast.stop()
        heavy.stop()
