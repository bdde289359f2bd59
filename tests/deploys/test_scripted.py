"""Deploy files on a compose machine with scripted programs: dry runs, second runs, and what stands in a serve's way."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.deploys.scripted import CARD, DIGEST, REPO, Machine, Ran, without

pytestmark = pytest.mark.timeout(180)
ASKED: dict[str, dict[str, str]] = {
    "adopt": {"adopt": "heavy"},
    "calibrate": {"out": "never-made"},
    "experiment": {"model": "org/x", "gpu": "pro"},
    "logs": {"name": "heavy"},
    "retire": {"retire": "leftover"},
    "teardown": {"confirm": "home"},
}


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Machine:
    machine = Machine(tmp_path_factory.mktemp("machine"))
    ran = machine.deploy("serves")
    assert ran.error == "", ran.story
    assert [call[-1] for call in ran.calls if call[0] == "compose"] == ["fast", "heavy"]
    return machine


def test_what_lies_where_with_which_mode(up: Machine) -> None:
    """5.1."""
    (report,) = (up.root / "evidence" / "preflight").iterdir()
    modes = {"compose.yaml": "640", "secrets.env": "600", ".lock": "600", str(report.relative_to(up.root)): "640"}
    modes |= {"": "755", "evidence": "750", "experiments": "750"}
    # where only root could give them to the container's group, and this is another user, everybody reads them
    modes |= dict.fromkeys(("router", "router/releases"), "755" if os.geteuid() else "750")
    assert {part: f"{(up.root / part).stat().st_mode & 0o777:o}" for part in modes} == modes
    assert (up.root / "secrets.env").read_text() == f"ANVIL_ROUTER_TOKEN='{'t' * 32}'\n"
    labels = up.containers()["vllm-fast"]["labels"]
    assert report.name == f"fast-{labels['anvil.revision']}.json"


@pytest.fixture
def machine(up: Machine) -> Iterator[Machine]:
    """The serves up; what a test does to them is undone."""
    text, rows = up.text, (up.state / "containers.json").read_text()
    compose = (up.root / "compose.yaml").read_text()
    yield up
    up.text = text
    (up.state / "containers.json").write_text(rows)
    (up.root / "compose.yaml").write_text(compose)
    up.cards(used=0)


def ups(ran: Ran) -> list[str]:
    return [call[-1] for call in ran.calls if call[0] == "compose" and "up" in call]


def test_no_dry_run_changes_anything(folder: Path) -> None:
    """A1, for every deploy file on an empty machine."""
    machine = Machine(folder)
    machine.text = without(machine.text, "fast")
    settings = folder / "settings.toml"
    settings.write_text("relay_timeout = 25\n")
    for file in sorted((REPO / "deploy").glob("*.py")):
        asked: dict[str, Any] = ASKED.get(file.stem, {})
        if file.stem == "promote":
            asked = {"settings": str(settings)}
        ran = machine.deploy(file.stem, dry=True, **asked)
        assert ran.calls == [], file
        assert "Traceback" not in ran.story
        assert not machine.root.exists(), file


def test_a_look_for_weights_makes_no_volume(folder: Path) -> None:
    """I11: `docker run -v NAME:…` makes a volume that is not there; the image is, and could look."""
    machine = Machine(folder)
    (machine.state / "images").write_text(f"vllm:1{DIGEST}\n")
    ran = machine.deploy("weights", dry=True)
    assert (ran.error, ran.calls) == ("", [])
    assert "org/fast: not in the volume" in ran.said


def test_one_flag_recreates_one_serve_says_which_and_a_second_run_nothing(machine: Machine) -> None:
    """A2, I11."""
    machine.text = machine.text.replace("context = 65536", "context = 131072")
    ran = machine.deploy("serves")
    assert ran.error == "", ran.story
    assert ups(ran) == ["heavy"]
    assert ": --max-model-len 65536 -> 131072\n" in ran.said
    again = machine.deploy("serves")
    assert (again.error, again.changed, again.calls) == ("", [], [])


def test_a_full_card_is_no_obstacle_to_the_mode_that_empties_it(machine: Machine) -> None:
    """8.2: a dry run tells what the run will do; A20: what leaves is stopped first."""
    pid = machine.containers()["vllm-fast"]["pid"]
    machine.container("vllm-heavy", status="exited")
    machine.cards(used=20000, holders=f"{pid}, {CARD}, 20000\n")
    machine.text = machine.text.replace('deployment = "home"', 'deployment = "home"\nmode = "agentic"')
    dry = machine.deploy("serves", dry=True)
    assert dry.calls == []
    assert "heavy: exited" in dry.said
    assert "cannot come up" not in dry.story


def test_who_holds_a_wanted_port_is_named_and_goes_only_when_listed(machine: Machine) -> None:
    """A6."""
    rows = machine.containers()
    del rows["vllm-fast"]
    (machine.state / "containers.json").write_text(json.dumps(rows))
    machine.container("squatter", port=30003, published="127.0.0.1:30003")
    refused = machine.deploy("serves", dry=True)
    assert "port 30003 is taken by container squatter (--data retire=squatter removes it)" in refused.said
    ran = machine.deploy("serves", only="fast", retire="squatter")
    assert ran.error == "", ran.story
    assert [call[:3] for call in ran.calls if call[0] == "rm"] == [["rm", "-f", "squatter"]]
    assert ups(ran) == ["fast"]


@pytest.mark.parametrize("deploy", ["serves", "router", "weights"])
def test_a_daemon_that_is_down_is_one_line_before_anything_is_tried(folder: Path, deploy: str) -> None:
    machine = Machine(folder)
    (machine.state / "down").touch()
    ran = machine.deploy(deploy)
    assert ran.error == "forge: docker: Cannot connect to the Docker daemon. Is the docker daemon running?"
    assert (ran.calls, ran.changed, machine.root.exists()) == ([], [], False)
