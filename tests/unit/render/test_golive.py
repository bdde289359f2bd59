"""go-live.sh against scripted faults: it settles, or the previous release serves again (operations.md 11.4, 19)."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from anvil.render import golive
from tests.unit.render.shims import HASH, NEW, OLD, OTHER, World

DONE, ROLLED_BACK, DEGRADED, BUSY, REFUSED = 0, 10, 11, 12, 2


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Even fake seconds cost a few forks each."""
    monkeypatch.setattr(golive, "SETTLE_TRIES_S", 4)


@pytest.fixture(params=["compose", "process"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> World:
    made = World(tmp_path, request.param)
    made.stage(OLD)
    made.running(OLD)
    return made


def mutating(calls: list[str]) -> list[str]:
    words = ("kill", " up ", " stop ", "signal", " start ")
    return [call for call in calls if any(word in f" {call} " for word in words)]


def test_a_good_release_is_reloaded_in_place(world: World) -> None:
    world.stage(NEW)
    ran = world.go(NEW)
    assert (ran.code, ran.current, ran.previous) == (DONE, NEW, OLD)
    assert len(mutating(ran.calls)) == 1
    assert "HUP" in mutating(ran.calls)[0]
    assert not mutating(ran.calls)[0].startswith("kill")  # with it docker would restart the router no more
    (line,) = ran.evidence
    assert (line["outcome"], line["path"], line["previous"], line["source"]) == ("DONE", "hup", OLD, "inventory")
    assert line["duration_s"] >= 3
    assert {sample[1] for sample in line["samples"]} == {"running"}
    assert (world.root / ".lock").read_text().startswith("me@here pid ")


@pytest.mark.parametrize(
    ("written", "names"), [('"MINE"', "MINE"), ('["NEW_TOKEN", "OLD_TOKEN"]', "NEW_TOKEN,OLD_TOKEN"), (None, "")]
)
def test_the_models_are_asked_for_with_the_tokens_of_the_release(world: World, written: str | None, names: str) -> None:
    """A topology may call its tokens as it likes; one that no longer had ANVIL_ROUTER_TOKEN was rolled back."""
    world.stage(NEW)
    auth = f"auth_env = {written}\n" if written else ""
    config = f'# a comment\n[server]\n{auth}\n[router]\nx = 1\n[[router.tiers]]\nauth_env = "OF_A_TIER"\n'
    (world.root / "router" / "releases" / NEW / "router.toml").write_text(config)
    assert world.go(NEW).code == DONE
    assert (world.state / "tokens").read_text() == f"{names}\n"


@pytest.mark.parametrize("change", ["revision", "env"])
def test_another_definition_or_token_brings_the_service_up_anew(world: World, change: str) -> None:
    world.stage(NEW, **{change: "9" * 16})
    ran = world.go(NEW)
    assert (ran.code, ran.evidence[0]["path"]) == (DONE, "up")
    assert not any("HUP" in call for call in ran.calls)


def test_compose_is_called_exactly_as_the_contract_says(tmp_path: Path) -> None:
    world = World(tmp_path, pull="never")
    world.stage(NEW)
    ran = world.go(NEW)
    assert mutating(ran.calls) == [
        f"compose -p home-router -f {world.root}/router/current/compose.yaml --env-file {world.root}/secrets.env"
        " up -d --no-deps --pull never router"
    ]
    assert (ran.code, ran.current, ran.previous) == (DONE, NEW, None)


SOCKET = "50" + "5" * 14


def done_to_containers(world: World, calls: list[str]) -> list[str]:
    """What was done, without the words that are always the same."""
    always = (
        f"compose -p home-router -f {world.root}/router/current/compose.yaml --env-file {world.root}/secrets.env ",
        " -d --no-deps --pull missing",
        "anvil-",
    )
    found = [call for call in calls if call.split()[0] in ("compose", "rm", "stop") or " kill -s " in call]
    for word in always:
        found = [call.replace(word, "") for call in found]
    return found


def held_apart(folder: Path) -> World:
    """A router that runs while its published port is held apart."""
    world = World(folder)
    world.stage(OLD, socket=SOCKET)
    world.running(OLD)
    (world.state / "socket").write_text(f"{SOCKET}\n")
    return world


def test_a_router_is_replaced_while_another_takes_its_callers(tmp_path: Path) -> None:
    world = held_apart(tmp_path)
    world.stage(NEW, revision="9" * 16, socket=SOCKET)
    ran = world.go(NEW)
    assert (ran.code, ran.current, ran.evidence[0]["path"]) == (DONE, NEW, "up")
    assert done_to_containers(world, ran.calls) == [
        "rm -f router-next",
        "up next",
        "exec router sh -c kill -s USR1 1",
        "up router",
        "exec router-next sh -c kill -s USR1 1",
        "stop -t 35 router-next",
        "rm -f router-next",
    ]


@pytest.mark.parametrize("behaviour", ["crash-1", "crash-3", "mute", "hashless"])  # crash-3: after three good answers
def test_a_definition_that_does_not_settle_never_replaces_the_router(tmp_path: Path, behaviour: str) -> None:
    world = held_apart(tmp_path)
    world.stage(NEW, behaviour, revision="9" * 16, socket=SOCKET)
    ran = world.go(NEW)
    assert (ran.code, ran.current) == (ROLLED_BACK, OLD), ran.said
    assert not any(call.endswith(" router") for call in done_to_containers(world, ran.calls))
    assert not (world.state / "next-live").exists()


def test_a_late_crash_of_a_new_definition_is_rolled_back_to_the_old(tmp_path: Path) -> None:
    world = held_apart(tmp_path)
    world.stage(NEW, "crash-5", revision="9" * 16, socket=SOCKET)
    ran = world.go(NEW)
    assert (ran.code, ran.current) == (ROLLED_BACK, OLD), ran.said
    assert (world.state / "live").read_text().strip() == OLD
    assert not (world.state / "next-live").exists()


def test_the_port_goes_from_an_older_router_to_the_socket_and_back(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.stage(OLD)
    world.running(OLD)
    world.stage(NEW, revision="9" * 16, socket=SOCKET)
    forth = world.go(NEW)
    assert forth.code == DONE
    assert done_to_containers(world, forth.calls) == ["up router", "up --force-recreate socket"]
    back = world.go(OLD)
    assert back.code == DONE
    assert done_to_containers(world, back.calls)[2:] == ["rm -f router-socket", "up router"]


def test_a_router_that_was_left_behind_goes(tmp_path: Path) -> None:
    world = held_apart(tmp_path)
    for name in ("live", "since"):
        (world.state / f"next-{name}").write_text((world.state / name).read_text())
    world.stage(NEW, socket=SOCKET)
    ran = world.go(NEW)
    assert ran.code == DONE
    forth = [
        "exec router sh -c kill -s HUP 1",
        "exec router-next sh -c kill -s USR1 1",
        "stop -t 35 router-next",
        "rm -f router-next",
    ]
    assert done_to_containers(world, ran.calls) == forth


@pytest.mark.parametrize("running", ["", "50" + "6" * 14])  # gone; publishes another port
def test_a_socket_that_is_not_the_wanted_one_is_made_anew(tmp_path: Path, running: str) -> None:
    world = held_apart(tmp_path)
    (world.state / "socket").unlink()
    if running:
        (world.state / "socket").write_text(f"{running}\n")
    ran = world.go(OLD)
    assert ran.code == DONE
    assert done_to_containers(world, ran.calls) == ["exec router sh -c kill -s HUP 1", "up --force-recreate socket"]


@pytest.mark.parametrize("behaviour", ["crash-1", "crash-3", "mute", "stale", "poor", "hashless"])
def test_whatever_does_not_settle_is_rolled_back(world: World, behaviour: str) -> None:
    world.stage(NEW, behaviour)
    ran = world.go(NEW)
    assert (ran.code, ran.current, ran.previous) == (ROLLED_BACK, OLD, None), ran.said
    assert (world.state / "live").read_text().strip() == OLD
    assert ran.evidence[0]["outcome"] == "ROLLED_BACK"
    assert f"back on release {OLD}" in ran.said


@pytest.mark.parametrize("behaviour", ["crash-1", "unstartable"])
def test_a_changed_definition_that_fails_is_rolled_back_too(world: World, behaviour: str) -> None:
    world.stage(NEW, behaviour, revision="9" * 16)
    ran = world.go(NEW)
    assert (ran.code, ran.current) == (ROLLED_BACK, OLD), ran.said
    assert (world.state / "live").read_text().strip() == OLD


def test_a_late_crash_is_seen_as_long_as_the_topology_says(tmp_path: Path) -> None:
    world = World(tmp_path, settle_s=8)
    world.stage(OLD)
    world.running(OLD)
    world.stage(NEW, "crash-6")
    assert world.go(NEW).code == ROLLED_BACK
    world.stage(OTHER, "crash-30")
    ran = world.go(OTHER)
    assert (ran.code, ran.evidence[-1]["duration_s"] >= 8) == (DONE, True)


def test_restarts_of_the_past_do_not_count(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.stage(OLD)
    world.running(OLD, restarts=5)
    world.stage(NEW)
    assert world.go(NEW).code == DONE


@pytest.mark.parametrize("held", ["none", "n0"])  # let go of it; holds one that was removed
def test_a_router_that_lost_its_network_is_made_anew(tmp_path: Path, held: str) -> None:
    world = World(tmp_path)
    world.stage(OLD)
    world.running(OLD)
    (world.state / "network").write_text(f"{held}\n")
    ran = world.go(OLD)
    assert (ran.code, ran.evidence[0]["path"]) == (DONE, "up")
    assert "--force-recreate" in mutating(ran.calls)[0]


@pytest.mark.parametrize("left", ["", "0123456789ab"])
def test_a_router_that_was_left_without_its_name_is_made_anew(tmp_path: Path, left: str) -> None:
    world = World(tmp_path)
    world.stage(NEW)
    (world.state / "misnamed").write_text(f"{left}\n")
    ran = world.go(NEW)
    assert ran.code == DONE
    assert ("--force-recreate" in mutating(ran.calls)[0]) is bool(left)


@pytest.mark.parametrize("behaviour", ["ok", "crash-2"])
def test_a_release_whose_container_has_another_name_is_watched_by_its_own(tmp_path: Path, behaviour: str) -> None:
    """The script is the newest topology's; the release it goes back to may be from before a rename."""
    world = World(tmp_path, container="renamed")
    world.stage(OLD, called="anvil-router")
    world.stage(NEW, behaviour, revision="9" * 16, called="renamed")
    world.running(OLD)
    ran = world.go(NEW)
    assert (ran.code, ran.current) == ((DONE, NEW) if behaviour == "ok" else (ROLLED_BACK, OLD)), ran.said
    assert world.go(OLD).code == DONE


def test_a_link_to_nothing_is_no_release_to_go_back_to(world: World) -> None:
    world.stage(NEW)
    world.stage(OTHER, "mute")
    assert world.go(NEW).code == DONE
    current, previous = world.root / "router" / "current", world.root / "router" / "previous"
    current.unlink()
    current.symlink_to("releases/0123456789abcdef")
    ran = world.go(NEW)
    assert (ran.code, ran.current, ran.previous) == (DONE, NEW, OLD)
    current.unlink()
    current.symlink_to("releases/0123456789abcdef")
    assert world.go(OTHER).current == OLD
    previous.unlink()
    previous.symlink_to("releases/0123456789abcdef")
    ran = world.go(OTHER)
    assert (ran.code, ran.current, ran.previous) == (ROLLED_BACK, OLD, None)


def test_rollback_keeps_the_release_before_as_previous(world: World) -> None:
    world.stage(NEW)
    world.stage(OTHER, "mute")
    assert world.go(NEW).code == DONE
    ran = world.go(OTHER)
    assert (ran.code, ran.current, ran.previous) == (ROLLED_BACK, NEW, OLD)


def test_a_dead_fallback_is_degraded_and_the_next_good_release_works(world: World) -> None:
    (world.state / "behaviour" / OLD).write_text("crash-0")
    world.stage(NEW, "crash-1")
    ran = world.go(NEW)
    assert (ran.code, ran.evidence[0]["outcome"]) == (DEGRADED, "DEGRADED")
    assert "ROLLBACK FAILED" in ran.said
    world.stage(OTHER)
    assert world.go(OTHER).code == DONE


def test_a_first_release_that_crashes_leaves_nothing_live(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.stage(NEW, "crash-1")
    ran = world.go(NEW)
    assert (ran.code, ran.current, ran.previous) == (ROLLED_BACK, None, None)
    assert "no release to fall back to" in ran.said
    assert (world.state / "stopped").exists()


def test_the_same_release_again_is_settled_again(world: World) -> None:
    ran = world.go(OLD)
    assert (ran.code, ran.current, ran.previous) == (DONE, OLD, None)


def test_rolling_forth_and_back(world: World) -> None:
    world.stage(NEW)
    assert world.go(NEW).code == DONE
    ran = world.go(OLD)
    assert (ran.code, ran.current, ran.previous) == (DONE, OLD, NEW)


def test_an_unready_router_is_a_warning(world: World) -> None:
    (world.state / "unready").touch()
    world.stage(NEW)
    ran = world.go(NEW)
    assert ran.code == DONE
    assert "WARN: not ready" in ran.said


@pytest.mark.parametrize(("platform", "code"), [("linux", ROLLED_BACK), ("wsl2", DONE)])
def test_the_published_address_must_answer_where_it_can(tmp_path: Path, platform: str, code: int) -> None:
    world = World(tmp_path, platform=platform)
    world.stage(OLD)
    world.running(OLD)
    world.stage(NEW)
    (world.state / "unreachable").touch()
    ran = world.go(NEW)
    assert ran.code == code
    assert "http://100.64.0.10:8000 does not answer from this host" in ran.said


def test_a_skipped_hash_is_not_compared(world: World) -> None:
    world.stage(NEW, "hashless")
    assert world.go(NEW, config_hash="-").code == DONE


def test_old_releases_are_pruned_but_never_current_or_previous(tmp_path: Path) -> None:
    world = World(tmp_path, keep_releases=2)
    names = [f"{index:016x}" for index in range(1, 7)]
    for index, name in enumerate(names):
        world.stage(name)
        os.utime(world.root / "router" / "releases" / name, (index + 1, index + 1))
    world.running(names[0])
    ran = world.go(names[5])
    kept = sorted(each.name for each in (world.root / "router" / "releases").iterdir())
    assert ran.code == DONE
    assert {names[0], names[5]} <= set(kept)
    assert len(kept) == 3


@pytest.mark.parametrize(
    "words",
    [
        [],
        [NEW, HASH, "me"],
        ["../../etc", HASH, "me", "inventory"],
        [NEW + "0", HASH, "me", "inventory"],
        ["B" * 16, HASH, "me", "inventory"],
        [NEW, "x" * 16, "me", "inventory"],
        [NEW, HASH, "me;id", "inventory"],
        [NEW, HASH, "me", 'in"ventory'],
        [NEW, HASH, "me", "inventory", "chat$(id)"],
        [NEW, HASH, "me", "inventory", ""],
        [OTHER, HASH, "me", "inventory"],
    ],
)
def test_bad_words_touch_nothing(world: World, words: list[str]) -> None:
    world.stage(NEW)
    ran = world.go(NEW, words=words)
    assert (ran.code, ran.calls, ran.current, ran.evidence) == (REFUSED, [], OLD, [])
    assert ran.said.startswith("go-live: ")


def test_a_held_lock_is_busy_and_names_its_holder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(golive, "LOCK_WAIT_S", 1)
    for runtime in ("compose", "process"):
        world = World(tmp_path / runtime, runtime)
        world.stage(NEW)
        lock = world.root / ".lock"
        lock.write_text("them@there pid 7\n")
        with lock.open() as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            ran = world.go(NEW)
        assert (ran.code, ran.calls, ran.current) == (BUSY, [], None)
        assert "busy: them@there pid 7" in ran.said


def test_a_lost_link_does_not_stop_it(tmp_path: Path) -> None:
    """Hang-up signals and a closed stderr: the job is finished all the same."""
    world = World(tmp_path)
    world.stage(OLD)
    world.running(OLD)
    world.stage(NEW, "mute")
    environ = {"PATH": f"{world.bin}:{os.environ['PATH']}", "HOME": str(world.root)}
    words = [NEW, HASH, "me@here", "inventory", "chat"]
    with subprocess.Popen(["sh", str(world.script), *words], env=environ, stderr=subprocess.PIPE) as running:
        assert running.stderr is not None
        running.stderr.close()
        for _ in range(5):
            time.sleep(0.05)
            running.send_signal(signal.SIGHUP)
        assert running.wait(timeout=50) == ROLLED_BACK
    assert world.link("current") == OLD
    assert f"back on release {OLD}" in (world.root / "router" / "go-live.log").read_text()


def test_the_first_statement_is_the_trap_and_the_text_is_the_same_for_every_release(tmp_path: Path) -> None:
    text = World(tmp_path).script.read_text()
    assert text.splitlines()[1].startswith("trap '' HUP PIPE")
    assert text.rstrip().endswith('main "$@"')
    assert NEW not in text


@pytest.mark.parametrize("shell", ["dash", "bash"])
@pytest.mark.parametrize("runtime", ["compose", "process"])
def test_it_is_posix(tmp_path: Path, shell: str, runtime: str) -> None:
    options = ["--posix", "-n"] if shell == "bash" else ["-n"]
    subprocess.run([shell, *options, str(World(tmp_path, runtime).script)], check=True)
