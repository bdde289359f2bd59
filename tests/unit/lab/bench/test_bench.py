"""B2: the bench against a scripted engine, through the command."""

from __future__ import annotations

import itertools
import json
import re
import socket
import threading
import tomllib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import httpx
import pytest
from click.testing import CliRunner, Result

from anvil.cli.bench import command
from anvil.cli.usage import command as usage
from anvil.lab import chat
from anvil.lab.bench.load import Outcome, timed
from anvil.lab.endpoint import Endpoint
from tests.unit.lab.preflight.scripted import MODEL, Engine, running

CANARY = "sk-canary-0123456789"
SMALL = ("--requests", "6", "--concurrency", "3", "--ctx-tokens", "200", "--shared-prefix-tokens", "80")


def bench(*words: str, env: dict[str, str] | None = None) -> Result:
    return CliRunner(env=env).invoke(command, list(words))


def against(engine: Engine, *words: str) -> tuple[int, dict[str, Any]]:
    result = bench("--base-url", engine.url, "--model", MODEL, *SMALL, "--json", *words)
    assert result.stdout, result.stderr
    return result.exit_code, json.loads(result.stdout)


def prompts(engine: Engine) -> list[str]:
    return [body["messages"][0]["content"] for body in engine.bodies]


def test_tokens_and_cache_come_from_usage() -> None:
    with running(Engine()) as engine:
        code, report = against(engine)
    figures = report["metrics"]
    assert (code, report["schema"], report["requests"], report["completed"]) == (0, "anvil.bench/v1", 6, 6)
    assert (figures["output_tokens"], figures["output_tokens_estimated"]) == (6 * 7, False)
    assert (figures["prefix_cache_hit_avg"], figures["prompt_tokens_avg"]) == (0.75, 40)
    assert (report["engine"], report["engine_version"], report["gpu_model"]) == ("vllm", "0.32.0", None)
    assert (report["context_tokens"], report["window"], report["failures"]) == (200, 200_000, {})
    asked = engine.bodies[-1]
    assert (asked["stream"], asked["stream_options"], asked["temperature"]) == (True, {"include_usage": True}, 0)


def test_without_usage_pieces_are_counted_and_called_estimated() -> None:
    with running(Engine("no_usage")) as engine:
        _, report = against(engine)
    assert report["metrics"]["output_tokens"] == 6 * 3
    assert report["metrics"]["output_tokens_estimated"] is True
    assert report["metrics"]["prefix_cache_hit_avg"] is None
    assert any("estimated" in note for note in report["notes"])


class Reads(httpx.AsyncByteStream):
    def __init__(self, reads: list[bytes]) -> None:
        self.reads = reads

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for each in self.reads:
            yield each


async def ticking(reads: list[bytes]) -> Outcome:
    """One request whose answer comes in these reads; the clock ticks a second whenever it is looked at."""
    ticks = itertools.count()
    transport = httpx.MockTransport(lambda _: httpx.Response(200, stream=Reads(reads)))
    async with httpx.AsyncClient(transport=transport) as http:
        endpoint = Endpoint("http://127.0.0.1:9/v1", MODEL)
        return await timed(http, endpoint, "hello", 8, 5, lambda: float(next(ticks)))


def event(**members: Any) -> bytes:
    return b"data: " + json.dumps(members).encode() + b"\n\n"


TOKENS = [event(choices=[{"delta": {"content": "x"}}]) for _ in range(3)]
ENDING = event(choices=[], usage={"completion_tokens": 7}) + b"data: [DONE]\n\n"


async def test_instants_are_taken_at_the_first_and_last_piece() -> None:
    outcome = await ticking([*TOKENS, ENDING])
    # asked at 0, three pieces at 1, 2 and 3, the ending at 4, noted at 5; 7 tokens by usage
    assert (outcome.ttft_ms, outcome.ttft_content_ms, outcome.e2e_ms) == (1000, 1000, 5000)
    assert outcome.decode_tok_s == (7 - 1) / 2


async def test_what_comes_in_one_read_has_no_decode_rate() -> None:
    outcome = await ticking([b"".join(TOKENS) + ENDING])
    assert (outcome.ttft_ms, outcome.output_tokens, outcome.decode_tok_s) == (1000, 7, None)


async def test_a_count_below_zero_is_malformed() -> None:
    outcome = await ticking([*TOKENS, ENDING.replace(b"7", b"-7")])
    assert outcome.failure == "malformed"


