"""Several models on one card with real Docker: swaps, a killed engine, guards, drains, a model that cannot start."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.rehearsal.lab import ROUTER, TOKEN, TOPOLOGY, Lab, Run

pytestmark = [pytest.mark.rehearsal, pytest.mark.timeout(900)]

DIRECT = "http://127.0.0.1:8100"
GROUP = 'swap_group      = "card"\n'
PLACE = """
[multiplexer]
machine = "forge"
port = 8100
docker_socket = true
min_resident_s = 0
drain_timeout_s = 20
"""
MORE = """
[serves.{name}]
machine         = "forge"
engine          = "llamacpp"
image           = "anvil-rehearsal/llama:b10434"
pull            = "never"
volume          = "weights"
model_file      = "SmolLM2-135M-Instruct.Q4_1.gguf"
served_model    = "tiny-{name}"
port            = {port}
context         = 2048
start_timeout_s = 20
stop_timeout_s  = 5
preflight       = "off"
swap_group      = "card"
{more}
[tiers.{name}-local]
serve = "{name}"
"""


def swapping(folder: Path, *, cards: bool) -> Path:
    """The rehearsal's topology with both serves in one group on one card, or with two more beside them on none.

    `huge` says that it needs more memory than there is, `broken` has a flag that its engine refuses; `fast` then goes
    through its preflight.
    """
    text = TOPOLOGY.replace('quick-edit   = ["fast-local", "heavy-local"]', 'quick-edit   = ["fast-local"]')
    text = text.replace('gpu             = "pro"', 'gpu             = "gaming"')
    for name in ("tiny-fast", "tiny-heavy"):
        text = text.replace(f'served_model    = "{name}"\n', f'served_model    = "{name}"\n{GROUP}')
    if not cards:
        text = text.replace('gpu             = "gaming"\n', "").replace("predict         = 24\n", "")
        text = text.replace('preflight       = "off"', 'preflight       = "warn"', 1)
        text += MORE.format(name="huge", port=30006, more="memory_need_gb  = 100000")
        text += MORE.format(name="broken", port=30007, more='memory_need_gb  = 1\nextra_args = ["--no-such-flag"]')
    file = folder / "topology.toml"
    file.write_text(text + PLACE)
    return file


@pytest.fixture
def put_back(lab: Lab, second: Run) -> Iterator[None]:
    """The rehearsal's own topology: the multiplexer goes with its files, both serves run, others are named and retired."""
    yield
    run = lab.deploy("full.py", "-y")
    assert run.code == 0, run.story
    for name in ("llamacpp-huge", "llamacpp-broken"):
        if name in lab.ssh("forge", "docker ps -a --format '{{.Names}}'").split():
            assert f"leftover  --data retire={name} removes it" in run.story
            assert lab.deploy("retire.py", "-y", "--data", f"name={name}").code == 0
    assert lab.deploy("full.py", "-y").changed == []
    containers = lab.ssh("forge", "docker ps -a --format '{{.Names}}'").split()
    ours = {name for name in containers if not name.startswith("anvil-router")}
    assert ours == {"llamacpp-fast", "llamacpp-heavy"}
    assert "multiplexer" not in lab.ssh("forge", "sudo ls /srv/anvil")


def curl(base: str, path: str, body: Mapping[str, object] | None = None) -> str:
    """A command for `forge` itself, where both doors can be reached: prints the answer and a line with its status."""
    words = f"curl -sN -m 60 -w '\\n%{{http_code}}\\n' -H 'Authorization: Bearer {TOKEN}' {base}{path}"
    return words + (f" -H 'Content-Type: application/json' -d '{json.dumps(body)}'" if body else "")


def chat(model: str, tokens: int = 4, **more: object) -> dict[str, object]:
    return {"model": model, "max_tokens": tokens, "messages": [{"role": "user", "content": "Say hello"}], **more}


def ask(lab: Lab, model: str, base: str = DIRECT) -> tuple[int, dict[str, Any]]:
    text, status = lab.ssh("forge", curl(base, "/v1/chat/completions", chat(model))).splitlines()
    return int(status), json.loads(text)


def health(lab: Lab) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(lab.ssh("forge", f"curl -s -m 10 {DIRECT}/healthz"))
    return document


def now(lab: Lab) -> str:
    return lab.ssh("forge", "date +%s.%N").strip()


