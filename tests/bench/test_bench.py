"""The measuring instruments themselves: what they count, and that a wrong answer is noticed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.bench import bodies, hot, processes, tools
from tests.bench.__main__ import main
from tests.bench.figures import Figures, Start, targets
from tests.bench.lanes import TOKEN, free_port
from tests.bench.rounds import Load, Sample
from tests.bench.scenarios import CHAT_PATH, MARKER, plain, streams

CHUNKS = 5


@pytest.fixture(scope="module")
def upstream() -> Iterator[tuple[int, int, int]]:
    """Ports without delay and with 20 ms, and the process id."""
    instant, paced = free_port(), free_port()
    argv = [str(tools.build("upstream")), f"{instant}:0:{CHUNKS}", f"{paced}:20:{CHUNKS}"]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        yield instant, paced, process.pid


def load(folder: Path, port: int, body: bytes, *rest: str, path: str = CHAT_PATH, seconds: float = 0.1) -> Any:
    request = folder / "request"
    request.write_bytes(bodies.wire(path, body, TOKEN))
    argv = [str(tools.build("load")), str(port), "4", str(seconds), str(request), *rest]
    return json.loads(subprocess.run(argv, check=True, capture_output=True, timeout=40).stdout)


def test_plain_answers_are_counted(upstream: tuple[int, int, int], tmp_path: Path) -> None:
    found = load(tmp_path, upstream[0], bodies.agent(), MARKER)
    assert found["errors"] == 0
    assert found["requests"] > 100
    assert 0 < found["latency_p50"] <= found["latency_p99"]


def test_a_wrong_answer_is_an_error(upstream: tuple[int, int, int], tmp_path: Path) -> None:
    found = load(tmp_path, upstream[0], bodies.chat(), "text that no answer has")
    assert found["requests"] == 0
    assert found["first_error"].startswith("marker missing")


def test_a_refused_connection_is_an_error(tmp_path: Path) -> None:
    found = load(tmp_path, free_port(), bodies.chat(), MARKER)
    assert found["requests"] == 0
    assert found["errors"] > 0


def test_every_chunk_of_a_stream_is_timed(upstream: tuple[int, int, int], tmp_path: Path) -> None:
    found = load(tmp_path, upstream[1], bodies.chat(stream=True), MARKER, str(CHUNKS), "10")
    assert found["errors"] == 0
    assert found["chunks"] == found["requests"] * CHUNKS
    # CHUNKS deltas and the end are each one pace after the one before; the first comes at once.
    assert found["latency_p50"] >= CHUNKS * 20_000
    assert 0 < found["ttft_p50"] < 15_000
    assert 0 < found["delay_p50"] < 15_000


def test_a_missing_chunk_is_an_error(upstream: tuple[int, int, int], tmp_path: Path) -> None:
    found = load(tmp_path, upstream[0], bodies.chat(stream=True), MARKER, str(CHUNKS + 1), "0")
    assert found["requests"] == 0
    assert found["first_error"].startswith(f"{CHUNKS} of {CHUNKS + 1} chunks")


def test_bodies_have_the_published_sizes() -> None:
    assert len(bodies.chat()) == pytest.approx(1_900, rel=0.05)
    assert len(bodies.agent()) == pytest.approx(108_000, rel=0.02)
    agent = json.loads(bodies.agent())
    assert (len(agent["messages"]), len(agent["tools"])) == (34, 50)


def test_the_anthropic_body_is_the_same_conversation() -> None:
    openai, anthropic = json.loads(bodies.agent()), json.loads(bodies.agent_anthropic())
    assert anthropic["system"] == openai["messages"][0]["content"]
    assert [t["input_schema"] for t in anthropic["tools"]] == [t["function"]["parameters"] for t in openai["tools"]]
    blocks = [block for message in anthropic["messages"] for block in message["content"]]
    results = [block["content"] for block in blocks if block["type"] == "tool_result"]
    assert results == [m["content"] for m in openai["messages"] if m["role"] == "tool"]


def test_a_listener_is_found_by_its_socket(upstream: tuple[int, int, int]) -> None:
    assert processes.listeners(upstream[0]) == {upstream[2]}
    assert upstream[2] in processes.tree({os.getpid()})


def test_cpu_time_covers_children_that_have_ended() -> None:
    burn = "import time\nwhile time.process_time() < 0.15: pass"
    before = processes.cpu_ns({os.getpid()})
    subprocess.run([sys.executable, "-c", burn], check=True)
    assert processes.cpu_ns({os.getpid()}) - before > 100_000_000


def test_cpu_time_covers_threads_that_have_ended() -> None:
    burn = "while time.process_time() < 0.15: pass"
    script = (
        f"import threading, time\ndef burn():\n    {burn}\nt = threading.Thread(target=burn)\nt.start()\nt.join()\n"
        "print(time.process_time_ns(), flush=True)\ninput()"
    )
    argv = [sys.executable, "-c", script]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        told = int(process.stdout.readline())
        seen = processes.cpu_ns({process.pid})
        process.communicate(b"\n")
    assert told <= seen < told + 20_000_000


def sample(turn: int, scenario: str, lane: str, cpu_us: float) -> Sample:
    return Sample(turn, scenario, lane, Load(1, 0, 0, "", 1.0, 1, 1, 1, 1, 1, 1), cpu_us)


def test_ratios_are_taken_within_a_turn() -> None:
    rows = tuple([*plain(), *streams()])
    chat = next(row for row in rows if row.key == "chat-16")
    # The second turn ran on a machine three times as slow: the ratio must not see it.
    figures = Figures(
        rows,
        [
            *[sample(0, "chat-16", "anvil", 100), sample(0, "chat-16", "vllm-router", 50)],
            *[sample(1, "chat-16", "anvil", 330), sample(1, "chat-16", "vllm-router", 150)],
        ],
        [Start("anvil", 0.5, 101.0, 50.0)],
    )
    assert figures.ratio(chat, "vllm-router") == pytest.approx(2.1)
    assert figures.spread(chat, "vllm-router") == pytest.approx((2.0, 2.2))
    assert figures.ratio(chat, "nginx") is None
    verdicts = {target.name: target.met for target in targets(figures) if target.binding}
    assert verdicts == {
        "CPU, 2 kB, 16 connections, against vllm-router": False,
        "CPU, 108 kB agent, against vllm-router": False,
        "memory, idle": False,
    }


@pytest.mark.parametrize("case", hot.CASES)
def test_the_hot_path_answers_every_case(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hot, "SAMPLE_S", 0.01)
    assert hot.main(case, profile=False, save=None, against=None) == 0


def test_an_unknown_scenario_is_refused() -> None:
    assert main(["--only", "no-such-scenario"]) == 2
