"""What an operator sees and switches: pings, the observer, the page, replay, readiness, metrics."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.router import tier as t
from tests.router.conftest import ROOT, Running, config_toml, tier_toml
from tests.router.test_process import anvil

Tiers = Callable[..., t.Tier]
Routers = Callable[..., Running]
BODY = {"model": "review", "messages": [{"role": "user", "content": "hi"}], "stream": True}


def test_pings_keep_a_held_answer_alive_and_are_recorded(tier: Tiers, router: Routers) -> None:
    slow = tier(lambda _: t.chat_stream("a", "b", "c", pause=0.8))
    running = router(config_toml(tier_toml("fast-local", slow.url), router="hold_ping_s = 1"))
    started = time.monotonic()
    with running.client.stream("POST", "/v1/chat/completions", json=BODY) as answer:
        lines = answer.iter_lines()
        assert next(lines) == ": anvil"
        assert time.monotonic() - started < 2
        assert "[DONE]" in "\n".join(lines)
    assert "x-anvil-tier" not in answer.headers
    assert running.last()["pinged"] is True
    assert running.last()["served_tier"] == "fast-local"


def test_comments_fill_a_live_stream_as_often_as_the_tier_is_silent(tier: Tiers, router: Routers) -> None:
    talk = t.sse(t.chunk({"content": "a"}), 2.6, t.chunk({"content": "b"}), t.chunk(finish="stop"), t.DONE)
    running = router(config_toml(tier_toml("fast-local", tier(lambda _: talk).url), router="hold_ping_s = 1"))
    body = {"model": "chat", "messages": [{"role": "user", "content": "hi"}], "stream": True}
    told = running.client.post("/v1/chat/completions", json=body).text
    assert told.count(": anvil\n\n") == 2
    assert not running.last()["pinged"]  # the answer had begun, so the status was still the tier's


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages", "/v1/responses"])
def test_a_failure_after_a_ping_is_an_error_event_under_200(tier: Tiers, router: Routers, path: str) -> None:
    bad = tier(lambda _: t.Script([1.4, *t.response(500, b"x").steps]))
    running = router(config_toml(tier_toml("fast-local", bad.url), router="hold_ping_s = 1"))
    body = BODY | {"max_tokens": 9} if path != "/v1/responses" else {"model": "review", "input": "hi", "stream": True}
    answer = running.client.post(path, json=body)
    assert answer.status_code == 200
    assert answer.text.startswith(": anvil")
    assert "error" in answer.text
    assert "[DONE]" not in answer.text
    assert running.last()["outcome"] == "exhausted"


def test_an_observer_hears_of_every_request_and_cannot_hurt_one(tier: Tiers, router: Routers, tmp_path: Path) -> None:
    text = config_toml(tier_toml("fast-local", tier().url), router='observer = "tests.router.observers:note"')
    running = router(text, {"OBSERVED": str(tmp_path / "seen")})
    for _ in range(3):
        assert running.client.post("/v1/chat/completions", json=BODY).status_code == 200
    time.sleep(0.3)
    seen = (tmp_path / "seen").read_text().split()
    assert len(seen) == 3
    assert seen[0].startswith("dec_")


def test_the_page_needs_no_token_and_holds_no_secret_and_can_be_switched_off(tier: Tiers, router: Routers) -> None:
    config = config_toml(tier_toml("fast-local", tier().url), server='auth_env = "TOK"')
    running = router(config, {"TOK": "k" * 30})
    for path in ("/", "/?page.js", "/?style.css"):
        answer = running.client.get(path)
        assert answer.status_code == 200
        assert answer.headers["content-security-policy"] == "default-src 'self'"
        assert "fast-local" not in answer.text
    running = router(config_toml(tier_toml("fast-local", tier().url), server="dashboard = false"))
    assert running.client.get("/").status_code == 404


def test_replay_names_what_a_new_configuration_would_move(tier: Tiers, router: Routers, tmp_path: Path) -> None:
    one, two = tier(), tier()
    tiers = tier_toml("fast-local", one.url), tier_toml("heavy-local", two.url)
    running = router(config_toml(*tiers))
    for model in ("chat", "chat", "review"):
        running.client.post("/v1/chat/completions", json=BODY | {"model": model})
    recorded = tmp_path / "decisions.jsonl"
    recorded.write_bytes(running.client.get("/v1/decisions?format=jsonl").content)
    candidate = tmp_path / "new.toml"
    candidate.write_text(
        config_toml(*tiers, presets={"chat": ["heavy-local"], "review": ["fast-local", "heavy-local"]})
    )
    done = anvil("replay", str(recorded), "--config", str(candidate), "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["replayed"] == 3
    assert [(m["preset"], m["after"][0]) for m in report["moved"]] == [("chat", "heavy-local")] * 2
    (group,) = report["by_tier_and_class"]
    assert group == {"work_class": "chat", "before": "fast-local", "after": "heavy-local", "requests": 2}
    told = anvil("replay", str(recorded), "--config", str(candidate), "--fail-on-change")
    assert (told.returncode, "chat: fast-local -> heavy-local  2\n" in told.stdout) == (1, True)
    same = anvil("replay", str(recorded), "--config", str(running.config), "--fail-on-change")
    assert same.returncode == 0, same.stderr
    bad = tmp_path / "bad.jsonl"
    bad.write_text("{}\n")
    assert anvil("replay", str(bad), "--config", str(candidate)).returncode == 2


def test_decisions_and_explain_tell_a_request_in_words(tier: Tiers, router: Routers) -> None:
    running = router(
        config_toml(tier_toml("fast-local", tier(lambda _: t.chat("")).url), tier_toml("heavy-local", tier().url))
    )
    answer = running.client.post("/v1/chat/completions", json=BODY | {"stream": False, "model": "chat"})
    found = answer.headers["x-anvil-decision"]
    table = anvil("decisions", "--url", running.url)
    assert found in table.stdout
    story = anvil("explain", found, "--url", running.url).stdout
    assert "fast-local" in story
    assert "non_empty_content" in story
    assert "heavy-local" in story


def test_decisions_can_be_followed_live(tier: Tiers, router: Routers) -> None:
    running = router(config_toml(tier_toml("fast-local", tier().url)))
    follower = subprocess.Popen(
        [sys.executable, "-m", "anvil", "decisions", "--follow", "--json", "--url", running.url],
        stdout=subprocess.PIPE,
        cwd=ROOT,
        text=True,
    )
    read, done = threading.Event(), threading.Event()

    def ask() -> None:  # it may take the follower a while to start: what comes before it is not shown
        while not read.wait(0.5):
            running.client.post("/v1/chat/completions", json=BODY)
        done.set()

    try:
        threading.Thread(target=ask).start()
        assert follower.stdout is not None
        assert json.loads(follower.stdout.readline())["outcome"] == "served"
    finally:
        read.set()
        assert done.wait(10)
        follower.terminate()
        follower.communicate(timeout=5)


def test_metrics_count_what_happened(tier: Tiers, router: Routers) -> None:
    running = router(config_toml(tier_toml("fast-local", tier().url)))
    running.client.post("/v1/chat/completions", json=BODY)
    running.client.get("/nowhere")
    text = running.client.get("/metrics").text
    assert 'anvil_requests_total{endpoint="chat",outcome="served",status="200",work_class="review"} 1.0' in text
    assert 'anvil_refused_total{reason="not_found"} 1.0' in text
    assert "anvil_overhead_seconds_count" in text
    assert "gen_ai_server_request_duration_seconds_bucket" in text


def test_readyz_can_probe_and_tells_a_tier_that_is_gone(tier: Tiers, router: Routers) -> None:
    alive = tier()
    running = router(config_toml(tier_toml("fast-local", alive.url), tier_toml("heavy-local", "http://127.0.0.1:9/v1")))
    tiers = {row["id"]: row for row in running.client.get("/readyz?probe=1").json()["tiers"]}
    assert tiers["fast-local"]["reachable"] is True
    assert tiers["heavy-local"]["reachable"] is False


def test_a_tier_without_a_model_is_asked_for_it(tier: Tiers, router: Routers) -> None:
    one = tier()
    running = router(config_toml(tier_toml("fast-local", one.url, model="")))
    assert running.client.post("/v1/chat/completions", json=BODY).status_code == 200
    assert one.seen[-1].json["model"] == "upstream-model"


def test_harness_documents_describe_this_router(tier: Tiers, router: Routers) -> None:
    running = router(config_toml(tier_toml("fast-local", tier().url)))
    names = [row["name"] for row in running.client.get("/v1/harness").json()]
    assert {"openclaw", "claude-code", "codex", "opencode", "pi", "aider", "openai", "anthropic"} <= set(names)
    for name in names:
        document = running.client.get(f"/v1/harness/{name}").json()
        assert document["harness"] == name
        assert running.url.removeprefix("http://") in json.dumps(document)
    assert running.client.get("/v1/harness/nothing").status_code == 404
    assert running.client.get("/v1/harness/codex?nope=1").status_code == 400
