"""Removal on @local: exactly what was named, and nothing twice."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from anvil.hosts.garbage import Entries, entries_removed
from tests.deploys.play import fact, play


def test_ages_hidden_names_and_missing_folders(folder: Path) -> None:
    for name in ("a", ".b", "with space"):
        (folder / "kept" / name).mkdir(parents=True)
    os.utime(folder / "kept" / "a", (0, time.time() - 100))
    answer = fact(Entries, str(folder), ("kept", "missing"))
    ages = {entry.path: entry.age_s for entry in answer.entries}
    assert set(ages) == {"kept/a", "kept/.b", "kept/with space"}
    assert 99 <= ages["kept/a"] < 130
    assert fact(Entries, str(folder / "nowhere"), ("kept",)).status == "absent"


def test_what_was_named_goes_and_what_is_beside_it_stays(folder: Path) -> None:
    for name in ("old", "-rf", "stays"):
        (folder / "releases" / name / "inner").mkdir(parents=True)
    doomed = {"releases/old": "why", "releases/-rf": "why", "releases/gone": "why"}
    removal = (entries_removed, {"root": str(folder), "doomed": doomed})
    assert not play(removal, dry=True).error
    assert (folder / "releases" / "old").exists()
    assert play(removal).changed() == [True]
    assert [path.name for path in (folder / "releases").iterdir()] == ["stays"]
    assert play(removal).changed() == [False]


@pytest.mark.parametrize("path", ["../elsewhere/x", "releases", "/etc/passwd"])
def test_a_way_out_is_refused_before_anything_goes(folder: Path, path: str) -> None:
    (folder / "releases" / "old").mkdir(parents=True)
    assert play((entries_removed, {"root": str(folder), "doomed": {"releases/old": "", path: ""}})).error
    assert (folder / "releases" / "old").exists()
