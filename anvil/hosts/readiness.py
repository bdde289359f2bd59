"""When a service is ready, still loading, or will never be: a pure judgement and the loop around it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Literal

import gevent  # type: ignore[import-untyped]  # pyinfra runs on it; its sleep lets the other hosts work

from anvil.hosts.containers import ServiceState
from anvil.hosts.probe import EndpointAnswer
from anvil.hosts.shell import Struct

POLL_SECONDS = 5.0
PROGRESS_SECONDS = 15.0
LOG_LINES = 60


class Expectation(Struct, frozen=True, kw_only=True):
    """What a ready service answers. `models_url` empty: health is enough. `window` in tokens, 0 = not checked."""

    health_url: str
    models_url: str = ""
    model: str = ""
    window: int = 0
    timeout_s: float = 900
    every_s: float = POLL_SECONDS


class Verdict(Struct, frozen=True, kw_only=True):
    state: Literal["ready", "waiting", "failed"]
    why: str = ""


def judge(live: ServiceState, answer: EndpointAnswer, expected: Expectation, restarts: int) -> Verdict:
    """`restarts`: the restart count when the wait began; a later one is a crash, whatever the state says now."""
    if live.state in ("exited", "dead", "restarting", "removing", "absent", "foreign"):
        return Verdict(state="failed", why=f"{live.state} (exit code {live.exit_code})")
    if live.state in ("daemon_down", "error", "unknown"):
        return Verdict(state="failed", why=live.error or live.state)
    if live.restart_count > restarts:
        return Verdict(state="failed", why=f"crashed and was restarted ({live.restart_count} restarts)")
    if live.state != "running":
        return Verdict(state="waiting", why=live.state)
    if answer.status == "tool_missing":
        return Verdict(state="failed", why=answer.error)
    if answer.health != 200:
        words = {0: "no answer yet", 503: "loading"}
        return Verdict(state="waiting", why=words.get(answer.health, f"health answers {answer.health}"))
    return _models(answer, expected)


def _models(answer: EndpointAnswer, expected: Expectation) -> Verdict:
    if not expected.models_url:
        return Verdict(state="ready")
    if not answer.models:
        return Verdict(state="waiting", why="healthy, but its model list is empty")
    if expected.model and expected.model not in answer.models:
        served = ", ".join(sorted(answer.models))
        return Verdict(state="failed", why=f"serves {served}, not {expected.model}")
    window = answer.models.get(expected.model, 0)
    if window and window < expected.window:
        return Verdict(state="failed", why=f"its window is {window} tokens, the tier promises {expected.window}")
    return Verdict(state="ready")


def wait(
    look: Callable[[], Verdict],
    say: Callable[[str], None],
    last_line: Callable[[], str],
    timeout_s: float,
    every_s: float,
) -> Verdict:
    """Poll `look` until it is settled or `timeout_s` has passed; say something at least every 15 s."""
    began = spoke = time.monotonic()
    while True:
        verdict = look()
        now = time.monotonic()
        if verdict.state != "waiting":
            return verdict
        if now - began >= timeout_s:
            return Verdict(state="failed", why=f"not ready after {timeout_s:.0f} s: {verdict.why}")
        if now - spoke >= PROGRESS_SECONDS:
            spoke = now
            say(f"{verdict.why}, {now - began:.0f} s: {last_line()}")
        gevent.sleep(every_s)
