"""``anvil profile``: added, removed, changed, unknown, stale, and which recorded requests would have moved (B7)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from msgspec import structs

from anvil.cli.profile import profile
from anvil.lab.evaluation import profile_file
from anvil.router import config as configuration
from anvil.router.decisions.record import IntentRecord, encode
from anvil.router.fingerprint import fingerprint
from anvil.router.profile import Row, seed_rows
from tests.unit.router.decision_samples import decision

ROUTER = """
[router]
mapping_version = "v1"
presets = { chat = ["small", "big"], planning = ["small", "big"] }
[[router.tiers]]
id = "small"
base_url = "http://127.0.0.1:7001/v1"
dialect = "openai"
context_limit = 32768
privacy = "local"
tool_support = true
auth_env = "SMALL_KEY"
model = "small-model"
params = { build = 1 }
[[router.tiers]]
id = "big"
base_url = "http://127.0.0.1:7002/v1"
dialect = "openai"
context_limit = 65536
privacy = "local"
tool_support = true
auth_env = "BIG_KEY"
model = "big-model"
"""


@pytest.fixture
def router(tmp_path: Path) -> Path:
    file = tmp_path / "router.toml"
    file.write_text(ROUTER)
    return file


def write(file: Path, *rows: Row) -> Path:
    file.write_bytes(profile_file.encode(rows, "live"))
    return file


def row(tier: str, work_class: str | None, decision: Any, score: float = 0.5, **fields: Any) -> Row:
    return Row(tier_id=tier, work_class=work_class, decision=decision, quality_score=score, **fields)


def run(*arguments: object) -> Result:
    return CliRunner().invoke(profile, [str(argument) for argument in arguments], catch_exceptions=False)


def files(folder: Path) -> tuple[Path, Path]:
    live = write(
        folder / "live.json",
        row("small", "chat", "allow", 0.9),
        row("small", "planning", "deny", 0.2),
        row("big", "review", "allow", 0.9),
    )
    candidate = write(
        folder / "candidate.json",
        row("Small", "chat", "deny", 0.3, fingerprint="0" * 64),
        row("small", "review", "allow", 0.95, fingerprint="0" * 64),
        row("big", "review", "allow", 0.9),
        row("gone", "chat", "allow", 0.9),
    )
    return live, candidate


def test_every_kind_of_difference_is_named(tmp_path: Path, router: Path) -> None:
    live, candidate = files(tmp_path)
    result = run("diff", live, candidate, "--config", router)
    assert result.exit_code == 0, result.stderr
    assert result.stdout.splitlines() == [
        "+ gone/chat: allow 0.90",
        "+ small/review: allow 0.95  (the router applies allow-with-verify)",
        "- small/planning: deny 0.20  (the router applies deny)",
        "~ Small/chat: allow 0.90 -> deny 0.30  (the router: allow -> deny)",
        "WARN gone: no tier of the configuration has this id; its rows have no effect",
        "WARN Small/chat: stale, the tier is no longer what was measured; "
        "an allow counts as allow-with-verify until it is measured again",
        "WARN small/review: stale, the tier is no longer what was measured; "
        "an allow counts as allow-with-verify until it is measured again",
        f"next: pyinfra inventory/hosts.py deploy/promote.py --data profile={candidate} --dry --diff",
    ]


def test_json_names_the_same(tmp_path: Path, router: Path) -> None:
    found = json.loads(run("diff", *files(tmp_path), "--config", router, "--json").stdout)
    assert found["schema"] == "anvil.profile-diff/v1"
    names = {kind: [(c["tier_id"], c["work_class"]) for c in found[kind]] for kind in ("added", "removed", "changed")}
    assert names == {
        "added": [("gone", "chat"), ("small", "review")],
        "removed": [("small", "planning")],
        "changed": [("Small", "chat")],
    }
    assert (found["unknown_tiers"], found["stale"]) == (["gone"], [["Small", "chat"], ["small", "review"]])


def test_without_a_configuration_nothing_is_claimed_about_it(tmp_path: Path) -> None:
    result = run("diff", *files(tmp_path), "--json")
    found = json.loads(result.stdout)
    assert (found["unknown_tiers"], found["stale"], found["replayed"]) == (None, None, None)
    assert found["changed"][0]["candidate"] == {"decision": "deny", "score": 0.3, "applied": None}
    assert "cannot be told without --config" in run("diff", *files(tmp_path)).stderr


def test_a_row_that_only_goes_stale_is_a_change_of_what_is_applied(tmp_path: Path, router: Path) -> None:
    tier = configuration.load(router).tiers[0]
    live = write(tmp_path / "l.json", row("small", "chat", "allow", 0.9, fingerprint=fingerprint(tier)))
    candidate = write(tmp_path / "c.json", row("small", "chat", "allow", 0.9, fingerprint="1" * 64))
    assert "small/chat: allow 0.90 -> allow 0.90  (the router: allow -> allow-with-verify)" in (
        run("diff", live, candidate, "--config", router).stdout
    )
    assert run("diff", live, live, "--config", router).stdout == "no verdict and no score differs\n"


def test_recorded_decisions_tell_which_requests_would_have_moved(tmp_path: Path, router: Path) -> None:
    live = write(tmp_path / "l.json", row("small", "chat", "allow", 0.9), row("big", "chat", "allow", 0.9))
    candidate = write(tmp_path / "c.json", row("small", "chat", "deny", 0.3), row("big", "chat", "allow", 0.9))
    recorded = tmp_path / "decisions.jsonl"
    meant = IntentRecord(source="declared-preset", preset="planning", confidence=1.0)
    records = [decision(1), decision(2, caller_model="planning", intent=meant, work_class="planning")]
    recorded.write_bytes(b"\n".join(encode(record) for record in records))
    arguments = ("diff", live, candidate, "--config", router, "--decisions", recorded)
    assert f"{records[0].id}  chat (chat): small > big -> big\n1 of 2 recorded requests" in run(*arguments).stdout
    moved = json.loads(run(*arguments, "--json").stdout)["replayed"]
    assert moved["requests"] == 2
    assert [(m["live"], m["candidate"]) for m in moved["moved"]] == [(["small", "big"], ["big"])]


def test_seed_rows_that_a_candidate_leaves_out_are_not_gone(tmp_path: Path) -> None:
    file = tmp_path / "router.toml"
    file.write_text(ROUTER.replace('model = "small-model"', 'model = "small-model"\nrole = "fast"'))
    config = configuration.load(file)
    seed = seed_rows(config)
    live = write(tmp_path / "live.json", *seed)
    candidate = write(tmp_path / "candidate.json", row("small", "chat", "deny", 0.3))
    found = json.loads(run("diff", live, candidate, "--config", file, "--json").stdout)
    assert (found["removed"], [change["work_class"] for change in found["changed"]]) == ([], ["chat"])
    without = json.loads(run("diff", live, candidate, "--json").stdout)
    assert len(without["removed"]) == len(seed) - 1, "without a configuration the seed is not known"
    measured = [structs.replace(each, source_evals=["2026-01-01-review"]) for each in seed]
    write(live, *measured)
    found = json.loads(run("diff", live, candidate, "--config", file, "--json").stdout)
    assert len(found["removed"]) == len(seed) - 1


def test_show_prints_rows_and_with_a_configuration_what_is_applied(tmp_path: Path, router: Path) -> None:
    _, candidate = files(tmp_path)
    shown = run("show", candidate, "--config", router).stdout
    assert "small  review: allow  0.95  n=1  -  measured never  applied: allow-with-verify" in shown
    assert "WARN gone: no tier" in shown
    assert shown.endswith("4 rows, mode live\n")
    document = json.loads(run("show", candidate, "--json").stdout)
    assert document["schema"] == "anvil.profile-show/v1"
    assert len(document["rows"]) == 4


def test_what_cannot_be_read_exits_2(tmp_path: Path, router: Path) -> None:
    live, candidate = files(tmp_path)
    broken = tmp_path / "broken.json"
    broken.write_text("{}")
    (tmp_path / "bad.jsonl").write_text("{}\n")
    for arguments, problem in [
        (("diff", live, broken), "broken.json"),
        (("show", broken), "broken.json"),
        (("diff", live, candidate, "--config", tmp_path / "none.toml"), "none.toml"),
        (("diff", live, candidate, "--decisions", tmp_path / "bad.jsonl"), "give --config"),
        (("diff", live, candidate, "--config", router, "--decisions", tmp_path / "bad.jsonl"), "line 1"),
        (("diff", live, candidate, "--config", router, "--mode", "agentic"), "exclude each other"),
        (("diff", live, tmp_path / "missing.json"), "missing.json"),
    ]:
        result = run(*arguments)
        assert result.exit_code == 2, problem
        assert problem in result.stderr
