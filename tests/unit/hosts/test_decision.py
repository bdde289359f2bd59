"""Every row of operations.md 9.2."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anvil.hosts.containers import ServiceState, State
from anvil.hosts.decision import Action, Options, WantedService, decide

SAME, OTHER = "aaaa", "bbbb"
RECREATE, ADOPT = Options(recreate=True), Options(adopt=True)


def live(state: State, revision: str = SAME, name: str = "vllm-fast", **more: Any) -> ServiceState:
    return ServiceState(state=state, revision=revision, container=name, env="e1", **more)


def wanted(**more: Any) -> WantedService:
    return WantedService(**{"name": "fast", "container": "vllm-fast", "revision": SAME, "env_digest": "e1", **more})


ROWS = [
    (live("daemon_down", error="no daemon"), {}, Options(), "fail", "no daemon"),
    (live("error", error="timed out after 20 s"), {}, Options(), "fail", "timed out"),
    (live("unknown", error="odd"), {}, Options(), "fail", "docker inspect vllm-fast"),
    (live("removing"), {}, RECREATE, "fail", "docker inspect vllm-fast"),
    (live("foreign", project="other"), {}, Options(), "fail", "adopt=fast"),
    (live("foreign", project="other"), {}, ADOPT, "replace", "project other"),
    (live("foreign"), {}, ADOPT, "replace", "no project"),
    (live("absent"), {}, Options(), "up", "absent"),
    (live("absent"), {}, RECREATE, "up", "absent"),
    (live("dead"), {}, Options(), "fail", "recreate=fast"),
    (live("dead", OTHER), {}, Options(), "replace", "bbbb -> aaaa"),
    (live("dead"), {}, RECREATE, "replace", "recreate"),
    (live("restarting", restart_count=7), {}, Options(), "fail", "7 restarts"),
    (live("restarting", OTHER), {}, Options(), "up!", "bbbb -> aaaa"),
    (live("restarting"), {}, RECREATE, "up!", "recreate"),
    (live("paused"), {}, Options(), "unpause", "paused"),
    (live("paused", OTHER), {}, Options(), "unpause_up", "bbbb -> aaaa"),
    (live("paused"), {}, RECREATE, "unpause_up!", "recreate"),
    (live("created"), {}, Options(), "up", "created"),
    (live("exited"), {}, Options(), "up", "exited"),
    (live("created", OTHER), {}, Options(), "up", "bbbb -> aaaa"),
    (live("exited", OTHER), {}, Options(), "up", "bbbb -> aaaa"),
    (live("running", OTHER), {"why": "--port 1 -> 2"}, Options(), "up", "bbbb -> aaaa: --port 1 -> 2"),
    (live("running", ""), {}, Options(), "up", "none -> aaaa"),
    (
        live("running"),
        {"env_digest": "e2", "env_names": ("HF_TOKEN",)},
        Options(),
        "warn",
        "pending until recreate=fast",
    ),
    (live("running"), {"env_digest": "e2", "on_env_change": "recreate"}, Options(), "up", "env of fast changed"),
    (live("running"), {}, Options(), "nothing", "running"),
    (live("running", health="healthy"), {}, Options(), "nothing", "running"),
    (live("running", health="starting"), {}, Options(), "nothing", "running"),
    (live("running", health="unhealthy", age_s=899), {}, Options(), "nothing", "running"),
    (live("running", health="unhealthy", age_s=901), {}, Options(), "fail", "recreate=fast"),
    (live("running"), {}, RECREATE, "up!", "recreate"),
    (live("exited"), {}, RECREATE, "up!", "recreate"),
    (live("running", health="healthy", detached=True), {}, Options(), "up!", "network is gone"),
    (live("exited", detached=True), {}, Options(), "up!", "network is gone"),
    (live("restarting", detached=True), {}, Options(), "up!", "network is gone"),
    (live("paused", detached=True), {}, Options(), "unpause_up!", "network is gone"),
    (
        live("running", name="12ab_vllm-fast"),
        {},
        Options(),
        "up!",
        "is called 12ab_vllm-fast",
    ),  # cut off while replaced
    (live("exited", name="12ab_vllm-fast"), {}, Options(), "up!", "is called 12ab_vllm-fast"),
    (live("running", OTHER, detached=True), {}, Options(), "up", "bbbb -> aaaa"),
]


@pytest.mark.parametrize(("state", "more", "options", "verb", "why"), ROWS)
def test_the_row(state: ServiceState, more: dict[str, Any], options: Options, verb: str, why: str) -> None:
    action = decide(state, wanted(**more), options)
    assert action.verb + "!" * action.force == verb
    assert why in action.why


@given(st.sampled_from(["running", "paused", "exited", "created", "dead", "restarting"]), st.booleans(), st.booleans())
def test_what_was_asked_for_by_name_always_happens(state: State, same: bool, adopt: bool) -> None:
    action = decide(live(state, SAME if same else OTHER), wanted(), Options(recreate=True, adopt=adopt))
    assert action.verb == "replace" or action.force


@given(st.sampled_from(["", "starting", "healthy"]), st.booleans())
def test_adopting_what_is_already_ours_is_no_reload(health: str, adopt: bool) -> None:
    assert decide(live("running", health=health), wanted(), Options(adopt=adopt)) == Action(
        verb="nothing", why="running as wanted"
    )
