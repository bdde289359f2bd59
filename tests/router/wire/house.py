"""A router in front of one tier a dialect; every preset is ``<dialect>-allow`` or ``<dialect>-verify``.

With ``-backed`` after it a second tier, which always answers, stands behind the first.
"""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from tests.router import tier as t
from tests.router.conftest import Running, config_toml, start_router, tier_toml
from tests.router.faults import BACKUP, DIALECTS, PATIENT
from tests.router.wire.meaning import TOOLS

CAP = 4096  # of the Messages caller, who must name one
_CLASSES = {"allow": "chat", "verify": "review"}  # of a fast tier under the seed profile


class Told(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes


class House:
    def __init__(self, running: Running, tiers: dict[str, t.Tier]) -> None:
        self.running = running
        self.tiers = tiers

    def ask(self, path: str, body: dict[str, Any]) -> Told:
        host, port = self.running.url.removeprefix("http://").split(":")
        connection = http.client.HTTPConnection(host, int(port), timeout=30)
        try:
            connection.request("POST", path, json.dumps(body), {"content-type": "application/json"})
            answer = connection.getresponse()
            return Told(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
        finally:
            connection.close()


@contextmanager
def house(folder: Path) -> Iterator[House]:
    tiers = {dialect: t.Tier(t.auto()).start() for dialect in DIALECTS}
    tables = [
        tier_toml(d, tier.url, dialect=d, role="fast", timeout=10, context_limit=200_000) for d, tier in tiers.items()
    ]
    backup = t.Tier(t.auto(BACKUP)).start()
    tables.append(tier_toml("backup", backup.url, context_limit=400_000, role="heavy"))
    presets = {f"{dialect}-{kind}": [dialect] for dialect in DIALECTS for kind in _CLASSES}
    presets |= {f"{name}-backed": [*pool, "backup"] for name, pool in presets.items()}
    text = config_toml(*tables, presets=presets, router=PATIENT) + "[router.preset_classes]\n"
    text += "".join(f'{name} = "{_CLASSES[name.split("-")[1]]}"\n' for name in presets)
    running = start_router(folder, text)
    try:
        yield House(running, tiers)
    finally:
        running.stop(expect=None)
        for tier in (*tiers.values(), backup):
            tier.stop()


def request(path: str, preset: str, *, stream: bool, include_usage: bool) -> dict[str, Any]:
    """A small request that declares the tools and wants to see all reasoning."""
    body: dict[str, Any] = {"model": preset, "stream": stream}
    if path == "/v1/responses":
        tools = [{"type": "function", "name": n, "parameters": {"type": "object"}} for n in TOOLS]
        return body | {"input": "hi", "tools": tools}
    if path == "/v1/messages":
        body |= {"max_tokens": CAP, "thinking": {"type": "enabled", "budget_tokens": 1024}}
        tools = [{"name": n, "input_schema": {"type": "object"}} for n in TOOLS]
    else:
        tools = [{"type": "function", "function": {"name": n, "parameters": {"type": "object"}}} for n in TOOLS]
        body |= {"stream_options": {"include_usage": True}} if stream and include_usage else {}
    return body | {"tools": tools, "messages": [{"role": "user", "content": "hi"}]}
