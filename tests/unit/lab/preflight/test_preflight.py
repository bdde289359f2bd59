"""B1: verdict, class and exit code of every mode of a scripted engine, through the command."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from anvil.cli.endpoint_options import run
from anvil.cli.preflight import command
from tests.unit.lab.preflight.scripted import MODEL, Engine, running

CANARY = "sk-canary-0123456789"
ALL = {"smoke", "json", "schema", "needle", "tools", "tool_turn", "stream"}
FAST = ("--tool-batch", "2", "--needle-tokens", "1000")


def preflight(*words: str, env: dict[str, str] | None = None) -> Result:
    return CliRunner(env=env).invoke(command, [*words, "--json"])


def against(engine: Engine, *words: str, env: dict[str, str] | None = None) -> tuple[int, dict[str, Any]]:
    result = preflight("--base-url", engine.url, "--model", MODEL, *FAST, *words, env=env)
    assert result.stdout, result.stderr
    return result.exit_code, json.loads(result.stdout)


def classes(report: dict[str, Any]) -> dict[str, str | None]:
    return {test["name"]: test["class"] for test in report["tests"]}


def test_a_good_engine_passes_everything() -> None:
    with running(Engine()) as engine:
        code, report = against(engine, "--vision")
    assert (code, report["passed"], report["schema"]) == (0, True, "anvil.preflight/v1")
    assert classes(report) == dict.fromkeys([*ALL, "vision"])
    assert (report["engine"], report["window"], report["model"]) == ("vllm", 200_000, MODEL)
    assert all(body["temperature"] == 0 and body["max_tokens"] == 256 for body in engine.bodies)


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("thinking", dict.fromkeys(ALL, "empty_content")),
        ("blank", dict.fromkeys(ALL, "empty_content") | {"tools": "no_tool_call", "tool_turn": "no_tool_call"}),
        ("garbage", dict.fromkeys(ALL, "garbage")),
        ("no_tool_call", {"tools": "no_tool_call", "tool_turn": "no_tool_call"}),
        ("wrong_args", {"tools": "wrong_args", "tool_turn": "wrong_args"}),
        ("broken_args", {"tools": "wrong_args", "tool_turn": "wrong_args"}),
        ("leaked_call", {"tools": "garbage", "tool_turn": "garbage"}),
        ("same_call", {"tool_turn": "wrong_answer"}),
        ("wrong", dict.fromkeys(ALL - {"tools", "tool_turn"}, "wrong_answer") | {"tool_turn": None}),
        ("no_model", dict.fromkeys(ALL, "http_404")),
        ("unauthorised", dict.fromkeys(ALL, "http_401")),
        ("redirect", dict.fromkeys(ALL, "http_307")),
        ("small", dict.fromkeys(ALL, "over_window")),
        ("not_json", dict.fromkeys(ALL - {"stream"}, "malformed") | {"stream": "malformed"}),
        ("not_utf8", dict.fromkeys(ALL, "malformed")),
        ("deep", dict.fromkeys(ALL, "malformed")),
        ("cut", dict.fromkeys(ALL, "malformed")),
        ("no_usage", {"stream": "malformed"}),
        ("no_done", {"stream": "malformed"}),
        ("no_role", {"stream": "malformed"}),
        ("prose_json", {"schema": "wrong_answer"}),
    ],
)
def test_each_defect_has_its_class(mode: str, expected: dict[str, str]) -> None:
    with running(Engine(mode)) as engine:
        code, report = against(engine)
    assert classes(report) == dict.fromkeys(ALL) | expected
    assert (code, report["passed"]) == (1, False)
    for test in report["tests"]:
        assert test["passed"] is (test["class"] is None)
        assert test["detail"]


def test_reasoning_tokens_are_reported_where_content_is_empty() -> None:
    with running(Engine("thinking")) as engine:
        _, report = against(engine, "--only", "smoke,tools")
    assert {test["name"]: test["reasoning_tokens"] for test in report["tests"]} == {"smoke": 9, "tools": 18}


def test_a_slow_engine_times_out_by_test() -> None:
    with running(Engine("slow", delay_s=2)) as engine:
        code, report = against(engine, "--timeout", "0.1", "--only", "smoke,tools,stream")
    assert code == 1
    assert set(classes(report).values()) == {"timeout"}
    assert all(test["elapsed_s"] < 1.5 for test in report["tests"])


def test_a_loading_engine_is_not_tested() -> None:
    with running(Engine("loading")) as engine:
        code, report = against(engine)
    assert (code, report["passed"], report["tests"]) == (3, False, [])
    assert report["error"]["class"] == "loading"
    assert engine.bodies == []


def test_wait_gives_a_loading_engine_time() -> None:
    with running(Engine()) as engine:
        engine.health = [503]
        code, report = against(engine, "--wait", "5", "--only", "smoke")
    assert (code, report["error"]) == (0, None)


def test_nobody_there_is_unreachable() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
        result = preflight("--base-url", url, "--model", MODEL)
    assert result.exit_code == 3
    assert json.loads(result.stdout)["error"]["class"] == "unreachable"


def test_text_instead_of_a_call_passes_only_when_allowed_and_is_said() -> None:
    with running(Engine("no_tool_call")) as engine:
        code, report = against(engine, "--allow-no-tool-call", "--only", "tools,tool_turn")
    assert code == 0
    assert [test["detail"] for test in report["tests"]] == ["2/2 gave text instead of call", "text instead of call"]


def test_the_batch_is_parallel_and_shares_a_prefix_of_400_lines() -> None:
    with running(Engine()) as engine:
        engine.meeting = threading.Barrier(5)
        code, _ = against(engine, "--only", "tools", "--tool-batch", "5")
    assert (code, engine.most_at_once, len(engine.bodies)) == (0, 5, 5)
    systems = {body["messages"][0]["content"] for body in engine.bodies}
    assert len(systems) == 1
    assert systems.pop().count("\n") == 399


def test_the_result_is_fed_back_to_the_call_that_was_made() -> None:
    with running(Engine()) as engine:
        against(engine, "--only", "tool_turn")
    _, assistant, result = engine.bodies[1]["messages"]
    assert assistant["tool_calls"][0]["id"] == result["tool_call_id"] == "call_7"
    assert "tools" in engine.bodies[1]


@pytest.mark.parametrize(("window", "tokens"), [(16_384, 12_288), (4_096, 2_048), (None, 128_000)])
def test_the_needle_is_clamped_to_the_window(window: int | None, tokens: int) -> None:
    with running(Engine(window=window)) as engine:
        code, report = against(engine, "--only", "needle", "--needle-tokens", "128000")
    prompt = engine.bodies[0]["messages"][0]["content"]
    words = prompt.split()
    place = words.index("ZEBRA-42917-QUARTZ.") / len(words)
    assert code == 0
    assert abs(len(words) - 0.75 * tokens) < 50
    assert abs(place - 0.58) < 0.02
    assert any("needle clamped" in note for note in report["notes"]) is (window is not None)


def test_a_small_window_shortens_the_shared_prefix_and_says_so() -> None:
    with running(Engine(window=4096)) as engine:
        _, report = against(engine, "--only", "tools")
    assert len(engine.bodies[0]["messages"][0]["content"]) < 4096 * 3
    assert any("prefix" in note for note in report["notes"])


def test_no_thinking_sends_the_familys_switch_and_leaves_room_for_reasoning() -> None:
    with running(Engine()) as engine:
        against(engine, "--only", "smoke", "--no-thinking", "--family", "qwen3")
    assert engine.bodies[0]["chat_template_kwargs"] == {"enable_thinking": False}
    assert engine.bodies[0]["max_tokens"] == 1024


def test_a_family_without_a_switch_says_what_its_knob_is() -> None:
    with running(Engine()) as engine:
        _, report = against(engine, "--only", "smoke", "--no-thinking", "--family", "gpt-oss")
    assert any("reasoning_effort" in note for note in report["notes"])
    assert "chat_template_kwargs" not in engine.bodies[0]


def test_a_model_the_endpoint_does_not_list_is_noted() -> None:
    with running(Engine()) as engine:
        result = preflight("--base-url", engine.url, "--model", "other", "--only", "smoke")
    assert any("lists scripted, not other" in note for note in json.loads(result.stdout)["notes"])


def test_the_key_goes_in_the_header_and_appears_nowhere_else(tmp_path: Path) -> None:
    out = tmp_path / "report.json"
    with running(Engine("unauthorised")) as engine:
        words = ("--base-url", engine.url, "--model", MODEL, "--only", "smoke,stream,tools", "--api-key-env", "MY_KEY")
        result = CliRunner(env={"MY_KEY": CANARY}).invoke(command, [*words, "--json", "--out", str(out)])
    assert engine.headers[0]["Authorization"] == f"Bearer {CANARY}"
    assert "MY_KEY" in result.stdout
    assert CANARY not in result.stdout + result.stderr + out.read_text()


def test_proxies_of_the_environment_are_ignored() -> None:
    proxy = {"HTTP_PROXY": "http://127.0.0.1:9", "ALL_PROXY": "http://127.0.0.1:9", "NO_PROXY": ""}
    with running(Engine()) as engine:
        code, _ = against(engine, "--only", "smoke", env=proxy | {key.lower(): value for key, value in proxy.items()})
    assert code == 0


def test_people_get_lines_and_a_result() -> None:
    with running(Engine("wrong_args")) as engine:
        result = CliRunner().invoke(command, ["--base-url", engine.url, "--model", MODEL, *FAST])
    heads = Counter(line.split()[0] for line in result.stdout.splitlines())
    assert heads == {"PASS": 5, "FAIL": 2, "RESULT": 1}
    assert "wrong_args: 0/2 passed" in result.stdout


def test_the_document_is_written_whole_and_not_over_another(tmp_path: Path) -> None:
    out = tmp_path / "report.json"
    with running(Engine()) as engine:
        _, report = against(engine, "--only", "smoke", "--out", str(out))
        assert json.loads(out.read_text()) == report
        asked = len(engine.bodies)
        again = preflight("--base-url", engine.url, "--model", MODEL, "--only", "smoke", "--out", str(out))
    assert (again.exit_code, len(engine.bodies)) == (2, asked)


def test_a_file_that_cannot_be_written_exits_1_after_the_report(tmp_path: Path) -> None:
    out = tmp_path / ("x" * 255)  # too long for the temporary file beside it
    with running(Engine()) as engine:
        words = ("--base-url", engine.url, "--model", MODEL, "--only", "smoke", "--out", str(out))
        result = CliRunner().invoke(command, words)
    assert result.exit_code == 1
    assert "RESULT PASS" in result.stdout
    assert "anvil preflight: " in result.stderr


def test_an_endpoint_cannot_write_to_the_terminal() -> None:
    with running(Engine("escape")) as engine:
        result = CliRunner().invoke(command, ["--base-url", engine.url, "--model", MODEL, "--only", "smoke"])
    assert "http_418" in result.stdout
    assert "\x1b" not in result.stdout


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ((), "--base-url and --model"),
        (("--base-url", "ftp://x", "--model", "m"), "http"),
        (("--base-url", "http://user:pw@127.0.0.1", "--model", "m"), "--api-key-env"),
        (("--base-url", "http://127.0.0.1:1", "--model", "m", "--only", "smoek"), "did you mean smoke"),
        (("--base-url", "http://127.0.0.1:1", "--model", "m", "--only", ","), "names no test"),
        (("--base-url", "http://127.0.0.1:1", "--model", "m", "--no-thinking"), "--family"),
        (("--base-url", "http://127.0.0.1:1", "--model", "m", "--api-key-env", CANARY), "never the key"),
        (("--base-url", "http://127.0.0.1:1", "--model", "m", "--api-key", CANARY), "--api-key-env"),
        (("--base-url", "http://127.0.0.1:1", "--model", "m", "--out", "/nowhere/a.json"), "--mkdir"),
        (("--serve", "a", "--tier", "b"), "give one"),
        (("--serve", "a", "--topology", "/nowhere/t.toml"), "no such file"),
        (("--nedle-tokens", "3"), "--needle-tokens"),
    ],
)
def test_refusals(words: tuple[str, ...], says: str) -> None:
    result = preflight(*words)
    assert result.exit_code == 2
    assert says in result.stderr
    assert CANARY not in result.stderr + result.stdout
    assert result.stdout == ""


def test_help() -> None:
    result = CliRunner().invoke(command, ["--help"])
    assert result.exit_code == 0
    assert "--needle-tokens" in result.stdout


def test_an_interrupt_exits_130() -> None:
    async def interrupted() -> None:
        raise KeyboardInterrupt

    with pytest.raises(SystemExit) as stopped:
        run(interrupted())
    assert stopped.value.code == 130


def test_the_router_image_needs_no_deploy_package() -> None:
    names = ("jinja2", "yaml", "json5", "pyinfra", "tomli_w", "supervisor")
    code = f"import sys, anvil.cli.preflight, anvil.cli.bench; print([n for n in {names} if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
