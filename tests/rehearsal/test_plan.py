"""The dry run says what the run does, host by host and operation by operation, and reads only.

The rule, for every operation on every host: what the plan calls a change is one, and what changes was in the plan. An
operation that waits for the outcome of an earlier one (pyinfra's `_if`) is shown as conditional: it may stay out, but
nothing may change that was neither planned nor conditional. `planned <= changed <= planned | conditional`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.rehearsal.lab import ROOT, ROUTER, TOKEN, TOPOLOGY, Lab, Run

pytestmark = [pytest.mark.rehearsal, pytest.mark.timeout(900)]

REVIEW = 'review       = ["heavy-local"]'
ROTATED = "rotated-token-of-thirty-2-characters"
MODES = """
[modes.flexibility]
serves  = ["fast"]
presets = { chat = ["fast-local"] }
"""
Pairs = set[tuple[str, str]]


def planned(run: Run, key: str = "hosts_with_change") -> Pairs:
    return {(each["name"], host) for each in run.plan for host in each[key]}


def changed(run: Run) -> Pairs:
    return {(each["name"], host) for each in run.operations for host in each["success"]}


def agree(dry: Run, run: Run) -> Pairs:
    """The changes, after holding the two runs against each other."""
    sure, maybe, done = planned(dry), planned(dry, "hosts_with_conditional_change"), changed(run)
    assert sure <= done, f"planned and not done: {sorted(sure - done)}"
    assert done <= sure | maybe, f"done and not planned: {sorted(done - sure - maybe)}"
    return done


def both(lab: Lab, file: str, *options: str, **how: Any) -> tuple[Run, Run]:
    """A dry run with its diff, then the run; both succeed and say the same."""
    dry = lab.deploy(file, "--dry", "--diff", *options, **how)
    assert dry.code == 0, dry.story
    run = lab.deploy(file, "-y", *options, **how)
    assert run.code == 0, run.story
    agree(dry, run)
    return dry, run


@pytest.fixture
def put_back(lab: Lab, second: Run) -> Iterator[None]:
    """The rehearsal's own topology stands again, by a run that was announced as well."""
    yield
    both(lab, "full.py")
    assert lab.deploy("full.py", "-y").changed == []


def test_on_an_empty_host(dry: tuple[Run, dict[str, object], dict[str, object]], first: Run) -> None:
    assert {("Serves | Up fast", "forge"), ("Serves | Up heavy", "forge")} <= agree(dry[0], first)


def test_when_there_is_nothing_to_do(lab: Lab, second: Run) -> None:
    dry = lab.deploy("full.py", "--dry")
    assert (planned(dry), agree(dry, second)) == (set(), set())


def test_another_engine_flag_and_another_preset(lab: Lab, put_back: None, tmp_path: Path) -> None:
    file = tmp_path / "topology.toml"
    flag = 'extra_args = ["--no-warmup"]\nserved_model    = "tiny-fast"'
    file.write_text(
        TOPOLOGY.replace(REVIEW, 'review       = ["heavy-local", "fast-local"]').replace(
            'served_model    = "tiny-fast"', flag
        )
    )
    dry, run = both(lab, "full.py", topology=file)
    assert "Serves | Up fast" in run.changed
    assert "fast: revision" in dry.story
    assert "command: nothing -> --no-warmup" in dry.story  # why, by its flag
    assert '+review = ["heavy-local", "fast-local"]' in dry.story.replace("  ", " ").replace("  ", " ")
    assert "Up heavy" not in {name for name, _ in planned(dry)}


def test_a_rotated_token_and_a_mode(lab: Lab, put_back: None, tmp_path: Path) -> None:
    file = tmp_path / "topology.toml"
    file.write_text(TOPOLOGY.replace("schema ", 'mode = "flexibility"\nschema ', 1) + MODES)
    dry, _ = both(lab, "full.py", topology=file, token=ROTATED)
    assert ROTATED not in dry.story
    assert TOKEN not in dry.story
    assert "secrets.env: changed (digest)" in dry.story
    assert ("Serves | Stop heavy", "forge") in planned(dry)


def test_drift_by_hand(lab: Lab, second: Run) -> None:
    drift = (
        "docker kill llamacpp-fast; cd /srv/anvil; sudo sh -c 'chmod 644 secrets.env; echo \"# mine\" >> compose.yaml'"
    )
    lab.ssh("forge", drift)
    dry, run = both(lab, "full.py")
    assert {("Machine | Secrets", "forge"), ("Machine | Compose file", "forge")} <= changed(run)
    assert "fast: exited" in dry.story
    assert "mode 644 -> 600" in dry.story
    assert "-# mine" in dry.story
    assert lab.deploy("full.py", "-y").changed == []


