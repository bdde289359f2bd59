"""The process: start, reload, drain, crash, and the commands around it (contract 3)."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.router import tier as t
from tests.router.conftest import ROOT, Running, config_toml, free_port, tier_toml

Tiers = Callable[..., t.Tier]
Routers = Callable[..., Running]
BODY = {"model": "chat", "messages": [{"role": "user", "content": "hi"}]}


def anvil(*args: str, env: dict[str, str] | None = None, wait: float = 20) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("ANVIL_")} | (env or {})
    return subprocess.run(
        [sys.executable, "-m", "anvil", *args], capture_output=True, text=True, timeout=wait, cwd=ROOT, env=environment
    )


def until(check: Callable[[], Any], seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < end, "did not happen in time"
        time.sleep(0.05)


def hash_of(router: Running) -> str:
    with httpx.Client() as client:
        return str(client.get(f"{router.url}/healthz").json()["config_hash"])


def test_a_valid_reload_swaps_workers_without_losing_a_request(tier: Tiers, router: Routers) -> None:
    one = tier()
    running = router(config_toml(tier_toml("fast-local", one.url)))
    before = hash_of(running)
    failures: list[str] = []
    stop = threading.Event()

    def load() -> None:
        while not stop.is_set():
            try:
                answer = httpx.post(f"{running.url}/v1/chat/completions", json=BODY, timeout=10)
                if answer.status_code != 200:
                    failures.append(f"{answer.status_code} {answer.text}")
            except httpx.HTTPError as error:
                failures.append(repr(error))
            time.sleep(0.02)

    thread = threading.Thread(target=load)
    thread.start()
    for round_ in range(3):
        running.config.write_text(config_toml(tier_toml("fast-local", one.url), router=f"swap_idle_s = {100 + round_}"))
        running.process.send_signal(signal.SIGHUP)
        last = before
        until(lambda last=last: hash_of(running) != last)  # type: ignore[misc]
        until(lambda: hash_of(running) == hash_of(running))
        before = hash_of(running)
    stop.set()
    thread.join()
    assert failures == []


def test_an_invalid_reload_changes_nothing_and_is_counted(tier: Tiers, router: Routers) -> None:
    running = router(config_toml(tier_toml("fast-local", tier().url)))
    before = hash_of(running)
    running.config.write_text("[router]\nnonsense = 1\n")
    running.process.send_signal(signal.SIGHUP)
    until(lambda: "reload refused" in running.logged())
    assert hash_of(running) == before
    assert running.client.post("/v1/chat/completions", json=BODY).status_code == 200
    assert 'anvil_config_reloads_total{result="refused"} 1.0' in running.client.get("/metrics").text


def test_a_live_stream_survives_a_reload(tier: Tiers, router: Routers) -> None:
    running = router(config_toml(tier_toml("fast-local", tier(lambda _: t.chat_stream(*"abcdef", pause=0.3)).url)))
    with running.client.stream("POST", "/v1/chat/completions", json=BODY | {"stream": True}) as answer:
        lines = answer.iter_lines()
        next(lines)
        running.process.send_signal(signal.SIGHUP)
        rest = "\n".join(lines)
    assert "[DONE]" in rest
    assert '"f"' in rest


def test_sigterm_lets_streams_finish_and_exits_zero(tier: Tiers, router: Routers) -> None:
    running = router(config_toml(tier_toml("fast-local", tier(lambda _: t.chat_stream(*"abcd", pause=0.3)).url)))
    with running.client.stream("POST", "/v1/chat/completions", json=BODY | {"stream": True}) as answer:
        lines = answer.iter_lines()
        next(lines)
        running.process.terminate()
        assert "[DONE]" in "\n".join(lines)
    assert running.process.wait(10) == 0


def test_after_the_drain_time_what_still_streams_ends_in_an_error_event(tier: Tiers, router: Routers) -> None:
    text = config_toml(
        tier_toml("fast-local", tier(lambda _: t.chat_stream(*"abcdefgh", pause=1.0)).url), server="drain_timeout_s = 1"
    )
    running = router(text)
    started = time.monotonic()
    with running.client.stream("POST", "/v1/chat/completions", json=BODY | {"stream": True}) as answer:
        lines = answer.iter_lines()
        while '"a"' not in next(lines):
            pass
        running.process.terminate()
        rest = "\n".join(lines)
    assert "upstream_error" in rest
    assert "[DONE]" not in rest
    assert running.process.wait(10) == 0
    assert time.monotonic() - started < 7


def test_a_dead_worker_is_replaced_within_two_seconds(tier: Tiers, router: Routers) -> None:
    running = router(config_toml(tier_toml("fast-local", tier().url)))
    children = Path(f"/proc/{running.process.pid}/task/{running.process.pid}/children").read_text().split()
    os.kill(int(children[-1]), signal.SIGKILL)
    started = time.monotonic()

    def serving() -> bool:
        try:
            return httpx.post(f"{running.url}/v1/chat/completions", json=BODY, timeout=2).status_code == 200
        except httpx.HTTPError:
            return False

    until(serving, 3)
    assert time.monotonic() - started < 2.5


def test_a_taken_port_is_one_clear_line_and_exit_1(tier: Tiers, router: Routers, tmp_path: Path) -> None:
    running = router(config_toml(tier_toml("fast-local", tier().url)))
    port = running.url.rsplit(":", 1)[1]
    done = anvil("serve", "--config", str(running.config), "--port", port)
    assert done.returncode == 1
    assert f"cannot listen on 127.0.0.1:{port}" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "mapping_version"),
        ("[router]\nmapping_version = 'x'\nmaping = 1\ntiers = []", "maping"),
        ("not toml", "router.toml"),
    ],
)
def test_a_bad_configuration_is_exit_2_naming_the_key(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "router.toml"
    path.write_text(text)
    for command in ("serve", "check"):
        done = anvil(command, "--config", str(path))
        assert done.returncode == 2, done.stderr
        assert says in done.stderr
        assert "Traceback" not in done.stderr


def test_a_missing_token_variable_is_named(tmp_path: Path) -> None:
    path = tmp_path / "router.toml"
    path.write_text(config_toml(tier_toml("fast-local", "http://127.0.0.1:9/v1"), server='auth_env = "MY_TOKEN"'))
    done = anvil("serve", "--config", str(path))
    assert done.returncode == 2
    assert "MY_TOKEN" in done.stderr


def test_no_selector_and_unknown_commands_are_usage_errors() -> None:
    assert anvil("serve").returncode == 2
    done = anvil("serv")
    assert done.returncode == 2
    assert "did you mean serve" in done.stderr
    assert anvil("--help").returncode == 0
    assert anvil().returncode == 0


def test_check_prints_the_hash_that_serve_shows(tier: Tiers, router: Routers) -> None:
    running = router(config_toml(tier_toml("fast-local", tier().url)))
    done = anvil("check", "--config", str(running.config), "--json")
    report = json.loads(done.stdout)
    assert done.returncode == 0
    assert report["config_hash"] == hash_of(running)
    assert report["unservable"] == ["planning", "long-context"]


def test_probe_tells_health_by_exit_code(tier: Tiers, router: Routers) -> None:
    running = router(
        config_toml(tier_toml("fast-local", tier().url), server='auth_env = "ROUTER_TOKEN"'), {"ROUTER_TOKEN": "s" * 30}
    )
    assert anvil("probe", "--healthz", "--url", running.url).returncode == 0
    assert anvil("probe", "--models", "--url", running.url).returncode == 1
    assert anvil("probe", "--models", "--url", running.url, env={"ANVIL_ROUTER_TOKEN": "s" * 30}).returncode == 0
    assert anvil("probe", "--url", f"http://127.0.0.1:{free_port()}").returncode == 3


def test_the_release_beside_the_configuration_shows_in_health(tier: Tiers, router: Routers, tmp_path: Path) -> None:
    running = router(config_toml(tier_toml("fast-local", tier().url)))
    assert running.client.get("/healthz").json()["release"] is None
    (running.config.parent / "RELEASE").write_text("abc123\nmore\n")
    running.process.send_signal(signal.SIGHUP)
    until(lambda: running.client.get("/healthz").json()["release"] == "abc123")


def test_echo_speaks_every_dialect_without_configuration(tmp_path: Path) -> None:
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "anvil", "serve", "--echo", "--port", str(port)], cwd=ROOT, stderr=subprocess.DEVNULL
    )
    url = f"http://127.0.0.1:{port}"
    try:
        until(lambda: _alive(url))
        assert "You said: hi" in httpx.post(f"{url}/v1/chat/completions", json=BODY).text
        assert "You said: hi" in httpx.post(f"{url}/v1/messages", json=BODY | {"max_tokens": 9, "stream": True}).text
        assert "You said: hi" in httpx.post(f"{url}/v1/responses", json={"input": "hi"}).text
        assert httpx.post(f"{url}/v1/route", json={}).status_code == 503
    finally:
        process.terminate()
        assert process.wait(10) == 0


def _alive(url: str) -> bool:
    try:
        return httpx.get(f"{url}/healthz").status_code == 200
    except httpx.HTTPError:
        return False


def test_every_line_of_a_json_log_is_json_the_main_process_included(tier: Tiers, router: Routers) -> None:
    text = config_toml(tier_toml("fast-local", tier().url))
    running = router(text, None, "--log-format", "json")
    running.client.post("/v1/chat/completions", json=BODY)
    running.config.write_text(text.replace('"test"', '"sk-abcdefghijklmnopqrst"').replace("fast-local", ""))
    os.kill(running.process.pid, signal.SIGHUP)
    until(lambda: "reload refused" in running.logged() and '"event":"decision"' in running.logged())
    lines = [json.loads(line) for line in running.logged().splitlines()]
    assert {"ts", "level"} <= set.intersection(*[set(line) for line in lines])
    assert {line["level"] for line in lines} == {"info", "warning", "error"}
    assert "sk-abcdef" not in running.logged()
