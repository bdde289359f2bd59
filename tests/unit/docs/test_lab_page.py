"""docs/lab.md: every command is run against a scripted engine and judge; what does not hang on a model prints the same."""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import tomli_w
from click.testing import CliRunner

from anvil.cli import COMMANDS
from anvil.lab.evaluation import profile_file
from anvil.router.decisions.record import IntentRecord, encode
from anvil.router.profile import Row
from tests.router.tier import Received, Script, Tier, auto, response
from tests.unit.docs.console import commands, prints
from tests.unit.docs.planted import plant
from tests.unit.lab.calibrate.house import router, tier
from tests.unit.lab.judge.scripted import Client, reply
from tests.unit.router.decision_samples import decision
from tests.unit.topology.example import ROOT, document

PAGE = ROOT / "docs/lab.md"
WINDOW = 2048  # keeps the prompts of the load small
PORTS = re.compile(r"127\.0\.0\.1:30\d\d\d")
MOVED, STAYED = "dec_1a20d28cec212d990c0a5842", "dec_1a20d28cec212d990c0a5843"
# A scripted engine is no SmolLM2: its preflight fails too, at other tests.
EXITS = {"preflight": 1}
OTHER_OUTPUT = {"preflight"}


def engine(request: Received) -> Script:
    """Answers in words, and says how large its window is."""
    if request.method == "GET":
        row = {"id": "served", "max_model_len": WINDOW}
        return response(200, json.dumps({"data": [row]}).encode())
    script = auto("an", " answer")(request)
    assert isinstance(script, Script)
    return script


@pytest.fixture
def port() -> Iterator[int]:
    running = Tier(engine).start()
    yield running.port
    running.stop()


@pytest.fixture
def place(tmp_path: Path, port: int, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the page takes for granted: a topology, a router.toml, two profiles, decisions and their texts, a judge."""
    plant(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("ANVIL_TOPOLOGY", raising=False)
    monkeypatch.delenv("ANVIL_CLAUDE_LOGS", raising=False)
    Path("inventory/topology.toml").write_text(tomli_w.dumps(document({"serves/heavy/port": port})))
    url = f"http://127.0.0.1:{port}/v1"
    presets = 'chat = ["small", "big"]\nplanning = ["small", "big"]\nreview = ["heavy-local"]'
    router(tmp_path, *(tier(name, url) for name in ("small", "big", "heavy-local")), presets=presets)
    write("live.json", ("small", "chat", "allow", 0.9), ("small", "planning", "deny", 0.2))
    recorded = [
        decision(id=MOVED),
        decision(
            id=STAYED,
            caller_model="planning",
            intent=IntentRecord(source="declared-preset", preset="planning", confidence=1.0),
            work_class="planning",
            requested_tiers=(),
        ),
    ]
    Path("decisions.jsonl").write_bytes(b"\n".join(encode(each) for each in recorded) + b"\n")
    Path("texts.jsonl").write_text(f'{{"id": "{MOVED}", "prompt": "say hello"}}\n')
    judge = Client(tmp_path / "judge", reply(5, 4, 5, 4, 5))
    monkeypatch.setenv("ANVIL_CLAUDE_BIN", str(judge.path))
    (tmp_path / "tests").symlink_to(ROOT / "tests")
    (tmp_path / "window.jsonl").symlink_to(ROOT / "anvil/router/promotion_window.jsonl")
    return tmp_path


def write(name: str, *rows: tuple[str, str, str, float]) -> None:
    made = [Row(tier_id=t, work_class=c, decision=v, quality_score=s) for t, c, v, s in rows]  # type: ignore[arg-type]
    Path(name).write_bytes(profile_file.encode(made, "live"))


def test_every_command_does_what_the_page_says(place: Path, port: int) -> None:
    for shown in commands(PAGE):
        name, *words = [PORTS.sub(f"127.0.0.1:{port}", word) for word in shown.words]
        if words[:1] == ["diff"]:  # the page's own two profiles, not what the scripted judge led to
            write("candidate.json", ("small", "chat", "deny", 0.3))
        module, attribute = COMMANDS[name]
        command: click.Command = getattr(importlib.import_module(module), attribute)
        result = CliRunner().invoke(command, words, catch_exceptions=False)
        assert result.exit_code == EXITS.get(name, 0), (shown.line, result.output)
        if name in OTHER_OUTPUT:
            tests = {line.split()[1] for line in shown.output if line.startswith(("PASS", "FAIL"))}
            assert all(f" {test} " in result.stdout for test in tests), result.stdout
        else:
            assert prints(shown.output, result.stdout) == "", (shown.line, result.stdout)
    written = {path.name for path in place.iterdir()}
    assert {"heavy.svg", "heavy.json", "usage.json", "profile.json", "candidate.json", "shadow"} <= written


def test_every_command_is_in_the_pages() -> None:
    """None is without a page; health checks and the holder of the router's socket are no commands of people."""
    pages = "".join(page.read_text() for page in (ROOT / "docs").rglob("*.md")) + (ROOT / "README.md").read_text()
    assert {name for name in COMMANDS if f"anvil {name}" not in pages} <= {"probe", "socket"}
