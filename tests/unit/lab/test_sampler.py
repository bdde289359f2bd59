"""The sampler: returns at once, loses rather than waits, keeps secrets, writes only a candidate (router 21.3)."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anvil.lab import sampler as sampling
from anvil.lab.judge import Sample
from anvil.lab.sampler import PENDING, WORKERS, Grade, Sampler, checked, judged
from anvil.lab.writing import WriteRefused
from anvil.router import dialects, profile
from anvil.router.fingerprint import fingerprint
from anvil.router.profile import Row
from anvil.router.redact import Scrubber
from tests.router.conftest import start_router
from tests.router.tier import Tier, auto
from tests.unit.lab.calibrate import house
from tests.unit.lab.judge.scripted import Client, Told, reply
from tests.unit.router.decision_samples import decision
from tests.unit.router.routing import config, local

SMALL = local("small", extra_body={"think": False})
CLAUDE = local("twin", model="claude-twin")
CONFIG = config(SMALL, CLAUDE)

Make = Callable[..., Sampler]


@pytest.fixture
def sampler(tmp_path: Path) -> Iterator[Make]:
    made: list[Sampler] = []

    def make(grader: Any, **options: Any) -> Sampler:
        made.append(Sampler(CONFIG, grader, tmp_path / "candidate.json", **options))
        return made[-1]

    yield make
    for one in made:
        one.close()


def rows(folder: Path) -> list[Row]:
    return profile.read((folder / "candidate.json").read_bytes(), "candidate")[1]


def test_a_grade_becomes_a_row_of_the_candidate(sampler: Make, tmp_path: Path) -> None:
    judge = Told([20])
    one = sampler(judged(judge))
    one.observe("plan it", "### T001", "planning", SMALL)
    assert one.drain(5)
    (row,) = rows(tmp_path)
    assert (row.tier_id, row.work_class, row.decision, row.quality_score, row.sample_n) == (
        "small", "planning", "deny", 0.8, 1,
    )  # fmt: skip
    assert (row.fingerprint, row.reasoning, row.source_evals) == (fingerprint(SMALL), {"think": False}, ["live"])
    assert json.loads((tmp_path / "candidate.json").read_text())["mode"] == "live"
    assert judge.asked == [Sample("planning", "plan it", "### T001")]


def test_grades_add_up_over_restarts_and_keep_the_rows_of_the_live_profile(sampler: Make, tmp_path: Path) -> None:
    live = [Row(tier_id="small", work_class="review", decision="deny", quality_score=0.2)]
    for score in (0.5, 1.0):
        one = sampler(lambda *_, score=score: score, live=live)
        one.observe("q", "a", "chat", SMALL)
        assert one.drain(5)
        one.close()
    found = {row.work_class: row for row in rows(tmp_path)}
    assert (found["chat"].quality_score, found["chat"].sample_n) == (0.75, 2)
    assert (found["review"].decision, found["review"].source_evals) == ("deny", [])


def test_it_returns_at_once_and_drops_what_is_too_much(sampler: Make) -> None:
    release = threading.Event()
    running = threading.Semaphore(0)

    def slow(*_: object) -> float:
        running.release()
        assert release.wait(10)
        return 1.0

    one = sampler(slow)
    started = time.perf_counter()
    for _ in range(PENDING + 7):
        one.observe("q", "a", "chat", SMALL)
    assert time.perf_counter() - started < 1
    assert (one.pending, one.dropped) == (PENDING, 7)
    assert all(running.acquire(timeout=5) for _ in range(WORKERS))
    assert not running.acquire(timeout=0.05), "no more than two at a time"
    assert not one.drain(0.01)
    release.set()
    assert one.drain(10)
    assert (one.pending, one.errors) == (0, {})


def test_a_grade_that_comes_after_the_end_is_no_longer_written(sampler: Make, tmp_path: Path) -> None:
    judging, release = threading.Semaphore(0), threading.Event()
    asked: list[Sample] = []

    def slow(sample: Sample, _: object) -> float:
        asked.append(sample)
        judging.release()
        assert release.wait(10)
        return 1.0

    one = sampler(slow)
    for _ in range(WORKERS + 3):
        one.observe("q", "a", "chat", SMALL)
    assert all(judging.acquire(timeout=5) for _ in range(WORKERS))
    one.close(0.0)
    release.set()
    for thread in one._threads:
        thread.join(5)
    assert len(asked) == WORKERS, "what is queued asks no judge any more"
    assert not (tmp_path / "candidate.json").exists()


def test_the_rate_decides_what_is_graded(sampler: Make) -> None:
    draws = iter([0.0, 0.25, 0.5, 0.99])
    seen: list[Sample] = []
    one = sampler(lambda sample, tier: seen.append(sample) or 1.0, rate=0.5, draw=lambda: next(draws))
    for number in range(4):
        one.observe(str(number), "a", "chat", SMALL)
    assert one.drain(5)
    assert sorted(sample.request for sample in seen) == ["0", "1"]


def test_secrets_and_dropped_fields_reach_no_grader(sampler: Make) -> None:
    seen: list[Sample] = []
    one = sampler(
        lambda sample, tier: seen.append(sample) or 1.0,
        scrubber=Scrubber(["my-very-own-secret"]),
        drop=("system", "metadata"),
    )
    request = {"system": "internal", "messages": [{"role": "user", "content": "use my-very-own-secret and sk-abcdef123"}],
               "api_key": "hunter2hunter2", "tools": [{"metadata": {"user": "ada"}}]}  # fmt: skip
    one.observe(request, "Bearer abcdefghij", "chat", SMALL)
    assert one.drain(5)
    text = seen[0].request + seen[0].answer
    for secret in ("my-very-own-secret", "sk-abcdef123", "hunter2hunter2", "internal", "ada", "abcdefghij"):
        assert secret not in text
    assert "use [REDACTED]" in text


def test_errors_are_counted_by_type_and_hurt_nobody(sampler: Make, tmp_path: Path) -> None:
    def fail(sample: Sample, tier: object) -> object:
        if sample.request == "raise":
            raise RuntimeError("a prompt could be in here")
        return {"true": True, "text": "0.9", "nan": float("nan"), "word": {"score": 1, "decision": "maybe"}}[
            sample.request
        ]

    one = sampler(fail)
    for request in ("raise", "true", "text", "nan", "word"):
        one.observe(request, "a", "chat", SMALL)
    assert one.drain(5)
    assert one.errors == {"RuntimeError": 1, "TypeError": 2, "ValueError": 2}
    assert not (tmp_path / "candidate.json").exists()


def test_a_judge_never_grades_its_own_family(sampler: Make) -> None:
    judge = Told([25])
    one = sampler(judged(judge))
    one.observe("q", "a", "chat", CLAUDE)
    assert one.drain(5)
    assert (judge.asked, one.errors) == ([], {"SelfJudgement": 1})


def test_a_candidate_that_cannot_be_written_costs_a_count(tmp_path: Path) -> None:
    one = Sampler(CONFIG, lambda *_: 1.0, tmp_path / "gone" / "candidate.json")
    one.observe("q", "a", "chat", SMALL)
    assert one.drain(5)
    assert one.errors == {"WriteRefused": 1}
    one.close()


@given(st.floats(-10, 10))
def test_scores_are_brought_into_range(score: float) -> None:
    for found in (checked(score), checked({"score": score, "other": 1}), checked(Grade(score, "allow", "ok"))):
        assert found.score == min(1.0, max(0.0, score))


def test_texts_of_data() -> None:
    assert sampling.as_text(None) == ""
    assert sampling.as_text({"a": [1]}) == '{"a":[1]}'


# ------------------------------------------------------------------------------------------- as an observer


def test_a_router_feeds_it_and_its_own_profile_does_not_change(tmp_path: Path) -> None:
    folder = tmp_path / "router"
    folder.mkdir()
    tier = Tier(auto("an", " answer with sk-canary1234")).start()
    client = Client(tmp_path / "judge", reply(4, 4, 4, 4, 4))
    environ = {"ANVIL_SAMPLER_CANDIDATE": str(tmp_path / "candidate.json"), "ANVIL_CLAUDE_BIN": str(client.path),
               "ANVIL_SAMPLER_CONFIG": str(folder / "router.toml"), "SMALL_KEY": "tier-key-of-the-house"}  # fmt: skip
    text = house.router(folder, house.tier("small", tier.url)).read_text()
    text = text.replace("[router]\n", '[router]\nobserver = "anvil.lab.sampler:observe"\n', 1)
    running = start_router(folder, text, environ)
    body = {"model": "chat", "messages": [{"role": "user", "content": "say tier-key-of-the-house"}]}
    try:
        assert running.client.post("/v1/chat/completions", json=body | {"stream": True}).status_code == 200
        assert running.client.post("/v1/chat/completions", json=body).status_code == 200
        running.decisions()
        end = time.monotonic() + 10
        while not (tmp_path / "candidate.json").exists() or rows(tmp_path)[0].sample_n < 2:
            assert time.monotonic() < end, running.logged()
            time.sleep(0.05)
        metrics = running.client.get("/metrics").text
    finally:
        running.stop(expect=None)
        tier.stop()
    (row,) = rows(tmp_path)
    assert (row.tier_id, row.work_class, row.quality_score, row.source_evals) == ("small", "chat", 0.8, ["live"])
    assert "anvil_observer_dropped_total 0" in metrics
    asked = [str(call["prompt"]) for call in client.calls]
    assert all("an answer with [REDACTED]" in prompt and "say [REDACTED]" in prompt for prompt in asked)
    assert sorted(folder.iterdir()) == [folder / "router.log", folder / "router.toml"], "nothing else was written"


def test_it_is_off_unless_configured_and_says_once_what_is_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    served = decision(served_tier="small", served_tier_privacy="local")
    turn = dialects.caller("openai").parse(b'{"messages":[{"role":"user","content":"hi"}]}')
    sampling.SamplingObserver({})(served, turn, "an answer")
    config_file = house.router(tmp_path, house.tier("small", "http://127.0.0.1:7001/v1"))
    environ = {"ANVIL_SAMPLER_CANDIDATE": str(tmp_path / "c.json")}
    with pytest.raises(sampling.SamplerOff, match="ANVIL_SAMPLER_CONFIG"):
        sampling.SamplingObserver(environ)(served, turn, "an answer")
    environ["ANVIL_SAMPLER_CONFIG"] = str(config_file)
    one = sampling.SamplingObserver(environ)
    with pytest.raises(sampling.SamplerOff, match="not the configuration that runs"):
        one(served, turn, "an answer")
    with pytest.raises(sampling.SamplerOff):
        one(served, turn, "an answer")
    assert capsys.readouterr().err.count("sampler off: ") == 2, "one line per reason"
    for other in (decision(outcome="exhausted"), decision(served_tier="paid", served_tier_privacy="cloud")):
        one(other, turn, "an answer")
    one(served, turn, None)
    assert not (tmp_path / "c.json").exists()
    environ["ANVIL_SAMPLER_CANDIDATE"] = str(tmp_path / "gone" / "c.json")
    with pytest.raises(WriteRefused, match="gone"):
        sampling.SamplingObserver(environ)(served, turn, "an answer")
    assert "sampler off: " in capsys.readouterr().err


def test_the_newest_messages_are_kept_when_a_conversation_is_long() -> None:
    messages = [{"role": "user", "content": f"{number} " + "x" * 5000} for number in range(9)]
    body = {"messages": [{"role": "system", "content": "be brief"}, *messages]}
    found = sampling.request_of(dialects.caller("openai").parse(json.dumps(body).encode()))
    assert found["system"] == "be brief"
    kept = [message["content"] for message in found["messages"]]  # type: ignore[attr-defined]
    assert sum(map(len, kept)) == 12_000
    assert [text[:2] for text in kept[1:]] == ["7 ", "8 "]
