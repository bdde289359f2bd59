from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from anvil.hosts.text_file import directory, text_file, write_command
from tests.deploys.play import play

SECRET = "NAME='canary-7f3a-value'\n"


def test_missing_then_same_then_drift(folder: Path) -> None:
    path = folder / "a b.txt"
    wanted = (text_file, {"path": str(path), "text": "first\nünï 🜁\n", "mode": "640"})
    assert play(wanted).changed() == [True]
    assert path.read_text() == "first\nünï 🜁\n"
    assert path.stat().st_mode & 0o777 == 0o640
    assert play(wanted).changed() == [False]
    inode = path.stat().st_ino
    path.chmod(0o644)
    assert play(wanted).changed() == [True]
    assert (path.stat().st_mode & 0o777, path.stat().st_ino) == (0o640, inode)
    assert list(folder.iterdir()) == [path]


def test_empty_is_not_missing(folder: Path) -> None:
    path = folder / "empty"
    wanted = (text_file, {"path": str(path), "text": ""})
    assert play(wanted).changed() == [True]
    assert path.read_bytes() == b""
    assert play(wanted).changed() == [False]


def test_dry_run_changes_nothing_and_shows_the_diff(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = folder / "f"
    path.write_text("old\n")
    caplog.set_level("INFO")
    play((text_file, {"path": str(path), "text": "new\n"}), dry=True, diff=True)
    assert path.read_text() == "old\n"
    assert caplog.text.count("-old") == 1
    assert caplog.text.count("+new") == 1


@pytest.mark.parametrize("yes", [True, False])
def test_the_diff_is_shown_once(folder: Path, caplog: pytest.LogCaptureFixture, yes: bool) -> None:
    caplog.set_level("INFO")
    play((text_file, {"path": str(folder / "f"), "text": "new\n"}), diff=True, yes=yes)
    assert caplog.text.count("+new") == 1


def test_a_secret_is_private_and_never_shown(
    folder: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level("DEBUG")
    path = folder / "secrets.env"
    wanted = (text_file, {"path": str(path), "text": SECRET, "mode": "600", "secret": True})
    assert play(wanted, diff=True).changed() == [True]
    assert path.read_text() == SECRET
    assert path.stat().st_mode & 0o777 == 0o600
    path.write_text(SECRET.replace("7f3a", "other"))
    assert play(wanted, diff=True).changed() == [True]
    shown = caplog.text + "".join(capfd.readouterr())
    assert "changed (digest)" in shown
    assert "canary" not in shown


def test_the_previous_text_is_kept(folder: Path) -> None:
    path, previous = folder / "compose.yaml", folder / "compose.previous.yaml"
    wanted = {"path": str(path), "previous": str(previous)}
    play((text_file, {**wanted, "text": "one\n"}))
    assert not previous.exists()
    play((text_file, {**wanted, "text": "two\n"}))
    assert (path.read_text(), previous.read_text()) == ("two\n", "one\n")
    assert play((text_file, {**wanted, "text": "two\n"})).total_changed == 0
    assert previous.read_text() == "one\n"


def test_a_directory_in_the_way_is_refused_before_anything_changes(folder: Path) -> None:
    (folder / "d").mkdir()
    other = (text_file, {"path": str(folder / "other"), "text": "x\n"})
    run = play(other, (text_file, {"path": str(folder / "d"), "text": "x\n"}))
    assert "is a directory" in run.error
    assert not (folder / "other").exists()


def test_text_without_a_last_newline_is_refused(folder: Path) -> None:
    assert "newline" in play((text_file, {"path": str(folder / "f"), "text": "x"})).error


def test_directories(folder: Path) -> None:
    path = folder / "one" / "two"
    wanted = (directory, {"path": str(path), "mode": "750"})
    assert play(wanted).changed() == [True]
    assert path.stat().st_mode & 0o777 == 0o750
    assert play(wanted).changed() == [False]


@pytest.mark.parametrize("arrived", ["", "9", "99\n", "99\nhalf a"])
def test_a_link_that_drops_leaves_the_old_file(folder: Path, arrived: str) -> None:
    path = folder / "f"
    path.write_text("old\n")
    command = write_command(str(path), "x" * 98 + "\n", "640").get_raw_value()
    done = subprocess.run(["sh", "-c", command], input=arrived.encode(), capture_output=True)
    assert done.returncode != 0
    assert path.read_text() == "old\n"
    assert [entry.name for entry in folder.iterdir()] == ["f"]
