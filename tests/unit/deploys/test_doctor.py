"""Rows of operations.md 8.3 over answers of a host, each level with what it says."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pyinfra.api.exceptions import PyinfraError
from pyinfra.context import ctx_host

from anvil.deploys import doctor, doctor_router, doctor_weights, report, router, secrets
from anvil.deploys.findings import Line
from anvil.deploys.site import Built, Site
from anvil.hosts.releases import HealthAnswer
from anvil.render.artefacts import render
from anvil.render.env import Secrets
from tests.deploys.test_cases import FakeHost
from tests.unit.topology.example import LOCAL, topology

CARD = "GPU-11111111-2222-3333-4444-555555555555"
OTHER = "GPU-66666666-7777-8888-9999-aaaaaaaaaaaa"
RUNNING = {"state": "running", "container": "anvil-router", "project": "home-router"}
ASKS = '[server]\nauth_env = "ANVIL_ROUTER_TOKEN"\n'
Check = Callable[[Site], Iterator[Line]]


def site(changes: dict[str, Any] | None = None) -> Site:
    made = topology(changes)
    built = Built(made, Path("t.toml"), secrets.Held({}, {}), render(made, Secrets.of({})), None)
    return Site("forge", made.machines["forge"], built)


def told(check: Check, here: Site, facts: dict[str, Any]) -> list[str]:
    with ctx_host.use(FakeHost(facts)):
        return [f"{line.level} {line.check}: {line.detail}" for line in check(here)]


def text(content: str) -> dict[str, Any]:
    return {"status": "ok", "content": base64.b64encode(content.encode()).decode()}


def router_facts(**more: Any) -> dict[str, Any]:
    return {
        "ReleaseState /srv/anvil/router": {"status": "ok", "ids": ["0" * 16]},
        "ComposeServices home-router": {"status": "ok", "services": {"router": RUNNING}},
        "PortOwners": {"status": "ok", "owners": {8000: {"container": "anvil-router", "addresses": ["100.64.0.10"]}}},
        "FileText /srv/anvil/router/current/router.toml": text(ASKS),
        "SecretNames /srv/anvil/secrets.env": {"status": "ok", "lengths": {"ANVIL_ROUTER_TOKEN": 43}},
        **more,
    }


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Callable[[HealthAnswer], None]:
    def set_answer(answer: HealthAnswer) -> None:
        monkeypatch.setattr(doctor_router, "answering", lambda *_: answer)
        monkeypatch.setattr(doctor_router, "unreached", lambda *_: "")

    return set_answer


def test_a_router_as_it_should_be(answers: Callable[[HealthAnswer], None]) -> None:
    here = site()
    answers(HealthAnswer(status="ok", release=here.built.artefacts.release.id))
    assert [line.split(":")[0] for line in told(doctor_router.checks, here, router_facts())] == [
        "PASS router", "PASS router restarts", "PASS router address", "PASS router auth", "PASS router token",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("facts", "line"),
    [
        (
            {"ComposeServices home-router": {"status": "ok", "services": {"router": {**RUNNING, "restart_count": 3}}}},
            "FAIL router restarts: docker restarted it 3 times since it was made",
        ),
        (
            {"PortOwners": {"status": "ok", "owners": {8000: {"container": "x", "addresses": ["0.0.0.0", "::"]}}}},
            "FAIL router address: listens on 0.0.0.0, ::, declared is 100.64.0.10",
        ),
        (
            {"FileText /srv/anvil/router/current/router.toml": text("[server]\n")},
            "FAIL router auth: the live router.toml names no auth_env",
        ),
        ({"FileText /srv/anvil/router/current/router.toml": text("= nonsense")}, "FAIL router auth: the live router.t"),
        (
            {"SecretNames /srv/anvil/secrets.env": {"status": "ok", "lengths": {"ANVIL_ROUTER_TOKEN": 23}}},
            "FAIL router token: ANVIL_ROUTER_TOKEN: under 24 characters",
        ),
    ],
)
def test_what_is_wrong_with_a_router(facts: dict[str, Any], line: str, answers: Callable[[HealthAnswer], None]) -> None:
    here = site()
    answers(HealthAnswer(status="ok", release=here.built.artefacts.release.id))
    assert [each for each in told(doctor_router.checks, here, router_facts(**facts)) if each.startswith(line)]


def test_a_router_that_nobody_reaches(answers: Callable[[HealthAnswer], None], monkeypatch: pytest.MonkeyPatch) -> None:
    here = site()
    answers(HealthAnswer(status="ok", release=here.built.artefacts.release.id))
    monkeypatch.setattr(doctor_router, "unreached", lambda *_: "anvil-router has lost its network")
    assert "FAIL router: anvil-router has lost its network" in told(doctor_router.checks, here, router_facts())


def test_another_release_and_none(answers: Callable[[HealthAnswer], None]) -> None:
    answers(HealthAnswer(status="ok", release="0" * 16))
    assert told(doctor_router.checks, site(), router_facts())[0].startswith(f"FAIL router: runs release {'0' * 16}, ")
    answers(HealthAnswer(status="error", error="no answer"))
    assert told(doctor_router.checks, site(), router_facts())[0] == "FAIL router: no answer"


def test_a_bare_machine_lacks_only_what_its_first_deploy_brings(answers: Callable[[HealthAnswer], None]) -> None:
    answers(HealthAnswer(status="absent", error="nothing answers"))
    bare = {"ReleaseState /srv/anvil/router": {"status": "absent"}}
    assert told(doctor_router.checks, site(), router_facts(**bare))[0].startswith("WARN router: nothing was released")
    names = {"SecretNames /srv/anvil/secrets.env": {"status": "ok"}}
    absent, there = ({"FileStat /srv/anvil/secrets.env": {"status": each}} for each in ("absent", "ok"))
    there["FileStat /srv/anvil/secrets.env"]["mode"] = "600"
    assert told(doctor._secrets, site(), {**bare, **names, **absent}) == [
        "WARN secrets.env: is not there yet; full.py writes it"
    ]
    stands = {"ReleaseState /srv/anvil/router": {"status": "ok", "current": "0" * 16}}
    for facts in ({**bare, **names, **there}, {**stands, **names, **absent}):
        (line,) = told(doctor._secrets, site(), facts)
        assert line.startswith("FAIL secrets.env: lacks ANVIL_ROUTER_TOKEN"), line


def test_a_short_token_on_loopback_is_a_warning(answers: Callable[[HealthAnswer], None]) -> None:
    here = site({"router/publish": "127.0.0.1", "gateways": {}})
    answers(HealthAnswer(status="error", error="no answer"))
    facts = router_facts(
        **{"SecretNames /srv/anvil/secrets.env": {"status": "ok", "lengths": {"ANVIL_ROUTER_TOKEN": 3}}}
    )
    assert told(doctor_router.checks, here, facts)[1].startswith("WARN router token: ")


def test_a_release_whose_token_left_the_machine_is_no_release_to_go_back_to() -> None:
    release = {"FileText /srv/anvil/router/releases/c0ffee/compose.yaml": text('OLD: "${OLD:?}"\nKEY: "${KEY:-}"\n')}
    for lengths, gone in (({"OLD": 43}, False), ({"NEW": 43}, True)):
        facts = {**release, "SecretNames /srv/anvil/secrets.env": {"status": "ok", "lengths": lengths}}
        with ctx_host.use(FakeHost(facts)):
            if not gone:
                router._refuse_without_secrets(site(), "c0ffee")
                continue
            with pytest.raises(PyinfraError, match="release c0ffee needs OLD, which secrets"):
                router._refuse_without_secrets(site(), "c0ffee")


def weights_facts(snapshot: dict[str, Any], free: int = 10**12) -> dict[str, Any]:
    image = "vllm/vllm-openai:nightly@sha256:" + "1" * 64
    look = f"HfSnapshot vllm-hfcache {image} nvidia/Qwen3.6-27B-NVFP4 main"
    size = f"HubSize vllm-hfcache {image} nvidia/Qwen3.6-27B-NVFP4 main '()' '()' /srv/anvil"
    return {
        f"ImagePresent {image}": {"status": "ok"},
        look: snapshot,
        size: {"status": "ok", "missing_bytes": 20 * 10**9},
        "DockerDaemon": {"status": "ok", "free_bytes": free},
    }


@pytest.mark.parametrize(
    ("snapshot", "free", "lines"),
    [
        ({"status": "ok", "commit": "c0ffee", "complete": True}, 0, ["PASS weights of fast: nvidia/"]),
        ({"status": "absent"}, 10**12, ["WARN weights of fast: nvidia/Qwen3.6-27B-NVFP4: not in the volume, 20.0 GB"]),
        (
            {"status": "ok", "commit": "c", "incomplete": ["a", "b"]},
            10**10,
            ["WARN weights of fast: nvidia/Qwen3.6-27B-NVFP4: 2 files", "WARN disk for weights: 21.0 GB are needed"],
        ),
        ({"status": "error", "error": "docker timed out"}, 0, ["WARN weights of fast: unknown: docker timed out"]),
    ],
)
def test_weights(snapshot: dict[str, Any], free: int, lines: list[str]) -> None:
    here = site({"serves/heavy/state": "down"})
    found = told(doctor_weights.checks, here, weights_facts(snapshot, free))
    assert [any(each.startswith(line) for each in found) for line in lines] == [True] * len(lines), found
    assert len(found) == len(lines)


def test_weights_wait_for_their_image() -> None:
    here = site({"serves/heavy/state": "down"})
    image = "vllm/vllm-openai:nightly@sha256:" + "1" * 64
    assert told(doctor_weights.checks, here, {f"ImagePresent {image}": {"status": "absent"}}) == []


def card(uuid: str, **more: Any) -> dict[str, Any]:
    blank = {
        "index": 0,
        "uuid": uuid,
        "name": "a card",
        "total_mib": 97887,
        "used_mib": 0,
        "driver": "1",
        "compute": "12.0",
    }
    return {**blank, **more}


@pytest.mark.parametrize(
    ("answer", "lines"),
    [
        (
            {"status": "tool_missing", "error": "nvidia-smi is not installed"},
            ["FAIL GPUs: nvidia-smi is not installed"],
        ),
        (
            {"status": "ok", "cards": {CARD: card(CARD, index=1), OTHER: card(OTHER, total_mib=32607)}},
            ["PASS GPU pro: a card", "PASS GPU gaming: a card"],  # an index that moved has no effect
        ),
        (
            {"status": "ok", "cards": {CARD: card(CARD, compute="9.0")}},
            ["WARN GPU pro: is a card, compute 9.0", f"FAIL GPU gaming: {OTHER} does not exist; there are: {CARD}"],
        ),
        (
            {"status": "ok", "cards": {CARD: card(CARD, total_mib=24000), OTHER: card(OTHER, total_mib=32607)}},
            ["WARN GPU pro: is a card, compute 12.0, 24000 MiB", "PASS GPU gaming"],
        ),
    ],
)
def test_cards(answer: dict[str, Any], lines: list[str]) -> None:
    found = told(doctor._cards, site(), {"NvidiaGpus": answer})
    assert [each.startswith(line) for each, line in zip(found, lines, strict=True)] == [True] * len(lines), found


@pytest.mark.parametrize(
    ("answer", "lines"),
    [
        ({"status": "tool_missing", "error": "docker is missing"}, ["FAIL docker: docker is missing"]),
        ({"status": "daemon_down", "error": "Cannot connect"}, ["FAIL docker: Cannot connect"]),
        ({"status": "error", "error": "docker timed out after 20 s"}, ["FAIL docker: docker timed out after 20 s"]),
        ({"status": "ok", "server": "28", "compose": "2.20.0", "runtimes": ["nvidia"], "free_bytes": 10**11}, ["PASS docker", "PASS compose: 2.20.0"]),
        ({"status": "ok", "server": "28", "compose": "2.19.9", "runtimes": ["nvidia"], "free_bytes": 10**11}, ["PASS docker", "FAIL compose: 2.19.9 is too old: at least 2.20"]),
        ({"status": "ok", "server": "28", "runtimes": ["nvidia"], "free_bytes": 10**11}, ["PASS docker", "FAIL compose: the plugin `docker compose` is missing"]),
        ({"status": "ok", "server": "28", "compose": "2.40", "free_bytes": 10**9}, ["PASS docker", "PASS compose", "WARN nvidia runtime", "WARN disk: 1 GB free"]),
    ],
)  # fmt: skip
def test_docker(answer: dict[str, Any], lines: list[str]) -> None:
    found = told(doctor._docker, site(), {"DockerDaemon": answer})
    assert [each.startswith(line) for each, line in zip(found, lines, strict=True)] == [True] * len(lines), found


def test_a_docker_that_is_silent_is_asked_once() -> None:
    """19: hung for a minute, it must not make the doctor hang for ten."""
    docker = Line("FAIL", "docker", "docker timed out after 20 s")
    assert doctor.standing([docker]) == (doctor._supervisor, doctor._secrets, doctor._host)
    assert doctor.standing([Line("PASS", "docker", ""), Line("FAIL", "compose", "")]) == doctor.STANDING


@pytest.mark.parametrize(
    ("answer", "line"),
    [
        ({"status": "ok", "health": 200, "models": {"qwen36-27b": 32768}}, "PASS serve fast: serves qwen36-27b"),
        ({"status": "ok", "health": 503}, "WARN serve fast: loading"),
        ({"status": "absent"}, "WARN serve fast: does not answer"),
        ({"status": "ok", "health": 200, "models": {"other": 1}}, "FAIL serve fast: serves other, not qwen36-27b"),
        ({"status": "ok", "health": 200, "models": {}}, "FAIL serve fast: serves no model, not qwen36-27b"),
        (
            {"status": "ok", "health": 200, "models": {"qwen36-27b": 16384}},
            "FAIL serve fast: its window is 16384, the tier promises 32768",
        ),
    ],
)
def test_serves(answer: dict[str, Any], line: str) -> None:
    here = site({"serves/heavy/state": "down"})
    asked = "Endpoint http://127.0.0.1:30003/health http://127.0.0.1:30003/v1/models"
    assert told(doctor._serving, here, {asked: answer}) == [line]


def test_objects_and_images() -> None:
    here = site({"serves/heavy/state": "down", "serves/fast/image": "local/vllm:7", "serves/fast/pull": "never"})
    router = "anvil-router:1.0.0@sha256:" + "2" * 64
    facts = {
        "DockerObject network anvil": {"status": "ok"},
        "DockerObject volume vllm-hfcache": {"status": "absent"},
        "DockerObject volume anvil-router-state": {"status": "error", "error": "docker timed out"},
        "ImagePresent local/vllm:7": {"status": "absent"},
        f"ImagePresent {router}": {"status": "ok"},
    }
    assert told(doctor._objects, here, facts) == [
        "PASS network anvil: exists",
        "WARN volume vllm-hfcache: full.py creates it",
        "WARN volume anvil-router-state: unknown: docker timed out",
        'FAIL image local/vllm:7: is absent and pull = "never": load it with `docker load`',
        f"PASS image {router}: present",
    ]
    unpinned = {**facts, "ImagePresent local/vllm:7": {"status": "ok", "repo_digests": ["local/vllm@sha256:abc"]}}
    assert "PASS image local/vllm:7: present; pin it: local/vllm@sha256:abc" in told(doctor._objects, here, unpinned)
    loaded = {**facts, "ImagePresent local/vllm:7": {"status": "ok", "image_id": "sha256:def"}}
    came = "it came from no registry, so there is no digest to pin"
    assert f"PASS image local/vllm:7: present; {came}" in told(doctor._objects, here, loaded)


@pytest.mark.parametrize(
    ("mode", "lengths", "line"),
    [
        ("600", {"ANVIL_ROUTER_TOKEN": 43}, "PASS secrets.env: 1 names, private"),
        ("644", {"ANVIL_ROUTER_TOKEN": 43}, "FAIL secrets.env: has mode 644, not 600"),
        ("600", {}, "FAIL secrets.env: lacks ANVIL_ROUTER_TOKEN"),
    ],
)
def test_secrets(mode: str, lengths: dict[str, int], line: str) -> None:
    facts = {
        "FileStat /srv/anvil/secrets.env": {"status": "ok", "mode": mode},
        "SecretNames /srv/anvil/secrets.env": {"status": "ok", "lengths": lengths},
    }
    assert told(doctor._secrets, site(), facts) == [line]


@pytest.mark.parametrize(
    ("basics", "levels"),
    [
        ({"free_bytes": 10**11, "memory_bytes": 64 * 10**9}, ["PASS clock", "PASS disk"]),
        ({"free_bytes": 10**9, "memory_bytes": 64 * 10**9}, ["PASS clock", "WARN disk"]),
        ({"free_bytes": 10**11, "memory_bytes": 32 * 10**9, "wsl": True}, ["PASS clock", "PASS disk", "WARN memory"]),
        ({"free_bytes": 10**11, "memory_bytes": 64 * 10**9, "skew": 60}, ["WARN clock", "PASS disk"]),
    ],
)
def test_the_host(basics: dict[str, Any], levels: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.time", lambda: 1_000_000.0 + basics.get("skew", 0))
    answer = {"status": "ok", "clock": 1_000_000, **{key: basics[key] for key in basics if key != "skew"}}
    found = told(doctor._host, site(), {"HostBasics /srv/anvil": answer})
    assert [line.split(":")[0] for line in found] == levels
    assert basics.get("wsl") is None or "raise `memory` in .wslconfig" in found[-1]


def test_what_the_topology_no_longer_has_here_is_named_for_either_runtime() -> None:
    made = topology({}, LOCAL)
    built = Built(made, Path("t.toml"), secrets.Held({}, {}), render(made, Secrets.of({})), None)
    local = Site("here", made.machines["here"], built)
    running = {"state": "running"}
    known = {"fast": running, "router": running, "old": running}
    facts: dict[str, Any] = {
        f"ProcessServices {local.python} {local.root}/supervisor": {"status": "ok", "services": known},
        "ComposeServices home": {"status": "ok", "services": {"fast": running, "old": {**running, "container": "c"}}},
    }
    with ctx_host.use(FakeHost(facts)):
        assert [row[0::4] for row in report.leftovers(local)] == [("old", "--data retire=old removes it")]
        assert [row[0::4] for row in report.leftovers(site())] == [("old", "--data retire=c removes it")]
