"""The whole loop on real parts: measure, compare, predict, promote, serve, change a serve, and trust less again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from anvil.cli.profile import profile
from anvil.cli.replay import replay
from anvil.cli.serve import check
from tests.router.conftest import Running, start_router
from tests.router.tier import Tier, auto
from tests.unit.lab.calibrate.house import CONFIRMED, prompts, router, run, tier
from tests.unit.lab.judge.scripted import Client, reply

PRESETS = 'chat = ["small", "big"]\nplanning = ["small", "big"]'


@pytest.fixture
def tiers() -> Iterator[tuple[Tier, Tier]]:
    small, big = Tier(auto("small", " answer")).start(), Tier(auto("big", " answer")).start()
    yield small, big
    small.stop()
    big.stop()


def anvil(command: Any, *arguments: object) -> Any:
    result = CliRunner().invoke(command, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


@contextmanager
def serving(config: Path) -> Iterator[Running]:
    running = start_router(config.parent, config.read_text())
    try:
        yield running
    finally:
        running.stop(expect=None)


def ask(running: Running, model: str) -> int:
    body = {"model": model, "messages": [{"role": "user", "content": "hi"}], "max_tokens": 64}
    return running.client.post("/v1/chat/completions", json=body).status_code


def served(running: Running) -> dict[str, str | None]:
    return {row["caller_model"]: row["served_tier"] for row in running.decisions()}


def verdicts(config: Path) -> dict[tuple[str, str], str]:
    table = anvil(check, "--config", config, "--json")["presets"]
    return {(preset, row["tier"]): row["verdict"] for preset in ("chat", "planning") for row in table[preset]}


def test_what_is_measured_is_what_is_served_until_the_serve_changes(tiers: tuple[Tier, Tier], tmp_path: Path) -> None:
    text = tuple(tier(name, it.url, "params = { build = 1 }") for name, it in zip(("small", "big"), tiers, strict=True))
    config = router(tmp_path, *text, presets=PRESETS)

    # before anything is measured no local tier may plan, and chat goes to the first tier
    recorded = tmp_path / "decisions.jsonl"
    with serving(config) as running:
        assert (ask(running, "planning"), ask(running, "chat")) == (503, 200)
        assert served(running) == {"planning": None, "chat": "small"}
        recorded.write_bytes(running.client.get("/v1/decisions?format=jsonl").content)

    # the judge: small is bad at both, big is good at both
    bad, good = reply(1, 2, 1, 2, 1), reply(5, 5, 5, 5, 4)
    judge = Client(tmp_path / "judge", bad, bad, good, good)
    candidate = tmp_path / "candidate.json"
    endpoints = [f"--endpoint={name}={it.url}" for name, it in zip(("small", "big"), tiers, strict=True)]
    data = prompts(tmp_path / "prompts", chat="say hello", planning="plan it")
    asked = (f"--config={config}", f"--out={candidate}", f"--eval-data={data}", CONFIRMED, *endpoints)
    measured = run(*asked, environ={"ANVIL_CLAUDE_BIN": str(judge.path)})
    assert measured.exit_code == 0, measured.stderr

    # the comparison and the replay say where the recorded requests would go
    empty = tmp_path / "live.json"
    empty.write_text(json.dumps({**json.loads(candidate.read_text()), "entries": []}))
    compared = anvil(profile, "diff", empty, candidate, "--config", config, "--decisions", recorded, "--json")
    assert {(c["tier_id"], c["work_class"], c["candidate"]["applied"]) for c in compared["added"]} == {
        ("small", "chat", "deny"), ("small", "planning", "deny"), ("big", "chat", "allow"), ("big", "planning", "allow"),
    }  # fmt: skip
    assert (compared["stale"], compared["unknown_tiers"]) == ([], [])
    moved = {row["preset"]: (row["live"], row["candidate"]) for row in compared["replayed"]["moved"]}
    assert moved == {"chat": (["small", "big"], ["big"]), "planning": ([], ["big"])}
    predicted = anvil(replay, recorded, "--config", config, "--profile", candidate, "--json")
    firsts = {move["preset"]: move["after"][0] for move in predicted["moved"]}
    assert firsts == {"chat": "big", "planning": "big"}

    # promoted: the router loads the candidate and does what was predicted
    live = router(tmp_path, *text, presets=PRESETS, profile='profile_path = "candidate.json"')
    assert verdicts(live) == {
        ("chat", "small"): "deny", ("chat", "big"): "allow",
        ("planning", "small"): "deny", ("planning", "big"): "allow",
    }  # fmt: skip
    with serving(live) as running:
        assert (ask(running, "planning"), ask(running, "chat")) == (200, 200)
        assert served(running) == firsts

    # another build of the serve: what was measured is gone, so trust tightens and nothing loosens
    live.write_text(live.read_text().replace("build = 1", "build = 2"))
    assert verdicts(live) == {
        ("chat", "small"): "deny", ("chat", "big"): "allow-with-verify",
        ("planning", "small"): "deny", ("planning", "big"): "allow-with-verify",
    }  # fmt: skip
    shown = anvil(profile, "show", candidate, "--config", live, "--json")
    assert {tuple(pair) for pair in shown["stale"]} == {
        ("big", "chat"), ("big", "planning"), ("small", "chat"), ("small", "planning"),
    }  # fmt: skip
