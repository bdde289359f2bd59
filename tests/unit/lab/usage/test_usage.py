"""B15: figures of a fixture log, counted by hand. See the two files in ``logs``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from anvil.cli.usage import command
from anvil.lab.usage.figures import percentile

LOGS = Path(__file__).with_name("logs")


def usage(*words: str, env: dict[str, str] | None = None) -> Result:
    return CliRunner(env=env).invoke(command, list(words))


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    result = usage("--logs", str(LOGS), "--json")
    assert result.exit_code == 0, result.stderr
    document: dict[str, Any] = json.loads(result.stdout)
    return document


def spread(*values: int) -> dict[str, int]:
    return dict(zip(("n", "p50", "p90", "p95", "p99", "max", "mean"), values, strict=True))


def test_window_and_totals(found: dict[str, Any]) -> None:
    assert found["schema"] == "anvil.usage/v1"
    assert found["window"] == {
        "files": 2,
        "unreadable_files": 0,
        "bad_lines": 2,
        "sessions_with_calls": 2,
        "first_day": "2026-01-05",
        "last_day": "2026-01-07",
        "active_days": 2,
    }
    assert found["totals"] == {
        "assistant_calls": 6,
        "output_tokens": 201,
        "fresh_input_tokens": 1130,
        "cache_creation_tokens": 120,
        "cache_read_tokens": 59_110,
        "total_processed": 60_561,
    }


def test_calls_logged_twice_count_once_with_their_whole_output(found: dict[str, Any]) -> None:
    # m1 is logged for each of its blocks (5, then 20 tokens), m2 again in the session that resumed
    assert found["model_mix"] == {"calls": {"opus": 4, "haiku": 2}, "output_tokens": {"haiku": 140, "opus": 61}}
    assert found["tools"] == {"Bash": 1, "Read": 1, "Skill": 1, "Task": 1}
    assert (found["skills"], found["agent_types"]) == ({"review": 1}, {"explorer": 1})


def test_spreads_interpolate(found: dict[str, Any]) -> None:
    # contexts 50, 65, 110, 135, 20000, 40000; outputs 1, 10, 20, 30, 40, 100
    assert found["context_size_per_call"] == spread(6, 122, 30_000, 35_000, 39_000, 40_000, 10_060)
    assert found["generation_per_call"] == spread(6, 25, 70, 85, 97, 100, 34)
    assert found["by_model"]["haiku"]["context"] == spread(2, 30_000, 38_000, 39_000, 39_800, 40_000, 30_000)


def test_minutes_and_hours(found: dict[str, Any]) -> None:
    # 10:00 has three calls of two sessions, three other minutes have one
    assert found["concurrency"] == {
        "peak_calls_per_min": 3,
        "calls_per_min_p95": 3,
        "calls_per_min_p99": 3,
        "peak_parallel_sessions": 2,
        "parallel_sessions_p95": 2,
        "parallel_sessions_p99": 2,
    }
    assert found["throughput"] == {"peak_output_tokens_per_hour": 101, "peak_sustained_tok_per_s": 0.03}


def test_days_are_utc(found: dict[str, Any]) -> None:
    last = {"day": "2026-01-07", "calls": 2, "output_tokens": 101, "total_processed": 40_166}
    assert found["daily"] == [
        {"day": "2026-01-05", "calls": 4, "output_tokens": 100, "total_processed": 20_395},
        last,
    ]
    assert found["busiest_day"] == last


def test_workflows_sessions_and_roles(found: dict[str, Any]) -> None:
    assert found["workflows"] == {
        "dispatches": 2,
        "subagent_tokens": 5000,
        "agent_count": {"p50": 4, "p95": 5, "max": 5},
        "total_subagents": 8,
    }
    assert found["sessions"]["calls"] == spread(2, 3, 3, 3, 3, 3, 3)
    assert found["sessions"]["output_tokens"] == spread(2, 100, 109, 110, 111, 111, 100)
    assert found["roles"]["main"]["context"]["n"] == 4
    assert found["roles"]["subagent"]["generation"]["max"] == 100
    assert found["roles"]["records_with_isSidechain_field"] == 7


def test_what_a_window_would_hold_and_what_the_bench_draws_from(found: dict[str, Any]) -> None:
    assert found["subagent_context_coverage_pct"] == {
        "16384": 0.0,
        "32768": 50.0,
        "65536": 100.0,
        "131072": 100.0,
        "262144": 100.0,
    }
    assert found["distribution_of"] == "subagent"
    points = found["distribution"]
    assert [points[0], points[10], points[-1]] == [[0.0, 20_000], [0.5, 30_000], [1.0, 40_000]]


def test_no_text_of_a_conversation_is_kept(tmp_path: Path) -> None:
    out = tmp_path / "usage.json"
    result = usage("--logs", str(LOGS), "--out", str(out))
    assert result.exit_code == 0
    assert "CANARY-TEXT" not in result.stdout + out.read_text()
    assert "6 calls in 2 sessions" in result.stdout
    assert "32k 50.0%" in result.stdout


def test_the_folder_may_come_from_the_environment() -> None:
    assert usage("--json", env={"ANVIL_CLAUDE_LOGS": str(LOGS)}).exit_code == 0


def test_odd_shapes_are_passed_over(tmp_path: Path) -> None:
    lines = [
        {"type": "assistant", "message": {"usage": {"input_tokens": -5, "output_tokens": True}, "model": "x\ny"}},
        {"type": "assistant", "message": {"usage": 7}},
        {"type": "assistant", "message": "text"},
        {"type": "user", "message": {"content": [3, {"type": "tool_result", "content": 9}, {"text": 4}]}},
        {"type": "assistant", "timestamp": "noon", "message": {"usage": {}, "content": [{"type": "tool_use"}]}},
    ]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, lines)))
    report = json.loads(usage("--logs", str(tmp_path), "--json").stdout)
    assert (report["totals"]["assistant_calls"], report["totals"]["total_processed"]) == (2, 0)
    assert (report["window"]["bad_lines"], report["window"]["active_days"]) == (0, 0)
    assert report["model_mix"]["calls"] == {"unknown": 2}
    assert report["distribution_of"] == "all"


def test_no_folder_is_2_and_no_calls_is_1(tmp_path: Path) -> None:
    missing = usage("--logs", str(tmp_path / "nowhere"), "--json")
    assert (missing.exit_code, missing.stdout) == (2, "")
    (tmp_path / "a.jsonl").write_bytes(b'{"type": "\xff"}\n')
    none = usage("--logs", str(tmp_path), "--json")
    assert none.exit_code == 1
    assert json.loads(none.stdout)["window"]["bad_lines"] == 1


def test_help_and_unknown_flag() -> None:
    assert usage("--help").exit_code == 0
    wrong = usage("--lgos", "x")
    assert (wrong.exit_code, "--logs" in wrong.stderr) == (2, True)


@given(st.lists(st.integers(0, 10**6), min_size=1), st.floats(0, 1))
def test_a_percentile_lies_between_the_ends(values: list[int], share: float) -> None:
    found = percentile(values, share)
    assert found is not None
    assert min(values) <= found <= max(values)
