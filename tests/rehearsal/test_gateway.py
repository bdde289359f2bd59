"""Two released OpenClaw gateways on hosts of their own: synced by `full.py`, and answering through router and engine."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pytest

from tests.clients.conversation import PRODUCT, TOOL_MARKER, behaviour
from tests.rehearsal.claw import NATIVE, Claw, install_releases
from tests.rehearsal.lab import HOSTS, NETWORK, ROUTER, TOKEN, TOPOLOGY, Lab, Run
from tests.router.tier import Tier

pytestmark = [pytest.mark.rehearsal, pytest.mark.timeout(900)]

T = TypeVar("T")
PLUGIN = "~/.anvil/plugins/openclaw-anvil-intent-router"
WHAT_NOW = "  anvil harness apply claude-code --mkdir "
ERRAND = 'errand       = ["scripted"]'
GATEWAY = """
[machines.{name}]
platform = "linux"
address  = "{network}.{number}"
[machines.{name}.ssh]
user        = "anvil"
key         = "${{ANVIL_LAB:-~/.cache/anvil-lab}}/key"
known_hosts = "${{ANVIL_LAB:-~/.cache/anvil-lab}}/{hosts}/{name}/known_hosts"
[gateways.{name}]
machine        = "{name}"
router_url     = "{router}/v1"
token_delivery = "openclaw-env"
timeout_s      = 600
[gateways.{name}.plugin]
deadline_ms = 2000
"""
# An agent's prompt fills half of what the model was trained for; the router reserves more than that.
ROOM = """context         = 16384
threads         = 2
extra_args      = ["--override-kv", "llama.context_length=int:16384"]"""
# The engine ends with the first word: the small model would talk until its window is full.
TIERS = """
[tiers.heavy-local]
serve       = "heavy"
timeout     = 600
extra_body  = {{ temperature = 0, stop = [" ", "e"] }}

[tiers.scripted]
base_url      = "{scripted}"
model         = "scripted"
role          = "fast"
context_limit = 65536
"""


@dataclass(frozen=True)
class Scene:
    """Both gateways, the provider they fall back on, and a tier that does as it is told."""

    lab: Lab
    june: Claw
    september: Claw
    native: Tier
    scripted: Tier
    file: Path

    def topology(self, presets: str = "") -> Path:
        """The rehearsal's own with both gateways; ``heavy`` has room for what an agent sends."""
        text = TOPOLOGY.replace("context         = 4096\nthreads         = 1", ROOM)
        text = text.replace('[tiers.heavy-local]\nserve = "heavy"\n', TIERS.format(scripted=self.scripted.url))
        text = text.replace('quick-edit   = ["fast-local", "heavy-local"]', 'quick-edit   = ["scripted"]')
        text = text.replace("[router]", f"{presets}\n[router]", 1)
        for claw in (self.june, self.september):
            text += GATEWAY.format(name=claw.name, number=claw.number, network=NETWORK, hosts=HOSTS, router=ROUTER)
        assert text.count(ROOM) == 1
        assert text.count("[tiers.scripted]") == 1
        self.file.write_text(text)
        return self.file

    def deploy(self, deploy: str, *options: str, presets: str = "") -> Run:
        run = self.lab.deploy(deploy, *options, topology=self.topology(presets))
        for secret in (TOKEN, "native-key", "gateway-token"):
            assert secret not in run.story
        return run

    def both(self, act: Callable[[Claw], T]) -> list[T]:
        """The same on both at once; most of it is waiting."""
        with self.lab.step(f"june and september: {act.__name__}"), ThreadPoolExecutor(2) as pool:
            return list(pool.map(act, (self.june, self.september)))

    def served(self) -> list[tuple[str, str, bool]]:
        """(preset, tier, with tools) of the requests that were answered, newest first."""
        status, text = self.lab.ask("/v1/decisions?limit=200")
        assert status == 200
        return [
            (each["caller_model"], each["served_tier"], each["needs"]["tools"])
            for each in json.loads(text)["data"]
            if each["endpoint"] == "chat" and each["status"] == 200
        ]


