"""Outputs of a long command on @local: brought over whole, resumed after a failure, secrets by name only."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from anvil.hosts.outputs import outputs_fetched
from tests.deploys.play import Run, play

SCRIPT = 'mkdir -p "$0/a b"; printf %s "$KEY-$OTHER" > "$0/a b/one"; echo ran >> "$0/runs"; exit {code}'


def collect(folder: Path, code: int = 0, dry: bool = False) -> Run:
    (folder / "secrets.env").write_text("KEY='k 1'\nOTHER=no\n")
    there = str(folder / "there")
    arguments = {
        "command": ("sh", "-c", SCRIPT.format(code=code), there),
        "folder": there,
        "to": str(folder / "here"),
        "secrets": str(folder / "secrets.env"),
        "secret_names": ("KEY", "ABSENT"),
    }
    return play((outputs_fetched, arguments), dry=dry)


def test_a_dry_run_runs_nothing(folder: Path) -> None:
    assert not collect(folder, dry=True).error
    assert not (folder / "there").exists()


def test_outputs_arrive_whole_and_leave_the_host(folder: Path) -> None:
    assert not collect(folder).error
    assert (folder / "here" / "a b" / "one").read_text() == "k 1-"  # OTHER is in the file and not exported
    assert not (folder / "there").exists()


def test_what_failed_stays_for_the_next_run(folder: Path) -> None:
    assert collect(folder, code=3).error
    assert not (folder / "here").exists()
    assert not collect(folder).error
    assert (folder / "here" / "runs").read_text() == "ran\nran\n"


def test_what_cannot_be_packed_whole_is_not_removed(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    lame = folder / "bin" / "tar"
    lame.parent.mkdir()
    lame.write_text(f'#!/bin/sh\n{shutil.which("tar")} "$@"\necho "tar: ./one: cannot be read" >&2\nexit 2\n')
    lame.chmod(0o755)
    monkeypatch.setenv("PATH", f"{lame.parent}:{os.environ['PATH']}")
    caplog.set_level("INFO")
    assert collect(folder).error
    assert "one: cannot be read" in caplog.text
    assert (folder / "there" / "a b" / "one").exists()