def engines(lab: Lab, since: str) -> list[tuple[str, str]]:
    """Starts and ends of engines in Docker's own record, as they came."""
    events = "docker events --since {} --until {} --filter type=container --filter event=start --filter event=die"
    shown = "--format '{{.Action}} {{.Actor.Attributes.name}}'"
    lines = lab.ssh("forge", f"{events.format(since, now(lab))} {shown}").splitlines()
    return [(action, name) for action, name in map(str.split, lines) if name.startswith("llamacpp-")]


def most_at_once(record: list[tuple[str, str]]) -> int:
    running: set[str] = set()
    most = 0
    for action, name in record:
        (running.add if action == "start" else running.discard)(name)
        most = max(most, len(running))
    return most


def resident(lab: Lab) -> list[str]:
    shown = "docker ps --filter status=running --format '{{.Names}}'"
    return [name for name in lab.ssh("forge", shown).split() if name.startswith("llamacpp-")]


def test_two_models_share_a_card_behind_the_router(lab: Lab, put_back: None, tmp_path: Path) -> None:
    file = swapping(tmp_path, cards=True)
    first = lab.deploy("full.py", "-y", topology=file)
    assert first.code == 0, first.story
    assert lab.inspect("anvil-multiplexer")["State"]["Status"] == "running"
    assert "holds the docker socket, which equals root on forge" in first.story
    again = lab.deploy("full.py", "-y", topology=file)
    assert (again.code, again.changed) == (0, []), again.story
    before = lab.snapshot("forge")
    assert lab.deploy("full.py", "--dry", topology=file).code == 0
    assert lab.snapshot("forge") == before
    assert len(resident(lab)) == 1

    fifty_alternating_requests_meet_one_engine_at_a_time(lab)
    look_around(lab, file)
    a_killed_engine_comes_back(lab)
    a_full_card_refuses_before_anybody_is_stopped(lab)


def fifty_alternating_requests_meet_one_engine_at_a_time(lab: Lab) -> None:
    """By turns through the router and past it; every one of them needs the other engine."""
    assert ask(lab, "tiny-heavy")[0] == 200
    doors = {"quick-edit": ROUTER, "review": ROUTER, "tiny-fast": DIRECT, "tiny-heavy": DIRECT}
    turns = [(name, curl(base, "/v1/chat/completions", chat(name))) for name, base in doors.items()] * 13
    for first in range(0, 50, 10):  # docker remembers the last 256 events
        began, batch = now(lab), turns[first : first + 10]
        lines = lab.ssh("forge", "\n".join(words for _, words in batch)).splitlines()
        told = [(json.loads(text).get("model"), status) for text, status in zip(lines[::2], lines[1::2], strict=True)]
        assert told == [(name, "200") for name, _ in batch], lines
        record = engines(lab, began)
        assert [name for action, name in record if action == "start"] == ["llamacpp-fast", "llamacpp-heavy"] * 5
        assert most_at_once(record) == 1


def look_around(lab: Lab, file: Path) -> None:
    """Who is resident, and that the socket equals root, wherever an operator looks."""
    ready = json.loads(lab.ask("/readyz?probe=1")[1])
    assert [(row["id"], row["reachable"], row["resident"]) for row in ready["tiers"]] == [
        ("fast-local", True, False),
        ("heavy-local", True, True),
    ]
    status = lab.deploy("status.py", topology=file)
    assert status.code == 0, status.story
    table = {line.split()[1]: line.split()[2:4] for line in status.story.splitlines() if "[forge]" in line}
    assert table["multiplexer"] == ["up", "running"]
    assert table["heavy"] == ["created", "running"]
    doctor = lab.deploy("doctor.py", topology=file)
    assert doctor.code == 0, doctor.story
    assert "[WARN] forge: anvil-multiplexer — holds the docker socket, which equals root on this host" in doctor.story


def a_killed_engine_comes_back(lab: Lab) -> None:
    """Docker restarts one that dies; the multiplexer takes neither the corpse nor the unannounced copy for its own."""
    died = lab.inspect("llamacpp-heavy")["State"]
    gone = f"while sudo kill -0 {died['Pid']} 2>/dev/null; do sleep 0.02; done"
    lab.ssh("forge", f"sudo kill -9 {died['Pid']}; {gone}")
    status, answer = ask(lab, "tiny-heavy")
    assert (status, answer["model"]) == (200, "tiny-heavy"), answer
    assert lab.inspect("llamacpp-heavy")["State"]["StartedAt"] != died["StartedAt"]
    lab.ssh("forge", "docker kill llamacpp-heavy")
    assert ask(lab, "tiny-heavy")[0] == 200
    assert resident(lab) == ["llamacpp-heavy"]