@pytest.mark.parametrize("cap", [0, 1000])
async def test_a_stream_that_does_not_stop_is_given_up(cap: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chat, "STREAM_CAP", cap)
    outcome = await ticking([TOKENS[0]] * (cap // 10 + 1))
    assert outcome.failure == "malformed"
    assert "MiB" in outcome.detail


async def test_what_is_no_stream_is_quoted() -> None:
    assert "<html> Welcome" in (await ticking([b"<html>\n", b"Welcome"])).detail
    assert "without [DONE]" in (await ticking(TOKENS)).detail
    assert "empty" in (await ticking([])).detail


def test_reasoning_is_first_output_and_the_first_content_is_told_apart() -> None:
    with running(Engine("reasons_first", delay_s=0.05)) as engine:
        code, report = against(engine, "--requests", "2")
    figures = report["metrics"]
    assert code == 0
    assert figures["ttft_p50_ms"] < figures["ttft_content_p50_ms"] < figures["e2e_p50_ms"]


def test_only_reasoning_still_counts_as_output() -> None:
    with running(Engine("thinking")) as engine:
        code, report = against(engine)
    assert (code, report["completed"]) == (0, 6)
    assert report["metrics"]["ttft_p50_ms"] > 0
    assert report["metrics"]["ttft_content_p50_ms"] is None


@pytest.mark.parametrize(
    ("mode", "failures"),
    [
        ("no_model", {"http_404": 6}),
        ("small", {"over_window": 6}),
        ("cut", {"malformed": 6}),
        ("not_json", {"malformed": 6}),
        ("silent", {"empty_content": 6}),
    ],
)
def test_nothing_completed_exits_1(mode: str, failures: dict[str, int]) -> None:
    with running(Engine(mode)) as engine:
        code, report = against(engine)
    assert (code, report["completed"], report["failures"]) == (1, 0, failures)
    assert report["metrics"]["ttft_p50_ms"] is report["metrics"]["throughput_tok_s"] is None
    assert any(note.startswith(f"first {next(iter(failures))}") for note in report["notes"])


def test_a_slow_engine_times_out() -> None:
    with running(Engine(delay_s=2)) as engine:
        code, report = against(engine, "--requests", "3", "--timeout", "0.1", "--warmup", "0")
    assert (code, report["failures"]) == (1, {"timeout": 3})


@pytest.mark.parametrize(("allowed", "code"), [("0", 1), ("0.3", 1), ("0.34", 0)])
def test_allowed_failures_decide_the_exit_code(allowed: str, code: int) -> None:
    with running(Engine()) as engine:
        engine.fail_every = 3
        found, report = against(engine, "--warmup", "0", "--allow-failures", allowed)
    assert (found, report["completed"], report["failures"]) == (code, 4, {"http_500": 2})


def test_nobody_there_exits_3_with_one_document() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        result = bench("--base-url", f"http://127.0.0.1:{closed.getsockname()[1]}", "--model", "m", "--json")
    assert result.exit_code == 3
    assert json.loads(result.stdout)["error"]["class"] == "unreachable"


def test_a_loading_engine_exits_3_and_is_asked_nothing() -> None:
    with running(Engine("loading")) as engine:
        code, report = against(engine)
    assert (code, report["error"]["class"], engine.bodies) == (3, "loading", [])


def test_so_many_at_once_and_a_warmup_before() -> None:
    with running(Engine()) as engine:
        engine.meeting = threading.Barrier(3)
        code, _ = against(engine, "--warmup", "0")
    assert (code, engine.most_at_once, len(engine.bodies)) == (0, 3, 6)
    with running(Engine()) as engine:
        against(engine, "--warmup", "2")
    assert len(engine.bodies) == 2 + 6


def test_a_burst_is_all_at_once_and_all_the_same() -> None:
    with running(Engine()) as engine:
        engine.meeting = threading.Barrier(5)
        code, report = against(engine, "--burst", "5", "--warmup", "0")
    assert (code, engine.most_at_once, report["concurrency"], report["requests"]) == (0, 5, 5, 5)
    assert len(set(prompts(engine))) == 1
    assert report["serve_flags"]["shared_prefix_burst"] is True


def test_a_sweep_runs_every_level_with_prompts_of_its_own(tmp_path: Path) -> None:
    drawn = tmp_path / "sweep.svg"
    with running(Engine()) as engine:
        code, report = against(engine, "--sweep", "1,2,4", "--warmup", "0", "--svg-out", str(drawn))
    assert (code, [level["concurrency"] for level in report["levels"]]) == (0, [1, 2, 4])
    assert report["concurrency"] == 4
    assert report["metrics"] == report["levels"][-1]["metrics"]
    assert len(set(prompts(engine))) == 18
    picture = ElementTree.parse(drawn).getroot()
    assert len(picture.findall("{*}polyline")) == 6


def test_prompts_are_clamped_to_the_live_window_and_it_is_said() -> None:
    with running(Engine(window=2048)) as engine:
        _, report = against(engine, "--ctx-tokens", "0", "--warmup", "0")
    assert report["max_context_tokens"] == 2048 - 64 - 1024
    assert all(len(text) <= report["max_context_tokens"] * 3 for text in prompts(engine))
    assert any("clamped" in note for note in report["notes"])


def test_an_unknown_window_is_said_and_a_stated_one_wins() -> None:
    with running(Engine(window=None)) as engine:
        _, unknown = against(engine, "--requests", "1")
        _, stated = against(engine, "--requests", "1", "--max-model-len", "1400", "--ctx-tokens", "9000")
    assert any("--max-model-len" in note for note in unknown["notes"])
    assert (stated["window"], stated["max_context_tokens"]) == (1400, 312)


def test_sizes_are_drawn_from_a_usage_profile(tmp_path: Path) -> None:
    logs = Path(__file__).parents[1] / "usage" / "logs"
    out = tmp_path / "usage.json"
    assert CliRunner().invoke(usage, ["--logs", str(logs), "--out", str(out)]).exit_code == 0
    with running(Engine()) as engine:
        code, report = against(engine, "--ctx-tokens", "0", "--distribution", str(out), "--warmup", "0")
    sizes = [len(text.split()) / 0.75 for text in prompts(engine)]
    assert (code, report["context_tokens"]) == (0, None)
    assert 20_000 <= min(sizes) < max(sizes) <= report["max_context_tokens"] + 100 <= 40_100


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("nonsense", "anvil usage --out"),
        ('{"schema": "other", "distribution": [[1, 5]]}', "anvil.usage/v1"),
        ('{"schema": "anvil.usage/v1", "distribution": []}', "anvil.usage/v1"),
        ('{"schema": "anvil.usage/v1", "distribution": [[0.5, 5], [0.2, 6], [1, 7]]}', "rising to 1"),
        ('{"schema": "anvil.usage/v1", "distribution": [[0.5, 5]]}', "rising to 1"),
        ('{"schema": "anvil.usage/v1", "distribution": [[1, 0]]}', "rising to 1"),
    ],
)
def test_what_is_no_usage_profile_is_refused(tmp_path: Path, content: str, says: str) -> None:
    file = tmp_path / "usage.json"
    file.write_text(content)
    result = bench("--base-url", "http://127.0.0.1:1", "--model", "m", "--distribution", str(file))
    assert (result.exit_code, says in result.stderr) == (2, True)