@pytest.fixture(scope="module")
def scene(lab: Lab, second: Run, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    install_releases()
    june, september = Claw(lab, "june", 24, "openclaw-2026.6"), Claw(lab, "september", 23, "openclaw")
    native, scripted = (Tier(behaviour(name, "good"), host=f"{NETWORK}.1").start() for name in ("native", "scripted"))
    made = Scene(lab, june, september, native, scripted, tmp_path_factory.mktemp("gateway") / "topology.toml")

    def up(claw: Claw) -> None:
        claw.up(native.url)

    try:
        made.both(up)
        yield made
    finally:
        made.both(Claw.down)
        native.stop()
        scripted.stop()
        back = lab.deploy("full.py", "-y")
        assert back.code == 0, back.story
        assert lab.deploy("full.py", "-y").changed == []


@pytest.fixture(scope="module")
def synced(scene: Scene) -> Run:
    return scene.deploy("full.py", "-y")


@pytest.fixture(scope="module")
def grown(scene: Scene, synced: Run) -> tuple[Run, list[bool]]:
    """A preset more in the topology, and whether june and september were restarted for it."""
    before = scene.both(Claw.pid)
    run = scene.deploy("full.py", "-y", presets=ERRAND)
    return run, [old != new for old, new in zip(before, scene.both(Claw.pid), strict=True)]


def test_a_dry_run_shows_the_change_and_makes_none(scene: Scene) -> None:
    before = scene.both(Claw.owned)
    run = scene.deploy("full.py", "--dry", "--diff")
    assert run.code == 0, run.story
    assert '"primary": "anvil/chat"' in run.story
    assert WHAT_NOW not in run.story
    assert scene.both(Claw.owned) == before


def test_the_first_run_brings_both_into_step(scene: Scene, synced: Run) -> None:
    assert synced.code == 0, synced.story
    assert synced.story.count(WHAT_NOW) == 1
    for claw in (scene.june, scene.september):
        assert synced.changed_on(claw.name) == [
            f"Gateway | {what}" for what in ("Plugin", "ANVIL_ROUTER_TOKEN", "Document", "Restart")
        ]
        assert scene.lab.ssh(claw.name, "command -v openclaw || echo nowhere") == "nowhere\n"  # only logins know it
        assert claw.file("~/.openclaw/.env") == f"ANVIL_ROUTER_TOKEN={TOKEN}\n"
        text = claw.file("~/.openclaw/openclaw.json")
        assert text.startswith("// written by hand: keep me\n")
        assert "alsoAllow: ['exec']}, // small prompts\n" in text
        assert "apiKey: 'native-key'" in text
        assert f'model: {{fallbacks: [\'{NATIVE}\'], "primary": "anvil/chat"}}' in text


def test_an_agent_turn_with_tools_goes_to_the_real_engine(scene: Scene, synced: Run) -> None:
    def review(claw: Claw) -> str:
        return claw.say("please review the house")

    assert all(scene.both(review))
    assert scene.served().count(("review", "heavy-local", True)) >= 2
    for claw in (scene.june, scene.september):
        assert ("anvil", "review", "route") in claw.decided()
    assert not [each for each in scene.native.seen if each.path.endswith("/completions")]


def test_a_new_preset_reaches_both_and_nothing_else_changes(scene: Scene, grown: tuple[Run, list[bool]]) -> None:
    run, restarted = grown
    assert run.code == 0, run.story
    router = [name.split()[2] for name in run.changed_on("forge")]
    assert router in (["Stage", "Live"], ["Live"])  # a kept host may hold the release already
    assert run.changed_on("june") == ["Gateway | Document", "Gateway | Restart"]
    assert run.changed_on("september") == ["Gateway | Document"]
    assert restarted == [True, False]  # the newer generation takes models up by itself
    before = scene.both(Claw.owned)
    again = scene.deploy("full.py", "-y", presets=ERRAND)
    assert (again.code, again.changed) == (0, []), again.story
    assert scene.both(Claw.owned) == before


def test_a_tool_is_called_and_its_answer_comes_back(scene: Scene, grown: object) -> None:
    """The tier is scripted: the small model would not call one."""

    def errand(claw: Claw) -> str:
        return claw.say(f"{TOOL_MARKER} what is six times seven?", "--model", "anvil/errand")

    before = scene.served().count(("errand", "scripted", True))
    for said in scene.both(errand):  # only a shell that ran the command knows the product
        assert said.startswith(f"SCRIPTED-ANSWER the tool said: {PRODUCT}")
    assert scene.served().count(("errand", "scripted", True)) == before + 4


def test_work_that_nobody_may_do_goes_to_the_native_provider_at_once(scene: Scene, synced: Run) -> None:
    """The seed profile trusts no local tier with a plan."""

    def plan(claw: Claw) -> str:
        return claw.say("make a roadmap for the migration")

    assert [said[:13] for said in scene.both(plan)] == ["NATIVE-ANSWER", "NATIVE-ANSWER"]
    for claw in (scene.june, scene.september):
        assert ("native", "big", "route") in claw.decided()


def test_an_exhausted_router_hands_the_turn_to_the_native_provider(scene: Scene, synced: Run) -> None:
    """June's release alone: September's asks eight times in two minutes first, which the OpenClaw lane sits through."""
    scene.scripted.behaviour = behaviour("scripted", "http500")
    assert scene.june.say("please fix the roof").startswith("NATIVE-ANSWER")
    asked = [each for each in scene.june.decided() if each[2] in ("route", "again")]
    assert asked[-2:] == [("anvil", "quick-edit", "route"), ("native", None, "again")]


def test_a_preset_that_is_gone_is_gone_everywhere(scene: Scene, grown: object) -> None:
    run = scene.deploy("full.py", "-y")
    assert run.code == 0, run.story
    for claw in (scene.june, scene.september):
        text = claw.file("~/.openclaw/openclaw.json")
        assert "errand" not in text
        assert f"'{NATIVE}': {{alias: 'big'}}" in text


def test_a_gateway_that_is_down_is_told_and_started_again(scene: Scene, synced: Run) -> None:
    scene.lab.ssh("june", "systemctl --user stop openclaw-gateway; sudo loginctl disable-linger anvil")
    status = scene.deploy("status.py", "--limit", "gateway")
    assert status.code == 1
    assert "june: wanted up but not healthy: june" in status.story
    assert re.search(r"september +up +running +same +in step", status.story)
    again = scene.deploy("harness_restart.py", "-y", "--limit", "june")
    assert again.code == 0, again.story
    assert scene.june.pid() != "0"
    doctor = scene.deploy("doctor.py", "--limit", "june")
    assert doctor.code == 0, doctor.story
    assert "[WARN] june: gateway june: running — ends when its user logs out" in doctor.story
    assert "[PASS] june: gateway june: plugin" in doctor.story


def test_a_teardown_leaves_what_the_operator_wrote(scene: Scene, synced: Run) -> None:
    before = scene.both(Claw.owned)
    run = scene.deploy("teardown.py", "-y", "--data", "confirm=rehearsal")
    assert run.code == 0, run.story
    assert "left: ~/.openclaw/openclaw.json of gateway june names the router" in run.story
    assert scene.both(Claw.owned) == before