def a_full_card_refuses_before_anybody_is_stopped(lab: Lab) -> None:
    cards = json.loads(lab.ssh("forge", "cat /etc/nvidia-cards.json"))
    full = json.loads(json.dumps(cards))
    full["cards"][1]["memory.used"] = 32600
    tell = "printf %s '{}' | sudo tee /etc/nvidia-cards.json >/dev/null"  # the container sees this very file
    started = lab.inspect("llamacpp-heavy")["State"]["StartedAt"]
    lab.ssh("forge", tell.format(json.dumps(full)))
    try:
        status, answer = ask(lab, "tiny-fast")
        assert (status, answer["error"]["type"]) == (503, "insufficient_memory"), answer
        assert "GB of VRAM" in answer["error"]["message"]
        assert ask(lab, "quick-edit", ROUTER)[0] >= 500
    finally:
        lab.ssh("forge", tell.format(json.dumps(cards)))
    assert lab.inspect("llamacpp-heavy")["State"]["StartedAt"] == started
    assert ask(lab, "tiny-fast")[0] == 200


def test_a_swap_waits_for_streams_and_a_doomed_one_harms_nobody(lab: Lab, put_back: None, tmp_path: Path) -> None:
    file = swapping(tmp_path, cards=False)
    run = lab.deploy("full.py", "-y", topology=file)
    assert run.code == 0, run.story
    report = json.loads(lab.ssh("forge", "sudo sh -c 'cat /srv/anvil/evidence/preflight/fast-*.json'"))
    assert report["base_url"] == "http://anvil-multiplexer:8100/v1"
    assert {test["name"] for test in report["tests"] if test["passed"]}, report  # it was let in, and answered
    assert ask(lab, "tiny-fast")[0] == 200
    began = now(lab)
    with ThreadPoolExecutor(1) as beside:
        body = chat("tiny-fast", 120, stream=True, ignore_eos=True)
        streamed = beside.submit(lab.ssh, "forge", curl(DIRECT, "/v1/chat/completions", body))
        until(lambda: health(lab)["in_flight"]["tiny-fast"] == 1)
        status, answer = ask(lab, "tiny-heavy")
        assert (status, answer["model"]) == (200, "tiny-heavy"), answer
        assert streamed.done(), "the other model answered while the stream still ran"
        text, _, code = streamed.result().rstrip().rpartition("\n")
    assert (text.rstrip()[-12:], code) == ("data: [DONE]", "200"), text[-300:]
    told = health(lab)
    assert told["drain_wait_ms"] > 0
    assert (told["last_swap"]["new"], told["last_swap"]["outcome"]) == ("tiny-heavy", "done")

    started = lab.inspect("llamacpp-heavy")["State"]["StartedAt"]
    status, answer = ask(lab, "tiny-huge")
    assert (status, answer["error"]["type"]) == (503, "insufficient_memory"), answer
    assert "GB of RAM" in answer["error"]["message"]
    assert lab.inspect("llamacpp-heavy")["State"]["StartedAt"] == started

    status, answer = ask(lab, "tiny-broken")
    assert (status, answer["error"]["type"]) == (503, "backend_unavailable"), answer
    assert "--no-such-flag" in answer["error"]["message"]
    assert health(lab)["last_swap"]["outcome"] == "rolled_back"
    assert resident(lab) == ["llamacpp-heavy"]
    assert ask(lab, "tiny-heavy")[0] == 200
    assert most_at_once(engines(lab, began)) == 1
    everything_down_stays_down(lab, file)


def everything_down_stays_down(lab: Lab, file: Path) -> None:
    down = lab.deploy("serves_down.py", "-y", topology=file)
    assert down.code == 0, down.story
    assert lab.inspect("anvil-multiplexer")["State"]["Status"] == "exited"
    assert resident(lab) == []


def until(condition: Any, seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "did not come true"
        time.sleep(0.1)
