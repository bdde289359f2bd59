"""A calibration in two halves: answers made in the router's image beside the serves, graded here, promoted."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.rehearsal.lab import ROOT, TOKEN, Lab, Run

pytestmark = [pytest.mark.rehearsal, pytest.mark.timeout(900)]

# Stands in for the `claude` command: reads the prompt, gives a fixed grade in its document.
JUDGE = """#!/bin/sh
prompt=$(cat)
case $prompt in *"Work class: chat"*) ;; *) echo "no prompt" >&2; exit 1 ;; esac
echo "$prompt" >> "{asked}"
printf '%s' '{reply}'
"""
SCORES = {
    "decomposition_granularity": 4,
    "requirement_coverage": 4,
    "dependency_correctness": 4,
    "acceptance_verifiability": 4,
    "faithfulness": 4,
}


# Answers of one sentence: what is rehearsed are the halves, not how much a small engine can say.
SHORT = '[tiers.fast-local]\nserve = "fast"\nextra_body = { stop = ["."] }'


def anvil(lab: Lab, topology: Path, *words: str, **environ: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "anvil", *words]
    env = lab.environment(topology, TOKEN) | environ
    return subprocess.run(argv, cwd=ROOT, env=env, capture_output=True, text=True, timeout=120, check=False)


def judge(folder: Path) -> Path:
    reply = json.dumps({"scores": SCORES, "total": 20, "notes": "a scripted grade"})
    file = folder / "judge"
    document = json.dumps({"type": "result", "result": reply})
    file.write_text(JUDGE.format(asked=folder / "asked", reply=document))
    file.chmod(0o755)
    return file


@pytest.fixture
def short(lab: Lab, second: Run, tmp_path: Path) -> Iterator[Path]:
    """A topology whose release is live; then the rehearsal's own again."""
    changed = lab.topology(tmp_path, '[tiers.fast-local]\nserve = "fast"', SHORT)
    run = lab.deploy("router.py", "-y", topology=changed)
    assert run.code == 0, run.story
    yield changed
    back = lab.deploy("full.py", "-y", "--data", "profile=inventory")
    assert back.code == 0, back.story
    assert lab.deploy("full.py", "-y").changed == []


def test_answers_are_made_there_graded_here_and_promoted(lab: Lab, short: Path, tmp_path: Path) -> None:
    outputs, candidate, rendered = tmp_path / "outputs", tmp_path / "candidate.json", tmp_path / "rendered"
    data = [word for each in (f"out={outputs}", "tiers=fast-local", "classes=chat") for word in ("--data", each)]
    before = lab.snapshot("forge")
    assert lab.deploy("calibrate.py", "--dry", *data, topology=short).code == 0
    assert lab.snapshot("forge") == before
    assert not outputs.exists()

    run = lab.deploy("calibrate.py", "-y", *data, topology=short)
    assert run.code == 0, run.story
    assert f"anvil calibrate --from-outputs {outputs}" in run.story
    (manifest,) = outputs.glob("*/grading/gen_manifest.json")
    rows = json.loads(manifest.read_text())
    assert {(row["tier_id"], row["work_class"], row["ok"]) for row in rows} == {("fast-local", "chat", True)}
    assert "calibrate" not in lab.ssh("forge", "sudo ls /srv/anvil/evidence")
    taken = lab.deploy("calibrate.py", "-y", *data, topology=short)
    assert (taken.code, "not an empty folder" in taken.story) == (1, True), taken.story

    made = anvil(lab, short, "render", str(rendered))
    assert made.returncode == 0, made.stderr
    (config,) = rendered.rglob("router.toml")
    halves = ("--from-outputs", str(outputs), "--config", str(config), "--out", str(candidate))
    graded = anvil(lab, short, "calibrate", *halves, ANVIL_CLAUDE_BIN=str(judge(tmp_path)))
    assert graded.returncode == 0, graded.stderr
    assert (tmp_path / "asked").read_text().count("<answer>") == len(rows)
    assert f"profile={candidate}" in graded.stdout
    entries = json.loads(candidate.read_text())["entries"]
    (row,) = [each for each in entries if (each["tier_id"], each["work_class"]) == ("fast-local", "chat")]
    assert (row["decision"], row["quality_score"], row["sample_n"]) == ("allow-with-verify", 0.8, len(rows))

    promoted = lab.deploy("promote.py", "-y", "--data", f"profile={candidate}", topology=short)
    assert promoted.code == 0, promoted.story
    assert "fast-local/chat: " in promoted.story
    assert row in json.loads(lab.ssh("forge", "sudo cat /srv/anvil/router/current/profile.json"))["entries"]
    refused = lab.deploy("full.py", "-y", topology=short)
    assert (refused.code, "promoted as a candidate" in refused.story) == (1, True), refused.story
