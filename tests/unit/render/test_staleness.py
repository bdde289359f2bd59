"""Which rows of a profile are of another serve than the topology's."""

from __future__ import annotations

import json
from typing import Any

import pytest

from anvil.render.artefacts import render
from anvil.render.env import Secrets
from anvil.render.staleness import stale
from anvil.router.config import RouterConfig
from anvil.router.fingerprint import fingerprint
from tests.unit.topology.example import LOCAL, topology


def config(changes: dict[str, Any] | None = None) -> RouterConfig:
    return render(topology(changes, LOCAL), Secrets()).release.config


def profile(of: RouterConfig, mode: str | None = None) -> bytes:
    rows: list[dict[str, object]] = [
        {"tier_id": tier.id.upper(), "work_class": "chat", "decision": "deny", "fingerprint": fingerprint(tier, mode)}
        for tier in of.tiers
    ]
    rows.append({"tier_id": "fast-local", "work_class": None, "decision": "allow", "fingerprint": None})
    rows.append({"tier_id": "stranger", "work_class": "chat", "decision": "allow", "fingerprint": "0" * 64})
    return json.dumps({"entries": rows}).encode()


def test_a_serve_with_another_flag_makes_its_own_rows_stale() -> None:
    measured = profile(config())
    assert stale(config(), measured, None) == ()
    assert stale(config({"serves/fast/context": 4096}), measured, None) == ("FAST-LOCAL/chat",)
    assert stale(config({"serves/fast/port": 30999}), measured, None) == ("FAST-LOCAL/chat",)


def test_what_is_measured_in_one_mode_is_stale_in_another() -> None:
    measured = profile(config(), "agentic")
    assert stale(config(), measured, "agentic") == ()
    assert stale(config(), measured, "flexibility") == ("FAST-LOCAL/chat", "HEAVY-LOCAL/chat")


@pytest.mark.parametrize("text", [None, b"", b"{", b"\xff", b"[]", b'{"entries": [{"tier_id": 1}]}'])
def test_what_is_no_profile_has_no_stale_rows(text: bytes | None) -> None:
    assert stale(config(), text, None) == ()