def test_another_image_and_back(lab: Lab, put_back: None) -> None:
    lab.ssh("forge", "docker tag anvil-router:rehearsal anvil-router:other")
    try:
        dry, run = both(lab, "promote.py", "--data", "image=anvil-router:other")
        assert '+    image: "anvil-router:other"' in dry.story
        assert any(name.startswith("Promote | Live") for name, _ in changed(run))
        assert both(lab, "rollback.py")[1].changed
    finally:
        lab.ssh("forge", "docker image rm anvil-router:other", check=False)


def test_strangers_named_to_go_and_to_be_taken_over(lab: Lab, second: Run) -> None:
    sleeper = "docker run -d --entrypoint python3 {} anvil-rehearsal/python:3.11 -c 'import time; time.sleep(600)'"
    lab.ssh("forge", "docker rm -f llamacpp-fast llamacpp-heavy")
    lab.ssh("forge", sleeper.format("--name squatter -p 127.0.0.1:30003:30003"))
    lab.ssh("forge", sleeper.format("--name llamacpp-heavy"))
    refused = lab.deploy("serves.py", "--dry")
    assert "port 30003 is taken by container squatter" in refused.story
    _, run = both(lab, "serves.py", "--data", "retire=squatter", "--data", "adopt=heavy")
    assert {"Serves | Retire squatter", "Serves | Up fast", "Serves | Up heavy"} <= set(run.changed)
    assert lab.deploy("full.py", "-y").changed == []


def test_a_gateway_without_its_program(lab: Lab, second: Run, tmp_path: Path) -> None:
    file = tmp_path / "topology.toml"
    file.write_text(TOPOLOGY + f'\n[gateways.desk]\nmachine = "mini"\nrouter_url = "{ROUTER}/v1"\n')
    dry, run = (lab.deploy("harness_sync.py", how, topology=file) for how in ("--dry", "-y"))
    assert (dry.code, run.code) == (1, 1)
    told = next(line for line in run.story.splitlines() if "pyinfra error" in line)
    assert told in dry.story
    assert "openclaw" in told


READING = sorted(path.name for path in (ROOT / "deploy").glob("*.py"))
WORDS = {
    "adopt.py": ["adopt=fast"],
    "experiment.py": ["model=x.gguf", "gpu=gaming", "image=anvil-rehearsal/llama:b10434", "context=512"],
    "logs.py": ["name=fast"],
    "promote.py": ["image=anvil-router:rehearsal"],
    "retire.py": ["name=llamacpp-fast"],
    "teardown.py": ["confirm=rehearsal"],
}


def test_every_deploy_only_reads_in_a_dry_run(lab: Lab, second: Run, tmp_path: Path) -> None:
    """Whatever it would do, the host is the same afterwards: every file by mode, size and time, every Docker object."""
    before = lab.snapshot("forge")
    for file in READING:
        words = [each for word in WORDS.get(file, []) for each in ("--data", word)]
        run = lab.deploy(file, "--dry", "--diff", *words)
        assert "Traceback" not in run.story, run.story
        assert lab.snapshot("forge") == before, file


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--limit", "nothing"], "--limit nothing matches no host; there are: forge, mini"),
        (["--data", "recreat=fast"], "--data recreat: unknown key; did you mean recreate?"),
        (["--data", "recreate=fats"], "--data recreate=fats: no serve has this name; there are: fast, heavy"),
        (["--data", "only=fast"], "--data only: full.py does not use it"),
        (["--data", "mode=nope"], "--data mode: mode 'nope' is not declared"),
        (["--data", "preflight=perhaps"], "--data preflight=perhaps: expected off or warn or required"),
        (["--data", "timeout=soon"], "--data timeout=soon: expected a whole number"),
    ],
)
def test_a_word_that_means_nothing_is_one_line(lab: Lab, second: Run, options: list[str], told: str) -> None:
    run = lab.deploy("full.py", "-y", *options)
    assert (run.code, run.operations) == (1, [])
    (line,) = [line for line in run.story.splitlines() if "pyinfra error" in line]
    assert told in line
    assert "Traceback" not in run.story