def test_flags_state_what_the_endpoint_does_not_say() -> None:
    flags = ("--engine", "mine", "--gpu-model", "RTX", "--gpu-count", "2", "--quantization", "fp8")
    with running(Engine()) as engine:
        _, report = against(engine, "--requests", "1", *flags)
    stated = [report[key] for key in ("engine", "gpu_model", "gpu_count", "quantization")]
    assert stated == ["mine", "RTX", 2, "fp8"]


@pytest.mark.parametrize(
    ("concurrency", "key"), [("1", "throughput_single_tok_s"), ("2", "throughput_aggregate_tok_s")]
)
def test_a_throughput_is_single_at_concurrency_1_only(concurrency: str, key: str) -> None:
    with running(Engine()) as engine:
        words = ("--base-url", engine.url, "--model", MODEL, *SMALL, "--concurrency", concurrency, "--recipe-out", "-")
        result = bench(*words)
    measured = tomllib.loads(result.stdout)["recipe"]["measured"]
    assert {name for name in measured if name.startswith("throughput")} == {key}
    assert ("concurrency" in measured) is (concurrency != "1")
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", measured["measured_at"])


def test_people_get_a_report() -> None:
    with running(Engine()) as engine:
        result = bench("--base-url", engine.url, "--model", MODEL, *SMALL)
    assert "3 at once: 6/6 completed" in result.stdout
    assert "75.0% of prompt tokens" in result.stdout
    assert "of 3 streams" in result.stdout


def test_the_key_appears_in_no_output(tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("a.json", "a.svg", "a.toml")]
    flags = [
        word for pair in zip(("--json-out", "--svg-out", "--recipe-out"), map(str, files), strict=True) for word in pair
    ]
    with running(Engine("unauthorised")) as engine:
        words = ("--base-url", engine.url, "--model", MODEL, *SMALL, "--api-key-env", "MY_KEY", "--json", *flags)
        result = bench(*words, env={"MY_KEY": CANARY})
    assert engine.headers[0]["Authorization"] == f"Bearer {CANARY}"
    assert json.loads(files[0].read_text()) == json.loads(result.stdout)
    assert CANARY not in result.stdout + result.stderr + "".join(file.read_text() for file in files)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ((), "--base-url and --model"),
        (("--base-url", "http://127.0.0.1:1", "--model", "m", "--json", "--recipe-out", "-"), "stdout"),
        (("--base-url", "http://127.0.0.1:1", "--model", "m", "--burst", "2", "--sweep", "1,2"), "--sweep"),
        (("--sweep", "1,zero"), "whole numbers"),
        (("--sweep", "0"), "whole numbers"),
        (("--base-url", "http://127.0.0.1:1", "--model", "m", "--json-out", "/nowhere/a.json"), "--mkdir"),
        (("--concurency", "3"), "--concurrency"),
        (("--allow-failures", "2"), "allow-failures"),
    ],
)
def test_refusals(words: tuple[str, ...], says: str) -> None:
    result = bench(*words)
    assert (result.exit_code, result.stdout) == (2, "")
    assert says in result.stderr


def test_help() -> None:
    result = bench("--help")
    assert result.exit_code == 0
    assert "--sweep" in result.stdout
